"""Effects carried out: sizes, dead letters, and what happens when a node raises."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from core.rows import block_of, cover_of, numbered, plain
from sim.log import Log, Outlet
from sim.memory import MemoryKV

from pctstream.agents.follow import Uncounted
from pctstream.agents.perform import CrashPoints, Limits, Performer, dead_letter
from pctstream.agents.shard import Shard, Turn
from pctstream.core.block import Block, Origin, Source, concat, decode
from pctstream.core.effects import Effect, Send
from pctstream.core.names import ROOT
from pctstream.core.position import Position
from pctstream.core.records import cover_records, split_record, tree_record
from pctstream.core.routing import Routing
from pctstream.core.unit import DeadLetter, Unit
from pctstream.errors import DeliveryFailed
from pctstream.pipes.readers import Place
from pctstream.store import Store

INGEST, PIPE = Source("pct.P0", 0), Source("pct.P0.0", 0)


class Bench:
    """One shard with N0 and one portion, over a log and a store in memory."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.log = Log()
        self.outlet = Outlet(self.log, lambda source, offset: None)
        self.routing = Routing()
        cover = cover_of([[0, 0], [0, 1]], 5.0)
        records = [tree_record({}, 2, "a"), *cover_records(ROOT, cover, 1, "a")]
        records += [split_record(ROOT, cover, {(0, 0): 0}, len(records), "a")]
        for offset, record in enumerate(records):
            assert self.routing.fold(record, offset, 0.0)
        self.shard = Shard(0, "pct", Store(MemoryKV()), 100)
        self.shard.sync(self.routing)
        self.turns: list[Turn] = []
        self.rereads: list[tuple[Place, int]] = []
        self.stopped: list[str] = []
        self.performer = Performer(
            self.outlet, self, Uncounted(), self.turns.append, self.stopped.append,
            limits or Limits(), CrashPoints(),
        )  # fmt: skip

    def reread(self, place: Place, offset: int) -> None:
        self.rereads.append((place, offset))

    def pause(self, place: Place) -> None: ...

    def resume(self, place: Place) -> None: ...

    def feed(self, path: tuple[int, ...], unit: Unit) -> None:
        node = self.shard.nodes[path]
        self.performer.take(Turn(self.shard, node, partial(node.feed, unit), unit))

    def settle(self) -> None:
        """Everything sent lands and is acked, and the nodes hear of it."""
        while self.outlet.queued or self.outlet.unheard or self.turns:
            for source in self.outlet.queued:
                self.outlet.land(source)
            for source in self.outlet.unheard:
                self.outlet.ack(source)
            while self.turns:
                self.performer.take(self.turns.pop(0))

    def stored(self) -> list[tuple]:
        return plain(concat([rows for _, rows in self.shard.store.segments((0, 0))]))


def test_rows_on_which_the_core_raises_are_refused_and_their_neighbours_applied() -> None:
    bench = Bench()
    node = bench.shard.nodes[0, 0]
    bench.feed((0, 0), Unit(PIPE, -1, 0, numbered([1, 2], 2, INGEST)))
    bench.feed((0, 0), Unit(PIPE, 0, 1, numbered([3, 4], 3, INGEST)))
    assert node.position == Position(0, 0, node.position.epoch), "its dead letters are not acked"
    bench.settle()
    bench.feed((0, 0), Unit(PIPE, 1, 2, numbered([5], 2, INGEST)))
    letters = bench.log.messages(Source("pct.dlq", 0), 0, 9)
    assert [m.key for m in letters] == [b"pct.P0/0/3/0", b"pct.P0/0/4/0"]
    assert bench.stored() == plain(numbered([1, 2, 5], 2, INGEST))
    assert (node.position.stored, bench.rereads) == (2, [])


def test_a_node_that_raises_takes_nothing_more_until_it_is_restored() -> None:
    bench = Bench()
    lost = bench.shard.nodes[0, 0]
    unit = Unit(PIPE, -1, 0, numbered([1], 2, INGEST))

    def call() -> list[Effect]:
        lost.feed(unit)
        raise OSError("the effects of this turn are gone")

    with pytest.raises(OSError, match="gone"):
        bench.performer.take(Turn(bench.shard, lost, call, unit))
    bench.feed((0, 0), Unit(PIPE, 0, 1, numbered([2], 2, INGEST)))
    assert bench.shard.store.position(PIPE) is None, "nothing behind the lost unit is applied"
    node = bench.shard.restore((0, 0), bench.routing)
    bench.feed((0, 0), Unit(PIPE, 0, 1, numbered([2], 2, INGEST)))
    assert bench.rereads == [((0, PIPE), 0)]
    bench.feed((0, 0), unit)
    assert bench.stored() == plain(numbered([1], 2, INGEST))
    assert bench.shard.nodes[0, 0] is node


def test_acks_for_a_node_that_was_restored_since_are_not_heard() -> None:
    bench = Bench()
    root = bench.shard.root
    assert root is not None
    bench.performer.take(Turn(bench.shard, root, partial(bench.shard.adopt, ROOT, bench.routing)))
    bench.feed(ROOT, Unit(INGEST, -1, 0, numbered([0], 2, INGEST)))
    bench.shard.restore(ROOT, bench.routing)
    bench.settle()
    assert bench.shard.store.position(INGEST) is None


@pytest.mark.parametrize("limits", [Limits(3, 10_000, 10_000), Limits(50, 100, 10_000),
                                    Limits(50, 100_000, 1500)])  # fmt: skip
def test_no_message_is_larger_than_asked_and_all_rows_arrive_in_order(limits: Limits) -> None:
    bench = Bench(limits)
    chance = random.Random(1)
    places = [(INGEST, n, 0) for n in range(40)]
    names = [chance.choice([None, "n" * chance.randint(1, 200)]) for _ in places]
    rows = block_of(places, np.zeros((40, 2)), names)
    root = bench.shard.root
    assert root is not None
    bench.performer.take(Turn(bench.shard, root, partial(bench.shard.adopt, ROOT, bench.routing)))
    bench.feed(ROOT, Unit(INGEST, -1, 39, rows))
    bench.settle()
    blocks: list[Block] = []
    for message in bench.log.messages(PIPE, 0, 99):
        assert len(message.value or b"") <= limits.message_bytes
        blocks.append(decode(message.value or b""))
        assert len(blocks[-1]) <= limits.rows
    assert plain(concat(blocks)) == plain(rows)
    assert root.position.routed == 39


def test_a_row_that_no_message_can_hold_ends_the_worker() -> None:
    bench = Bench(Limits(10, 1000, 900))
    root = bench.shard.root
    assert root is not None
    bench.performer.take(Turn(bench.shard, root, partial(bench.shard.adopt, ROOT, bench.routing)))
    with pytest.raises(DeliveryFailed, match="larger than a message"):
        bench.feed(ROOT, Unit(INGEST, -1, 0, block_of([(INGEST, 0, 0)], [[0, 0]], ["n" * 900])))


def test_a_refused_message_stops_the_worker_and_counts_nothing() -> None:
    bench = Bench()
    root = bench.shard.root
    assert root is not None
    bench.performer.take(Turn(bench.shard, root, partial(bench.shard.adopt, ROOT, bench.routing)))
    bench.feed(ROOT, Unit(INGEST, -1, 0, numbered([0], 2, INGEST)))
    bench.outlet.refuse(PIPE)
    bench.feed(ROOT, Unit(INGEST, 0, 1, numbered([1], 2, INGEST)))
    bench.settle()
    assert bench.stopped == ["pct.P0.0: refused"]
    assert bench.log.end(PIPE) == 0
    assert bench.shard.store.position(INGEST) is None


def test_a_dead_letter_says_where_and_why() -> None:
    letter = DeadLetter(Origin("pct.P0", 3, 17, 2), "norm", "too long", b"key", b"v", time_ms=1500)
    parcel = dead_letter("pct.dlq", letter, 1000)
    assert (parcel.topic, parcel.partition, parcel.key, parcel.value) == (
        "pct.dlq", 0, b"pct.P0/3/17/2", b"v",
    )  # fmt: skip
    assert dict(parcel.headers) == {
        "pct.error.code": b"norm", "pct.error.message": b"too long", "pct.error.topic": b"pct.P0",
        "pct.error.partition": b"3", "pct.error.offset": b"17", "pct.error.index": b"2",
        "pct.error.stage": b"ingest", "pct.error.time": b"1.5",
    }  # fmt: skip


def test_a_dead_letter_fits_into_a_message_whatever_it_is_about() -> None:
    """One that the broker refuses for its size would end the worker, again after each start."""
    where = Origin("pct.P0", 0, 1, 0)
    long = DeadLetter(where, "id", "\ud800" + "i" * 5_000_000, None, b"v" * 1001)
    parcel = dead_letter("pct.dlq", long, 1000)
    assert parcel.value is None
    why = dict(parcel.headers)["pct.error.message"]
    assert len(why) < 1100
    assert b"1001 bytes" in why
    assert dead_letter("pct.dlq", replace(long, value=b"v" * 1000), 1000).value == b"v" * 1000


def test_a_send_of_nothing_is_never_asked_for() -> None:
    """The outlet answers at the last ack: a send of no message would never be answered."""
    bench = Bench()
    root = bench.shard.root
    assert root is not None
    bench.performer.take(Turn(bench.shard, root, partial(bench.shard.adopt, ROOT, bench.routing)))
    effects = root.feed(Unit(INGEST, -1, 5))
    assert not any(isinstance(e, Send) for e in effects)
    assert root.position.routed == 5
