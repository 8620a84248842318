"""The cover of a level as a picture: its heaviest entries in the plane in which they are widest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from fastapi import FastAPI, Response

from pctstream.core.names import Path, node_name
from pctstream.core.projection import Plane
from pctstream.core.solver import level_cover
from pctstream.errors import NotFound
from pctstream.http.body import PAGE_MAX, answered
from pctstream.http.tree import TreeView

ShardOf = Callable[[Path], int | None]


class Planes:
    """The last plane of each level, for as long as its entries are the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[Hashable, Plane]] = {}

    def of(self, level: int, entries: Hashable, make: Callable[[], Plane]) -> Plane:
        with self._lock:
            kept = self._kept.get(level)
            if kept is None or kept[0] != entries:
                kept = self._kept[level] = entries, make()
            return kept[1]


def shown(
    view: TreeView, level: int, limit: int, planes: Planes, shard_of: ShardOf
) -> dict[str, Any]:
    """The entries by weight, with their places; `left_out` counts those beyond the limit."""
    cover = level_cover(view.summaries(), level, view.epsilon(level))
    heaviest = np.argsort(-cover.rows, kind="stable")[:PAGE_MAX]
    known = heaviest[cover.placed[heaviest]]
    # which are the heaviest changes with every row: the plane stays while the same entries are there
    entries, x, w = frozenset(cover.paths), cover.x[known], cover.w[known]
    plane = planes.of(level, entries, lambda: Plane.of(x, w)) if len(known) else None
    places = dict(zip(known.tolist(), plane.at(x).tolist() if plane else [], strict=True))
    order = heaviest[:limit]
    return {
        "level": level,
        "epsilon": cover.epsilon,
        "rows": cover.total,
        "entries": len(cover),
        "explained": list(plane.explained) if plane else [0.0, 0.0],
        "cover": [
            {"node": node_name(cover.paths[i]), "at": places.get(i), "w": float(cover.w[i]),
             "rows": int(cover.rows[i]), "shard": shard_of(cover.paths[i]),
             "radius": None if np.isnan(cover.radius[i]) else float(cover.radius[i])}
            for i in order.tolist()
        ],
        "left_out": {"entries": len(cover) - len(order),
                     "rows": cover.total - int(cover.rows[order].sum())},
    }  # fmt: skip


def add(
    app: FastAPI, max_level: int, view: Callable[[], TreeView], shard_of: ShardOf,
    as_of: Callable[[], dict[str, Any]],
) -> None:  # fmt: skip
    """The route."""
    planes = Planes()

    @app.get("/v1/levels/{level}/projection")
    def projection(level: int, limit: int = PAGE_MAX) -> Response:
        """The heaviest entries of a level's cover, in the plane in which they are widest."""
        if not 0 <= level <= max_level:
            raise NotFound(f"there is no level {level}: they go from 0 to {max_level}")
        now, tree = as_of(), view()
        most = max(1, min(limit, PAGE_MAX))
        return answered(shown(tree, level, most, planes, shard_of) | {"as_of": now})
