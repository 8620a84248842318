"""A shard's spatial index, kept in step with its store.

The store is the truth. Places are written in one WriteBatch with their rows, so whatever died, the index is
what is read from the store again; the regions only say where it is cut, any whole tree of them fits any
rows. A turn never waits for the index: it is read behind (`refresh`), before each question and each
adjustment, so a row can be found as soon as it is stored.

    stored -> store.placing -> places -> refresh -> index        a node that is answered for here
    deleted, superseded -> store.left -> refresh -> out of the index
    purged, moved away, not answered for any more -> out of the index

Only nodes that this shard answers for are in it: a portion that comes with its move is read in when
the shard becomes its owner, and out at the source by the same record. Until a node is read in whole, it
is not among those `searched`, and whoever asks says that the answer is partial.

Two locks: `_reading`, who reads from the store, and `_lock`, who changes or looks at the index, for a slice
at a time.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pctstream.agents.shard import Shard
from pctstream.core.adjust import Adjusted
from pctstream.core.geography import is_globe
from pctstream.core.granularity import Granularity
from pctstream.core.identity import Identity
from pctstream.core.kernels import Float64, Int64
from pctstream.core.names import Path
from pctstream.core.pace import Pace
from pctstream.core.places import Places
from pctstream.core.spatial import SpatialIndex
from pctstream.settings import SpatialSettings

SLICE_ROWS = 65_536
"""Put into the index before whoever waits has a turn."""
TURN_S = 0.0005
NO_NUMBER = "no number"


class Segment(NamedTuple):
    """Rows that the index knows by ``first``, ``first`` + 1, ...: of a node, up to an offset."""

    first: int
    rows: int
    path: Path
    last: int


@dataclass(slots=True)
class Part:
    """What of one node is in the index."""

    purged: int
    last: int = -1
    left: int = -1
    """The last offset at which rows left."""
    rows: int = 0
    seen: tuple[int, int] | None = None
    whole: bool = False
    """All that was stored when it was first looked at is in."""
    unplaced: Counter[str] = field(default_factory=Counter)


class ShardIndex:
    """Of one shard, for as long as its store is open here."""

    def __init__(self, shard: Shard, places: Places, settings: SpatialSettings) -> None:
        self.shard = shard
        self._places = places
        self._parts: dict[Path, Part] = {}
        self._segments: list[Segment] = []
        self._next = 0
        self.identities: OrderedDict[int, Identity] = OrderedDict()
        """Who the rows of some segments are, by their `first`."""
        self._reading = threading.Lock()
        self._lock = threading.Lock()
        self.latest: dict[str, Any] = {}
        """What the last adjustment did."""
        self.index = SpatialIndex(
            cells=settings.cells, bounds=settings.bounds,
            globe=is_globe(settings.coordinates, settings.x, settings.y),
        )  # fmt: skip
        try:
            if entries := shard.store.chart.regions():
                self.index.restore(entries)
        except (ValueError, struct.error):
            # not one whole tree: it is grown again, and what is left of the old one goes
            shard.store.chart.set_regions(dict.fromkeys(entries))
        shard.store.placing = places.entry

    # in step with the store

    def refresh(self, served: Collection[Path], deadline: float) -> bool:
        """What the store has of these nodes is in the index, and of no others; False if the time
        (monotonic seconds) was over before."""
        if not self._reading.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return False
        try:
            for path in [p for p in self._parts if p not in served or not self._fresh(p)]:
                self._drop(path)
            return all(self._catch_up(path, deadline) for path in sorted(served))
        finally:
            self._reading.release()

    def _fresh(self, path: Path) -> bool:
        return self._version(path)[1] == self._parts[path].purged

    def _version(self, path: Path) -> tuple[int, int]:
        return self.shard.store.versions.get(path, (0, 0))

    def _drop(self, path: Path) -> None:
        """All rows of a node go: it moved away, or was purged."""
        with self._lock:
            del self._parts[path]
            for segment in self._segments:
                if segment.path == path:
                    self.index.delete(np.arange(segment.first, segment.first + segment.rows))
            self._segments = [s for s in self._segments if s.path != path]

    def _catch_up(self, path: Path, deadline: float) -> bool:
        version = self._version(path)
        part = self._parts.get(path)
        if part is None:
            part = self._parts[path] = Part(version[1])
        if part.seen == version:
            return True
        some: list[tuple[int, Float64]] = []
        for last in self.shard.store.offsets(path, part.last):
            if (places := self._read(path, last)) is None:
                break  # purged meanwhile
            some.append((last, places))
            if sum(p.shape[1] for _, p in some) >= SLICE_ROWS:
                self._put(path, part, some)
                some = []
                if time.monotonic() > deadline:
                    return False
        self._put(path, part, some)
        self._follow_left(path, part)
        with self.shard.store.renumbering:
            if not self._fresh(path):
                part.whole = False  # rows got other numbers while they were read
                return False
        part.seen, part.whole = version, True
        return True

    def _follow_left(self, path: Path, part: Part) -> None:
        """Rows that left are out, as far as the segments were read that they were in."""
        firsts: dict[int, int] = {}
        for offset, left in self.shard.store.left(path, part.left):
            firsts = firsts or {s.last: s.first for s in self._segments if s.path == path}
            if any(last not in firsts for last in left[:, 0].tolist()):
                return  # they came meanwhile: next time
            keys = np.array([firsts[last] for last in left[:, 0].tolist()], np.int64) + left[:, 1]
            with self._lock:
                self.index.delete(keys)
            part.left, part.rows = offset, part.rows - len(keys)

    def _read(self, path: Path, last: int) -> Float64 | None:
        """The places of a segment; made from its rows, and kept, where there are none to be read."""
        store = self.shard.store
        found = self._places.from_bytes(store.chart.places(path, last))
        if found is not None:
            return found
        rows = store.segment(path, last)
        if rows is None:
            return None
        found = self._places.of(rows)
        with self.shard.lock:  # not while a turn lets go of the rows
            if self._fresh(path) and next(store.offsets(path, last - 1), None) == last:
                store.chart.place(path, last, self._places.to_bytes(found))
        return found

    def _put(self, path: Path, part: Part, some: list[tuple[int, Float64]]) -> None:
        if not some:
            return
        with self._lock:
            first = self._next
            for last, places in some:
                rows = places.shape[1]
                self._segments.append(Segment(self._next, rows, path, last))
                self._next += rows
                part.last, part.rows = last, part.rows + rows
            x, y = np.concatenate([places for _, places in some], axis=1)
            there = np.flatnonzero(~(np.isnan(x) | np.isnan(y)))
            part.unplaced[NO_NUMBER] += len(x) - len(there)
            put = self.index.insert(first + there, x[there], y[there])
            part.unplaced.update(put.refused)

    # adjusting

    def configure(self, settings: dict[str, Any]) -> None:
        """Other limits, effective at the next adjustment, and another pace from now on."""
        named = {name: settings[name] for name in Granularity.__dataclass_fields__}
        pace = self.index.pace
        with self._lock:
            self.index.configure(Granularity(**named))
            self.index.pace = Pace(
                float(settings["interval_s"]), int(settings["change_rows"]),
                float(settings["change_fraction"]),
            )  # fmt: skip
            self.index.pace.follow(pace)

    def adjust(self, now_s: float, closing: Callable[[], bool]) -> Adjusted:
        """One adjustment, in slices between which others have a turn; its regions are written."""
        with self._lock:
            work, took = self.index.adjust(now_s), None
        while not closing():
            with self._lock:
                began = time.thread_time()
                try:
                    work.send(took)
                except StopIteration:
                    break
                took = time.thread_time() - began
            time.sleep(TURN_S)
        with self._lock:
            if self.index.density_map.bounds:
                self.shard.store.chart.set_regions(self.index.regions.changes())
            return self.index.last

    # looking

    @contextmanager
    def look(self) -> Iterator[SpatialIndex]:
        """The index while nobody changes it."""
        with self._lock:
            yield self.index

    @property
    def state(self) -> tuple[int, ...]:
        """Another one when there is something new to tell."""
        return self._next, len(self.index), len(self.index.regions), len(self._parts)

    def whole(self, *, current: bool = False) -> dict[Path, Part]:
        """The nodes whose rows are in the index: all up to the last `refresh` that had the time for it,
        or, with ``current``, all that is stored now."""
        parts = {path: part for path, part in sorted(self._parts.items()) if part.whole}
        return {p: one for p, one in parts.items() if not current or one.seen == self._version(p)}

    def rows_in(self, level_below: int) -> int:
        """Rows of nodes above a level."""
        parts = list(self._parts.items())
        return sum(part.rows for path, part in parts if len(path) - 1 < level_below)

    def unplaced(self) -> Counter[str]:
        """Rows that are stored and have no place, by why."""
        total: Counter[str] = Counter()
        for part in list(self._parts.values()):
            total.update(part.unplaced)
        return total

    def segments_of(self, keys: Int64) -> list[tuple[Segment, int]]:
        """Segment and row of each key that was found, while `look`ing."""
        firsts = np.array([segment.first for segment in self._segments], np.int64)
        numbers = np.searchsorted(firsts, keys, side="right") - 1
        return [
            (self._segments[number], key - self._segments[number].first)
            for number, key in zip(numbers.tolist(), keys.tolist(), strict=True)
        ]
