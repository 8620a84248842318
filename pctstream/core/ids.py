"""Ids above the cut: which entries a block becomes, so that the newest row of an id is the only one (R11).

N0 knows of each id of its partition which child has its newest row, and where that came from. So each
row below can name the row that leaves because of it, by origin, and portions need no index of ids:

    a row whose id is at another child --> the row to its own child, a bare entry to that one
    a row whose id is at the same child -> the row, which says what leaves
    a delete -------------------------> a bare entry to the child that has it; nothing, if none has
    an expiry ------------------------> the same to every child

An entry has the origin of the row that causes it, so that the marks of every pipe rise (R3). A trunk
node has no directory: what leaves is told to all its children, and the one that has it lets it go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pctstream.core import expiry
from pctstream.core.block import Block, Source
from pctstream.core.changes import BARE, NONE, Changes, stacked
from pctstream.core.directory import Directory
from pctstream.core.drawer import Change, Drawer
from pctstream.core.kernels import Int64
from pctstream.core.keys import hashes64
from pctstream.core.leaving import Kept, Leaving
from pctstream.core.walk import Int32
from pctstream.core.young import ENTRY, NOWHERE, Entries


def named(rows: Block) -> tuple[Int64, Entries]:
    """Which entries have an id, and these as a directory takes them: with their keys only."""
    if rows.ids is None:
        return np.zeros(0, np.int64), np.zeros(0, ENTRY)
    places = np.arange(len(rows))
    if rows.ids.null_count:
        places = np.flatnonzero(np.asarray(rows.ids.is_valid()))
    entries = np.zeros(len(places), ENTRY)
    entries["key"] = hashes64(rows.ids.drop_null() if rows.ids.null_count else rows.ids)
    return places, entries


class Below:
    """The ids that N0 has sent down: which child has each."""

    def __init__(self, drawer: Drawer | None = None, sources: Iterable[Source] = ()) -> None:
        self._directory = Directory(drawer, forgotten=self._expired)
        self.sources = list(sources)
        """Their numbers in the directory."""
        self._upto: dict[int, int] = {}
        """Number of a source -> the offset before which its rows have expired."""

    def __len__(self) -> int:
        return len(self._directory)

    def done(self, unit: int) -> tuple[Change, ...]:
        """What to write with the unit."""
        return tuple(self._directory.done(unit))

    def _expired(self, entries: Entries) -> npt.NDArray[np.bool_]:
        upto = np.zeros(len(self.sources) + 1, np.int64)
        for number, offset in self._upto.items():
            upto[number] = offset
        found: npt.NDArray[np.bool_] = entries["offset"] < upto[entries["source"]]
        return found & (entries["child"] >= 0)

    def turned(self, unit: int, rows: Block, child: Int32, k: int = 0) -> tuple[Block, Int32]:
        """The entries that go down for these rows and deletes, and the child of each.

        ``child`` int32[n]: where each row goes, -1 for a delete, or an expiry, which goes to all of
        ``k`` children. ``unit`` is never smaller than before.
        """
        places, entries = named(rows)
        old = np.zeros(0, ENTRY)
        if len(places):
            numbers = np.array([self._number(s) for s in rows.sources], np.int32)
            entries["child"], entries["source"] = child[places], numbers[rows.source[places]]
            entries["offset"], entries["index"] = rows.offset[places], rows.index[places]
            old = self._directory.exchange(unit, entries)
        there = old["child"] >= 0
        if rows.changes is None and not there.any():
            return rows, child
        was = np.zeros(len(rows), ENTRY)
        was["child"] = NOWHERE
        was[places[there]] = old[there]
        same = (child >= 0) & (was["child"] == child)
        away = np.flatnonzero((was["child"] >= 0) & ~same)
        bring = np.flatnonzero(child >= 0)
        pick = np.concatenate([bring, away])
        to = np.concatenate([child[bring], was["child"][away]]).astype(np.int32)
        says = np.concatenate([same[bring], np.ones(len(away), np.bool_)])
        bare = np.repeat([0, 1], [len(bring), len(away)]).astype(np.int8)
        sources, numbers = self._with_mine(rows.sources)
        changes = Changes(
            bare, np.where(says, numbers[was["source"][pick]], 0).astype(np.int32),
            np.where(says, was["offset"][pick], NONE), np.where(says, was["index"][pick], 0),
        )  # fmt: skip
        if rows.changes is not None and (over := np.flatnonzero(rows.changes.expires)).size:
            for _, source, offset in expiry.places(rows):
                number = self._number(source)
                self._upto[number] = max(self._upto.get(number, 0), offset)
            pick = np.concatenate([pick, np.repeat(over, k)])
            to = np.concatenate([to, np.tile(np.arange(k, dtype=np.int32), len(over))])
            changes = stacked([changes, rows.changes.at(np.repeat(over, k))])
        return _laid_out(replace(rows, sources=sources), pick, to, changes)

    def _number(self, source: Source) -> int:
        if source not in self.sources:
            self.sources.append(source)
        return self.sources.index(source)

    def _with_mine(self, sources: tuple[Source, ...]) -> tuple[tuple[Source, ...], Int32]:
        """A block's sources and the directory's, and where among them each of the directory's is."""
        both = tuple(dict.fromkeys([*sources, *self.sources]))
        places = [both.index(s) for s in self.sources]
        return both, np.array(places or [0], np.int32)


class Here:
    """The ids of the rows that are stored at N0: which segment, and which row of it, as it came, has it."""

    def __init__(self, drawer: Drawer | None = None, kept: Kept | None = None) -> None:
        self._directory = Directory(drawer)
        self._leaving = Leaving(kept)
        self._coming: deque[int] = deque()
        self.expired = 0
        """Rows that left because of their age, until somebody counts them."""

    def done(self, unit: int) -> tuple[Change, ...]:
        """What to write with the unit."""
        while self._coming and self._coming[0] <= unit:
            self._leaving.done(self._coming.popleft())
        return tuple(self._directory.done(unit))

    def purged(self) -> None:
        """Rows in the store have got other numbers, and nothing is on its way there."""
        self._leaving = self._leaving.again()

    def left(self, unit: int, rows: Block, stays: bool) -> Int64 | None:
        """(segment, row) i64[m, 2] of what leaves because of these, which are stored as segment ``unit``
        themselves if they ``stay``: a delete has left when it comes. None: nothing leaves."""
        self._leaving.turn()
        if stays and len(rows):
            self._leaving.came(unit, rows, np.zeros(len(rows), np.int32))
            self._coming.append(unit)
        places, entries = named(rows)
        expires = rows.changes is not None and rows.changes.expires.any()
        if not len(places) and not expires:
            return None
        brings = np.ones(len(rows), np.bool_) if rows.changes is None else rows.changes.brings
        entries["child"] = np.where(brings[places] & stays, 0, NOWHERE)
        entries["offset"], entries["index"] = unit, places
        old = self._directory.exchange(unit, entries)
        old = old[old["child"] >= 0]
        places = np.stack([old["offset"], old["index"].astype(np.int64)], axis=1)
        left = self._leaving.once(self._leaving.now(places))
        if expires:
            aged = self._leaving.left(rows)
            self.expired += aged.expired
            left = np.concatenate([left, aged.places])
        if stays and rows.changes is not None:
            bare = np.flatnonzero(rows.changes.bare)
            left = np.concatenate([left, np.stack([np.full(len(bare), unit), bare], axis=1)])
        return left if len(left) else None


def told_to_all(rows: Block, child: Int32, k: int) -> tuple[Block, Int32]:
    """Of a trunk node: its rows to their children int32[n], -1 for bare entries; and what leaves is told
    to all ``k`` of them."""
    if rows.changes is None:
        return rows, child
    leaving = np.flatnonzero(rows.changes.leaves)
    others, of = np.repeat(leaving, k), np.tile(np.arange(k, dtype=np.int32), len(leaving))
    away = of != child[others]
    bring = np.flatnonzero(child >= 0)
    pick = np.concatenate([bring, others[away]])
    to = np.concatenate([child[bring], of[away]]).astype(np.int32)
    said = np.maximum(rows.changes.bare[others[away]], BARE)
    bare = np.concatenate([np.zeros(len(bring), np.int8), said]).astype(np.int8)
    return _laid_out(rows, pick, to, replace(rows.changes.at(pick), bare=bare))


def _laid_out(rows: Block, pick: Int64, to: Int32, changes: Changes) -> tuple[Block, Int32]:
    """The rows picked as entries, in their order; bare ones say nothing but their id."""
    order = np.argsort(pick, kind="stable")
    pick, to, changes = pick[order], to[order], changes.at(order)
    bare = changes.bare != 0
    found = rows.take(pick)
    vectors = found.vectors.copy()
    vectors[bare] = 0.0
    payloads: Any = rows.payloads
    if payloads is not None:
        payloads = payloads.take(pa.array(pick, mask=bare))
    return replace(found, vectors=vectors, payloads=payloads, changes=changes), to
