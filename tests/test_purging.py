"""Rows that have left are taken off the disk: what is told stays the same, whoever dies, moves or looks."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from sim.memory import MemoryKV

from pctstream.agents.ration import Ration
from pctstream.agents.shard import Shard
from pctstream.agents.spatial import ShardIndex
from pctstream.agents.view import View
from pctstream.core import life
from pctstream.core.block import Block, Origin, Source
from pctstream.core.changes import BARE, EXPIRY, NONE, Changes
from pctstream.core.drawer import Change
from pctstream.core.effects import Apply, Effect, Purge, Regrow
from pctstream.core.names import ROOT
from pctstream.core.node import Gates, Shape
from pctstream.core.places import Places
from pctstream.core.portion import Portion
from pctstream.core.proof import proof
from pctstream.core.root import Root
from pctstream.core.routing import Routing
from pctstream.core.trunk import Trunk
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


def fed(here: Here | AtRoot, unit: Unit, chance: np.random.Generator) -> int:
    """1 if it died while it took the unit; then it was started again and took it once more."""
    assert isinstance(here.kv, Fragile)
    here.kv.left = int(chance.integers(2, 9)) if chance.random() < 0.5 else 10**9
    try:
        here.feed(unit)
    except Died:
        here.kv.left = 10**9
        here.restart()
        here.feed(unit)  # what is in the store is dropped: the purge goes on with the next
        return 1
    return 0


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
        self.perform(self.portion.feed(unit))

    def perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Apply):
                self.shard.apply(effect)
            if isinstance(effect, Regrow):
                self.portion.begin_pass()
                gone = self.store.gone(PATH)
                for last, rows, leaves in self.store.placed(PATH):
                    self.portion.revisit(last, rows, leaves, gone.get(last))
                self.perform(self.portion.end_pass())
            if isinstance(effect, Purge) and self.purges:
                self.cut += purge(self.store, PATH, self.portion.subtree.final)
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


class Above(Here):
    """The same node, were it in the trunk; it is a sink as soon as it has a few rows."""

    def restart(self) -> None:
        super().restart()
        saved = self.store.state(PATH)
        if saved is not None:
            saved["purged"] = self.store.purged(PATH)
        found = self.store.position(PIPE)
        self.portion = Trunk(
            PATH, PIPE, np.zeros(3, np.float32), 1, Shape(dimension=3, prototypes=4), 100, 0.0,
            position=found[0] if found else None, saved=saved, nodes=self.store.subtree(PATH),
            kept=Kept(self.store, PATH),
        )  # fmt: skip
        self.shard.nodes[PATH] = self.portion
        self.perform(self.portion.adopt(Gates(1, {1: 1e-6})))


class Ingest:
    """Rows, deletes and expiries as they come to N0, most with an id; and what is right after them."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._next = 0
        self._ids: dict[str, Origin] = {}
        self.live: Live = {}

    def unit(self) -> Unit:
        rng, count, first = self._rng, int(self._rng.integers(1, 14)), self._next
        self._next += count
        offset = np.arange(first, self._next, dtype=np.int64)
        names = [None if rng.random() < 0.2 else f"r{rng.integers(60)}" for _ in range(count)]
        bare, old = np.zeros(count, np.int8), np.full(count, NONE, np.int64)
        vectors = rng.normal(size=(count, 3)).astype(np.float32)
        for i, name in enumerate(names):
            origin = Origin(*OURS, int(offset[i]), 0)
            if rng.random() < 0.03:
                bare[i], old[i], names[i] = EXPIRY, rng.integers(0, offset[i] + 1), None
                for one in [o for o in self.live if o.offset < old[i]]:
                    del self.live[one]
                continue
            if name is not None:
                self.live.pop(self._ids.pop(name, origin), None)
                bare[i] = BARE if rng.random() < 0.3 else 0
            if not bare[i]:
                self.live[origin] = vectors[i].tobytes()
                if name is not None:
                    self._ids[name] = origin
        zeros = np.zeros(count, np.int32)
        rows = Block(
            (OURS,), zeros, offset, zeros, vectors, pa.array(names, pa.string()),
            changes=Changes(bare, zeros, old, zeros),
        )  # fmt: skip
        return Unit(OURS, first - 1, self._next - 1, rows)


class AtRoot:
    """A shard with N0, which is a sink."""

    def __init__(self) -> None:
        self.kv = Fragile()
        self.cut = 0
        self.restart()

    def restart(self) -> None:
        self.store = Store(self.kv)
        self.store.placing = Places("dim:0", "dim:1").entry
        self.shard = Shard(0, "pct", self.store, 10**6)
        node = self.shard.restore(ROOT, Routing())
        assert isinstance(node, Root)
        self.root = node
        self.root.adopt_sink(1)

    def feed(self, unit: Unit) -> None:
        for effect in self.root.feed(unit):
            if isinstance(effect, Apply):
                self.shard.apply(effect)
            if isinstance(effect, Purge):
                self.cut += purge(self.store, ROOT, None)
                self.root.purged()

    def right(self, live: Live) -> None:
        held = {
            o: v.tobytes() for _, rows in self.store.live(ROOT)
            for o, v in zip(rows.origins(), rows.vectors, strict=True)
        }  # fmt: skip
        assert held == live
        assert self.root.held_rows == len(live)
        rows = sum(rows.brought for _, rows in self.store.segments(ROOT))
        assert rows == self.root.stored_rows - self.store.purged(ROOT)


@pytest.mark.parametrize("seed", range(4))
def test_n0_as_a_sink_purges_and_its_directory_of_ids_goes_on(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pctstream.purging.BATCH_BYTES", 1)
    ingest, here, died = Ingest(seed), AtRoot(), 0
    chance = np.random.default_rng(seed)
    for _ in range(120):
        fell = fed(here, ingest.unit(), chance)
        died += fell
        if chance.random() < 0.1:
            here.restart()
        here.right(ingest.live)
        if not fell:
            left_here = here.root.stored_rows - here.store.purged(ROOT)
            assert left_here <= 2 * len(ingest.live) + 40
    assert here.cut > 100 and died > 1


@pytest.mark.parametrize("seed", range(3))
def test_a_trunk_node_that_is_a_sink_purges_as_a_portion(seed: int) -> None:
    pipe, here, chance = Pipe(seed), Above(), np.random.default_rng(seed)
    for _ in range(150):
        here.feed(pipe.unit())
        assert here.live == pipe.live
        assert here.portion.held_rows == len(pipe.live)
        if chance.random() < 0.1:
            here.restart()
    assert here.portion.mode == life.SINK and here.cut > 100
    brought = sum(rows.brought for _, rows in here.store.segments(PATH))
    assert brought == here.portion.rows - here.store.purged(PATH)
    assert brought <= 2 * len(pipe.live) + 30


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
    chance = np.random.default_rng(seed)
    for _ in range(100):
        died += fed(here, pipe.unit(), chance)
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


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_a_sink_holds_is_purged_when_it_has_split_and_its_tree_is_as_without(
    seed: int,
) -> None:
    shape = Shape(3, gap=8, sink_rows=24, prototypes=7, max_level=2, sink_scans=True)
    pipe, purging, keeping = Pipe(seed), Here(shape=shape), Here(purges=False, shape=shape)
    gates, chance, split = Gates(1, {1: 1.7}), np.random.default_rng(seed), 0
    for one in (purging, keeping):
        one.perform(one.portion.adopt(gates))
    for _ in range(200):
        unit = pipe.unit()
        purging.feed(unit)
        keeping.feed(unit)
        if chance.random() < 0.1:
            purging.restart()
            purging.perform(purging.portion.adopt(gates))
        purging.right(pipe.live)
        assert purging.store.tree_nodes(PATH) == keeping.store.tree_nodes(PATH)
        split = split or (purging.portion.mode == life.SPLITTING and purging.store.purged(PATH))
    (root, *_) = purging.portion.subtree.nodes
    assert root.holds
    held = [n for _, _, at in purging.store.placed(PATH) for n in at.tolist()].count(0)
    at_first = (
        keeping.portion.subtree.counts.rows[0] - keeping.portion.subtree.counts.rows[1:].sum()
    )
    assert purging.store.purged(PATH) > split and held < at_first / 2
