"""The epsilon scan: which rows are prototypes, and which rows no prototype covers.

Both questions ask "is this distance greater than epsilon?", and both must have one answer wherever
and in whatever pieces the rows are handed over (R0, R8, R10). The answer is, by definition, that of
a float64 sum taken in order. The float32 lanes answer it wherever they can be trusted: a float32
sum of d squares of rounded differences, in any order, errs by less than (d + 4) * 2^-23 of its
value (twice the bound of Higham, Accuracy and Stability of Numerical Algorithms, 2002, ch. 3) and
by d * 2^-149 from underflow. Only sums inside that band around epsilon^2, or beyond float32, are
taken again in float64. So the fast way is exact, and packing needs no tolerance.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from pctstream.core.lanes import (
    LANES,
    ROWS,
    Float32,
    compiled,
    expect_rows,
    inlined,
    read_only,
    squared_of_many,
    squared_of_one,
)

OPEN, QUIET, FULL = 0, 1, 2
"""How a scan returned: all rows taken; the gap was reached; the buffer is full."""


class Scanned(NamedTuple):
    """Rows consumed, prototypes now, rows since the last addition, and how the scan returned."""

    consumed: int
    prototypes: int
    gap: int
    end: int


@compiled
def band_of(epsilon: float, dimension: int) -> Any:
    square = epsilon * epsilon
    slack = (dimension + 4) * 2.0**-23
    under = dimension * 2.0**-149
    return square, square * (1.0 - slack) - under, square * (1.0 + slack) + under


@compiled
def _within(rows: Any, i: int, prototypes: Any, first: int, stop: int, square: float) -> bool:
    """Whether row i lies within epsilon of a prototype in [first, stop): the defining answer."""
    for p in range(first, stop):
        total = 0.0
        for j in range(rows.shape[1]):
            difference = np.float64(rows[i, j]) - np.float64(prototypes[p, j])
            total += difference * difference
        if total <= square:
            return True
    return False


@compiled
def _least(
    rows: Any, first: int, taken: int, table: Any, tiles: int, low: float, tile: Any, least: Any
) -> None:
    """Least squared distance of `taken` rows; stops early once each is surely within epsilon."""
    least[:] = np.inf
    for t in range(tiles):
        if taken == ROWS:
            squared_of_many(rows, first, table, t, tile)
        inside = 0
        for r in range(taken):
            if taken < ROWS:
                squared_of_one(rows, first + r, table, t, tile)
            source = r if taken == ROWS else 0
            for lane in range(LANES):
                least[r] = min(least[r], tile[source, lane])
            if least[r] <= low:
                inside += 1
        if inside == taken:
            return


@compiled
def _add(row: Any, prototypes: Any, table: Any, count: int) -> None:
    for j in range(row.shape[0]):
        prototypes[count, j] = row[j]
        table[count // LANES, j, count % LANES] = row[j]


@compiled
def _scan(
    rows: Any,
    prototypes: Any,
    table: Any,
    count: int,
    gap: int,
    seen: int,
    epsilon: float,
    quiet: int,
    aligned: bool,
) -> Any:
    n = rows.shape[0]
    square, low, high = band_of(epsilon, rows.shape[1])
    least, tile = np.empty(ROWS, np.float32), np.empty((ROWS, LANES), np.float32)
    for first in range(0, n, ROWS):
        taken, known = min(ROWS, n - first), count
        tiles = (known + LANES - 1) // LANES
        _least(rows, first, taken, table, tiles, low, tile, least)
        for i in range(first, first + taken):
            near = least[i - first]
            covered = near <= low
            if not covered and (near <= high or near == np.inf):
                covered = _within(rows, i, prototypes, 0, known, square)
            if not covered:
                covered = _within(rows, i, prototypes, known, count, square)
            if covered:
                gap += 1
            elif count == prototypes.shape[0]:
                return i, count, gap, FULL
            else:
                _add(rows[i], prototypes, table, count)
                count, gap = count + 1, 0
            seen += 1
            if gap >= quiet and (not aligned or seen % quiet == 0):
                return i + 1, count, gap, QUIET
    return n, count, gap, OPEN


def scan(
    rows: Float32,
    prototypes: Float32,
    table: Float32,
    count: int,
    gap: int,
    seen: int,
    epsilon: float,
    quiet: int,
    aligned: bool,
) -> Scanned:
    """Add each row f32[n, d] that is farther than epsilon from every prototype so far.

    prototypes f32[cap, d] and table (`lanes.empty_table(cap, d)`) are filled in place from `count`
    on; `gap` is what the last call answered, `seen` how many rows all calls consumed; all 0 first.
    It ends QUIET after the row that makes `quiet` rows without an addition (`aligned`: only after
    a multiple of `quiet` rows), and FULL before the row that would not fit.
    """
    expect_rows(rows, prototypes.shape[1])
    if quiet < 1 or not 0.0 < epsilon < np.inf or table.shape[0] * LANES < len(prototypes):
        raise ValueError(f"no scan with quiet={quiet}, epsilon={epsilon}, table {table.shape}")
    return Scanned(
        *_scan(read_only(rows), prototypes, table, count, gap, seen, float(epsilon), quiet, aligned)
    )


@njit(cache=True, nogil=True, fastmath={"reassoc"}, forceinline=True)
def _squared(rows: Any, i: int, prototypes: Any, p: int) -> Any:
    """Some float32 sum of squares, in whatever order is fast: the band allows for every order."""
    total = np.float32(0.0)
    for j in range(rows.shape[1]):
        difference = rows[i, j] - prototypes[p, j]
        total += difference * difference
    return total


@inlined
def _covers(rows: Any, i: int, prototypes: Any, p: int, band: Any) -> bool:
    square, low, high = band
    near = _squared(rows, i, prototypes, p)
    if near <= low:
        return True
    if near > high and near != np.inf:
        return False
    return _within(rows, i, prototypes, p, p + 1, square)


@inlined
def covered(rows: Any, i: int, hint: int, prototypes: Any, low: int, high: int, band: Any) -> bool:
    """Whether row i lies within epsilon of a prototype in [low, high); `hint` is tried first."""
    if _covers(rows, i, prototypes, hint, band):
        return True
    p = low
    while p < high and not _covers(rows, i, prototypes, p, band):
        p += 1
    return p < high


@compiled
def _beyond(rows: Any, hint: Any, prototypes: Any, epsilon: float) -> Any:
    band = band_of(epsilon, rows.shape[1])
    out = np.empty(rows.shape[0], np.bool_)
    for i in range(rows.shape[0]):
        out[i] = not covered(rows, i, hint[i], prototypes, 0, prototypes.shape[0], band)
    return out


def lies_beyond(
    rows: Float32, hint: npt.NDArray[np.int32], prototypes: Float32, epsilon: float
) -> npt.NDArray[np.bool_]:
    """Which rows f32[n, d] lie farther than epsilon from every prototype f32[k, d].

    `hint` int32[n] says which prototype to try first; it changes the speed, never the answer.

    >>> rows = np.array([[0], [1], [5]], np.float32)
    >>> lies_beyond(rows, np.zeros(3, np.int32), rows[:1], 1.0).tolist()
    [False, False, True]
    """
    expect_rows(rows, prototypes.shape[1])
    found: npt.NDArray[np.bool_] = _beyond(
        read_only(rows), read_only(hint), read_only(prototypes), float(epsilon)
    )
    return found


def beyond(rows: Float32, hint: npt.NDArray[np.int32], prototypes: Float32, epsilon: float) -> int:
    """How many they are."""
    return int(np.count_nonzero(lies_beyond(rows, hint, prototypes, epsilon)))
