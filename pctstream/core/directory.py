"""The directory of ids: where the newest row of each id is (R11).

Theory of operation
-------------------
A log-structured merge (O'Neil et al. 1996) of arrays. What came last is a hash table in memory
(`young`); one that is full becomes a **run**: entries sorted by key, in pages of `PAGE`, which lie in
the store and are read on demand. In memory stay, of each run, the first key of every page and a Bloom
filter, so that an id that was never seen costs no read. `RATIO` runs of one size are merged into one of
the next, a slice of the keys at a time.

    exchange(unit, entries) ---> what was known of each before; from here on this is known
    done(unit) ---------------> what to write, in the batch that counts the unit as done

Everything is written in the batch of the unit it belongs to, so after a crash the directory is that of
the rows counted as done, and the rows that come again find what they found before (R3). Between the
two the table in memory is ahead; whoever loses it loses the node with it, and reads both again.

What expired is forgotten as runs are merged: the row that it names leaves by itself (`expiry`), so nobody
has to be told which it was.

Keys are 64 bits of a hash: among 10^8 ids, two are alike with a chance of 3 in 10,000. Then a row may
stay that should have left, and nothing else goes wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from pctstream.core.drawer import Change, Drawer
from pctstream.core.sorted_ids import Forgotten, Merge, Run
from pctstream.core.young import ENTRY, UNKNOWN, Entries, Young

FULL = 131_072
"""Entries of a table in memory, seven megabytes: then it becomes a run."""
RATIO = 8


class Directory:
    """Of one node; as the drawer has it."""

    def __init__(
        self, drawer: Drawer | None = None, full: int = FULL, forgotten: Forgotten | None = None
    ) -> None:
        self._drawer = Ahead(Empty() if drawer is None else drawer)
        self._full = full
        self._forgotten = forgotten
        self._young: deque[Young] = deque([Young()])
        """The last one takes; those before it are full and wait until all of them is done."""
        self._deltas: deque[tuple[int, Entries]] = deque()
        self._runs: list[Run] = []
        """The oldest first."""
        self._merge: Merge | None = None
        self._filed: list[int] = []
        """Units whose entries lie in the drawer one by one."""
        self._number = 0
        self._rubbish: list[bytes] = []
        self._restore()

    def __len__(self) -> int:
        """Entries, some of them perhaps twice."""
        return sum(map(len, self._young)) + sum(run.count for run in self._runs)

    def _restore(self) -> None:
        self._runs = Run.all(self._drawer)
        self._number = 1 + max((run.number for run in self._runs), default=-1)
        known = {run.number for run in self._runs}
        for key in self._drawer.keys(b"p/"):
            number = int.from_bytes(key[2:10], "big")
            self._number = max(self._number, number + 1)
            if number not in known:
                self._rubbish.append(key)
        for key, value in self._drawer.scan(b"y/"):
            unit = int.from_bytes(key[2:], "big")
            self._filed.append(unit)
            self._put(unit, np.frombuffer(value, ENTRY))

    def exchange(self, unit: int, entries: Entries) -> Entries:
        """Each entry in turn replaces what is known of its key; what that was, ``child`` UNKNOWN where
        nothing was known. ``unit``: when it counts; never smaller than before."""
        self._drawer.written()
        if not len(entries):
            return entries
        self._deltas.append((unit, entries))
        return self._put(unit, entries)

    def _put(self, unit: int, entries: Entries) -> Entries:
        if len(self._young[-1]) >= self._full:
            self._young.append(Young(self._young[-1].room))
        self._young[-1].last = unit
        old = self._young[-1].exchange(entries)
        places = np.flatnonzero(old["child"] == UNKNOWN)
        older = [table.look for table in list(self._young)[-2::-1]]
        for look in [*older, *(run.look for run in reversed(self._runs))]:
            if not len(places):
                break
            found = look(entries["key"][places])
            if found is not None:
                known = found["child"] != UNKNOWN
                old[places[known]] = found[known]
                places = places[~known]
        return old

    def done(self, unit: int) -> list[Change]:
        """What belongs into the batch that counts everything up to this unit as done."""
        changes: list[Change] = [(key, None) for key in self._rubbish]
        self._rubbish = []
        while self._deltas and self._deltas[0][0] <= unit:
            number = self._deltas[0][0]
            some = []
            while self._deltas and self._deltas[0][0] == number:
                some.append(self._deltas.popleft()[1])
            changes.append((_young_key(number), np.concatenate(some).tobytes()))
            self._filed.append(number)
        if len(self._young) > 1 and self._young[0].last <= unit:
            changes += self._spill(self._young.popleft())
        elif self._merge is not None:
            changes += self._merged(self._merge)
        self._drawer.expect(changes)
        return changes

    def _spill(self, table: Young) -> list[Change]:
        """A full table becomes a run."""
        run, changes = Run.made(self._drawer, self._next(), 0, table.entries)
        self._runs.append(run)
        through = [unit for unit in self._filed if unit <= table.last]
        self._filed = self._filed[len(through) :]
        self._consider()
        return [*changes, *((_young_key(unit), None) for unit in through)]

    def _next(self) -> int:
        self._number += 1
        return self._number - 1

    def _consider(self) -> None:
        """Begin to merge where there are enough runs of one size."""
        if self._merge is not None:
            return
        for level in sorted({run.level for run in self._runs}):
            some = [run for run in self._runs if run.level == level]
            if len(some) >= RATIO:
                last = some[0] is self._runs[0]
                self._merge = Merge(self._drawer, self._next(), some, last, self._forgotten)
                return

    def _merged(self, merge: Merge) -> list[Change]:
        changes = merge.step()
        if merge.made is not None:
            at = self._runs.index(merge.runs[0])
            self._runs[at : at + len(merge.runs)] = [merge.made]
            self._merge = None
            self._consider()
        return changes


def _young_key(unit: int) -> bytes:
    return b"y/" + unit.to_bytes(8, "big")


class Ahead:
    """A drawer and what is on its way there: of several units that are done in one turn the later ones
    may read what the first one wrote, and nothing is asked before all of it is there."""

    def __init__(self, drawer: Drawer) -> None:
        self._drawer = drawer
        self._coming: dict[bytes, bytes] = {}
        self.scan, self.keys = drawer.scan, drawer.keys

    def get(self, key: bytes) -> bytes | None:
        return self._coming.get(key) or self._drawer.get(key)

    def expect(self, changes: Iterable[Change]) -> None:
        self._coming.update((key, value) for key, value in changes if value is not None)

    def written(self) -> None:
        self._coming.clear()


class Empty:
    """A drawer with nothing in it."""

    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(())

    def keys(self, prefix: bytes) -> Iterator[bytes]:
        return iter(())
