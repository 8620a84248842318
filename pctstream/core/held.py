"""The rows that a trunk node stored before its split, until their portions have them (R2).

They are the first rows that each child gets of each ingest partition. A row is let go of when its
child's owner reports a mark at or past it; until then it is counted here and nowhere else.
"""

from __future__ import annotations

import numpy as np

from pctstream.core.block import Block, Source
from pctstream.core.kernels import Int64
from pctstream.core.marks import Marks
from pctstream.core.walk import Int32


class Held:
    """Places of rows by child."""

    def __init__(self) -> None:
        self._k = 0
        self._sources: list[Source] = []
        self._parts: list[Int64] = []
        self._marks: dict[int, Marks] = {}
        self._reached: Int64 | None = None
        """(offset, index) of the mark of each child and source, int64[2, k, sources], once `seen`."""
        self.counts: list[int] = []
        """Rows held for each child at the split, once all are `seen`."""

    def children(self, k: int) -> None:
        """So many; reports of theirs may have come before."""
        self._k = k

    def add(self, rows: Block, child: Int32) -> None:
        """A stored segment and the child int32[n] of each row, -1 for a bare entry."""
        rows, child = rows.plain, child[child >= 0]
        numbers = np.array([self._number(s) for s in rows.sources], np.int64)
        places = np.empty((4, len(rows)), np.int64)
        places[:] = child, numbers[rows.source], rows.offset, rows.index
        self._parts.append(places)

    def _number(self, source: Source) -> int:
        if source not in self._sources:
            self._sources.append(source)
        return self._sources.index(source)

    def seen(self) -> None:
        """There are no more."""
        none = np.zeros((4, 0), np.int64)
        self._parts = [np.concatenate([none, *self._parts], axis=1)]
        child = self._parts[0][0]
        self.counts = np.bincount(child, minlength=self._k).tolist() if self.rows else []

    @property
    def rows(self) -> int:
        """Rows that have not arrived."""
        return sum(part.shape[1] for part in self._parts)

    def reported(self, child: int, marks: Marks) -> None:
        """A child's owner has applied up to these marks; reports may come in any order."""
        if 0 < self._k <= child:
            return  # one that came to be later: nothing is held for it
        held = self._marks.get(child)
        self._marks[child] = marks if held is None else held.later(marks)
        if self._reached is not None:
            self._reach(self._reached, child)

    def settle(self) -> None:
        """Let go of what has arrived."""
        if not self._parts:
            return
        if self._reached is None:
            self._reached = np.full((2, self._k, max(1, len(self._sources))), -1, np.int64)
            for told in self._marks:
                if told < self._k:
                    self._reach(self._reached, told)
        child, source, offset, index = self._parts[0]
        mark_offset, mark_index = self._reached[:, child, source]
        waits = (offset > mark_offset) | ((offset == mark_offset) & (index > mark_index))
        self._parts = [self._parts[0][:, waits]]

    def _reach(self, table: Int64, child: int) -> None:
        for s, source in enumerate(self._sources):
            table[:, child, s] = self._marks[child].of(source)
