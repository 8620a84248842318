"""Rows that have left are taken off the disk: what is told stays the same, whoever dies, moves or looks."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
from sim.memory import MemoryKV

from pctstream.agents.ration import Ration
from pctstream.agents.shard import Shard
from pctstream.agents.spatial import ShardIndex
from pctstream.agents.view import View
from pctstream.core.block import Block, Origin, Source
from pctstream.core.changes import BARE, EXPIRY, NONE, Changes
from pctstream.core.drawer import Change
from pctstream.core.effects import Apply, Purge
from pctstream.core.node import Shape
from pctstream.core.places import Places
from pctstream.core.portion import Portion
from pctstream.core.proof import proof
from pctstream.core.unit import Unit
from pctstream.errors import NotReady
from pctstream.keyspace import LEAVES as LEAVES_KEY
from pctstream.keyspace import at_offset
from pctstream.leavings import Kept
from pctstream.purging import purge
from pctstream.settings import SpatialSettings
from pctstream.store import Store

PATH, PIPE, OURS = (0, 3), Source("pct.P0.3", 0), Source("pct.P0", 0)
LEAVES = Shape(dimension=3, max_level=1)
"""Every row is at a leaf of the lowest level."""
Live = dict[Origin, bytes]


class Died(Exception):
    """In the middle of a purge."""


class Fragile(MemoryKV):
    """A database whose process dies before one of the next writes."""

    left = 10**9

    def write(self, changes: Sequence[Change]) -> None:
        self.left -= 1
        if self.left < 0:
            raise Died
        super().write(changes)


class Pipe:
    """What comes, and what is right after it."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._next = 0
        self.last = -1
        self.live: Live = {}

    def unit(self) -> Unit:
        rng, count = self._rng, int(self._rng.integers(1, 14))
        offset = np.arange(self._next, self._next + count, dtype=np.int64)
        self._next += count
        bare, old = np.zeros(count, np.int8), np.full(count, NONE, np.int64)
        for i in range(count):
            if self.live and rng.random() < 0.4:
                bare[i] = rng.choice([0, BARE])
                old[i] = list(self.live)[int(rng.integers(len(self.live)))].offset
            elif rng.random() < 0.02:
                bare[i], old[i] = EXPIRY, rng.integers(0, offset[i] + 1)
        zeros = np.zeros(count, np.int32)
        vectors = rng.normal(size=(count, 3)).astype(np.float32)
        rows = Block(
            (OURS,), zeros, offset, zeros, vectors, changes=Changes(bare, zeros, old, zeros)
        )
        for i, origin in enumerate(rows.origins()):
            upto = old[i] if bare[i] == EXPIRY else 0
            named = NONE if bare[i] == EXPIRY else old[i]
            gone = [o for o in self.live if o.offset == named or o.offset < upto]
            for one in gone:
                del self.live[one]
            if not bare[i]:
                self.live[origin] = vectors[i].tobytes()
        prev, self.last = self.last, self.last + 1
        return Unit(PIPE, prev, self.last, rows)


class Here:
    """A shard with the portion, which purges or does not."""

    def __init__(
        self, purges: bool = True, shape: Shape = LEAVES, kv: MemoryKV | None = None
    ) -> None:
        self.kv = kv or Fragile()
        self.purges, self.shape, self.cut = purges, shape, 0
        self.restart()

    def restart(self) -> None:
        self.store = Store(self.kv)
        self.store.placing = Places("dim:0", "dim:1").entry
        self.shard = Shard(0, "pct", self.store, 10)
        found, saved = self.store.position(PIPE), self.store.state(PATH)
        if saved is not None:
            saved["purged"] = self.store.purged(PATH)
        self.portion = Portion(
            PATH, PIPE, np.zeros(3, np.float32), 1, self.shape, 100, 0.0,
            found[0] if found else None, saved, self.store.subtree(PATH), Kept(self.store, PATH),
        )  # fmt: skip
        self.shard.nodes[PATH] = self.portion

    def feed(self, unit: Unit) -> None:
        for effect in self.portion.feed(unit):
            if isinstance(effect, Apply):
                self.shard.apply(effect)
            if isinstance(effect, Purge) and self.purges:
                rows = purge(self.store, PATH, self.portion.subtree.final)
                self.cut += rows
                self.portion.purged()

    @property
    def live(self) -> Live:
        return {
            o: v.tobytes() for _, rows in self.store.live(PATH)
            for o, v in zip(rows.origins(), rows.vectors, strict=True)
        }  # fmt: skip

    @property
    def stored(self) -> int:
        return sum(len(rows) for _, rows in self.store.segments(PATH))

    def right(self, live: Live) -> None:
        assert self.live == live
        assert self.portion.held_rows == len(live)
        assert self.stored == self.portion.rows - self.store.purged(PATH)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_told_is_as_without_purging_and_the_disk_holds_little_more(seed: int) -> None:
    pipe, purging, keeping = Pipe(seed), Here(), Here(purges=False)
    chance = np.random.default_rng(seed)
    for _ in range(120):
        unit = pipe.unit()
        purging.feed(unit)
        keeping.feed(unit)
        purging.right(pipe.live)
        keeping.right(pipe.live)
        assert purging.stored <= len(pipe.live) + max(8, purging.stored // 4 + 14)
        assert purging.portion.state == keeping.portion.state
        if chance.random() < 0.1:
            purging.restart()
        if chance.random() < 0.1:
            both = [proof(rows for _, rows in one.store.live(PATH)) for one in (purging, keeping)]
            assert both[0] == both[1]
            there = Here()
            there.store.expect(PATH, PIPE)
            there.store.take(list(purging.store.portion(PATH, PIPE)))
            there.restart()
            there.right(pipe.live)
            purging = there
    assert purging.store.purged(PATH) > keeping.portion.gone / 2


@pytest.mark.parametrize("seed", range(6))
def test_a_purge_that_is_cut_short_is_done_again(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pctstream.purging.BATCH_BYTES", 1)
    pipe, here, died = Pipe(seed), Here(), 0
    assert isinstance(here.kv, Fragile)
    chance = np.random.default_rng(seed)
    for _ in range(100):
        unit = pipe.unit()
        here.kv.left = int(chance.integers(2, 9)) if chance.random() < 0.5 else 10**9
        try:
            here.feed(unit)
        except Died:
            died += 1
            here.kv.left = 10**9
            here.restart()
            here.feed(unit)
        here.right(pipe.live)
    assert died > 3


def test_a_node_that_may_still_look_keeps_its_dead() -> None:
    pipe, here = Pipe(1), Here(shape=Shape(dimension=3, max_level=4))
    for _ in range(40):
        here.feed(pipe.unit())
    assert here.portion.gone > 50
    assert (here.cut, here.stored) == (0, here.portion.rows)


def test_views_see_the_same_rows_before_and_after() -> None:
    pipe, here = Pipe(5), Here()
    view = View(here.shard, PATH, 3)
    stale = 0
    for _ in range(60):
        here.feed(pipe.unit())
        if not view.fresh:
            stale += 1
            with pytest.raises(NotReady):
                view.refresh(time.monotonic() + 60.0)
            view = View(here.shard, PATH, 3)
        assert view.refresh(time.monotonic() + 60.0)
        seen = {}
        for run in view.runs.all():
            alive, there = view.alive(run), np.flatnonzero(run.cells.rows >= 0)
            for slot in there.tolist():
                if alive is None or alive.slots[slot]:
                    number, row = run.place[run.cells.rows[slot]].tolist()
                    block = view.segment(number)
                    seen[block.origins()[row]] = block.vectors[row].tobytes()
        assert seen == pipe.live
    assert stale > 2
    assert here.cut > 50


def test_rows_of_a_segment_that_was_cut_are_not_told_as_others() -> None:
    pipe, here = Pipe(7), Here()
    here.feed(pipe.unit())
    view = View(here.shard, PATH, 3)
    assert view.refresh(time.monotonic() + 60.0)
    while not here.cut:
        here.feed(pipe.unit())
    with pytest.raises(LookupError):
        for number in range(len(view.segments)):
            view.segment(number)


def test_the_index_of_places_has_the_rows_that_are_left() -> None:
    pipe, here = Pipe(9), Here()
    places = Places("dim:0", "dim:1")
    settings = SpatialSettings(enabled=True, x="dim:0", y="dim:1")
    index = ShardIndex(here.shard, places, settings, Ration(1 << 30))
    for unit in range(60):
        here.feed(pipe.unit())
        if unit % 3 == 0:
            while not index.refresh([PATH], time.monotonic() + 60.0):
                pass
            with index.look() as locked:
                found = locked.box((-9.0, -9.0, 9.0, 9.0), limit=10_000)
                who = index.segments_of(found.keys)
            origins = [here.store.segment(PATH, s.last).origins()[row] for s, row in who]
            assert sorted(origins) == sorted(pipe.live)
    assert here.cut > 50


def test_only_nodes_that_never_look_again_let_go() -> None:
    pipe, here, rng = Pipe(3), Here(purges=False), np.random.default_rng(3)
    for _ in range(30):
        here.feed(pipe.unit())
    for segment, rows in list(here.store.segments(PATH)):
        leaves = rng.integers(0, 3, len(rows)).astype("<i4")
        here.store.write([(at_offset(LEAVES_KEY, PATH, segment), leaves.tobytes())])

    def held() -> list[tuple[Origin, int, bool]]:
        gone = here.store.gone(PATH)
        return [
            (origin, int(leaf), row in gone.get(segment, []))
            for segment, rows, leaves in here.store.placed(PATH)
            for row, (origin, leaf) in enumerate(zip(rows.origins(), leaves, strict=True))
        ]

    before = held()
    purge(here.store, PATH, np.array([False, True, False]))
    assert held() == [one for one in before if one[1:] != (1, True)] != before
    here.right(pipe.live)
