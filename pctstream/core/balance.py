"""k-means from a cover's prototypes, that also evens out how many rows the cells have.

Theory
------
Prototypes are pairwise farther than epsilon, so many of them are outliers, and k-means moves a centroid
only within its neighbourhood: measured on pictures of clothes (34 prototypes), the cells of a raw cover
are as even as 9 equal ones, after five Lloyd steps as 22. What is too much in one place and too little in
another has to be carried over: so in each step but the last

- *light* cells (less than half a mean cell, but some row) are dissolved, the lightest first, and
- *heavy* ones (more than one and a half) are halved, the heaviest first, one for each dissolved.

(Moving centroids from cells of low utility to those of high: Fritzke, "The LBG-U method for vector
quantization", 1997; Patane and Russo, "The enhanced LBG algorithm", 2001. Here the utility is the number
of rows.) A half is the means of the rows on either side of the median along the line between two means
of the cell, so halves are equal whatever its shape. Dissolving and halving are followed by a Lloyd step.

**Radius.** No scanned row is ever farther than 2 epsilon from its centroid. By induction from the
prototypes, to which they are within epsilon: a cell's centroid goes to the mean only if no row of the cell
is then farther than that; a light cell is dissolved only if each of its rows has another centroid within
that, of those that stay as they are; a heavy one is halved only if each of its rows has one of the halves'
means. A row that then goes to the nearest comes only nearer. (Compared with a little less than 2 epsilon:
`nearest` errs by its float32 sums.) A cell without rows keeps its place.

Every sum is one of `kernels`, in the order of the rows, and sorts are stable: the same bits anywhere (R10).
"""

from __future__ import annotations

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
    >>> index = np.array([0, 0, 0, 0, 0, 1, 2], np.int32)
    >>> balanced(rows, rows[[0, 5, 6]], index, 8.0, last=False).ravel().tolist()
    [0.5, 3.0, 9.0]
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


def _evened(
    rows: Float32, centroids: Float32, index: Int32, counts: Int64, most: float
) -> Float32:
    """Light cells dissolved, heavy ones halved."""
    n, k = len(rows), len(centroids)
    light = [c for c in np.argsort(counts, kind="stable") if 0 < 2 * counts[c] * k < n]
    heavy = [c for c in np.argsort(-counts, kind="stable") if 2 * counts[c] * k > 3 * n]
    pairs = list(zip(light, heavy, strict=False))
    if not pairs:
        return centroids
    order, starts = kernels.grouped(index, k)

    def own(cells: list[np.int64]) -> Float32:
        return rows[np.concatenate([order[starts[c] : starts[c + 1]] for c in cells])]

    light, heavy = [c for c, _ in pairs], [c for _, c in pairs]
    away = _refuge(own(light), np.delete(centroids, [*light, *heavy], axis=0))
    ends = np.cumsum([counts[c] for c in light])
    found = centroids.copy()
    free = [
        c for c, far in zip(light, np.split(away, ends[:-1]), strict=True) if far.max() <= most
    ]
    for cell in heavy:
        halves = _halves(own([cell]), most) if free else None
        if halves is not None:
            found[cell], found[free.pop(0)] = halves
    return found


def _refuge(rows: Float32, centroids: Float32) -> Float64:
    """How far each row is from the nearest of these centroids; infinite where there are none."""
    if not len(centroids):
        return np.full(len(rows), np.inf)
    index = kernels.nearest(rows, transpose(centroids), len(centroids))
    return kernels.distances(rows, index, centroids)


def _halves(rows: Float32, most: float) -> Float32 | None:
    """The means f32[2, d] of two equal parts of a cell; None where a row has neither within ``most``."""
    same = np.zeros(len(rows), np.int32)
    farthest = kernels.distances(rows, same, rows[:1]).argmax()
    ends = rows[[0, farthest]]
    means, counts = lloyd(rows, ends, kernels.nearest(rows, transpose(ends), 2))
    if not counts.all():
        return None
    one, other = kernels.distances(rows, same, means[:1]), kernels.distances(rows, same, means[1:])
    side = np.zeros(len(rows), np.int32)
    side[np.argsort(one * one - other * other, kind="stable")[len(rows) // 2 :]] = 1
    halves, _ = lloyd(rows, means, side)
    near = np.minimum(
        kernels.distances(rows, same, halves[:1]), kernels.distances(rows, same, halves[1:])
    )
    return halves if near.max() <= most else None
