"""Marks: a row is applied once, by its origin (R3).

Rows of one ingest partition reach a pipe in order, whoever writes them: a crashed writer, a zombie
or a bridge repeats a prefix, never reorders. So one (offset, index) per (pipe, ingest partition) is
enough to tell a repeat from a new row: at or below the mark it was applied already. How many were
new is counted beside it: the first h rows that N0 sends to a child are the first h that arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pctstream.core.block import Block, Source
from pctstream.core.lanes import read_only

Mark = tuple[int, int]
NOTHING: Mark = (-1, -1)
_NO_BARE = np.zeros(0, np.int8)


@numba.njit(cache=True, nogil=True)
def _fresh(
    source: Any, offset: Any, index: Any, bare: Any, mark_offset: Any, mark_index: Any, count: Any
) -> Any:  # pragma: no cover - compiled
    fresh = np.zeros(source.shape[0], np.bool_)
    for i in range(source.shape[0]):
        s = source[i]
        if offset[i] > mark_offset[s] or (offset[i] == mark_offset[s] and index[i] > mark_index[s]):
            fresh[i] = True
            mark_offset[s] = offset[i]
            mark_index[s] = index[i]
            count[s] += not bare.shape[0] or not bare[i]
    return fresh


class Marks:
    """The highest applied (offset, index) per source, and how many rows were.

    >>> marks = Marks()
    >>> block = Block((Source("t", 0),), np.zeros(3, np.int32), np.array([4, 5, 4]),
    ...               np.zeros(3, np.int32), np.zeros((3, 2), np.float32))
    >>> marks.advance(block).tolist(), marks.of(Source("t", 0)), marks.count(Source("t", 0))
    ([True, True, False], (5, 0), 2)
    """

    def __init__(
        self, items: Mapping[Source, Mark] | None = None, counts: Mapping[Source, int] | None = None
    ) -> None:
        self._marks: dict[Source, Mark] = dict(items or {})
        self._counts: dict[Source, int] = dict(counts or {})

    def copy(self) -> Marks:
        return Marks(self._marks, self._counts)

    def of(self, source: Source) -> Mark:
        return self._marks.get(source, NOTHING)

    def count(self, source: Source) -> int:
        """Rows of this source that were new."""
        return self._counts.get(source, 0)

    def advance(self, block: Block) -> npt.NDArray[np.bool_]:
        """Which entries are new, taken one after the other; the marks move past them."""
        marks = [self.of(s) for s in block.sources]
        offsets = np.array([m[0] for m in marks], np.int64)
        indexes = np.array([m[1] for m in marks], np.int64)
        counts = np.array([self.count(s) for s in block.sources], np.int64)
        bare = _NO_BARE if block.changes is None else block.changes.bare
        fresh: npt.NDArray[np.bool_] = _fresh(
            read_only(block.source),
            read_only(block.offset),
            read_only(block.index),
            read_only(bare),
            offsets,
            indexes,
            counts,
        )
        for source, offset, index, count in zip(
            block.sources, offsets, indexes, counts, strict=True
        ):
            if offset >= 0:
                self._marks[source] = (int(offset), int(index))
                self._counts[source] = int(count)
        return fresh

    def past(self, source: Source, mark: Mark) -> None:
        """What lies here was refused: it is done with, and is no row."""
        self._marks[source] = max(self.of(source), mark)

    def reached(self, source: Source, mark: Mark) -> bool:
        """Whether the row at ``mark`` of this source was applied."""
        return self.of(source) >= mark

    def later(self, other: Marks) -> Marks:
        """The later mark of each source."""
        sources = {*self._marks, *other._marks}
        marks = {s: max(self.of(s), other.of(s)) for s in sources}
        return Marks(marks, {s: max(self.count(s), other.count(s)) for s in sources})

    def to_json(self) -> list[list[Any]]:
        return [
            [*source, *mark, self.count(source)] for source, mark in sorted(self._marks.items())
        ]

    @classmethod
    def from_json(cls, items: Iterable[Iterable[Any]]) -> Marks:
        kept = [(Source(t, p), (o, i), n) for t, p, o, i, n in items]
        return cls({s: mark for s, mark, _ in kept}, {s: count for s, _, count in kept})
