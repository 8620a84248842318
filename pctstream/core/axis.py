"""The cells of a map along one coordinate, and how they widen so that a value has one.

The theory is in `core.density_map`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pctstream.core.kernels import Float64, Int64
from pctstream.core.lanes import inlined

_FINEST = -30
"""Exponent of the narrowest cell that few or equal first rows can ask for."""


@inlined
def cell_of(edges: Any, v: float) -> Any:
    """The cell of v, the nearest one if it is outside; the last cell has its upper edge."""
    n = edges.shape[0] - 1
    if v <= edges[0]:
        return 0
    if v >= edges[n]:
        return n - 1
    i = min(int((v - edges[0]) / (edges[n] - edges[0]) * n), n - 1)
    while v < edges[i]:
        i -= 1
    while v >= edges[i + 1]:
        i += 1
    return i


class Axis:
    """The cells along one coordinate: `edges` f64[n + 1].

    `first` and `exponent`: the lowest cell is [first, first + 1) * 2^exponent; None where bounds
    were given.

    >>> axis = Axis.around(4, 0.25, 3.0)
    >>> axis.edges.tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0]
    >>> Axis(4, axis.first - 1, axis.exponent + 1).edges.tolist()
    [-2.0, 0.0, 2.0, 4.0, 6.0]
    """

    def __init__(self, cells: int, first: int | None, exponent: int, edges: Any = None) -> None:
        self.cells, self.first, self.exponent = cells, first, exponent
        if first is not None:
            edges = [_above(first + m, exponent) for m in range(cells + 1)]
        self.edges: Float64 = np.array(edges, np.float64)

    @classmethod
    def given(cls, cells: int, low: float, high: float) -> Axis:
        """Cells between given bounds, as numpy makes them."""
        return cls(cells, None, 0, np.linspace(low, high, cells + 1))

    @classmethod
    def around(cls, cells: int, low: float, high: float) -> Axis:
        """The narrowest shared cells that hold [low, high], with what is left over on both sides."""
        size = max(abs(low), abs(high))
        least = max(_FINEST, math.frexp(size)[1] - 40 if size else _FINEST)
        extent = (high - low) / cells
        exponent = max(least, math.frexp(extent)[1] - 1 if extent else least)
        while True:
            first, last = _cell(low, exponent), _cell(high, exponent)
            spare = cells - (last - first + 1)
            if spare >= 0:
                return cls(cells, first - spare // 2, exponent)
            exponent += 1

    def doubled(self, value: float) -> Axis:
        """The next wider cells, with the new room on the side where the value is."""
        assert self.first is not None
        last = self.first + self.cells - 1
        up = _cell(value, self.exponent) > last
        first = self.first >> 1 if up else (last >> 1) - self.cells + 1
        return Axis(self.cells, first, self.exponent + 1)

    def holds(self, low: float, high: float) -> bool:
        """Whether no value in [low, high] makes it grow."""
        inside = self.edges[0] <= low and high < self.edges[-1]
        return self.first is None or bool(inside)

    def into(self, wider: Axis) -> Int64:
        """For each of its cells the cell of a wider axis that it is part of."""
        assert self.first is not None and wider.first is not None
        step = wider.exponent - self.exponent
        return np.array([((self.first + i) >> step) - wider.first for i in range(self.cells)])


def _cell(value: float, exponent: int) -> int:
    return math.floor(math.ldexp(value, -exponent))


def _above(number: int, exponent: int) -> float:
    """The least float that is not below number * 2^exponent."""
    near = float(number)
    return math.ldexp(math.nextafter(near, math.inf) if int(near) < number else near, exponent)


def common(axes: list[Axis]) -> Axis:
    """The narrowest axis into which all of them fold; ValueError where given bounds differ."""
    if any(axis.first is None for axis in axes):
        if any(not np.array_equal(axis.edges, axes[0].edges) for axis in axes):
            raise ValueError("maps with given bounds add up only if the bounds are the same")
        return axes[0]
    exponent = max(axis.exponent for axis in axes)
    while True:
        lows = [(a.first or 0) >> (exponent - a.exponent) for a in axes]
        highs = [((a.first or 0) + a.cells - 1) >> (exponent - a.exponent) for a in axes]
        if max(highs) - min(lows) < axes[0].cells:
            return Axis(axes[0].cells, min(lows), exponent)
        exponent += 1
