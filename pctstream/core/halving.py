"""Rows halved again and again until the pieces are small: two means, a few steps each.

The sums are taken in any order, since they choose a partition, and any partition is right.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numba import njit

from pctstream.core.lanes import Kernel

STEPS = 3
"""Steps of two means at a halving."""
LEAST_SHARE = 8
"""A half has at least this part of the rows, or they are cut in the middle instead."""


def _loose(function: Kernel) -> Kernel:
    """Sums in any order: they choose a partition, and any partition is right."""
    made = njit(cache=True, nogil=True, error_model="numpy", fastmath=True)(function)
    return cast(Kernel, made)


@_loose
def _farthest(rows: Any, order: Any, low: int, high: int, point: Any) -> Any:
    best, place = np.float32(-1.0), low
    for at in range(low, high):
        total = np.float32(0.0)
        for j in range(rows.shape[1]):
            difference = rows[order[at], j] - point[j]
            total += difference * difference
        if total > best:
            best, place = total, at
    return best, place


@_loose
def _sides(rows: Any, order: Any, low: int, high: int, two: Any, lean: Any) -> Any:
    """To ``lean`` how far each row leans to the second point; the rows that do are counted."""
    d = rows.shape[1]
    across, middle = two[1] - two[0], np.float32(0.0)
    for j in range(d):
        middle += across[j] * (two[0, j] + two[1, j])
    second = 0
    for at in range(low, high):
        total = np.float32(0.0)
        for j in range(d):
            total += rows[order[at], j] * across[j]
        lean[at - low] = total - middle / np.float32(2.0)
        second += lean[at - low] > 0
    return second


@_loose
def _means(rows: Any, order: Any, low: int, high: int, two: Any, lean: Any, second: int) -> None:
    two[:] = np.float32(0.0)
    scale = (np.float32(1.0) / (high - low - second), np.float32(1.0) / second)
    for at in range(low, high):
        side = 1 if lean[at - low] > 0 else 0
        for j in range(rows.shape[1]):
            two[side, j] += rows[order[at], j] * scale[side]


@_loose
def _halve(rows: Any, order: Any, low: int, high: int, two: Any, lean: Any) -> Any:
    """Reorder a piece into two halves; where the second begins, or -1 where all rows are equal."""
    n = high - low
    far, place = _farthest(rows, order, low, high, rows[order[low]])
    if not far > 0.0:
        return -1
    two[0] = rows[order[place]]
    _, other = _farthest(rows, order, low, high, two[0])
    two[1] = rows[order[other]]
    second = _sides(rows, order, low, high, two, lean)
    for _ in range(STEPS):
        if second == 0 or second == n:
            break
        _means(rows, order, low, high, two, lean, second)
        second = _sides(rows, order, low, high, two, lean)
    piece = order[low:high].copy()
    if min(second, n - second) * LEAST_SHARE < n:
        order[low:high] = piece[np.argsort(lean[:n], kind="mergesort")]
        return low + n // 2
    left, right = low, high - second
    for at in range(n):
        if lean[at] > 0:
            order[right] = piece[at]
            right += 1
        else:
            order[left] = piece[at]
            left += 1
    return high - second


@_loose
def halved(rows: Any, order: Any, starts: Any, size: int) -> Any:
    """The edges of the cells, once every piece is halved down to ``size``; ``order`` is reordered."""
    n = order.shape[0]
    edges = np.empty(n + 1, np.int64)
    edges[0], cells = 0, 0
    two, lean = np.empty((2, rows.shape[1]), np.float32), np.empty(n, np.float32)
    ends = np.empty(n + 64, np.int64)
    for group in range(starts.shape[0] - 1):
        low = starts[group]
        ends[0], depth = starts[group + 1], 1
        while depth > 0:
            high = ends[depth - 1]
            cut = -1
            if high - low > size:
                cut = _halve(rows, order, low, high, two, lean)
            if cut > low:
                ends[depth] = cut
                depth += 1
                continue
            if high > low:
                cells += 1
                edges[cells] = high
            low = high
            depth -= 1
    return edges[: cells + 1].copy()
