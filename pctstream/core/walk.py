"""The walk: from a portion's root down to each row's leaf, all levels in one compiled pass.

At every level the rows that still move are put in the order of their nodes (a stable counting sort
and one gather), so that the rows of a node lie side by side and six of them go through a tile of its
centroids together (see `lanes`). Within a node they keep their order: each count, sum and maximum of
a node is taken over its rows in the order they came, however they were cut into units (R0, R10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from pctstream.core.cover import Cover
from pctstream.core.kernels import Float64, Int64, distance, groups, nearest_of
from pctstream.core.lanes import LANES, ROWS, Float32, compiled, expect_rows, transpose
from pctstream.core.scan import band_of, covered

Int32 = npt.NDArray[np.int32]


@compiled
def _count(row: Any, centroid: Any, node: int, rows: Any, total: Any, radius: Any) -> None:
    away = distance(row, centroid)
    rows[node] += 1
    total[node] += away
    radius[node] = max(radius[node], away)


@compiled
def _walk(
    rows: Any, at: Any, first: Any, tiles: Any, places: Any, epsilon: Any, table: Any,
    centroids: Any, prototypes: Any, count: Any, total: Any, radius: Any, uncovered: Any,
) -> None:  # fmt: skip
    n = rows.shape[0]
    moving = np.empty(n, np.int64)
    buffer = np.empty_like(rows)
    tile = np.empty((ROWS, LANES), np.float32)
    best, index = np.empty(ROWS, np.float32), np.empty(ROWS, np.int32)
    while True:
        m = 0
        for i in range(n):
            if first[at[i]] >= 0:
                moving[m] = i
                m += 1
        if m == 0:
            return
        order, starts = groups(at[moving[:m]], first.shape[0])
        for j in range(m):
            order[j] = moving[order[j]]
            buffer[j] = rows[order[j]]
        for node in range(first.shape[0]):
            j, end = starts[node], starts[node + 1]
            if j == end:
                continue
            low, high = places[node], places[node + 1]
            band = band_of(epsilon[node], rows.shape[1])
            while j < end:
                taken = ROWS if end - j >= ROWS else 1
                nearest_of(buffer, j, taken, table, tiles[node], tiles[node + 1], tile, best, index)
                for r in range(taken):
                    child, place = first[node] + index[r], low + index[r]
                    at[order[j + r]] = child
                    _count(buffer[j + r], centroids[place], child, count, total, radius)
                    if not covered(buffer, j + r, place, prototypes, low, high, band):
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
        )

    def walk(self, rows: Float32, at: Int32, counts: Counts) -> None:
        """Move each row f32[n, d] from the node ``at`` int32[n] down to its leaf, in place.

        ``counts`` of every node that a row comes to are taken; of the node it starts at only
        ``uncovered``.
        """
        expect_rows(rows, self.dimension)
        _walk(
            rows, at, self.first, self.tiles, self.places, self.epsilon, self.table,
            self.centroids, self.prototypes, counts.rows, counts.distance, counts.radius,
            counts.uncovered,
        )  # fmt: skip


@compiled
def _arrive(rows: Any, centroid: Any, count: Any, total: Any, radius: Any) -> None:
    for i in range(rows.shape[0]):
        _count(rows[i], centroid, 0, count, total, radius)


def arrive(rows: Float32, centroid: Float32, counts: Counts) -> None:
    """Count rows f32[n, d] at the subtree's own root, whose centroid f32[d] its parent gave."""
    expect_rows(rows, len(centroid))
    _arrive(rows, centroid, counts.rows, counts.distance, counts.radius)
