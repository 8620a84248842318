"""One node's rows in memory, laid out for search and kept in step with the store.

The store is the truth; a view is a copy that may be dropped at any time. It reads the segments behind
the last it has, whenever the store says that something was appended, so a row can be found as soon as
it is stored. It never takes the shard's lock: ingest does not notice it.

A node that was restored, moved here again or has let go of its rows gets a new view (`fresh`), because
its segments may have been cut anew.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from pctstream.agents.shard import LOCK_S, Node, Shard
from pctstream.core.alive import Alive, numbers
from pctstream.core.block import Block
from pctstream.core.columns import Columns
from pctstream.core.filters import Filter
from pctstream.core.identity import Identity
from pctstream.core.kernels import Int64
from pctstream.core.names import Path, node_name
from pctstream.core.portion import Portion
from pctstream.core.run import Part, Run
from pctstream.core.runs import Runs
from pctstream.core.walk import Int32
from pctstream.errors import NotReady

Mask = npt.NDArray[np.bool_]

BATCH_BYTES = 8 << 20
"""Segments are laid out so many bytes of vectors at a time, when many are read."""


class View:
    """Of one node on one shard; used by one thread at a time, but for `runs.replace`."""

    def __init__(self, shard: Shard, path: Path, dimension: int, after: int = -1) -> None:
        self.shard = shard
        self.path = path
        self.node: Node = shard.nodes[path]
        self.runs = Runs(dimension)
        self.segments: list[Identity] = []
        self.used = time.monotonic()
        self._columns: dict[int, Columns] = {}
        self._identities = 0
        """Bytes: asked for with every question, and there are many segments."""
        self._seen: tuple[int, int] | None = None
        self._purged = self._version[1]
        self.last = after
        """The last offset of the last segment read."""
        self._left_at = -1
        self._numbers: dict[int, int] = {}
        """Last offset of each segment -> its number."""
        self._gone: dict[int, Int64] = {}
        """Last offset of a segment -> its rows that have left; some may not be read yet."""
        self._alive: dict[int, Alive] = {}
        self.left = 0
        """How often rows have left."""

    @property
    def _version(self) -> tuple[int, int]:
        return self.shard.store.version(self.path)

    @property
    def fresh(self) -> bool:
        """Whether it is still a copy of what the store has, if perhaps of a moment ago."""
        same = self.shard.nodes.get(self.path) is self.node
        return same and self._version[1] == self._purged

    @property
    def level(self) -> bool:
        """Whether it has all that the store has by now."""
        return self._version == self._seen

    @property
    def nbytes(self) -> int:
        columns = sum(c.nbytes for c in list(self._columns.values()))
        return self.runs.nbytes + self._identities + columns

    def refresh(self, deadline: float) -> bool:
        """Read what was appended; False if the time (monotonic seconds) was over before all was read."""
        self.used = time.monotonic()
        version = self._version
        if version == self._seen:
            return True
        parts: list[Part] = []
        size, taken = 0, self.node.position.taken
        for last, rows in self.shard.store.segments(self.path, self.last):
            leaf = self.shard.store.leaves(self.path, last)
            parts.append(self._part(last, rows, leaf))
            size += rows.vectors.nbytes
            if size >= BATCH_BYTES:
                self.runs.take(parts)
                parts, size = [], 0
                if time.monotonic() > deadline:
                    self._leave(max(taken, self.last))
                    self._expect_same(deadline)
                    return False
        self.runs.take(parts)
        self._leave(max(taken, self.last))
        self._expect_same(deadline)
        self._seen = version
        return True

    def _expect_same(self, deadline: float) -> None:
        """No rows got other numbers while they were read; NotReady where some did."""
        lock = self.shard.store.renumbering
        if not lock.acquire(timeout=max(LOCK_S, deadline - time.monotonic())):
            raise NotReady(f"{node_name(self.path)} is being purged: ask again")
        lock.release()
        if self._version[1] != self._purged:
            raise NotReady(f"{node_name(self.path)} let go of rows meanwhile: ask again")

    def _leave(self, upto: int) -> None:
        """Read what left, up to the offset to which what came was read: so both are of one moment."""
        found: dict[int, list[int]] = {}
        for offset, left in self.shard.store.left(self.path, self._left_at):
            if offset > upto:
                break
            self._left_at = offset
            for last, row in left.tolist():
                found.setdefault(last, []).append(row)
        fresh = {last: np.array(rows, np.int64) for last, rows in found.items()}
        for last, rows in fresh.items():
            self._gone[last] = np.union1d(self._gone.get(last, rows[:0]), rows)
        known = {id(run) for run in self.runs.all()}
        self._alive = {key: alive for key, alive in self._alive.items() if key in known}
        if fresh:
            places = self._places(fresh)
            for alive in self._alive.values():
                alive.leave(places)
        self.left += len(found)

    def _places(self, left: dict[int, Int64]) -> Int64:
        """The rows of segments, by their last offsets, as `numbers`; of those that were read."""
        known = [
            numbers(self._numbers[last], rows)
            for last, rows in left.items()
            if last in self._numbers
        ]
        return np.concatenate([np.zeros(0, np.int64), *known])

    def alive(self, run: Run) -> Alive | None:
        """Which rows of a run count; None: all of them."""
        known = self._alive.get(id(run))
        if known is not None and known.run is run:
            return known
        if not self._gone:
            return None
        self._alive[id(run)] = alive = Alive(run)
        alive.leave(self._places(self._gone))
        return alive

    def _part(self, last: int, rows: Block, leaf: Int32) -> Part:
        place = np.empty((len(rows), 2), np.int64)
        place[:, 0], place[:, 1] = len(self.segments), np.arange(len(rows))
        self._numbers[last] = len(self.segments)
        self.segments.append(Identity.of(last, rows))
        self._identities += self.segments[-1].nbytes
        self.last = last
        fits = len(leaf) == len(rows)
        return rows.vectors, leaf if fits else np.zeros(len(rows), np.int32), place

    def segment(self, number: int) -> Block:
        """The rows of a segment as the store has them; LookupError if it was let go meanwhile."""
        found = self.shard.store.segment(self.path, self.segments[number].last)
        if found is None or len(found) != len(self.segments[number]):
            raise LookupError(f"{node_name(self.path)} has no segment {number} any more")
        return found

    def leaf_name(self, leaves: Int32, row: int) -> str:
        """The name of the node in which a row lies."""
        if not isinstance(self.node, Portion) or row >= len(leaves):
            return node_name(self.path)
        return node_name(self.node.subtree.nodes[int(leaves[row])].path)

    def leaves(self, number: int) -> Int32:
        """The number of the leaf of each row of a segment, as of now."""
        found, segment = self.shard.store.leaves(self.path, self.segments[number].last), number
        if len(found) not in (0, len(self.segments[segment])):
            raise LookupError(f"{node_name(self.path)} let go of rows of segment {number}")
        return found

    def find(self, name: str, hash_: int, origin: Any) -> list[tuple[int, int]]:
        """(segment, row) of the rows with this id, or of the one without any with this origin."""
        found: list[tuple[int, int]] = []
        for number, segment in enumerate(self.segments):
            rows = segment.find(name, hash_).tolist()
            if origin is not None:
                rows += segment.at(origin).tolist()
            gone = set(self._gone.get(segment.last, np.zeros(0, np.int64)).tolist())
            found += [(number, row) for row in rows if row not in gone]
        return found

    def columns(self, number: int) -> Columns:
        """The payloads of a segment."""
        if number not in self._columns:
            rows = self.segment(number)
            self._columns[number] = Columns(rows.payloads, rows.times, len(rows))
        return self._columns[number]

    def passing(
        self, wanted: Filter, runs: list[Run], deadline: float
    ) -> tuple[list[Mask], set[str]]:
        """Of each run bool[slots], the rows that pass a filter; and the fields that some row has."""
        names: set[str] = {"time"}
        passed: list[Mask] = []
        for number in range(len(self.segments)):
            columns = self.columns(number)
            columns.need(wanted.fields)
            names |= columns.names
            passed.append(wanted.mask(columns))
            if time.monotonic() > deadline:
                raise TimeoutError
        starts = np.cumsum([0, *map(len, passed)])
        every = np.concatenate([np.zeros(0, np.bool_), *passed])
        return [_by_slot(run, every, starts) for run in runs], names


def _by_slot(run: Run, passed: Mask, starts: Int64) -> Mask:
    rows = passed[starts[run.place[:, 0]] + run.place[:, 1]]
    there = np.flatnonzero(run.cells.rows >= 0)
    mask = np.zeros(len(run.cells.rows), np.bool_)
    mask[there] = rows[run.cells.rows[there]]
    return mask
