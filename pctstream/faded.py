"""The faded rows of a tree's nodes, from what their portions tell on `.state`."""

from __future__ import annotations

from collections.abc import Iterable

from pctstream.core import fading
from pctstream.core.names import Path, node_path
from pctstream.tables import Record, nodes_of


def faded_nodes(records: Iterable[Record]) -> dict[Path, float]:
    """The faded rows of every node of these portions, as of the newest row of all; empty where nothing
    fades (`core.fading`)."""
    fade = [r for r in records if r.get("clock") is not None]
    newest = max((int(r["clock"]) for r in fade), default=fading.NEVER)
    return {
        node_path(node["name"]): fading.brought(float(node["faded"]), int(record["clock"]), newest)
        for record in fade
        for node in nodes_of(record)
    }
