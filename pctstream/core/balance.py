"""k-means from a cover's prototypes, that also evens out how many rows the cells have.

Theory
------
Prototypes are pairwise farther than epsilon, so many of them are outliers, and k-means moves a centroid
only within its neighbourhood: measured on pictures of clothes (34 prototypes), the cells of a raw cover
are as even as 9 equal ones, after five Lloyd steps as 22. What is too much in one place and too little in
another has to be carried over: so in each step but the last

- *heavy* cells (more than one and a half mean cells) are halved, the heaviest first, and their halves
  again while they are heavy, and for each half too many
- a *light* one (less than half a mean cell, but some row) is dissolved, the lightest first.

(Moving centroids from cells of low utility to those of high: Fritzke, "The LBG-U method for vector
quantization", 1997; Patane and Russo, "The enhanced LBG algorithm", 2001. Here the utility is the number
of rows.) The halves of a cell are its rows on either side of the median along the line between two of its
means, so they are equal whatever its shape; their means are where a Lloyd step goes on from.

**Radius.** No scanned row is ever farther than 2 epsilon from its centroid. By induction from the
prototypes, to which they are within epsilon: a cell's centroid goes to the mean only if no row of the cell
is then farther than that; a light cell is dissolved only if each of its rows has a centroid within that
among those that stay; a cell is halved only if each of its rows has one of the halves' means, with which it
then counts. A row that goes to the nearest centroid comes only nearer. (What is compared with is a little
less than 2 epsilon, by which the float32 sums of `nearest` may err.) A cell without rows keeps its place.

Every sum is one of `kernels`, in the order of the rows, and sorts are stable: the same bits anywhere (R10).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np
import numpy.typing as npt

from pctstream.core import kernels
from pctstream.core.kernels import Float64, Int64
from pctstream.core.lanes import Float32, transpose

Int32 = npt.NDArray[np.int32]

ROOM = 2.0
"""No row is farther from its centroid than so many epsilon."""


def lloyd(rows: Float32, centroids: Float32, index: Int32) -> tuple[Float32, Int64]:
    """The means f32[k, d] of the cells, and their rows i64[k]; an empty one keeps its place."""
    sums, counts = kernels.lloyd_sums(rows, index, len(centroids))
    moved, full = centroids.copy(), counts > 0
    moved[full] = (sums[full] / counts[full, None]).astype(np.float32)
    return moved, counts


def balanced(
    rows: Float32, centroids: Float32, index: Int32, epsilon: float, last: bool
) -> Float32:
    """The next centroids f32[k, d], where row i of f32[n, d] is in the cell index[i]; ``last``: only means.

    >>> rows = np.array([[0], [1], [2], [3], [4], [5], [9]], np.float32)
    >>> index = np.array([0, 0, 0, 0, 0, 0, 1], np.int32)
    >>> balanced(rows, np.array([[0], [9]], np.float32), index, 8.0, last=True).ravel().tolist()
    [2.5, 9.0]
    >>> index, centroids = np.array([0, 0, 0, 0, 1, 1, 2], np.int32), np.array([[0], [4], [9]], np.float32)
    >>> balanced(rows, centroids, index, 8.0, last=False).ravel().tolist()
    [0.5, 4.5, 2.5]
    """
    most = ROOM * epsilon * (1.0 - (rows.shape[1] + 4) * 2.0**-23)
    moved, counts = lloyd(rows, centroids, index)
    stays = _farthest(rows, index, moved) > most
    moved[stays] = centroids[stays]
    return moved if last else _evened(rows, moved, index, counts, most)


def _farthest(rows: Float32, index: Int32, centroids: Float32) -> Float64:
    far = np.zeros(len(centroids), np.float64)
    np.maximum.at(far, index, kernels.distances(rows, index, centroids))
    return far


def _evened(rows: Float32, centroids: Float32, index: Int32, counts: Int64, most: float) -> Float32:
    """Light cells dissolved, heavy ones halved."""
    n, k = len(rows), len(centroids)
    heavy = [c for c in range(k) if 2 * counts[c] * k > 3 * n]
    wanted = sum(-(-int(counts[c]) * k // n) - 1 for c in heavy)
    lightest = np.argsort(counts, kind="stable").tolist()
    light = [c for c in lightest if 0 < 2 * counts[c] * k < n][:wanted]
    if not light:
        return centroids
    order, starts = kernels.grouped(index, k)
    cells = [order[starts[c] : starts[c + 1]] for c in range(k)]
    others = np.delete(centroids, [*light, *heavy], axis=0)
    free = [c for c in light if _within(rows[cells[c]], others, most)]
    found = centroids.copy()
    parts: list[tuple[int, int, Float32]] = [(-len(cells[c]), c, rows[cells[c]]) for c in heavy]
    heapify(parts)
    while free and parts:
        _, cell, own = heappop(parts)
        halves = _halves(own, most)
        if halves is None:
            continue
        means, nearer = halves
        for half, place in enumerate((cell, free.pop(0))):
            found[place], part = means[half], own[nearer == half]
            if 2 * len(part) * k > 3 * n:
                heappush(parts, (-len(part), place, part))
    return found


def _within(rows: Float32, centroids: Float32, most: float) -> bool:
    """Whether each row has one of these centroids within that distance."""
    if not len(centroids):
        return False
    index = kernels.nearest(rows, transpose(centroids), len(centroids))
    return bool(kernels.distances(rows, index, centroids).max() <= most)


def _halves(rows: Float32, most: float) -> tuple[Float32, Int32] | None:
    """The means f32[2, d] of two equal parts of some rows, and which is the nearer one to each row
    int32[n]; None where a row has neither within ``most``."""
    away = _away(rows, rows[:1])
    ends = rows[[0, int(away.argmax())]]
    means, counts = lloyd(rows, ends, (_away(rows, ends[1:]) < away).astype(np.int32))
    if not counts.all():
        return None
    one, other = _away(rows, means[:1]), _away(rows, means[1:])
    side = np.zeros(len(rows), np.int32)
    side[np.argsort(one * one - other * other, kind="stable")[len(rows) // 2 :]] = 1
    halves, _ = lloyd(rows, means, side)
    one, other = _away(rows, halves[:1]), _away(rows, halves[1:])
    if np.minimum(one, other).max() > most:
        return None
    return halves, (other < one).astype(np.int32)


def _away(rows: Float32, point: Float32) -> Float64:
    """The distance of each row to one point f32[1, d]."""
    return kernels.distances(rows, np.zeros(len(rows), np.int32), point)
