"""The tree that a sequence of rows makes, by plain recursion: what every way of growing must find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pctstream.core import kernels, life
from pctstream.core.cover import refine
from pctstream.core.find import FindCover
from pctstream.core.lanes import Float32
from pctstream.core.names import Path
from pctstream.core.node import Shape
from pctstream.store import Store

Tree = dict[Path, dict[str, Any]]


def recursion(
    path: Path,
    rows: Float32,
    centre: Float32,
    shape: Shape,
    budget: int,
    epsilons: Mapping[int, float],
) -> Tree:
    """Every node below and with ``path``, all levels open from the start."""
    distances = kernels.distances(rows, np.zeros(len(rows), np.int32), centre[None])
    out: dict[str, Any] = {
        "state": life.COVERING, "limit": "", "cover": None, "uncovered": 0, "held": rows.tolist(),
        "counts": {"rows": len(rows), "distance": float(np.cumsum([0.0, *distances])[-1]),
                   "radius": float(max(distances, default=0.0))},
    }  # fmt: skip
    level = len(path) - 1
    if level >= shape.max_level:
        return {path: out | {"state": life.LEAF}}
    epsilon = epsilons.get(level)
    if epsilon is None:
        return {path: out}
    find = FindCover(
        rows.shape[1], epsilon, shape.gap, shape.sink_rows, shape.stop, shape.prototypes
    )
    find.feed(rows)
    if find.state == "covering":
        return {path: out}
    k = len(find.prototypes)
    if find.state == "sink" or k > budget:
        why = {"rows": "sink_rows", "prototypes": "prototypes"}.get(find.reason, "nodes")
        return {path: out | {"state": life.SINK, "limit": why}}
    cover = refine(
        rows[: find.rows], find.prototypes, find.epsilon, shape.kmeans_iterations, shape.gap,
        shape.balance,
    )  # fmt: skip
    child = kernels.nearest(rows, kernels.transpose(cover.centroids), k)
    beyond = kernels.beyond(rows, child, cover.prototypes, cover.epsilon)
    out |= {"state": life.SPLITTING, "cover": cover.hash, "held": [], "uncovered": beyond}
    tree = {path: out}
    for i in range(k):
        mine, below = rows[child == i], (budget - k) // k
        tree |= recursion((*path, i), mine, cover.centroids[i], shape, below, epsilons)
    return tree


def as_stored(store: Store, root: Path) -> Tree:
    """The same of a portion, as its store has it."""
    placed = []
    for _, rows, leaves in store.placed(root):
        brings = np.ones(len(rows), np.bool_) if rows.changes is None else rows.changes.brings
        placed.append((rows.plain.vectors, leaves[brings]))
    vectors = [v for v, _ in placed]
    leaf = np.concatenate([np.zeros(0, np.int32), *(at for _, at in placed)])
    out = {}
    for number, record, cover in store.subtree(root):
        mine = leaf == number
        out[tuple(record["path"])] = {
            "state": record["state"],
            "limit": record["limit"],
            "cover": cover and cover.hash,
            "counts": {k: record["counts"][k] for k in ("rows", "distance", "radius")},
            "uncovered": record["counts"]["uncovered"],
            "held": np.concatenate(vectors)[mine].tolist() if vectors else [],
        }
    return out


def gone_of(store: Store, root: Path) -> dict[Path, int]:
    """How many rows have left each node of a portion, counted from where they lie."""
    gone = store.gone(root)
    leaf = np.concatenate(
        [np.zeros(0, np.int32), *(at[gone.get(o, [])] for o, _, at in store.placed(root))]
    )
    paths = {number: tuple(record["path"]) for number, record, _ in store.subtree(root)}
    below = [paths[number] for number in leaf.tolist()]
    return {path: sum(p[: len(path)] == path for p in below) for path in paths.values()}
