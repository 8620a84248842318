"""Runs of a directory: entries sorted by key, in pages that lie in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import orjson

from pctstream.core.bloom import Bloom
from pctstream.core.drawer import Change, Drawer
from pctstream.core.kernels import Int64
from pctstream.core.keys import Hashes
from pctstream.core.young import ENTRY, NOWHERE, UNKNOWN, Entries
from pctstream.errors import Unreadable

PAGE = 2048
"""Entries: 56 KiB."""
SLICE = 8
"""Pages of each run that a step of a merge takes at most."""
FPR = 0.0005
"""A page read for nothing takes as long as asking the filters for a hundred ids."""


class Run:
    """Entries of distinct keys; what is kept of them in memory."""

    def __init__(
        self, drawer: Drawer, number: int, level: int, count: int, firsts: Hashes, bloom: Bloom
    ) -> None:
        self._drawer = drawer
        self.number = number
        self.level = level
        self.count = count
        self._firsts = firsts
        """The first key of each page."""
        self._bloom = bloom
        self.order = number
        """Of two runs the one with the greater is younger."""

    @property
    def pages(self) -> int:
        return len(self._firsts)

    @classmethod
    def made(
        cls, drawer: Drawer, number: int, level: int, entries: Entries
    ) -> tuple[Run, list[Change]]:
        """Of entries sorted by key, and what is to be written."""
        writing = Writing(number, len(entries))
        changes = writing.take(entries)
        return writing.end(drawer, level, changes), changes

    @classmethod
    def all(cls, drawer: Drawer) -> list[Run]:
        """Those that lie in the drawer, the oldest first."""
        found = []
        for key, value in drawer.scan(b"m/"):
            number, said = int.from_bytes(key[2:], "big"), orjson.loads(value)
            firsts = np.frombuffer(drawer.get(_key(b"f", number)) or b"", "<u8")
            run = cls(drawer, number, said["level"], said["count"], firsts, Bloom(FPR))
            try:
                run._bloom = Bloom.from_bytes(drawer.get(_key(b"b", number)) or b"")
            except Unreadable:
                run._bloom = Bloom(FPR, run.count)
                for page in range(run.pages):
                    run._bloom.add(np.ascontiguousarray(run.page(page)["key"]))
            run.order = said["order"]
            found.append(run)
        return sorted(found, key=lambda run: run.order)

    def page(self, number: int) -> Entries:
        """Entries of a page."""
        return np.frombuffer(self._drawer.get(_page_key(self.number, number)) or b"", ENTRY)

    def look(self, keys: Hashes) -> Entries | None:
        """What is known of each key, ``child`` UNKNOWN: nothing; None where it is nothing of any."""
        might = self._bloom.might(np.ascontiguousarray(keys))
        if not might.any():
            return None
        maybe = np.flatnonzero(might)
        out = np.zeros(len(keys), ENTRY)
        out["child"] = UNKNOWN
        pages = np.searchsorted(self._firsts, keys[maybe], side="right") - 1
        for number in np.unique(pages[pages >= 0]).tolist():
            mine = maybe[pages == number]
            find(self.page(number), keys, mine, out)
        return out

    def written(self) -> list[bytes]:
        """All under which something of it is written."""
        pages = [_page_key(self.number, page) for page in range(self.pages)]
        return [*(_key(kind, self.number) for kind in (b"m", b"f", b"b")), *pages]


def find(entries: Entries, keys: Hashes, places: Int64, out: Entries) -> None:
    """Of the keys at these places, those among sorted entries."""
    known = np.ascontiguousarray(entries["key"])
    at = np.minimum(np.searchsorted(known, keys[places]), max(0, len(known) - 1))
    hit = known[at] == keys[places] if len(known) else np.zeros(len(places), np.bool_)
    out[places[hit]] = entries[at[hit]]


class Writing:
    """A run that comes to be, in order of its keys."""

    def __init__(self, number: int, count: int) -> None:
        self._number = number
        self._bloom = Bloom(FPR, -(-count // 2))
        self._firsts: list[int] = []
        self._rest = np.zeros(0, ENTRY)
        self._count = 0

    def take(self, entries: Entries) -> list[Change]:
        """The next ones; whole pages are to be written."""
        self._bloom.add(np.ascontiguousarray(entries["key"]))
        self._count += len(entries)
        entries = np.concatenate([self._rest, entries])
        whole = len(entries) // PAGE * PAGE
        self._rest = entries[whole:]
        return [self._page(entries[at : at + PAGE]) for at in range(0, whole, PAGE)]

    def _page(self, entries: Entries) -> Change:
        self._firsts.append(int(entries["key"][0]))
        return _page_key(self._number, len(self._firsts) - 1), entries.tobytes()

    def end(self, drawer: Drawer, level: int, changes: list[Change], order: int = -1) -> Run:
        """There are no more; what is left to be written goes to ``changes``."""
        if len(self._rest):
            changes.append(self._page(self._rest))
        firsts = np.array(self._firsts, np.uint64)
        order = self._number if order < 0 else order
        said = {"level": level, "count": self._count, "order": order}
        changes += [
            (_key(b"m", self._number), orjson.dumps(said)),
            (_key(b"f", self._number), firsts.astype("<u8").tobytes()),
            (_key(b"b", self._number), self._bloom.to_bytes()),
        ]
        run = Run(drawer, self._number, level, self._count, firsts, self._bloom)
        run.order = order
        return run


Forgotten = Callable[[Entries], npt.NDArray[np.bool_]]
"""bool[n]: entries that nobody needs any more, nor an older one of the same key."""


class Merge:
    """Runs that become one, a slice of the keys at a time; until the last they are all there."""

    def __init__(
        self, drawer: Drawer, number: int, runs: Sequence[Run], oldest: bool,
        forgotten: Forgotten | None = None,
    ) -> None:  # fmt: skip
        self.runs = list(runs)
        self.made: Run | None = None
        self._drawer = drawer
        self._oldest = oldest
        """Nothing lies below: a deleted id is forgotten."""
        self._forgotten = forgotten
        self._writing = Writing(number, sum(run.count for run in runs))
        self._at = [0] * len(runs)
        self._held = [np.zeros(0, ENTRY) for _ in runs]

    def step(self) -> list[Change]:
        """The next slice."""
        for i, run in enumerate(self.runs):
            if not len(self._held[i]):
                upto = min(run.pages, self._at[i] + SLICE)
                pages = [run.page(page) for page in range(self._at[i], upto)]
                self._held[i] = np.concatenate([np.zeros(0, ENTRY), *pages])
                self._at[i] = upto
        more = [at < run.pages for at, run in zip(self._at, self.runs, strict=True)]
        ends = [held["key"][-1] for held, m in zip(self._held, more, strict=True) if m]
        taken = []
        for i, held in enumerate(self._held):
            cut = np.searchsorted(held["key"], min(ends), side="right") if ends else len(held)
            taken.append(held[:cut])
            self._held[i] = held[cut:]
        some = np.concatenate(taken[::-1])  # of one key the youngest is first
        _, first = np.unique(some["key"], return_index=True)
        some = some[first]
        if self._forgotten is not None:
            some = some[~self._forgotten(some)]
        changes = self._writing.take(some[some["child"] != NOWHERE] if self._oldest else some)
        if not ends:
            level = self.runs[0].level + 1
            order = self.runs[-1].order
            self.made = self._writing.end(self._drawer, level, changes, order)
            changes += [(key, None) for run in self.runs for key in run.written()]
        return changes


def _key(kind: bytes, run: int) -> bytes:
    return kind + b"/" + run.to_bytes(8, "big")


def _page_key(run: int, page: int) -> bytes:
    return _key(b"p", run) + page.to_bytes(4, "big")
