"""Re-opening a node above the cut: when, from where, with which children, whom to tell (R4, `reopened`).

The shards tell what their rows said of the cover in force (`taken`). N0 is what all of them say together,
of all ingest partitions; a trunk node below it what its one owner says, of its pipe. Where the bound of
that breaks its limit, find-cover goes on over the rows of the last windows and those that come, of all
partitions of the node's input in turn. Everything that follows is a record; what is kept here can be
lost: who comes next does it again from the recorded offsets. One node after the other.

    look(log, told) ---------> "reopen" with the offsets to read from
    sample(log, rows) -------> find-cover goes on
    records(log) ------------> the grown cover in pieces; or that it stays as it is
    end(log) ----------------> "reopened", once the topics are there
    unmarked(log, told) -----> the partitions whose rows are not routed by the newest epoch yet
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from pctstream.core import placement, records
from pctstream.core.block import Vectors
from pctstream.core.cover import Cover
from pctstream.core.coverage import Coverage, combined, published
from pctstream.core.folding import appended, living
from pctstream.core.names import ROOT, Path, node_name
from pctstream.core.node import Shape
from pctstream.core.reopening import Reopening
from pctstream.core.routing import Routing

MARK_S = 5.0
"""A marker that somebody has not read is sent again so often."""
Report = Mapping[str, Any]


class Reports(NamedTuple):
    """What was told last: of each shard by its number, of each portion and trunk node by its name."""

    shards: Mapping[int, Report] = {}
    portions: Mapping[str, Report] = {}


class Said(NamedTuple):
    """What was told of one partition of a node's input."""

    witness: tuple[Any, list[int]] | None
    """As `taken.Witness` is told; None by an earlier version."""
    epoch: int
    routed: int
    """Behind this offset nothing is routed yet."""
    rows: int
    """Routed so far."""


class Reopener:
    """Of one author."""

    def __init__(
        self, settings: Mapping[str, Any], capacities: Mapping[int, float], name: str
    ) -> None:
        self._topics = int(settings.get("topics", 10**9))
        self._cooldown = int(settings.get("miss_cooldown", 0))
        self._capacities = capacities
        self._author = name
        self._rests: dict[Path, tuple[int, int]] = {}
        self._marked: dict[tuple[Path, int], tuple[int, float]] = {}
        self._opened, self._looked = -1, 0
        self.path: Path = ROOT
        """The node that is re-opened."""
        self.starts: Mapping[int, int] = {}
        """Of each partition of its input, the offset that is read first."""
        self._find: Reopening | None = None
        self._fresh: Callable[[], Reopening]
        self._most = 0

    def look(self, log: Routing, told: Reports) -> dict[str, Any] | None:
        """The record that begins it, if the bound of a node is broken."""
        limit = log.shape.miss_limit
        if not limit or log.reopened.open:
            return None
        for path in sorted(log.splits):
            starts = self._broken(log, path, told, limit)
            if starts is not None:
                return self.begin(log, path, starts)
        return None

    def _broken(
        self, log: Routing, path: Path, told: Reports, limit: float
    ) -> dict[int, int] | None:
        """Where a node's input is read again, if its bound is broken."""
        said = told_of(log, path, told)
        able = {p: one for p, one in said.items() if one.witness is not None}
        if len(able) < partitions(log, path):
            return None
        counted = seen(log, path, said)
        rests = self._resting(log, path, sum(one.rows for one in said.values()))
        if rests or sum(one.passed for one in counted) < self._cooldown:
            return None
        if combined(one.evidence() for one in counted).bound() <= limit:
            return None
        recent = {p: one.witness[1] for p, one in able.items() if one.witness}
        return {p: 1 + (recent[p][0] if recent[p] else said[p].routed) for p in recent}

    def _resting(self, log: Routing, path: Path, routed: int) -> bool:
        """Whether too few rows came since the last one ended, or since this author came to know of it."""
        ended = log.reopened.ended.get(path)
        if ended is None:
            return False
        if self._rests.get(path, (-1, 0))[0] != ended.seq:
            self._rests[path] = ended.seq, routed
        return routed - self._rests[path][1] < self._cooldown

    def begin(self, log: Routing, path: Path, starts: Mapping[int, int]) -> dict[str, Any]:
        """The record that begins it, whatever the bound."""
        return records.reopen_record(path, log.covers[path], starts, log.seq + 1, self._author)

    def wants(self, log: Routing) -> str:
        """ "rows", "append", "topics" or "nothing": what a re-opening that is under way needs."""
        if not log.reopened.open:
            return "nothing"
        self.path = path = min(log.reopened.open)
        opening = log.reopened.open[path]
        if path in log.reopened.grown:
            return "topics"
        if self._find is None or self._opened != opening.seq:
            # a child is a topic: no more of them than there may be
            room = min(log.room(path), self._topics - len(log.owners))
            self._opened, self.starts, self._looked = opening.seq, opening.starts, 0
            cover = living(log.covers[path], list(log.reopened.folded.get(path, ())))
            self._fresh = partial(begun, cover, log.shape, room)
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
            return [records.not_reopened_record(self.path, why, log.seq + 1, self._author)]
        cover = appended(log.covers[self.path], self._find.grown(), len(self._find.aside))
        return records.cover_records(self.path, cover, log.seq + 1, self._author)

    def children(self, log: Routing) -> list[Path]:
        """Those that are to come."""
        grown = log.reopened.grown[self.path]
        return [(*self.path, i) for i in range(log.covers[self.path].k, grown.k)]

    def end(self, log: Routing) -> dict[str, Any]:
        """The record that puts the grown cover in force, once the children's topics exist."""
        grown = log.reopened.grown[self.path]
        owners = placement.first_owners(self.children(log), self._capacities)
        return records.reopened_record(self.path, grown, owners, log.seq + 1, self._author)

    def unmarked(self, log: Routing, told: Reports, now: float) -> list[Mark]:
        """The markers to send at ``now`` seconds of any steady clock: of each node's newest epoch, to the
        partitions of its input whose reader does not route by it yet."""
        due = []
        for path, epochs in sorted(log.reopened.epochs.items()):
            newest = max(epochs)
            if len(epochs) < 2 and path not in log.promotions.epochs:
                continue
            said = told_of(log, path, told)
            for partition in range(partitions(log, path)):
                epoch, when = self._marked.get((path, partition), (-1, 0.0))
                if partition in said and said[partition].epoch >= newest:
                    continue
                if epoch != newest or now - when >= MARK_S:
                    self._marked[path, partition] = newest, now
                    due.append(Mark(path, partition, newest))
        return due


class Mark(NamedTuple):
    """A marker that is to be written."""

    node: Path
    partition: int
    """Of the node's input."""
    epoch: int


def partitions(log: Routing, path: Path) -> int:
    """Of a node's input."""
    return int(log.tree["shards"]) if path == ROOT else 1


def told_of(log: Routing, path: Path, told: Reports) -> dict[int, Said]:
    """What was told of each partition of a node's input."""
    if path == ROOT:
        return {shard: _by_shard(record) for shard, record in told.shards.items()}
    record = told.portions.get(node_name(path))
    return {} if record is None or "routed" not in record else {0: _by_owner(record)}


def _by_shard(record: Report) -> Said:
    none = {"epoch": -1, "routed": -1}
    at = next((i for i in record.get("inputs", ()) if i["node"] == node_name(ROOT)), none)
    root = record.get("root", {})
    return Said(root.get("witness"), at["epoch"], at["routed"], int(root.get("routed_rows", 0)))


def _by_owner(record: Report) -> Said:
    at = record["routed"]
    return Said(record.get("witness"), int(at["epoch"]), int(at["offset"]), int(record["rows"]))


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
    found = combined(c.evidence() for c in seen(log, ROOT, told_of(log, ROOT, Reports(shards))))
    if ROOT in log.reopened.folded:
        return found.bound()  # the scan's was of a cover that is not in force any more
    return published(log.covers[ROOT].miss_bound[0], found)


def seen(log: Routing, path: Path, said: Mapping[int, Said]) -> list[Coverage]:
    """What the rows said of the cover in force, by those who route by it."""
    newest = max(log.reopened.epochs[path])
    return [
        Coverage.from_json(one.witness[0])
        for one in said.values()
        if one.witness is not None and one.epoch == newest
    ]
