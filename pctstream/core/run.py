"""A run: rows of a node laid out once, never changed, and when runs are to become one.

Runs are merged when the older is not `RATIO` times as large as all younger ones together (a log-structured
merge, O'Neil et al. 1996): there are few of them, and a row is laid out a few times in its life.

A row is known by its place: the number of its segment and its row there. In each run the places are in
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pctstream.core.cells import Cells, Int32, cells_of
from pctstream.core.kernels import Int64
from pctstream.core.lanes import Float32

RATIO = 4
ROUGH = 1 << 40
"""Rows of a cell, where leaves alone make the cells: soon done."""


FULL_BYTES = 16 << 20
"""Of the vectors of a full sub-portion: laid out in less than half a second."""
FULL_ROWS = (2048, 1 << 18)


class Sizes(NamedTuple):
    """How many rows lie where.

    >>> Sizes.of(128).full, Sizes.of(128).most
    (32768, 98304)
    """

    tail: int = 512
    """Fewer are laid out anew whenever one comes."""
    full: int = FULL_ROWS[1]
    """A sub-portion with more is cut."""
    share: int = 256
    """So many for each sub-portion are handed down together, at most ``2 * full`` of them."""

    @classmethod
    def of(cls, dimension: int) -> Sizes:
        """For rows of so many numbers."""
        least, most = FULL_ROWS
        return cls(full=min(max(FULL_BYTES // (4 * dimension), least), most))

    @property
    def young(self) -> int:
        """The rows of a run that comes from the tail, at most."""
        return max(self.tail, self.full // 2)

    @property
    def most(self) -> int:
        """The rows that a step reads, at most."""
        return 3 * self.full


@dataclass(frozen=True, slots=True)
class Run:
    """Rows laid out once."""

    cells: Cells
    place: Int64
    """i64[n, 2]: segment and row of each, in order."""
    leaf: Int32
    """int32[n]: where it lay when it was read."""
    rough: bool = False
    """Laid out by leaf alone."""

    def __len__(self) -> int:
        return len(self.leaf)

    @property
    def nbytes(self) -> int:
        return self.cells.nbytes + self.place.nbytes + self.leaf.nbytes

    @property
    def part(self) -> Part:
        """Its rows, as they were given."""
        return self.cells.all_vectors(), self.leaf, self.place

    @classmethod
    def of(cls, rows: Float32, leaf: Int32, place: Int64, rough: bool = False) -> Run:
        """Rows f32[n, d], their leaves int32[n] and places i64[n, 2], laid out."""
        cells = cells_of(np.ascontiguousarray(rows), leaf, ROUGH if rough else 0)
        return cls(cells, place, leaf, rough)


Part = tuple[Float32, Int32, Int64]


def joined(parts: Sequence[Part]) -> Part:
    """Several as one, in their order."""
    rows, leaves, places = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(leaves), np.concatenate(places)


def merge(runs: Sequence[Run]) -> Run:
    """The rows of several runs, laid out as one."""
    return Run.of(*joined([run.part for run in runs]))


def unsettled(runs: Sequence[Run]) -> list[Run]:
    """Of runs, oldest first, those that are to become one; empty where all is well."""
    younger = 0
    for at in range(len(runs) - 1, -1, -1):
        if younger and len(runs[at]) < RATIO * younger:
            first = at
            while first and len(runs[first - 1]) < RATIO * sum(map(len, runs[first:])):
                first -= 1
            return list(runs[first:])
        younger += len(runs[at])
    return [run for run in runs if run.rough][:1]
