"""The density map: how many rows lie in each cell of a grid, kept as rows come and go.

Theory
------
**Cells.** `counts[i, j]` are the rows with `ex[i] <= x < ex[i + 1]` and `ey[j] <= y < ey[j + 1]`; at rest
they are what `numpy.histogram2d` says of the same rows and bounds, bit for bit, because a cell is found
by comparing with the edges and never by a division alone.

**Bounds that grow.** Without given bounds the cells are taken from one grid that everybody shares: their
width is a power of two and their edges are multiples of it. A row outside doubles the width: two old
cells are exactly one new cell, so the counts fold and no row is looked at again. For the same reason maps
that began from different rows (those of different shards) add up: all are folded to one width.
Given bounds stay as they are; rows outside them are counted in `outside`.

**Changes.** Beside the counts stands how many rows came or went per cell since the last `settle`: what has
not changed need not be looked at when regions are adjusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pctstream.core.axis import Axis, cell_of, common
from pctstream.core.kernels import Float64, Int64
from pctstream.core.lanes import compiled

LARGEST = 2.0**40
"""Positions are below this, so that bounds double a few dozen times at most."""


@compiled
def _tally(counts: Any, changes: Any, ex: Any, ey: Any, x: Any, y: Any, sign: int) -> int:
    """Adds the rows to the counts; how many lie outside."""
    nx, ny, outside = ex.shape[0] - 1, ey.shape[0] - 1, 0
    for r in range(x.shape[0]):
        if x[r] < ex[0] or x[r] > ex[nx] or y[r] < ey[0] or y[r] > ey[ny]:
            outside += 1
            continue
        i, j = cell_of(ex, x[r]), cell_of(ey, y[r])
        counts[i, j] += sign
        changes[i, j] += 1
    return outside


class DensityMap:
    """Counts of rows by cell. Not for two threads at once.

    >>> density = DensityMap((2, 2))
    >>> density.add(np.array([0.5, 1.5, 1.6]), np.array([0.5, 0.5, 1.5]))
    >>> density.counts.tolist(), density.bounds
    ([[1, 0], [1, 1]], (0.0, 0.0, 2.0, 2.0))
    >>> density.add(np.array([3.5]), np.array([0.1]))
    >>> density.counts.tolist(), density.bounds
    ([[2, 1], [1, 0]], (0.0, 0.0, 4.0, 2.0))
    """

    def __init__(self, cells: tuple[int, int] = (64, 64), bounds: tuple[float, ...] = ()) -> None:
        if min(cells) < 2:
            raise ValueError(f"cells = {cells}: a map has at least 2 along each coordinate")
        self.cells, self.outside = cells, 0
        self.counts: Int64 = np.zeros(cells, np.int64)
        self._changes: Int64 = np.zeros(cells, np.int64)
        self.axes: tuple[Axis, Axis] | None = None
        if bounds:
            x0, y0, x1, y1 = bounds
            self.axes = Axis.given(cells[0], x0, x1), Axis.given(cells[1], y0, y1)

    @property
    def bounds(self) -> tuple[float, ...]:
        """x0, y0, x1, y1; () before the first row."""
        if self.axes is None:
            return ()
        ex, ey = self.axes[0].edges, self.axes[1].edges
        return float(ex[0]), float(ey[0]), float(ex[-1]), float(ey[-1])

    def add(self, x: Float64, y: Float64) -> None:
        """Counts rows f64[n]: finite, below LARGEST."""
        if len(x):
            self._reach(x, y)
            self._tally(x, y, 1)

    def remove(self, x: Float64, y: Float64) -> None:
        """Rows that were added go."""
        if len(x):
            self._tally(x, y, -1)

    def _tally(self, x: Float64, y: Float64, sign: int) -> None:
        assert self.axes is not None, "nothing was ever added"
        ex, ey = self.axes[0].edges, self.axes[1].edges
        # a strided column would be another kernel, to be compiled when the first one comes
        x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
        self.outside += sign * _tally(self.counts, self._changes, ex, ey, x, y, sign)

    def _reach(self, x: Float64, y: Float64) -> None:
        spans = [(float(v.min()), float(v.max())) for v in (x, y)]
        if self.axes is None:
            first, second = (Axis.around(n, *s) for n, s in zip(self.cells, spans, strict=True))
            self.axes = first, second
        for number, (low, high) in enumerate(spans):
            axis = self.axes[number]
            while not axis.holds(low, high):
                axis = axis.doubled(low if low < axis.edges[0] else high)
            if axis is not self.axes[number]:
                self._fold(number, axis)

    def _fold(self, number: int, wider: Axis) -> None:
        assert self.axes is not None
        place = self.axes[number].into(wider)
        for name in ("counts", "_changes"):
            old = np.moveaxis(getattr(self, name), number, 0)
            new = np.zeros_like(old)
            np.add.at(new, place, old)
            setattr(self, name, np.ascontiguousarray(np.moveaxis(new, 0, number)))
        self.axes = (wider, self.axes[1]) if number == 0 else (self.axes[0], wider)

    def scanned(self, x: Float64, y: Float64) -> Int64:
        """What the counts must be if these are all rows there are: the check of the incremental ones."""
        if self.axes is None:
            return np.zeros(self.cells, np.int64)
        edges = [axis.edges for axis in self.axes]
        return np.histogram2d(x, y, bins=edges)[0].astype(np.int64)

    def changed(self, boxes: Float64) -> Any:
        """Which boxes f64[n, 4] a row may have come to or left since `settle`: bool[n]."""
        if self.axes is None:
            return np.zeros(len(boxes), bool)
        sums = np.zeros((self.cells[0] + 1, self.cells[1] + 1), np.int64)
        np.cumsum(np.cumsum(self._changes, axis=0), axis=1, out=sums[1:, 1:])
        (ex, ey), ends = (axis.edges for axis in self.axes), []
        for edges, low, high in ((ex, boxes[:, 0], boxes[:, 2]), (ey, boxes[:, 1], boxes[:, 3])):
            a = np.clip(np.searchsorted(edges, low, "right") - 1, 0, len(edges) - 2)
            b = np.clip(np.searchsorted(edges, high, "right"), a + 1, len(edges) - 1)
            ends += [a, b]
        a, b, c, d = ends
        beyond = (boxes[:, :2] < [ex[0], ey[0]]) | (boxes[:, 2:] > [ex[-1], ey[-1]])
        came = sums[b, d] - sums[a, d] - sums[b, c] + sums[a, c] > 0
        return came | (beyond.any(axis=1) if self.outside else False)

    def settle(self) -> None:
        """From now on changes are counted anew."""
        self._changes[:] = 0

    def to_json(self) -> dict[str, Any]:
        """For a store or a view; `from_json` reads it."""
        axes = self.axes and [[a.first, a.exponent, *a.edges[[0, -1]].tolist()] for a in self.axes]
        return {"cells": list(self.cells), "axes": axes, "outside": self.outside,
                "counts": self.counts.tolist()}  # fmt: skip

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> DensityMap:
        """What `to_json` gave."""
        cells = tuple(int(n) for n in saved["cells"])
        density = cls((cells[0], cells[1]))
        if saved["axes"] is not None:
            first, second = (
                Axis.given(n, low, high) if start is None else Axis(n, int(start), int(exponent))
                for n, (start, exponent, low, high) in zip(cells, saved["axes"], strict=True)
            )
            density.axes = first, second
        density.outside = int(saved["outside"])
        density.counts = np.array(saved["counts"], np.int64).reshape(density.cells)
        return density


def merged(maps: Iterable[DensityMap]) -> DensityMap:
    """The map of all rows of several maps with as many cells each and, if given, the same bounds.

    >>> a, b = DensityMap((2, 2)), DensityMap((2, 2))
    >>> a.add(np.array([0.5, 1.5]), np.array([0.5, 1.5]))
    >>> b.add(np.array([0.5, 7.5]), np.array([0.5, 7.5]))
    >>> merged([a, b]).counts.tolist(), merged([a, b]).bounds
    ([[3, 0], [0, 1]], (0.0, 0.0, 8.0, 8.0))
    """
    begun = [density for density in maps if density.axes is not None]
    if not begun:
        return DensityMap()
    whole = DensityMap(begun[0].cells)
    whole.axes = tuple(common([d.axes[n] for d in begun if d.axes]) for n in (0, 1))  # type: ignore[assignment]
    for density in begun:
        assert density.axes is not None and whole.axes is not None
        if density.cells != whole.cells:
            raise ValueError(f"maps of {density.cells} and of {whole.cells} cells do not add up")
        part = DensityMap(density.cells)
        part.axes, part.counts = density.axes, density.counts
        for number, axis in enumerate(whole.axes):
            if axis.first is not None:
                part._fold(number, axis)
        whole.counts += part.counts
        whole.outside += density.outside
    return whole
