"""Rows in cells: small balls of rows that lie near each other, laid out to be scanned.

Theory
------
A question rules out what the triangle inequality lets it: no row of a ball with centre c and radius r
is nearer to q than d(q, c) - r. The tree's leaves are such balls, of some thousand rows. Rows that are
laid out for search are first grouped by their leaf, then halved (two means, a few steps) until a cell
has at most `cell_rows`. Measured on 420,000 rows of 11 numbers: with leaves alone an exact question
scans 149,000 rows, with cells of 256 49,000, of 64 19,000, and of the cells nearest to q fewer rows
hold 95 % of the neighbours. Once rows are scanned by their codes it is the cells that cost: there 256 are
faster than 64 (46 against 80 us a question of recall 0.95), of 128 numbers 64 are. Any partition is right.

The radius of a cell is measured over its own rows, in float64, and rounded up. So it is never stale:
rows that come later are in cells of their own.

Layout: the rows of a cell stand one behind the other, and are coded side by side in tiles of eight
(`codes`): eight distances are summed at once, whatever the dimension. A row is known by its **slot**,
tile * 8 + lane; a cell begins with a tile, and nobody looks at lanes behind its last row. The centres are
in tiles as the centroids of a node are (`lanes`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pctstream.core.codes import Codes
from pctstream.core.distance import distance
from pctstream.core.halving import halved
from pctstream.core.kernels import Float64, Int64, distances, grouped
from pctstream.core.lanes import (
    LANES,
    Float32,
    compiled,
    expect_rows,
)

Int32 = npt.NDArray[np.int32]

CELL_NUMBERS = 8192
"""Numbers of a cell's rows, about: what is told of a cell costs as much as to look at some rows."""
GROUP = 32
"""Cells whose centres are looked at together."""
WIDE = 4
"""Tiles that a scan reads at once: it may read so many behind the last."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Rows laid out once, never changed."""

    x: Float32
    """f32[slots, d]: the rows; zeros where there is none."""
    codes: Codes
    """Of the rows, and `WIDE` tiles behind them."""
    first: Int64
    """i64[places + 1]: number of each cell's first tile. Cells have places in groups of `GROUP`; those at
    the end of a group may be empty."""
    size: Int64
    """i64[places]: rows of each; 0 at an empty place."""
    rows: Int64
    """i64[slots]: which of the rows given stands there, -1 for none."""
    centres: Float32
    """f32[tiles of places, d, 8], and `WIDE` tiles behind them; +inf where there is no cell."""
    radius: Float64
    """f64[places]: no row of the cell is farther from its centre."""
    hubs: Float32
    """f32[groups, d]: a centre of each group of cells."""
    reach: Float64
    """f64[2, groups]: no centre of the group, and no row of it, is farther from its hub."""
    members: Int64
    """i64[groups]: how many cells are in each."""
    count: int = field(init=False)
    """Rows of all cells."""
    nbytes: int = field(init=False)
    """What all of it takes of memory."""
    addresses: Int64 = field(init=False)
    """Where the arrays lie, as `search` wants them."""

    def __post_init__(self) -> None:
        asked = (self.x, *self.codes, self.first, self.size, self.centres, self.radius, self.hubs,
                 self.reach, self.members)  # fmt: skip
        known = {
            "count": int(self.size.sum()),
            "nbytes": self.rows.nbytes + sum(array.nbytes for array in asked),
            "addresses": np.array([array.ctypes.data for array in asked], np.int64),
        }
        for name, value in known.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return int(self.members.sum())

    def vectors(self, slots: Int64) -> Float32:
        """The rows f32[n, d] at these slots."""
        return self.x[slots]

    def all_vectors(self) -> Float32:
        """Every row f32[n, d], in the order in which they were given."""
        slots = np.flatnonzero(self.rows >= 0)
        out = np.empty((len(slots), self.x.shape[1]), np.float32)
        out[self.rows[slots]] = self.x[slots]
        return out


def cell_rows(dimension: int) -> int:
    """Rows of a cell at most, unless they are all equal.

    >>> cell_rows(11), cell_rows(128), cell_rows(784)
    (256, 64, 64)
    """
    return min(max(CELL_NUMBERS // dimension, 64), 256)


def cells_of(rows: Float32, group: Int32 | None = None, size: int = 0) -> Cells:
    """Lay out rows f32[n, d] in cells of ``size``, or `cell_rows`; ``group`` int32[n] >= 0 keeps rows
    of different leaves apart.

    >>> found = cells_of(np.array([[0, 0], [9, 9], [0, 1]], np.float32), size=2)
    >>> there = found.size > 0
    >>> found.size[there].tolist(), found.radius[there].round(6).tolist()
    ([1, 2], [0.0, 0.5])
    >>> found.rows[found.rows >= 0].tolist()
    [1, 0, 2]
    """
    expect_rows(rows, rows.shape[1])
    if group is None or not len(rows):
        order, starts = np.arange(len(rows)), np.array([0, len(rows)])
    else:
        known, own = np.unique(group, return_inverse=True)
        order, starts = grouped(own.astype(np.int32), len(known))
    edges = halved(
        rows, order, starts[: len(starts) if len(rows) else 1], size or cell_rows(rows.shape[1])
    )
    centres = _centres(rows, order, edges)
    slack = 1.0 + (rows.shape[1] + 4) * 2.0**-52
    radius = _radii(rows, order, edges, centres) * slack
    cell, ends = _groups(centres)
    members = np.diff(ends)
    place = np.arange(len(cell)) + np.repeat(np.arange(len(members)) * GROUP - ends[:-1], members)
    counts = np.zeros(len(members) * GROUP, np.int64)
    counts[place] = np.diff(edges)[cell]
    first = np.concatenate([[0], np.cumsum(-(-counts // LANES))]).astype(np.int64)
    placed = np.full(int(first[-1]) * LANES, -1, np.int64)
    x = np.zeros((len(placed), rows.shape[1]), np.float32)
    _lay_out(rows, order, edges, cell, first[place], x, placed)
    centres, radius = centres[cell], radius[cell]
    hubs, reach = _hubs(centres, radius, ends, slack)
    every, around = np.full((len(counts), rows.shape[1]), np.inf, np.float32), np.zeros(len(counts))
    every[place], around[place] = centres, radius
    codes = Codes.of(x, first, counts, every, WIDE)
    return Cells(x, codes, first, counts, placed, tiled(every), around, hubs, reach, members)


def tiled(points: Float32) -> Float32:
    """Points f32[n, d] as tiles f32[tiles, d, 8], and `WIDE` tiles of +inf behind them."""
    n, d = points.shape
    table = np.full((-(-n // LANES) + WIDE, LANES, d), np.inf, np.float32)
    table.reshape(-1, d)[:n] = points
    return np.ascontiguousarray(table.transpose(0, 2, 1))


def _groups(centres: Float32) -> tuple[Int64, Int64]:
    """Cells in an order in which groups of at most `GROUP` are near each other, and where each begins
    and the last ends. Groups that reach far are all looked at, so they are halved as rows are."""
    cell = np.arange(len(centres))
    ends = halved(centres, cell, np.array([0, len(centres)][: 1 + (len(centres) > 0)]), GROUP)
    pieces = [np.arange(low, high, GROUP) for low, high in pairwise(ends.tolist())]
    return cell, np.concatenate([*pieces, ends[-1:]]).astype(np.int64)


def _hubs(centres: Float32, radius: Float64, ends: Int64, slack: float) -> tuple[Float32, Float64]:
    hubs = _centres(centres, np.arange(len(centres)), ends)
    own = np.repeat(np.arange(len(hubs)), np.diff(ends)).astype(np.int32)
    away = distances(centres, own, hubs) * slack
    reach = np.zeros((2, len(hubs)), np.float64)
    np.maximum.at(reach[0], own, away)
    np.maximum.at(reach[1], own, (away + radius) * slack)
    return hubs, reach


@compiled
def _lay_out(
    rows: Any, order: Any, edges: Any, cells: Any, first: Any, x: Any, placed: Any
) -> None:
    for i in range(cells.shape[0]):
        slot = first[i] * LANES
        for at in range(edges[cells[i]], edges[cells[i] + 1]):
            placed[slot] = order[at]
            x[slot] = rows[order[at]]
            slot += 1


@compiled
def _centres(rows: Any, order: Any, edges: Any) -> Any:
    out = np.zeros((edges.shape[0] - 1, rows.shape[1]), np.float32)
    total = np.empty(rows.shape[1], np.float64)
    for cell in range(edges.shape[0] - 1):
        total[:] = 0.0
        for at in range(edges[cell], edges[cell + 1]):
            for j in range(rows.shape[1]):
                total[j] += np.float64(rows[order[at], j])
        for j in range(rows.shape[1]):
            out[cell, j] = np.float32(total[j] / (edges[cell + 1] - edges[cell]))
    return out


@compiled
def _radii(rows: Any, order: Any, edges: Any, centres: Any) -> Any:
    out = np.zeros(edges.shape[0] - 1, np.float64)
    for cell in range(edges.shape[0] - 1):
        for at in range(edges[cell], edges[cell + 1]):
            out[cell] = max(out[cell], distance(rows, order[at], centres, cell))
    return out
