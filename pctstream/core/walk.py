"""The walk: from a portion's root down to each row's leaf, all levels in one compiled pass.

At every level the rows that still move are put in the order of their nodes (a stable sort of their
numbers; the rows stay where they are), so that four of a node go through the tiles of its centroids
together (see `nearest`). Within a node they keep their order: each count, sum and maximum of
a node is taken over its rows in the order they came, however they were cut into units (R0, R10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from pctstream.core.cover import Cover
from pctstream.core.distance import distance, distances_of
from pctstream.core.kernels import Float64, Int64, groups
from pctstream.core.lanes import (
    LANES,
    Float32,
    compiled,
    expect_rows,
    inlined,
    read_only,
    transpose,
)
from pctstream.core.nearest import MANY, nearest_of, room
from pctstream.core.scan import band_of, covered
from pctstream.core.watch import ROWS, Watch, halts

Int32 = npt.NDArray[np.int32]

FEW = 4
"""Nodes for each row, above which rows are sorted instead of counted into nodes."""


@inlined
def _count(away: float, node: int, rows: Any, total: Any, radius: Any) -> None:
    rows[node] += 1
    total[node] += away
    radius[node] = max(radius[node], away)


@compiled
def _ordered(at: Any, onward: Any) -> Any:
    """The rows whose node hands them on, those of a node side by side, in the order they came."""
    moving = np.empty(at.shape[0], np.int64)
    m = 0
    for i in range(at.shape[0]):
        if onward[at[i]]:
            moving[m] = i
            m += 1
    moving = moving[:m]
    if onward.shape[0] > FEW * m:
        # far fewer rows than nodes: do not look at every node
        return moving[np.argsort(at[moving], kind="mergesort")]
    return moving[groups(at[moving], onward.shape[0])[0]]


@compiled
def _walk(
    rows: Any, at: Any, onward: Any, children: Any, tiles: Any, places: Any, epsilon: Any, table: Any,
    centroids: Any, prototypes: Any, closest: Any, count: Any, total: Any, radius: Any, uncovered: Any,
    widest: int, window: int, every: int, limit: Any, watched: Any, faded: Any, found: Any,
) -> tuple[int, int]:  # fmt: skip
    index, own, away = np.empty(MANY, np.int32), np.empty(MANY, np.int64), np.empty(MANY)
    work, m, stopped = room(widest), 0, 0
    while True:
        order = _ordered(at, onward)
        if order.shape[0] == 0:
            return m, stopped
        j = 0
        while j < order.shape[0]:
            node, taken = at[order[j]], 1
            if not onward[node]:  # since it halted
                j += 1
                continue
            # a window closes with a row that is taken alone, behind which the node may stop
            if j + MANY <= order.shape[0] and at[order[j + MANY - 1]] == node:
                taken = MANY if watched[node, ROWS] + MANY < window else 1
            low, high = places[node], places[node + 1]
            nearest_of(rows, order, j, taken, table, tiles[node], tiles[node + 1], work, index)
            for r in range(taken):
                own[r] = low + index[r]
            distances_of(rows, order, j, taken, centroids, own, away)
            band, missed = band_of(epsilon[node], rows.shape[1]), 0
            for r in range(taken):
                row, child = order[j + r], children[own[r]]
                at[row] = child
                _count(away[r], child, count, total, radius)
                if not covered(rows, row, closest[own[r]], prototypes, low, high, band):
                    missed += 1
                    if m < found.shape[0]:
                        found[m, 0], found[m, 1] = row, node
                        m += 1
            uncovered[node] += missed
            if halts(node, taken, missed, window, every, limit, watched, faded):
                onward[node] = False
                stopped += 1
            j += taken


@dataclass(slots=True)
class Counts:
    """Of every node of a subtree, over all rows that passed it; index is the node's number."""

    rows: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    distance: Float64 = field(default_factory=lambda: np.zeros(0))
    """Sum of the distances to the node's centroid."""
    radius: Float64 = field(default_factory=lambda: np.zeros(0))
    """The greatest of them, as computed."""
    uncovered: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    """Rows that passed down and lay farther than epsilon from every prototype of the node."""
    gone: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    """Of ``rows``, those that have left since: superseded, deleted."""

    def extend(self, nodes: int) -> None:
        """Zeros for so many more nodes."""
        for part in fields(self):
            held = getattr(self, part.name)
            setattr(self, part.name, np.concatenate([held, np.zeros(nodes, held.dtype)]))

    def of(self, nodes: Sequence[int]) -> list[dict[str, Any]]:
        """Of each of these nodes, as plain numbers."""
        names = [part.name for part in fields(self)]
        columns = [getattr(self, name)[np.array(nodes, np.int64)].tolist() for name in names]
        return [dict(zip(names, of_one, strict=True)) for of_one in zip(*columns, strict=True)]


def _deepest(split: dict[int, tuple[list[int], Cover]]) -> int:
    """Levels that a row can be handed down; a child has a greater number than its parent."""
    depth: dict[int, int] = {}
    for node in sorted(split):
        depth |= dict.fromkeys(split[node][0], depth.get(node, 0) + 1)
    return max(depth.values(), default=0)


@dataclass(slots=True)
class Map:
    """The covers of a subtree's split nodes, laid out for the walk.

    The prototypes and centroids of a node are those from ``places[node]`` on, its children ``children``
    there.
    """

    dimension: int
    split: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    children: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    tiles: Int64 = field(default_factory=lambda: np.zeros(1, np.int64))
    places: Int64 = field(default_factory=lambda: np.zeros(1, np.int64))
    epsilon: Float64 = field(default_factory=lambda: np.zeros(0))
    table: Float32 = field(default_factory=lambda: np.zeros((0, 1, LANES), np.float32))
    centroids: Float32 = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    prototypes: Float32 = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    closest: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    """Of each centroid, the prototype that is asked first whether it covers a row."""
    widest: int = 0
    """Tiles of the node that has most."""
    deepest: int = 0
    """Levels that a row can be handed down."""

    @classmethod
    def of(cls, dimension: int, nodes: int, split: dict[int, tuple[list[int], Cover]]) -> Map:
        """Of ``nodes`` nodes; ``split`` gives (numbers of the children, cover) of those split."""
        covers = [split.get(node) for node in range(nodes)]
        tables = [np.zeros((0, dimension, LANES), np.float32)]
        tables += [transpose(c[1].centroids) for c in covers if c]
        none = np.zeros((0, dimension), np.float32)
        tile_counts = [-(-c[1].k // LANES) if c else 0 for c in covers]
        places = np.cumsum([0, *(c[1].k if c else 0 for c in covers)], dtype=np.int64)
        first = [places[i] + c[1].closest for i, c in enumerate(covers) if c]
        return cls(
            dimension,
            np.array([c is not None for c in covers], np.bool_),
            np.array([n for c in covers if c for n in c[0]], np.int32),
            np.cumsum([0, *tile_counts], dtype=np.int64),
            places,
            np.array([c[1].epsilon if c else 0.0 for c in covers]),
            np.concatenate(tables),
            np.concatenate([none, *(c[1].centroids for c in covers if c)]),
            np.concatenate([none, *(c[1].prototypes for c in covers if c)]),
            np.concatenate([np.zeros(0, np.int64), *first]),
            max(tile_counts, default=0),
            _deepest(split),
        )

    def walk(
        self, rows: Float32, at: Int32, counts: Counts, watch: Watch, stay: Sequence[int] = ()
    ) -> tuple[list[int], Int32]:
        """Move each row f32[n, d] from the node ``at`` int32[n] down to its leaf, in place; a node of
        ``stay`` keeps its rows, and one at which something is due (`watch.halts`) those behind that row.

        ``counts`` of every node that a row comes to are taken; of the node it starts at only
        ``uncovered``; ``watch`` of every node that hands one on. The nodes that halted, and
        (row, node) int32[m, 2] of the rows beyond, those of a node in order; none where none re-opens.
        """
        expect_rows(rows, self.dimension)
        onward = self.split.copy()
        if stay:
            onward[list(stay)] = False
        found = np.empty((len(rows) * self.deepest if watch.limit else 0, 2), np.int32)
        m, stopped = _walk(
            read_only(rows), at, onward, self.children, self.tiles, self.places, self.epsilon, self.table,
            self.centroids, self.prototypes, self.closest, counts.rows, counts.distance, counts.radius,
            counts.uncovered, self.widest, watch.window, watch.every, watch.limits, watch.counts,
            watch.faded, found,
        )  # fmt: skip
        halted = np.flatnonzero(self.split & ~onward).tolist() if stopped else []
        return [node for node in halted if node not in stay], found[:m]


@compiled
def _arrive(rows: Any, centroid: Any, count: Any, total: Any, radius: Any) -> None:
    for i in range(rows.shape[0]):
        _count(distance(rows, i, centroid, 0), 0, count, total, radius)


def arrive(rows: Float32, centroid: Float32, counts: Counts) -> None:
    """Count rows f32[n, d] at the subtree's own root, whose centroid f32[d] its parent gave."""
    expect_rows(rows, len(centroid))
    _arrive(
        read_only(rows),
        read_only(centroid.reshape(1, -1)),
        counts.rows,
        counts.distance,
        counts.radius,
    )
