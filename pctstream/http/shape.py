"""The tree as a picture wants it: of each node a few numbers, the largest nodes first, few enough to draw.

`GET /v1/nodes` tells everything of each node; of a tree of 100,000 that is more than anybody can look at.
Here are those with the most rows below one node, and how many others there are. Nobody is shown without
the node above it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Response

from pctstream.core.names import Path, level, node_name, node_path
from pctstream.errors import NotFound
from pctstream.http.body import answered
from pctstream.http.projection import ShardOf
from pctstream.http.tree import TreeView

NODES_MOST = 2000
LEVELS_MOST = 16


def shape(view: TreeView, top: Path, levels: int, limit: int, shard_of: ShardOf) -> dict[str, Any]:
    """The largest nodes from ``top`` down, over so many levels below it; parents come first."""
    deepest = level(top) + levels
    below = [p for p in view.paths if p[: len(top)] == top and level(p) <= deepest]
    rows = {p: view.rows(p) for p in below}
    shown: set[Path] = set()
    for path in sorted(below, key=lambda p: (-rows[p], len(p), p)):
        if len(shown) == limit:
            break
        if path == top or path[:-1] in shown:
            shown.add(path)
    nodes = [
        {"name": node_name(p), "level": level(p), "state": view.state(p), "rows": rows[p],
         "held": view.held(p), "uncovered": view.uncovered(p), "children": len(view.children(p)),
         "shard": shard_of(p)}
        for p in sorted(shown, key=lambda p: (len(p), p))
    ]  # fmt: skip
    return {"node": node_name(top), "nodes": nodes, "left_out": len(below) - len(shown)}


def add(
    app: FastAPI, view: Callable[[], TreeView], shard_of: ShardOf,
    as_of: Callable[[], dict[str, Any]],
) -> None:  # fmt: skip
    """The route."""

    @app.get("/v1/shape")
    def of(node: str = "N0", levels: int = 3, limit: int = NODES_MOST) -> Response:
        """The largest nodes from a node down, over so many levels; how many others there are."""
        top, now, tree = node_path(node), as_of(), view()
        if tree.state(top) is None:
            raise NotFound(f"no node {node}")
        within = max(0, min(levels, LEVELS_MOST)), max(1, min(limit, NODES_MOST))
        return answered(shape(tree, top, *within, shard_of) | {"as_of": now})
