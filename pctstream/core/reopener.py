"""Re-opening N0: when, from where, with which children, and whom to tell (R4, `reopened`).

The shards tell what their rows said of the cover in force (`taken`); together they are what N0 says. Where
the bound of that breaks its limit, find-cover goes on over the rows of the last windows and those that
come, of all partitions in turn. Everything that follows is a record; what is kept here can be lost: who
comes next does it again from the recorded offsets.

    look(log, shards) -------> "reopen" with the offsets to read from
    sample(log, rows) -------> find-cover goes on
    records(log) ------------> the grown cover in pieces; or that it stays as it is
    end(log) ----------------> "reopened", once the topics are there
    unmarked(log, shards) ---> the partitions whose rows are not routed by the newest epoch yet
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pctstream.core import life, placement, records
from pctstream.core.block import Vectors
from pctstream.core.cover import Cover
from pctstream.core.coverage import WINDOW, Coverage, combined, published
from pctstream.core.names import ROOT, Path, node_name
from pctstream.core.node import Shape
from pctstream.core.reopening import Reopening
from pctstream.core.routing import Routing

MARK_S = 5.0
"""A marker that somebody has not read is sent again so often."""
Report = Mapping[str, Any]


class Reopener:
    """Of one author."""

    def __init__(
        self, settings: Mapping[str, Any], capacities: Mapping[int, float], name: str
    ) -> None:
        self._topics = int(settings.get("topics", 10**9))
        self._cooldown = int(settings.get("miss_cooldown", 0))
        self._capacities = capacities
        self._author = name
        self._rests: tuple[int, int] = (-1, 0)
        self._marked: dict[int, float] = {}
        self._epoch = -1
        self._opened, self._looked = -1, 0
        self.starts: Mapping[int, int] = {}
        """Of each partition, the offset that is read first."""
        self._find: Reopening | None = None
        self._fresh: Callable[[], Reopening]
        self._most = 0

    def look(self, log: Routing, shards: Mapping[int, Report]) -> dict[str, Any] | None:
        """The record that begins it, if the bound is broken; ``shards``: what each told last."""
        limit = log.shape.miss_limit
        if not limit or log.states.get(ROOT) != life.SPLITTING or ROOT in log.reopened.open:
            return None
        able = [r for r in shards.values() if "witness" in r["root"]]  # not of an earlier version
        if len(able) < int(log.tree["shards"]):
            return None
        seen = _seen(log, shards)
        rests = self._resting(log, sum(int(r["root"]["routed_rows"]) for r in shards.values()))
        if rests or sum(WINDOW * one.windows + one.rows for one in seen) < self._cooldown:
            return None
        if combined(one.evidence() for one in seen).bound() <= limit:
            return None
        at = {s: _input(r, ROOT) for s, r in shards.items()}
        recent = {s: r["root"]["witness"][1] for s, r in shards.items()}
        starts = {s: 1 + (recent[s][0] if recent[s] else at[s]["routed"]) for s in shards}
        return self.begin(log, starts)

    def _resting(self, log: Routing, routed: int) -> bool:
        """Whether too few rows came since the last one ended, or since this author came to know of it."""
        ended = log.reopened.ended.get(ROOT)
        if ended is None:
            return False
        if ended.seq != self._rests[0]:
            self._rests = ended.seq, routed
        return routed - self._rests[1] < self._cooldown

    def begin(self, log: Routing, starts: Mapping[int, int]) -> dict[str, Any]:
        """The record that begins it, whatever the bound."""
        cover = log.covers[ROOT]
        return records.reopen_record(ROOT, cover, starts, log.seq + 1, self._author)

    def wants(self, log: Routing) -> str:
        """ "rows", "append", "topics" or "nothing": what a re-opening that is under way needs."""
        opening = log.reopened.open.get(ROOT)
        if opening is None:
            return "nothing"
        if ROOT in log.reopened.grown:
            return "topics"
        if self._find is None or self._opened != opening.seq:
            # a child is a topic: no more of them than there may be
            room = min(log.room(ROOT), self._topics - len(log.owners))
            self._opened, self.starts, self._looked = opening.seq, opening.starts, 0
            self._fresh = partial(begun, log.covers[ROOT], log.shape, room)
            self._find, self._most = self._fresh(), log.shape.sink_rows
        return "append" if self._find.ended else "rows"

    def sample(self, rows: Vectors) -> None:
        """Scan more rows, in turn order.

        The first may be older than the drift. So X rows that add nothing end it only once something was
        found, or Y rows were looked at."""
        find = self._find
        while find is not None and len(rows) and not find.ended:
            taken = find.take(rows)
            self._looked, rows = self._looked + taken, rows[taken:]
            if nothing_found(find) and self._looked < self._most:
                self._find = find = self._fresh()

    def again(self) -> None:
        """Somebody else's record counted: from the recorded offsets once more."""
        self._find = None

    def records(self, log: Routing) -> list[dict[str, Any]]:
        """The grown cover in pieces; or that it stays as it is."""
        assert self._find is not None
        if self._find.ended != "cover":
            why = self._find.ended
            return [records.not_reopened_record(ROOT, why, log.seq + 1, self._author)]
        return records.cover_records(ROOT, self._find.grown(), log.seq + 1, self._author)

    def children(self, log: Routing) -> list[Path]:
        """Those that are to come."""
        grown = log.reopened.grown[ROOT]
        return [(*ROOT, i) for i in range(log.covers[ROOT].k, grown.k)]

    def end(self, log: Routing) -> dict[str, Any]:
        """The record that puts the grown cover in force, once the children's topics exist."""
        grown = log.reopened.grown[ROOT]
        owners = placement.first_owners(self.children(log), self._capacities)
        return records.reopened_record(ROOT, grown, owners, log.seq + 1, self._author)

    def unmarked(self, log: Routing, shards: Mapping[int, Report], now: float) -> list[int]:
        """The partitions of N0's input to send the newest epoch's marker to, at ``now`` seconds of any
        steady clock: those whose shard does not route by it yet."""
        epochs = log.reopened.epochs.get(ROOT, {})
        if len(epochs) < 2:
            return []
        if self._epoch != max(epochs):
            self._epoch, self._marked = max(epochs), {}
        due = []
        for partition in range(int(log.tree["shards"])):
            record = shards.get(partition)
            told = record is not None and _input(record, ROOT)["epoch"] >= self._epoch
            if not told and now - self._marked.get(partition, -MARK_S) >= MARK_S:
                self._marked[partition] = now
                due.append(partition)
        return due

    @property
    def epoch(self) -> int:
        """What the markers say."""
        return self._epoch


def _input(record: Report, path: Path) -> Report:
    """What a shard told of a node's input."""
    none = {"epoch": -1, "routed": -1}
    return next((i for i in record["inputs"] if i["node"] == node_name(path)), none)


def begun(cover: Cover, shape: Shape, room: int) -> Reopening:
    """Find-cover taken up again, for at most ``room`` children more."""
    one = Reopening(cover, shape, room)
    one.open()
    return one


def nothing_found(one: Reopening) -> bool:
    """Whether it ended without an addition."""
    return one.ended == "gap"


def missed(log: Routing, shards: Mapping[int, Report]) -> float | None:
    """At 95 % confidence, of the mass that N0's cover misses: by the rows that it routed, once they say
    as much as its scan; None before it has split."""
    if ROOT not in log.splits:
        return None
    evidence = combined(one.evidence() for one in _seen(log, shards))
    return published(log.covers[ROOT].miss_bound[0], evidence)


def _seen(log: Routing, shards: Mapping[int, Report]) -> list[Coverage]:
    """What the rows said of the cover in force, of those shards that route by it."""
    newest = max(log.reopened.epochs[ROOT])
    return [
        Coverage.from_json(record["root"]["witness"][0])
        for record in shards.values()
        if "witness" in record["root"] and _input(record, ROOT)["epoch"] == newest
    ]
