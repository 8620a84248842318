"""Expiry: rows leave some time after they came (`ingest.ttl_s`).

Theory of operation
-------------------
The ingest log is the clock. What lies before a place of a partition came before what lies behind it,
so "older than so long" is a place in the log, and all that expires at once is one message: of each
source that comes through this ingest partition (itself, and those bridged into it) a place, before
which all rows leave. A timer decides when one is written and how far it reaches (`agents.expiry`); what
it does follows from where it stands, at every reader alike (R0), and two that repeat each other do no
harm, since a row leaves once (`leaving`).

    message in `<tree>.P0`, `pct-type: expire` -> N0: a bare entry (`changes`) to every child -> rows leave

An entry reaches no farther than what came before it (`bounded`), so whatever is below its place has
passed every pipe before it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from pctstream.core.block import Block, Source
from pctstream.core.changes import EXPIRY, Changes
from pctstream.core.marks import Marks
from pctstream.core.unit import Message

EXPIRE = "expire"
"""The header `pct-type` of such a message."""
_LARGEST = 1 << 62


def said(before: Mapping[Source, int]) -> bytes:
    """What a message says: of each source the offset before which its rows leave."""
    return orjson.dumps([[*source, offset] for source, offset in sorted(before.items())])


def entries(home: Source, message: Message, dimension: int) -> list[Block]:
    """The entries of a message that stands in the partition ``home``; none where it says nothing.

    >>> [found] = entries(Source("t", 0), Message(9, None, said({Source("t", 0): 70})), 2)
    >>> found.changes.bare.tolist(), found.changes.offset.tolist()
    ([2], [9])
    """
    with suppress(ValueError, TypeError, OverflowError):
        read = [(Source(str(t), int(p)), int(o)) for t, p, o in orjson.loads(message.value or b"")]
        places = [(s, o) for s, o in read if 0 <= o < _LARGEST and 0 <= s.partition < 1 << 31]
        if places:
            return [_block(home, message.offset, places, dimension)]
    return []


def _block(home: Source, at: int, places: list[tuple[Source, int]], dimension: int) -> Block:
    count = len(places)
    sources = tuple(dict.fromkeys([home, *(source for source, _ in places)]))
    offsets = [min(offset, at) if source == home else offset for source, offset in places]
    zeros = np.zeros(count, np.int32)
    changes = Changes(
        np.full(count, EXPIRY, np.int8),
        np.array([sources.index(source) for source, _ in places], np.int32),
        np.array(offsets, np.int64), zeros,
    )  # fmt: skip
    return Block(
        sources, zeros, np.full(count, at, np.int64), np.arange(count, dtype=np.int32),
        np.zeros((count, dimension), np.float32), changes=changes,
    )  # fmt: skip


def places(rows: Block) -> list[tuple[int, Source, int]]:
    """(number of the entry, source, offset before which its rows leave) of each expiry among these."""
    changes = rows.changes
    if changes is None or not changes.expires.any():
        return []
    return [
        (row, rows.sources[int(changes.source[row])], int(changes.offset[row]))
        for row in np.flatnonzero(changes.expires).tolist()
    ]


def bounded(rows: Block, own: Source, marks: Marks) -> Block:
    """The same entries of the ingest partition ``own``, read behind ``marks``; of other sources none
    expires what has not come yet."""
    found = [(row, source, offset) for row, source, offset in places(rows) if source != own]
    if not found or rows.changes is None:
        return rows
    reach = rows.changes.offset.copy()
    for row, source, offset in found:
        mine = rows.source[:row] == rows.sources.index(source)
        came = [marks.of(source)[0], *rows.offset[:row][mine].tolist()]
        reach[row] = min(offset, max(came) + 1)
    return replace(rows, changes=replace(rows.changes, offset=reach))


class Expired:
    """Of the sources of one ingest partition: how far each has expired, and the newest row of it."""

    def __init__(self, own: Source, saved: Iterable[Iterable[Any]] = ()) -> None:
        self._own = own
        told = [(Source(t, p), int(upto), int(newest)) for t, p, upto, newest in saved]
        self._upto = {source: upto for source, upto, _ in told}
        self._newest = {source: newest for source, _, newest in told}

    def take(self, rows: Block | None) -> None:
        """The next entries of the partition."""
        if rows is None:
            return
        brings = np.ones(len(rows), np.bool_) if rows.changes is None else rows.changes.brings
        for row, source, offset in places(rows):
            self._upto[source] = max(self._upto.get(source, 0), offset)
            if source == self._own:
                self._newest.setdefault(source, int(rows.offset[row]) - 1)
        for number, source in enumerate(rows.sources):
            mine = rows.offset[brings & (rows.source == number)]
            if len(mine):
                self._newest[source] = int(mine[-1])

    def next(self, source: Source, offset: int, step: int) -> int | None:
        """How far rows of a source may expire now, of which those before ``offset`` are old, at most
        ``step`` messages at a time; None: none of them is left.

        >>> known = Expired(Source("t", 0), [["t", 0, 5, 8]])
        >>> [known.next(Source("t", 0), *asked) for asked in ((7, 10), (7, 1), (5, 10))]
        [7, 6, None]
        """
        upto = self._upto.get(source, 0)
        if offset <= upto or self._newest.get(source, upto) < upto:
            return None
        return min(offset, upto + step)

    def to_json(self) -> list[list[Any]]:
        """Absolute; what a store keeps of it may be ahead of its position, since no row depends on it."""
        known = sorted({*self._upto, *self._newest})
        return [[*s, self._upto.get(s, 0), self._newest.get(s, _LARGEST)] for s in known]
