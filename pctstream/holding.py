"""The nodes that rows lie at, from what their portions tell on `.state`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pctstream.core.names import Path
from pctstream.tables import Record


def holding(nodes: Mapping[Path, Record]) -> set[Path]:
    """Of whole portions' nodes, those that rows lie at: more are there than below them.

    >>> told = {(0, 3): {"rows": 9, "gone": 1}, (0, 3, 0): {"rows": 8, "gone": 0}}
    >>> holding(told)
    {(0, 3, 0)}
    """
    live = {path: node["rows"] - node.get("gone", 0) for path, node in nodes.items()}
    below: Counter[Path] = Counter()
    for path, rows in live.items():
        below[path[:-1]] += rows
    return {path for path, rows in live.items() if rows > below[path]}
