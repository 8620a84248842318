"""Which entries of a level's cover lie within a distance of a centre: exact, pruned by the tree.

Theory
------
**Balls.** For every node above the level the *reach* is the greatest distance from its centre to an
entry below it. If a node's centre lies farther from the asked centre q than the asked distance r and
the reach together, the triangle inequality says that no entry below it can be within r, and nothing
below is looked at. Each node also knows how far it is *apart* from its parent's centre p, and
d(q, node) >= |d(q, p) - apart|: many siblings are ruled out by that alone, without their coordinates.
(Ciaccia, Patella and Zezula, M-tree, 1997.)

**Lanes.** The children of a node stand side by side in tiles of `core.lanes`, sorted by how far apart
they are, so that a tile is ruled out as a whole or its eight distances are taken at once, in float32.
These only say "surely farther"; what is left is taken again in float64. q is rounded for it, and the
distance from q to its rounding is added to every bound.

**Rounding.** The distances that decide are float64 sums, strictly in order: one entry and one q have
one distance on every CPU. Two such sums of the same numbers in different orders differ by less than
(d + 4) * 2^-52 of their value. That is the tie: an entry is within r if its distance is at most
r * (1 + (d + 4) * 2^-52). So whoever passes a distance that was answered, or one computed from the
published centres by any float64 sum, gets that entry back. Every bound that prunes gives away four
times as much, so that it never rules out what the comparison would let in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pctstream.core import kernels
from pctstream.core.kernels import Float32, Float64, Int64
from pctstream.core.lanes import LANES, compiled, empty_table, squared_of_one
from pctstream.core.solver import LevelCover, Nodes, place
from pctstream.errors import QueryRefused

LARGEST = float(np.finfo(np.float32).max)


@compiled
def _square(q: Any, table: Any, t: int, lane: int) -> Any:
    """The squared distance of q to one column of a tile, summed in order."""
    total = 0.0
    for j in range(q.shape[0]):
        difference = q[j] - np.float64(table[t, j, lane])
        total += difference * difference
    return total


@compiled
def _within(
    q: Any, r: float, table: Any, start: Any, reach: Any, apart: Any, below: Any, entry: Any, n: int
) -> Any:
    """Numbers and distances of the entries within r of q, in the order met; group 0 is the root."""
    d = q.shape[0]
    slack, coarse = (d + 4) * 2.0**-52, (d + 4) * 2.0**-23
    inside, wide = r * (1.0 + slack), r * (1.0 + 4.0 * slack)
    rounded, tile = np.empty((1, d), np.float32), np.empty((1, LANES), np.float32)
    off = 0.0
    for j in range(d):
        rounded[0, j] = np.float32(q[j])
        off += (q[j] - np.float64(rounded[0, j])) ** 2
    off = math.sqrt(off) * (1.0 + slack)
    found, away = np.empty(n, np.int64), np.empty(n, np.float64)
    waiting, far = np.empty(len(start), np.int64), np.empty(len(start), np.float64)
    waiting[0], far[0], top, hits = 0, 0.0, 1, 0
    while top > 0:
        top -= 1
        group, parent = waiting[top], far[top]
        for t in range(start[group], start[group + 1]):
            fresh = True
            for lane in range(LANES):
                slot = t * LANES + lane
                outer = wide + reach[slot]
                if abs(parent - apart[slot]) - 2.0 * slack * (parent + apart[slot]) > outer:
                    continue
                if fresh:
                    squared_of_one(rounded, 0, table, t, tile)
                    fresh = False
                limit = (outer + off) * (outer + off) * (1.0 + coarse) + d * 2.0**-149
                if limit < tile[0, lane] < np.inf:
                    continue
                at = math.sqrt(_square(q, table, t, lane))
                if entry[slot] >= 0 and at <= inside:
                    found[hits], away[hits] = entry[slot], at
                    hits += 1
                if below[slot] >= 0 and at * (1.0 - 2.0 * slack) <= outer:
                    waiting[top], far[top] = below[slot], at
                    top += 1
    return found[:hits].copy(), away[:hits].copy()


class Neighbors:
    """The index of one level of one tree; entries without a centre are nobody's neighbours.

    Built from the nodes and from `level_cover` of the same nodes; good as long as the entries and
    the centres stay what they were, whatever becomes of rows and weights.

    >>> from pctstream.core.solver import NodeSummary, level_cover
    >>> tree = {(0,): NodeSummary((0,), 3, None, None)}
    >>> for i in range(3):
    ...     tree[0, i] = NodeSummary((0, i), 1, 0.5, np.array([i, 0], np.float32))
    >>> found, distances = Neighbors(tree, level_cover(tree, 1)).within(np.array([0.0, 0.0]), 1.0)
    >>> found.tolist(), distances.tolist()
    ([0, 1], [0.0, 1.0])
    """

    def __init__(self, nodes: Nodes, cover: LevelCover) -> None:
        self.cover = cover
        number = {cover.paths[i]: i for i in np.flatnonzero(cover.placed).tolist()}
        wanted = {path[:depth] for path in number for depth in range(1, len(path) + 1)}
        paths = sorted(wanted, key=lambda p: (len(p), p))
        self._entries = len(number)
        if not paths:
            return
        at = {path: i for i, path in enumerate(paths)}
        parent = np.array([at.get(path[:-1], -1) for path in paths], np.int32)
        entry = np.array([number.get(path, -1) for path in paths], np.int64)
        x = np.ascontiguousarray([place(nodes, path)[0] for path in paths], np.float32)
        apart = np.zeros(len(paths), np.float64)
        apart[1:] = kernels.distances(x[1:], parent[1:], x)
        self._lay_out(x, parent, entry, apart)

    def _lay_out(self, x: Float32, parent: Any, entry: Int64, apart: Float64) -> None:
        """Nodes, level by level, into tiles: a group of whole tiles for the children of each."""
        inner, group = np.unique(parent, return_inverse=True)
        tiles = -(-np.bincount(group) // LANES)
        self._start = np.concatenate([[0], np.cumsum(tiles)]).astype(np.int64)
        order = np.lexsort((apart, group))
        within_group = np.arange(len(x)) - np.searchsorted(group[order], group[order])
        slot = np.empty(len(x), np.int64)
        slot[order] = self._start[group[order]] * LANES + within_group
        slots = int(self._start[-1]) * LANES
        self._table = empty_table(slots, x.shape[1])
        self._table[slot // LANES, :, slot % LANES] = x
        # an empty column reaches nothing: it is ruled out before its distance is looked at
        self._reach, self._apart = np.full(slots, -np.inf), np.zeros(slots)
        self._reach[slot], self._apart[slot] = _reaches(x, parent, entry), apart
        self._below, self._entry = np.full(slots, -1, np.int64), np.full(slots, -1, np.int64)
        self._below[slot[inner[1:]]] = np.arange(1, len(inner))
        self._entry[slot] = entry

    def within(self, centre: Float64, max_distance: float) -> tuple[Int64, Float64]:
        """Numbers in `cover` and distances of the entries within `max_distance` of the centre.

        centre f64[d], from `centre_of` or a row of `cover.x`. Sorted by distance, then by path.
        QueryRefused for a distance that is negative or not finite.
        """
        if not 0.0 <= max_distance < math.inf:
            raise QueryRefused(f"max_distance is {max_distance}: it must be finite and at least 0")
        if not self._entries:
            return np.zeros(0, np.int64), np.zeros(0, np.float64)
        q = np.ascontiguousarray(centre, np.float64)
        if q.shape != (self._table.shape[1],):
            raise QueryRefused(f"a centre of {q.size} numbers, the tree has {self._table.shape[1]}")
        found, away = _within(
            q, float(max_distance), self._table, self._start, self._reach, self._apart,
            self._below, self._entry, self._entries,
        )  # fmt: skip
        order = np.lexsort((found, away))
        return found[order], away[order]


def _reaches(x: Float32, parent: Any, entry: Int64) -> Float64:
    """Per node f64[m] the greatest distance to an entry at or below it, rounded up."""
    reach = np.zeros(len(x), np.float64)
    entries = np.flatnonzero(entry >= 0)
    rows, up = x[entries], parent[entries]
    while (below := up >= 0).any():
        rows, up = rows[below], up[below]
        np.maximum.at(reach, up, kernels.distances(rows, up, x))
        up = parent[up]
    largest: Float64 = reach * (1.0 + (x.shape[1] + 4) * 2.0**-52)
    return largest


def centre_of(
    numbers: Sequence[float], dimension: int, metric: str = "euclidean", what: str = "the centre"
) -> Float64:
    """The centre f64[d] that a user means; QueryRefused where no row could stand there.

    Under cosine it is divided by its norm, as rows are; distances stay Euclidean, on the sphere.
    A dimension of 0 (nothing is known of the tree yet) takes any.

    >>> centre_of([3, 4], 2, "cosine").tolist()
    [0.6, 0.8]
    """
    centre = np.array(numbers, np.float64)
    if centre.ndim != 1 or not len(centre) or (dimension and len(centre) != dimension):
        raise QueryRefused(f"{what} has {centre.size} numbers, the tree's rows have {dimension}")
    if not (np.abs(centre) <= LARGEST).all():
        raise QueryRefused(f"{what} has a number that is not finite as float32")
    if metric == "cosine":
        largest = float(np.abs(centre).max())
        if largest == 0.0:
            raise QueryRefused(f"{what} is the zero vector, which has no direction (cosine)")
        centre = centre / largest
        centre = centre / math.sqrt(math.fsum((centre * centre).tolist()))
    return centre
