"""Which stored rows leave: from the origin of a row to the segment it lies in, and its place there.

Rows of one source come to a pipe in order, and a segment holds what came in one unit. So the first
origin of each source in each segment says where a row is: no index of ids is needed. Nothing is read,
and nothing kept in memory, before the first row leaves.

A row leaves once: who names one that has left before (an id that comes back after its row expired, an
expiry that comes twice) names nothing. So it is known of each row that has left, as one byte.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from pctstream.core import expiry
from pctstream.core.block import Block, Origin, Source
from pctstream.core.fading import Float64, times_of
from pctstream.core.kernels import Int64
from pctstream.core.walk import Int32

Piece = tuple[Block, Int32]
"""The rows of a segment and the number of the leaf of each."""
First = tuple[str, int, int, int]


PURGE_SHARE, PURGE_ROWS = 4, 8
"""Rows that left are purged once they are this part of those stored, and so many."""


class Kept(Protocol):
    """What lies in the store of a node."""

    def firsts(self) -> Iterator[tuple[int, list[First]]]: ...

    def piece(self, segment: int) -> Piece | None: ...

    def gone(self) -> Mapping[int, Int64]: ...

    def numbers(self, segment: int) -> Int32 | None: ...


class Nothing:
    """A store without anything."""

    def firsts(self) -> Iterator[tuple[int, list[First]]]:
        return iter(())

    def piece(self, segment: int) -> Piece | None:
        return None

    def gone(self) -> Mapping[int, Int64]:
        return {}

    def numbers(self, segment: int) -> Int32 | None:
        return None


class Left(NamedTuple):
    """Rows that leave: (segment, row) i64[m, 2], the leaf int32[m] of each, and how many expired."""

    places: Int64
    leaf: Int32
    expired: int = 0


def to_purge(rows: int, gone: int, purged: int) -> bool:
    """Whether enough of all rows that came have left, and lie in the store, to be taken off it.

    >>> to_purge(40, 10, 0), to_purge(40, 9, 0), to_purge(40, 19, 10)
    (True, False, True)
    """
    return gone - purged >= max(PURGE_ROWS, (rows - purged) // PURGE_SHARE)


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
        self._gone: dict[int, Any] = {}
        """Segment -> bool[rows]: which have left."""
        self._expired: dict[Source, int] = {}

    def again(self) -> Leaving:
        """The same, where rows in the store have got other numbers, and nothing is on its way there."""
        fresh = Leaving(self._kept)
        fresh._expired = self._expired
        return fresh

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
        self._places, self._recent, self._gone = {}, {}, {}

    def left(self, entries: Block) -> Left:
        """The rows that leave because of these entries; what is not here is somewhere else, or left
        before."""
        found: list[tuple[int, int, int]] = []
        changes = entries.changes
        if changes is not None:
            by_segment: dict[int, list[Origin]] = {}
            for row in np.flatnonzero(changes.names).tolist():
                source = entries.sources[int(changes.source[row])]
                origin = Origin(*source, int(changes.offset[row]), int(changes.index[row]))
                by_segment.setdefault(self._segment(origin), []).append(origin)
            for segment, origins in by_segment.items():
                found += self._rows(segment, origins)
        named = self.once(np.array(found, np.int64).reshape(-1, 3))
        old = [self._old(source, offset) for _, source, offset in expiry.places(entries)]
        expired = self.once(np.concatenate([named[:0], *old]))
        table = np.concatenate([named, expired])
        return Left(table[:, :2], table[:, 2].astype(np.int32), len(expired))

    def now(self, table: Int64) -> Int64:
        """Of (segment, row) i64[m, 2] as they were when the segments came, those that are still there,
        as they are since a purge."""
        parts = [table[:0]]
        for segment in np.unique(table[:, 0]).tolist():
            rows = table[table[:, 0] == segment, 1]
            numbers = None if segment in self._recent else self._kept.numbers(segment)
            if numbers is not None:
                at = np.searchsorted(numbers, rows)
                there = at < len(numbers)
                there[there] = numbers[at[there]] == rows[there]
                rows = at[there]
            parts.append(np.stack([np.full(len(rows), segment), rows], axis=1))
        return np.concatenate(parts)

    def times(self, places: Int64) -> Float64:
        """The times f64[m] in seconds of rows at (segment, row) i64[m, 2]; NaN where one has none."""
        found = np.full(len(places), np.nan)
        for segment in np.unique(places[:, 0]).tolist():
            mine = places[:, 0] == segment
            if (piece := self._piece(segment)) is not None:
                found[mine] = times_of(piece[0])[places[mine, 1]]
        return found

    def once(self, table: Int64) -> Int64:
        """Of places i64[m, 2 or more], (segment, row) first, each that has not left before: it has now."""
        if not len(table):
            return table
        self._load()
        table = np.unique(table, axis=0)
        segments, starts = np.unique(table[:, 0], return_index=True)
        parts = np.split(table, starts[1:])
        return np.concatenate([
            part[~self._leave(segment, part[:, 1])]
            for segment, part in zip(segments.tolist(), parts, strict=True)
        ])  # fmt: skip

    def _leave(self, segment: int, rows: Int64) -> Any:
        """bool[n]: which of these rows have left before; all have now."""
        held = self._gone.get(segment, np.zeros(0, np.bool_))
        lacks = int(rows.max()) + 1 - len(held)
        if lacks > 0:
            held = np.concatenate([held, np.zeros(lacks, np.bool_)])
        before = held[rows]
        held[rows] = True
        self._gone[segment] = held
        return before

    def _old(self, source: Source, offset: int) -> Int64:
        """(segment, row, leaf) of the rows of a source before an offset, without most of those that
        expired before."""
        places = self._load().get(source, ([], []))
        done, parts = self._expired.get(source, 0), [np.zeros((0, 3), np.int64)]
        self._expired[source] = max(done, offset)
        first = max(0, bisect_left(places[0], (done, 0)) - 1)
        for segment in places[1][first : bisect_left(places[0], (offset, 0))]:
            piece = self._piece(segment)
            if piece is None or source not in piece[0].sources:
                continue
            rows, leaves = piece
            old = (rows.source == rows.sources.index(source)) & (rows.offset < offset)
            if rows.changes is not None:
                old &= rows.changes.brings
            mine = np.flatnonzero(old)
            leaf = leaves[mine] if len(leaves) == len(rows) else np.zeros(len(mine), np.int32)
            parts.append(np.stack([np.full(len(mine), segment), mine, leaf], axis=1))
        return np.concatenate(parts)

    def _load(self) -> dict[Source, tuple[list[tuple[int, int]], list[int]]]:
        if self._places is None:
            self._places = {}
            for segment, first in self._kept.firsts():
                self._add(segment, first)
            for segment, (rows, _) in self._recent.items():
                self._add(segment, firsts(rows))
            for segment, gone in self._kept.gone().items():
                self._leave(segment, gone)
        return self._places

    def _piece(self, segment: int) -> Piece | None:
        return self._recent.get(segment) or self._kept.piece(segment)

    def _segment(self, origin: Origin) -> int:
        """The only segment that may have it; -1: none."""
        starts, segments = self._load().get(Source(*origin[:2]), ([], []))
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
        piece = self._piece(segment)
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
