"""Which stored rows leave: from the origin of a row to the segment it lies in, and its place there.

Rows of one source come to a pipe in order, and a segment holds what came in one unit. So the first
origin of each source in each segment says where a row is: no index of ids is needed. Nothing is read,
and nothing kept in memory, before the first row leaves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from pctstream.core.block import Block, Origin, Source
from pctstream.core.kernels import Int64
from pctstream.core.walk import Int32

Piece = tuple[Block, Int32]
"""The rows of a segment and the number of the leaf of each."""
First = tuple[str, int, int, int]


class Kept(Protocol):
    """What lies in the store of a node."""

    def firsts(self) -> Iterator[tuple[int, list[First]]]: ...

    def piece(self, segment: int) -> Piece | None: ...


class Nothing:
    """A store without anything."""

    def firsts(self) -> Iterator[tuple[int, list[First]]]:
        return iter(())

    def piece(self, segment: int) -> Piece | None:
        return None


def firsts(rows: Block) -> list[First]:
    """The first origin of each source that has rows here.

    >>> block = Block((Source("t", 0), Source("t", 1)), *(np.array(a) for a in ([1, 1], [5, 6], [0, 0])),
    ...               np.zeros((2, 1), np.float32))
    >>> firsts(block)
    [('t', 1, 5, 0)]
    """
    numbers, first = np.unique(rows.source, return_index=True)
    return [
        (*rows.sources[number], int(rows.offset[row]), int(rows.index[row]))
        for number, row in zip(numbers.tolist(), first.tolist(), strict=True)
    ]


class Leaving:
    """Of one node; rows that came in this turn are not in the store yet."""

    def __init__(self, kept: Kept | None = None) -> None:
        self._kept = Nothing() if kept is None else kept
        self._places: dict[Source, tuple[list[tuple[int, int]], list[int]]] | None = None
        self._recent: dict[int, Piece] = {}
        self._done: list[int] = []

    def came(self, segment: int, rows: Block, leaves: Int32) -> None:
        """These rows will be in the store once their unit is done."""
        self._recent[segment] = rows, leaves
        if self._places is not None:
            self._add(segment, firsts(rows))

    def done(self, segment: int) -> None:
        """The store is told to write it in this turn."""
        self._done.append(segment)

    def turn(self) -> None:
        """Another turn begins: what was done is in the store."""
        for segment in self._done:
            self._recent.pop(segment, None)
        self._done = []

    def forget(self) -> None:
        """The store lets go of all rows."""
        self._places, self._recent = {}, {}

    def left(self, entries: Block) -> tuple[Int64, Int32]:
        """(segment, row) i64[m, 2] of the rows that leave because of these entries, and the leaf int32[m]
        of each; what is not here is somewhere else."""
        changes = entries.changes
        found: list[tuple[int, int, int]] = []
        if changes is not None:
            by_segment: dict[int, list[Origin]] = {}
            for row in np.flatnonzero(changes.leaves).tolist():
                source = entries.sources[int(changes.source[row])]
                origin = Origin(*source, int(changes.offset[row]), int(changes.index[row]))
                by_segment.setdefault(self._segment(origin), []).append(origin)
            for segment, origins in by_segment.items():
                found += self._rows(segment, origins)
        table = np.array(found, np.int64).reshape(-1, 3)
        return table[:, :2], table[:, 2].astype(np.int32)

    def _segment(self, origin: Origin) -> int:
        """The only segment that may have it; -1: none."""
        if self._places is None:
            self._places = {}
            for segment, first in self._kept.firsts():
                self._add(segment, first)
            for segment, (rows, _) in self._recent.items():
                self._add(segment, firsts(rows))
        starts, segments = self._places.get(Source(*origin[:2]), ([], []))
        at = bisect_right(starts, (origin.offset, origin.index)) - 1
        return segments[at] if at >= 0 else -1

    def _add(self, segment: int, first: Iterable[First]) -> None:
        assert self._places is not None
        for topic, partition, offset, index in first:
            starts, segments = self._places.setdefault(Source(topic, partition), ([], []))
            if not starts or starts[-1] < (offset, index):
                starts.append((offset, index))
                segments.append(segment)

    def _rows(self, segment: int, origins: list[Origin]) -> Iterator[tuple[int, int, int]]:
        piece = self._recent.get(segment) or self._kept.piece(segment)
        if piece is None:
            return
        rows, leaves = piece
        for source in dict.fromkeys(Source(*o[:2]) for o in origins):
            if source not in rows.sources:
                continue
            mine = np.flatnonzero(rows.source == rows.sources.index(source))
            offsets = rows.offset[mine]
            for origin in origins:
                if origin[:2] == source:
                    row = _row(rows, mine, offsets, origin)
                    if row >= 0:
                        yield segment, row, int(leaves[row]) if row < len(leaves) else 0


def _row(rows: Block, mine: Int64, offsets: Any, origin: Origin) -> int:
    low, high = np.searchsorted(offsets, [origin.offset, origin.offset + 1])
    at = low + np.searchsorted(rows.index[mine[low:high]], origin.index)
    if at >= high or rows.index[mine[at]] != origin.index:
        return -1
    row = int(mine[at])
    return row if rows.changes is None or not rows.changes.bare[row] else -1
