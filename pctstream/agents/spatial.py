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
from functools import partial
from typing import Any

import numpy as np

from pctstream.agents.overflow import SLICE_ROWS, Slice, overflow
from pctstream.agents.ration import Ration
from pctstream.agents.segments import Part, Segment, named
from pctstream.agents.shard import Shard
from pctstream.core.adjust import Adjusted
from pctstream.core.geography import is_globe
from pctstream.core.granularity import Granularity
from pctstream.core.identity import Identity
from pctstream.core.kernels import Float64, Int64
from pctstream.core.names import Path
from pctstream.core.pace import Pace
from pctstream.core.places import Places
from pctstream.core.promoted import Above
from pctstream.core.spatial import EVERY, SpatialIndex
from pctstream.settings import SpatialSettings

TURN_S = 0.0005
NO_NUMBER = "no number"
SEGMENT_BYTES = 200
"""What is remembered of a segment."""


class ShardIndex:
    """Of one shard, for as long as its store is open here."""

    def __init__(
        self, shard: Shard, places: Places, settings: SpatialSettings, ration: Ration
    ) -> None:
        self.shard = shard
        self._places = places
        self._ration = ration
        self._parts: dict[Path, Part] = {}
        self._segments: list[Segment] = []
        self._next = 0
        self.identities: OrderedDict[tuple[Path, int], Identity] = OrderedDict()
        """Who the rows of some segments are."""
        self._reading = threading.Lock()
        self._lock = threading.Lock()
        self.latest: dict[str, Any] = {}
        """What the last adjustment did."""
        globe = is_globe(settings.coordinates, settings.x, settings.y)
        self.another = partial(
            SpatialIndex, cells=settings.cells, bounds=settings.bounds, globe=globe
        )
        """Makes an empty index like this one."""
        self.index = self.another()
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
        part = self._parts.get(path)
        return part is not None and self.shard.store.version(path)[1] == part.purged

    def _drop(self, path: Path) -> None:
        """All rows of a node go: it moved away, or was purged."""
        with self._lock:
            del self._parts[path]
            for segment in self._segments:
                if segment.path == path:
                    self.index.delete(np.arange(segment.first, segment.first + segment.rows))
            self._segments = [s for s in self._segments if s.path != path]
            self._ration.take(self, self._bytes_with(0, 0))

    def _catch_up(self, path: Path, deadline: float) -> bool:
        version = self.shard.store.version(path)
        part = self._parts.get(path)
        if part is None:
            part = self._parts[path] = Part(version[1])
        if part.seen == version or part.left_out:
            part.seen = version
            return True
        some: list[tuple[int, Float64]] = []
        for last in self.shard.store.offsets(path, part.last):
            if (places := self.read(path, last)) is None:
                break  # purged meanwhile
            some.append((last, places))
            if sum(p.shape[1] for _, p in some) >= SLICE_ROWS:
                if not self._put(path, part, some):
                    return self._leave_out(path, part, version)
                some = []
                if time.monotonic() > deadline:
                    return False
        if not self._put(path, part, some):
            return self._leave_out(path, part, version)
        self._follow_left(path, part)
        if not self.shard.store.numbered_as(path, part.purged):
            part.whole = False
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

    def read(self, path: Path, last: int) -> Float64 | None:
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

    def _put(self, path: Path, part: Part, some: list[tuple[int, Float64]]) -> bool:
        """Whether there was room for them."""
        if not some:
            return True
        with self._lock:
            came = sum(places.shape[1] for _, places in some)
            if not self._ration.take(self, self._bytes_with(came, len(some))):
                part.rows += came
                return False
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
            return True

    # where there is no room

    def _bytes_with(self, rows: int, segments: int) -> int:
        size = SEGMENT_BYTES * (len(self._segments) + segments)
        return self.index.bytes_with(rows) + size

    def _leave_out(self, path: Path, part: Part, version: tuple[int, int]) -> bool:
        """A node that does not fit goes as a whole, so that what is said of the others is whole."""
        self._drop(path)
        self._parts[path] = Part(
            version[1], rows=part.rows, seen=version, whole=True, left_out=True
        )
        return True

    def left_out(self) -> list[Path]:
        """The nodes that are read from the store for each question."""
        return [path for path, part in sorted(self._parts.items()) if part.left_out]

    def beside(self, deadline: float) -> Iterator[Slice]:
        """Their rows; NotReady if the time (monotonic seconds) is over before."""
        for path in self.left_out():
            yield from overflow(self, path, deadline)

    def try_again(self) -> None:
        """Nodes that were left out are read in, if there is room for twice what was read of them then."""
        for path in self.left_out():
            with self._lock:
                needed = self._bytes_with(2 * self._parts[path].rows, 0)
            if needed <= self._ration.left(self):
                with self._reading:
                    self._parts.pop(path, None)

    # adjusting

    def configure(self, settings: dict[str, Any]) -> None:
        """Other limits, effective at the next adjustment, and another pace from now on."""
        fine = {name: settings[name] for name in Granularity.__dataclass_fields__}
        pace = self.index.pace
        with self._lock:
            self.index.configure(Granularity(**fine))
            self.index.pace = Pace(
                float(settings["interval_s"]), int(settings["change_rows"]),
                float(settings["change_fraction"]),
            )  # fmt: skip
            self.index.pace.follow(pace)

    def adjust(self, now_s: float, closing: Callable[[], bool]) -> Adjusted:
        """One adjustment, in slices between which others have a turn; its regions are written."""
        self.try_again()
        with self._lock:
            self.index.most_bytes = self._ration.left(self) - SEGMENT_BYTES * len(self._segments)
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
            self._ration.take(self, self._bytes_with(0, 0))
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
        left_out = len(self.left_out())
        return self._next, len(self.index), len(self.index.regions), len(self._parts), left_out

    def whole(self, *, current: bool = False) -> dict[Path, Part]:
        """The nodes whose rows are in the index: all up to the last `refresh` that had the time for it,
        or, with ``current``, all that is stored now."""
        parts = {path: part for path, part in sorted(self._parts.items()) if part.whole}
        stored = self.shard.store.version
        return {p: one for p, one in parts.items() if not current or one.seen == stored(p)}

    def rows_in(self, above: Above) -> int:
        """Rows of nodes above the cut, at most."""
        parts = [one for path, one in list(self._parts.items()) if above.has(path)]
        return sum(EVERY if part.left_out else part.rows for part in parts)

    def unplaced(self) -> Counter[str]:
        """Rows that are stored and have no place, by why."""
        total: Counter[str] = Counter()
        for part in list(self._parts.values()):
            total.update(part.unplaced)
        return total

    def segments_of(self, keys: Int64) -> list[tuple[Segment, int]]:
        """Segment and row of each key that was found, while `look`ing."""
        return named(self._segments, keys)
