"""The rows of a cell as codes of eight bits: what a scan reads first, a quarter of the bytes.

Theory
------
A scan of rows in float32 is as fast as memory gives them. So each cell has a grid, whose origin is its
centre and whose step is the largest number of a row less its centre, divided by `RANGE`. A row x is
kept as the whole numbers i of the nearest point of the grid, x' = c + step * i; a question q is put on the
same grid, q' = c + step * j. Then |q' - x'| = step * sqrt(S), where S = sum (j - i)^2 is a sum of whole
numbers: the same on any CPU, in any order. By the triangle inequality

    |q - x|  >=  step * sqrt(S) - |q - q'| - |x - x'|

|q - q'| is measured when q is put on the grid, and the largest |x - x'| of a cell when it is laid out. So a
row with S above ((most + |q - q'| + |x - x'|) / step)^2 is farther than ``most``, and only the others are
looked at in float32. Nothing is decided by a code, and nothing is lost by one: of 2,000 rows of 128
dimensions about as many more are looked at as are answered.

i and j are bounded so that S fits 31 bits and each difference 15, whatever the dimension. A question
beyond the grid is put on its edge: |q - q'| is then large, and all rows of that cell are looked at.

Layout: dimensions are filled up to a multiple of `FILL` by zeros. Eight rows make a tile, as in `cells`,
`[tile, pair of dimensions, lane, 2]`: one multiplication gives the squares of two dimensions and adds them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pctstream.core.kernels import Float64, Int64
from pctstream.core.lanes import LANES, Float32, compiled

Int8 = npt.NDArray[np.int8]

FILL = 4
"""Dimensions are coded so many at a time."""
RANGE = 127
"""The largest code of a row, unless there are more than 33,000 dimensions."""
LARGEST_SUM = 2**31 - 1
LARGEST_DIFFERENCE = 2**15 - 1


def filled(dimension: int) -> int:
    """How many numbers a row of this dimension is coded as.

    >>> filled(11), filled(128)
    (12, 128)
    """
    return -(-dimension // FILL) * FILL


def ranges(dimension: int) -> tuple[int, int]:
    """The largest code of a row, and of a question.

    >>> ranges(128), ranges(225_000)
    ((127, 3968), (48, 49))
    """
    most = min(math.isqrt(LARGEST_SUM // filled(dimension)), LARGEST_DIFFERENCE)
    own = min(RANGE, most // 2)
    return own, most - own


class Codes(NamedTuple):
    """Of the rows of some cells."""

    tiles: Int8
    """i8[tiles, pairs, 8, 2]"""
    origin: Float32
    """f32[cells, filled]: of each cell's grid, its centre."""
    grid: Float64
    """f64[cells, 2]: the step; no row of the cell is farther from its point of the grid than that."""

    @classmethod
    def of(cls, x: Float32, first: Int64, size: Int64, centres: Float32, more: int) -> Codes:
        """Codes of the rows f32[slots, d] of cells that begin at the tiles ``first`` and have ``size``
        rows; ``more`` tiles that nobody is in are put behind them."""
        d = x.shape[1]
        wide = filled(d)
        origin = np.zeros((len(size), wide), np.float32)
        origin[size > 0, :d] = centres[size > 0]
        tiles = np.zeros((len(x) // LANES + more, wide // 2, LANES, 2), np.int8)
        grid = np.empty((len(size), 2), np.float64)
        _code(x, first, size, origin, ranges(d)[0], tiles, grid)
        return cls(tiles, origin, grid)


@compiled
def _code(x: Any, first: Any, size: Any, origin: Any, most: int, tiles: Any, grid: Any) -> None:
    d = x.shape[1]
    for cell in range(size.shape[0]):
        begin = first[cell] * LANES
        largest = 0.0
        for at in range(begin, begin + size[cell]):
            for j in range(d):
                largest = max(largest, abs(np.float64(x[at, j]) - np.float64(origin[cell, j])))
        step = largest / most if largest > 0.0 else 1.0
        farthest = 0.0
        for at in range(begin, begin + size[cell]):
            total = 0.0
            for j in range(d):
                away = np.float64(x[at, j]) - np.float64(origin[cell, j])
                code = min(max(np.rint(away / step), -np.float64(most)), np.float64(most))
                tiles[at // LANES, j // 2, at % LANES, j % 2] = np.int8(code)
                total += (away - step * code) ** 2
            farthest = max(farthest, math.sqrt(total))
        grid[cell, 0], grid[cell, 1] = step, farthest
