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

Int32 = npt.NDArray[np.int32]

FEW = 4
"""Nodes for each row, above which rows are sorted instead of counted into nodes."""


@inlined
def _count(away: float, node: int, rows: Any, total: Any, radius: Any) -> None:
    rows[node] += 1
    total[node] += away
    radius[node] = max(radius[node], away)


@compiled
def _ordered(at: Any, first: Any) -> Any:
    """The rows that are not at a leaf, those of a node side by side, in the order they came."""
    moving = np.empty(at.shape[0], np.int64)
    m = 0
    for i in range(at.shape[0]):
        if first[at[i]] >= 0:
            moving[m] = i
            m += 1
    moving = moving[:m]
    if first.shape[0] > FEW * m:
        # far fewer rows than nodes: do not look at every node
        return moving[np.argsort(at[moving], kind="mergesort")]
    return moving[groups(at[moving], first.shape[0])[0]]


@compiled
def _walk(
    rows: Any, at: Any, first: Any, tiles: Any, places: Any, epsilon: Any, table: Any,
    centroids: Any, prototypes: Any, count: Any, total: Any, radius: Any, uncovered: Any, widest: int,
) -> None:  # fmt: skip
    index, own, away = np.empty(MANY, np.int32), np.empty(MANY, np.int64), np.empty(MANY)
    work = room(widest)
    while True:
        order = _ordered(at, first)
        if order.shape[0] == 0:
            return
        j = 0
        while j < order.shape[0]:
            node, taken = at[order[j]], 1
            if j + MANY <= order.shape[0] and at[order[j + MANY - 1]] == node:
                taken = MANY
            low, high = places[node], places[node + 1]
            nearest_of(rows, order, j, taken, table, tiles[node], tiles[node + 1], work, index)
            for r in range(taken):
                own[r] = low + index[r]
            distances_of(rows, order, j, taken, centroids, own, away)
            band = band_of(epsilon[node], rows.shape[1])
            for r in range(taken):
                row, child = order[j + r], first[node] + index[r]
                at[row] = child
                _count(away[r], child, count, total, radius)
                if not covered(rows, row, own[r], prototypes, low, high, band):
                    uncovered[node] += 1
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


@dataclass(slots=True)
class Map:
    """The covers of a subtree's split nodes, laid out for the walk.

    Children of a node are numbered in a row from ``first[node]``; -1 for a leaf.
    """

    dimension: int
    first: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    tiles: Int64 = field(default_factory=lambda: np.zeros(1, np.int64))
    places: Int64 = field(default_factory=lambda: np.zeros(1, np.int64))
    epsilon: Float64 = field(default_factory=lambda: np.zeros(0))
    table: Float32 = field(default_factory=lambda: np.zeros((0, 1, LANES), np.float32))
    centroids: Float32 = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    prototypes: Float32 = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    widest: int = 0
    """Tiles of the node that has most."""

    @classmethod
    def of(cls, dimension: int, nodes: int, split: dict[int, tuple[int, Cover]]) -> Map:
        """Of ``nodes`` nodes; ``split`` gives (number of the first child, cover) of those split."""
        covers = [split.get(node) for node in range(nodes)]
        tables = [np.zeros((0, dimension, LANES), np.float32)]
        tables += [transpose(c[1].centroids) for c in covers if c]
        none = np.zeros((0, dimension), np.float32)
        tile_counts = [-(-c[1].k // LANES) if c else 0 for c in covers]
        return cls(
            dimension,
            np.array([c[0] if c else -1 for c in covers], np.int32),
            np.cumsum([0, *tile_counts], dtype=np.int64),
            np.cumsum([0, *(c[1].k if c else 0 for c in covers)], dtype=np.int64),
            np.array([c[1].epsilon if c else 0.0 for c in covers]),
            np.concatenate(tables),
            np.concatenate([none, *(c[1].centroids for c in covers if c)]),
            np.concatenate([none, *(c[1].prototypes for c in covers if c)]),
            max(tile_counts, default=0),
        )

    def walk(self, rows: Float32, at: Int32, counts: Counts) -> None:
        """Move each row f32[n, d] from the node ``at`` int32[n] down to its leaf, in place.

        ``counts`` of every node that a row comes to are taken; of the node it starts at only
        ``uncovered``.
        """
        expect_rows(rows, self.dimension)
        _walk(
            read_only(rows), at, self.first, self.tiles, self.places, self.epsilon, self.table,
            self.centroids, self.prototypes, counts.rows, counts.distance, counts.radius,
            counts.uncovered, self.widest,
        )  # fmt: skip


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
