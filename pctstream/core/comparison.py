"""What two trees are compared by: by level how fine, how even, how certain; what questions cost.

The figures are made from what the views of a running tree answer, so that any two systems can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Said = Mapping[str, Any]


class LevelFigures(NamedTuple):
    """One level of a tree; None: not known."""

    level: int
    entries: int
    """Of the level's cover: its nodes, and the leaves above it."""
    epsilon: float | None
    """What the level above covered by."""
    radius: float | None
    """The largest of the entries."""
    mean_radius: float | None
    """Weighted as the entries are."""
    even: float | None
    """exp(entropy of the weights) / entries; 1: all entries have as many rows."""
    uncovered: float | None
    """Of the rows that nodes of the level above handed down, those that lay beyond epsilon."""
    miss_bound: float | None
    """The largest of those nodes."""


class AskedFigures(NamedTuple):
    """What the same questions cost a tree, each; exact answers."""

    questions: int
    rows_scanned: float
    shards_asked: float


def level_figures(cover: Said, above: Sequence[Said]) -> LevelFigures:
    """From a level's cover and the nodes of the level above, as the views have them.

    >>> cover = {"level": 1, "cover": [{"w": 0.5, "radius": 3.0}, {"w": 0.5, "radius": 1.0}]}
    >>> node = {"children": ["N0,0"], "rows": 10, "held": 0, "uncovered": 1, "epsilon": 2.0,
    ...         "miss_bound": {"p": 0.003}}
    >>> level_figures(cover, [node])._asdict()  # doctest: +NORMALIZE_WHITESPACE
    {'level': 1, 'entries': 2, 'epsilon': 2.0, 'radius': 3.0, 'mean_radius': 2.0, 'even': 1.0,
     'uncovered': 0.1, 'miss_bound': 0.003}
    """
    entries = cover["cover"]
    w = np.array([e["w"] for e in entries], np.float64)
    known = [(e["w"], e["radius"]) for e in entries if e["radius"] is not None and e["w"] > 0]
    weight = math.fsum(share for share, _ in known)
    shares = w[w > 0]
    entropy = -float((shares * np.log(shares)).sum())
    split = [node for node in above if node["children"]]
    handed = sum(node["rows"] - node["held"] for node in split)
    return LevelFigures(
        int(cover["level"]),
        len(entries),
        max((n["epsilon"] for n in split if n["epsilon"] is not None), default=None),
        max((far for _, far in known), default=None),
        math.fsum(share * far for share, far in known) / weight if weight else None,
        math.exp(entropy) / len(entries) if len(shares) else None,
        sum(node["uncovered"] for node in split) / handed if handed else None,
        max((n["miss_bound"]["p"] for n in split if n["miss_bound"]), default=None),
    )


def asked_figures(explained: Sequence[Said]) -> AskedFigures:
    """From what the answers to the questions explain.

    >>> asked_figures([{"rows_scanned": 10, "shards_asked": 1}, {"rows_scanned": 20, "shards_asked": 2}])
    AskedFigures(questions=2, rows_scanned=15.0, shards_asked=1.5)
    """
    count = len(explained)
    rows = sum(one["rows_scanned"] for one in explained)
    shards = sum(one["shards_asked"] for one in explained)
    return AskedFigures(count, rows / max(1, count), shards / max(1, count))


def questions(covers: Sequence[Said], count: int) -> list[list[float]]:
    """Centres of these covers in turn, the heaviest first, at most so many: asked of every tree alike.

    >>> a = {"cover": [{"w": 0.2, "x": [1.0]}, {"w": 0.8, "x": [2.0]}]}
    >>> questions([a, {"cover": [{"w": 1.0, "x": [5.0]}]}], 2)
    [[2.0], [5.0]]
    """
    sides = [
        sorted((e for e in c["cover"] if e["x"] is not None), key=lambda e: -e["w"]) for c in covers
    ]
    longest = max(map(len, sides), default=0)
    turns = [side[i]["x"] for i in range(longest) for side in sides if i < len(side)]
    return turns[:count]
