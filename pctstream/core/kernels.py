"""The numeric kernels: plain loops, compiled, strict, the same bits on any CPU (R10).

No fastmath, no fused operations, no threads, no BLAS: every sum that decides is taken in the order
written here (`nearest` and `scan` say where faster sums save taking it). Rows are float32; sums that
are kept (means, norms, radii) are float64. All release the GIL.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from pctstream.core.distance import distances_of
from pctstream.core.lanes import LANES, compiled, expect_rows, read_only, transpose
from pctstream.core.nearest import MANY, nearest_of, room
from pctstream.core.scan import beyond, lies_beyond, scan

__all__ = [
    "beyond",
    "distances",
    "finite",
    "grouped",
    "lies_beyond",
    "lloyd_sums",
    "magnitude",
    "nearest",
    "normalise",
    "norms",
    "row_hashes",
    "scan",
    "transpose",
]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@compiled
def _nearest(rows: Any, table: Any) -> Any:
    n = rows.shape[0]
    index = np.empty(n, np.int32)
    order = np.arange(n)
    work = room(table.shape[0])
    first = 0
    while first < n:
        taken = MANY if n - first >= MANY else 1
        nearest_of(rows, order, first, taken, table, 0, table.shape[0], work, index[first:])
        first += taken
    return index


def nearest(rows: Float32, table: Float32, k: int) -> npt.NDArray[np.int32]:
    """The nearest of k centroids to each row int32[n]; ties go to the lowest.

    rows f32[n, d]; table from `transpose`.

    >>> nearest(np.array([[2, 0]], np.float32), transpose(np.eye(2, dtype=np.float32)), 2)
    array([0], dtype=int32)
    """
    expect_rows(rows, table.shape[1])
    if not 0 < k <= table.shape[0] * LANES:
        raise ValueError(f"the table has {table.shape[0] * LANES} columns, not {k}")
    found: npt.NDArray[np.int32] = _nearest(read_only(rows), table)
    return found


@compiled
def groups(index: Any, k: int) -> Any:
    """`grouped`, for kernels."""
    starts = np.zeros(k + 1, np.int64)
    for i in range(index.shape[0]):
        starts[index[i] + 1] += 1
    for c in range(k):
        starts[c + 1] += starts[c]
    place = starts[:k].copy()
    order = np.empty(index.shape[0], np.int64)
    for i in range(index.shape[0]):
        order[place[index[i]]] = i
        place[index[i]] += 1
    return order, starts


def grouped(index: npt.NDArray[np.int32], k: int) -> tuple[Int64, Int64]:
    """Rows grouped by index in [0, k), stable: group c is order[starts[c] : starts[c + 1]].

    >>> grouped(np.array([1, 0, 1], np.int32), 2)
    (array([1, 0, 2]), array([0, 1, 3]))
    """
    found: tuple[Int64, Int64] = groups(index, k)
    return found


@compiled
def _lloyd_sums(rows: Any, index: Any, k: int) -> Any:
    sums = np.zeros((k, rows.shape[1]), np.float64)
    counts = np.zeros(k, np.int64)
    for i in range(rows.shape[0]):
        counts[index[i]] += 1
        total, row = sums[index[i]], rows[i]
        for j in range(rows.shape[1]):
            total[j] += np.float64(row[j])
    return sums, counts


def lloyd_sums(rows: Float32, index: npt.NDArray[np.int32], k: int) -> tuple[Float64, Int64]:
    """Per cell the sum of its rows f64[k, d], in row order, and their number i64[k]."""
    found: tuple[Float64, Int64] = _lloyd_sums(read_only(rows), read_only(index), k)
    return found


@compiled
def _distances(rows: Any, index: Any, centroids: Any) -> Any:
    n = rows.shape[0]
    out = np.empty(n, np.float64)
    order, places = np.arange(n), index.astype(np.int64)
    first = 0
    while first < n:
        taken = MANY if n - first >= MANY else 1
        distances_of(rows, order, first, taken, centroids, places[first:], out[first:])
        first += taken
    return out


def distances(rows: Float32, index: npt.NDArray[np.int32], centroids: Float32) -> Float64:
    """The distance f64[n] of each row to the centroid of its index, summed in float64."""
    expect_rows(rows, centroids.shape[1])
    found: Float64 = _distances(read_only(rows), read_only(index), read_only(centroids))
    return found


@compiled
def _norms(rows: Any) -> Any:
    out = np.empty(rows.shape[0], np.float64)
    for i in range(rows.shape[0]):
        total = 0.0
        for j in range(rows.shape[1]):
            total += np.float64(rows[i, j]) * np.float64(rows[i, j])
        out[i] = math.sqrt(total)
    return out


def norms(rows: Float32) -> Float64:
    """The Euclidean norm f64[n] of each row."""
    found: Float64 = _norms(read_only(rows))
    return found


@compiled
def _divided(rows: Any, norm: Any) -> Any:
    out = np.empty(rows.shape, np.float32)
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            out[i, j] = np.float32(np.float64(rows[i, j]) / norm[i])
    return out


def normalise(rows: Float32) -> Float32:
    """Rows divided by their norms, f32[n, d]; rows of norm 0 must have been refused before.

    >>> normalise(np.array([[3, 4]], np.float32))
    array([[0.6, 0.8]], dtype=float32)
    """
    scaled: Float32 = _divided(read_only(rows), norms(rows))
    return scaled


@compiled
def _largest(words: Any) -> Any:
    most = np.uint32(0)
    for i in range(words.shape[0]):
        most = max(most, words[i] & np.uint32(0x7FFFFFFF))
    return most


def magnitude(rows: Float32) -> float:
    """The largest absolute value of all; an infinity or NaN where one is among them.

    The bits of floats without their sign are in the order of their values, infinities and then NaNs at the
    end: so this is one pass over integers.

    >>> magnitude(np.array([[1, -3], [2, 0]], np.float32))
    3.0
    >>> magnitude(np.array([[1, -np.inf], [2, 0]], np.float32))
    inf
    """
    words = np.ascontiguousarray(rows).reshape(-1).view(np.uint32)
    return float(np.uint32(_largest(read_only(words))).view(np.float32))


def finite(rows: Float32) -> npt.NDArray[np.bool_]:
    """Which rows bool[n] hold neither NaN nor an infinity."""
    answer: Any = np.isfinite(rows).all(axis=1)
    return np.asarray(answer, np.bool_)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@compiled
def _mix(x: Any) -> Any:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled
def _row_hashes(words: Any, seed: Any) -> Any:
    out = np.empty(words.shape[0], np.uint64)
    for i in range(words.shape[0]):
        total = np.uint64(0)
        key = _GOLDEN
        for j in range(words.shape[1]):
            total += _mix(np.uint64(words[i, j]) + key)
            key += _GOLDEN
        out[i] = _mix(total ^ _mix(seed[i] + key))
    return out


def row_hashes(vectors: Float32, seed: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A 64-bit hash u64[n] of each row's bytes and its seed u64[n]; -0.0 and 0.0 differ.

    Word j goes through the finaliser of splitmix64 (Steele, Lea and Flood 2014) under its own key;
    the sum over the words lets them be mixed side by side, and is mixed again with the seed.
    """
    found: npt.NDArray[np.uint64] = _row_hashes(read_only(vectors.view(np.uint32)), read_only(seed))
    return found
