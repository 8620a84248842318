"""The rows of a node in runs of cells: what was laid out long ago, and what came since.

Rows come a few at a time, and laying out is worth it only for many. So they wait in a tail, laid out
by leaf alone; a tail of `TAIL` rows becomes a run, and a run that is not `RATIO` times as large as all
younger ones together is merged with them. So there are few runs, and a row is laid out a few times in
its life: a log-structured merge (O'Neil et al. 1996). Merging takes long and changes nothing that is
found: `merge` makes a new run beside the old ones, from any thread, and `replace` puts it in their place.

A row is known by its place: the number of its segment and its row there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pctstream.core.cells import CELL, Cells, Int32, cells_of
from pctstream.core.kernels import Int64
from pctstream.core.lanes import Float32

TAIL = 512
RATIO = 4
ROUGH = 1 << 40
"""Rows of a cell, where leaves alone make the cells: soon done."""


@dataclass(frozen=True, slots=True)
class Run:
    """Rows laid out once."""

    cells: Cells
    place: Int64
    """i64[n, 2]: segment and row of each."""
    leaf: Int32
    """int32[n]: where it lay when it was read."""
    rough: bool = False
    """Laid out by leaf alone."""

    def __len__(self) -> int:
        return len(self.leaf)

    @property
    def nbytes(self) -> int:
        return self.cells.nbytes + self.place.nbytes + self.leaf.nbytes

    @classmethod
    def of(cls, rows: Float32, leaf: Int32, place: Int64, rough: bool = False) -> Run:
        """Rows f32[n, d], their leaves int32[n] and places i64[n, 2], laid out."""
        cells = cells_of(np.ascontiguousarray(rows), leaf, ROUGH if rough else CELL)
        return cls(cells, place, leaf, rough)


Part = tuple[Float32, Int32, Int64]


@dataclass(slots=True)
class Runs:
    """All rows of a node that were read so far.

    >>> runs = Runs(2)
    >>> runs.add(np.zeros((700, 2), np.float32), np.zeros(700, np.int32), 5)
    >>> runs.add(np.ones((3, 2), np.float32), np.zeros(3, np.int32), 9)
    >>> [len(run) for run in runs.all()], runs.all()[1].place[0].tolist()
    ([700, 3], [9, 0])
    """

    dimension: int
    settled: list[Run] = field(default_factory=list)
    """Oldest, and largest, first."""
    _tail: list[Part] = field(default_factory=list)
    _waiting: Run | None = None

    def __len__(self) -> int:
        return sum(map(len, self.all()))

    @property
    def nbytes(self) -> int:
        return sum(run.nbytes for run in self.all())

    def all(self) -> list[Run]:
        """Every run; each row is in one of them."""
        return [*self.settled, self._waiting] if self._waiting else list(self.settled)

    def add(self, rows: Float32, leaf: Int32, segment: int) -> None:
        """The rows f32[n, d] of the next segment and the leaf int32[n] of each."""
        place = np.stack([np.full(len(rows), segment, np.int64), np.arange(len(rows))], axis=1)
        self.take([(rows, leaf, place)])

    def take(self, parts: Sequence[Part]) -> None:
        """Rows, leaves and places of several segments."""
        self._tail += [part for part in parts if len(part[0])]
        count = sum(len(rows) for rows, _, _ in self._tail)
        if not count:
            return
        run = Run.of(*_joined(self._tail), rough=True)
        if count >= TAIL:
            self.settled.append(run)
            self._tail, self._waiting = [], None
        else:
            self._waiting = run

    def due(self) -> list[Run]:
        """The runs that are to become one; empty where all is well."""
        younger = 0
        for at in range(len(self.settled) - 1, -1, -1):
            if younger and len(self.settled[at]) < RATIO * younger:
                first = at
                while first and len(self.settled[first - 1]) < RATIO * sum(
                    map(len, self.settled[first:])
                ):
                    first -= 1
                return self.settled[first:]
            younger += len(self.settled[at])
        rough = [run for run in self.settled if run.rough]
        return rough[:1]

    def replace(self, old: Sequence[Run], new: Run) -> bool:
        """``new`` in the place of ``old``, unless they are no longer here."""
        at = next((i for i, run in enumerate(self.settled) if run is old[0]), -1)
        here = self.settled[at : at + len(old)] if at >= 0 else []
        if [id(run) for run in here] != [id(run) for run in old]:
            return False
        self.settled[at : at + len(old)] = [new]
        return True


def merge(runs: Sequence[Run]) -> Run:
    """The rows of several runs, laid out as one."""
    return Run.of(*_joined([(run.cells.all_vectors(), run.leaf, run.place) for run in runs]))


def _joined(parts: Sequence[Part]) -> Part:
    rows, leaves, places = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(leaves), np.concatenate(places)
