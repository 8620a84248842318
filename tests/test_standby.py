"""A warm copy: it is done with nothing before its owner is, and lies where nobody else does."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import faust
import pytest
from core.rows import cover_of, numbered
from sim.memory import MemoryKV

from pctstream import config
from pctstream.agents.assignor import assignor
from pctstream.agents.follow import Follow
from pctstream.agents.hosting import Hosting
from pctstream.agents.perform import Limits
from pctstream.agents.shard import Shard, Turn
from pctstream.core.block import Source
from pctstream.core.names import ROOT
from pctstream.core.records import cover_records, split_record, tree_record
from pctstream.core.routing import Routing
from pctstream.core.unit import Unit
from pctstream.pipes.readers import Place
from pctstream.rocks import mark
from pctstream.store import Store

INGEST = Source("pct.P0", 0)
MOST = 20


class Copy:
    """A standby of shard 0 over a store in memory, whose tree has split."""

    def __init__(self) -> None:
        self.routing = Routing()
        cover = cover_of([[0, 0], [0, 1]], 5.0)
        records = [tree_record({}, 2, "a"), *cover_records(ROOT, cover, 1, "a")]
        records += [split_record(ROOT, cover, {(0, 0): 0, (0, 1): 1}, len(records), "a")]
        for offset, record in enumerate(records):
            assert self.routing.fold(record, offset, 0.0)
        self.kv = MemoryKV()
        self.shard = Shard(0, "pct", Store(self.kv), 100, standby=True)
        self.shard.sync(self.routing)
        self.turns: list[Turn] = []
        self.paused: list[bool] = []
        self.follow = Follow(self, self.turns.append, self.stopped, Limits(), MOST)
        self.take(partial(self.shard.adopt, ROOT, self.routing))

    def stopped(self, reason: str) -> None:
        raise AssertionError(reason)

    def reread(self, place: Place, offset: int) -> None: ...

    def pause(self, place: Place) -> None:
        self.paused.append(True)

    def resume(self, place: Place) -> None:
        if self.paused:
            self.paused.append(False)

    def take(self, call: Any) -> None:
        self.turns.append(Turn(self.shard, self.shard.nodes[ROOT], call))
        self.on()

    def on(self) -> None:
        while self.turns:
            self.follow.take(self.turns.pop(0))

    def feed(self, first: int, rows: int) -> None:
        last = first + rows - 1
        unit = Unit(INGEST, first - 1, last, numbered(range(first, last + 1), 2, INGEST))
        self.take(partial(self.shard.nodes[ROOT].feed, unit))

    def told(self, routed: int, stored: int = -1) -> None:
        entry: Mapping[str, Any] = {"node": "N0", "stored": stored, "routed": routed}
        self.follow.heard(self.shard, [entry, {"node": "bridge", "stored": 9, "routed": 9}])
        self.on()

    @property
    def routed(self) -> int:
        found = self.shard.store.position(INGEST)
        return -1 if found is None else found[0].routed


def test_its_position_moves_when_its_owner_has_told_that_it_did() -> None:
    copy = Copy()
    copy.feed(0, 5)
    copy.feed(5, 5)
    assert copy.shard.root is not None
    assert (copy.shard.root.taken, copy.routed) == (9, -1)
    copy.told(3)
    assert copy.routed == -1  # a unit is done as a whole
    copy.told(8, stored=90)  # what is stored somewhere is not routed
    assert copy.routed == 4
    copy.told(4)  # an old record
    assert copy.routed == 4
    copy.told(9)
    assert copy.routed == 9


def test_what_was_told_before_counts_for_what_is_read_after() -> None:
    copy = Copy()
    copy.told(7)
    copy.feed(0, 5)
    copy.feed(5, 5)
    copy.on()
    assert copy.routed == 4


def test_it_waits_for_an_owner_that_is_far_behind() -> None:
    copy = Copy()
    for first in range(0, MOST + 10, 10):
        copy.feed(first, 10)
    assert copy.paused == [True]
    copy.told(9)
    assert copy.paused == [True]
    copy.told(MOST - 1)
    assert copy.paused == [True, False]


def test_who_takes_over_goes_on_behind_what_was_told() -> None:
    copy = Copy()
    copy.feed(0, 5)
    copy.feed(5, 5)
    copy.told(4)
    owner = Shard(0, "pct", Store(copy.kv), 100)
    owner.sync(copy.routing)
    assert owner.root is not None
    assert owner.root.taken == 4  # and what was read beyond is read again, and sent


def test_nobody_asks_a_copy_of_what_its_shard_owns() -> None:
    copy = Copy()
    assert copy.shard.sync(copy.routing).lacking == [(0, 0)]
    copy.shard.from_pipe.add((0, 0))
    assert copy.shard.sync(copy.routing).fresh == [(0, 0)]
    assert [p.path for p in copy.shard.copies] == [(0, 0)]
    assert copy.shard.portions == []


# where a copy lies


def hosting(folder: Path, standby: int = 1) -> Hosting:
    return Hosting(config.load(None, {}, {"store.dir": str(folder), "store.standby": standby}))


def test_a_copy_lies_beside_its_owner_and_is_in_use_once_it_took_over(tmp_path: Path) -> None:
    owner, copy = hosting(tmp_path), hosting(tmp_path)
    theirs = owner.open(3)
    assert theirs is not None
    kept = copy.warm(3)
    assert kept is not None
    assert (tmp_path / "shards" / "3.current").read_text() == "3"
    assert list(copy.warm_sizes()) == [3]
    theirs.close()
    assert copy.open(3) is kept
    assert (tmp_path / "shards" / "3.current").read_text() == "3.1"
    # the one that was the owner's is the next copy: it is caught up, not made
    again = owner.warm(3)
    assert again is not None
    assert sorted(p.name for p in (tmp_path / "shards").iterdir() if p.is_dir()) == ["3", "3.1"]
    again.close()
    kept.close()


def test_a_copy_that_was_not_whole_is_never_opened_again(tmp_path: Path) -> None:
    copy = hosting(tmp_path)
    kept = copy.warm(3)
    assert kept is not None
    copy.spoil(3, "its log was cut")
    kept.close()
    assert mark(tmp_path / "shards" / "3").exists()
    anew = copy.open(3)
    assert anew is not None
    assert (tmp_path / "shards" / "3.current").read_text() == "3.1"
    assert not (tmp_path / "shards" / "3").exists()
    anew.close()


def test_without_standbys_a_directory_that_is_not_in_use_goes(tmp_path: Path) -> None:
    one = hosting(tmp_path)
    kept = one.warm(3)
    assert kept is not None
    kept.close()
    (tmp_path / "shards" / "3.current").write_text("3.1")
    opened = hosting(tmp_path, standby=0).open(3)
    assert opened is not None
    assert not (tmp_path / "shards" / "3").exists()
    opened.close()


# who is told to keep one


@pytest.mark.parametrize("level", [(), (1,)])
def test_a_worker_tells_the_group_only_of_copies_that_are_level(level: tuple[int, ...]) -> None:
    made = assignor("pct.shards", 1, lambda: level)
    one: Any = made(faust.App("level", broker="kafka://127.0.0.1:1"), replicas=0)
    one._assignment.actives = {"pct.shards": [0]}
    one._assignment.standbys = {"pct.shards": [1, 2]}
    told = one._metadata
    assert told.assignment.actives == {"pct.shards": [0]}
    assert told.assignment.standbys == {"pct.shards": list(level)}
    assert one._assignment.standbys == {"pct.shards": [1, 2]}
