"""N0 of one shard: what it asks to have done, in every order in which things can happen."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from core.rows import T0, block_of, cover_of, numbered, plain
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core import life
from pctstream.core.block import Block, Origin
from pctstream.core.effects import (
    Apply,
    Dropped,
    Effect,
    Pause,
    Reread,
    Resume,
    RouteHeld,
    Send,
    Stop,
)
from pctstream.core.marks import Marks
from pctstream.core.position import Position
from pctstream.core.root import Root
from pctstream.core.unit import DeadLetter, Unit

COVER = cover_of([[0, 0], [100, 100], [0, 1]], 50.0)
"""Rows of numbered() at offset n lie at (n, n): child 0 up to 50, child 1 beyond."""


def letter(offset: int, index: int = 0) -> DeadLetter:
    return DeadLetter(Origin("t", 0, offset, index), "decode", "bad", None, b"?")


def unit_of(offsets: Sequence[int], prev: int, last: int, dead: Sequence[int] = ()) -> Unit:
    rows = numbered(offsets) if offsets else None
    return Unit(T0, prev, last, rows, tuple(letter(o) for o in dead))


def sends(effects: Sequence[Effect]) -> list[Send]:
    return [e for e in effects if isinstance(e, Send)]


def applies(effects: Sequence[Effect]) -> list[Apply]:
    return [e for e in effects if isinstance(e, Apply)]


def splitting(position: Position | None = None, segments: Sequence[tuple[int, Block]] = ()) -> Root:
    """A root that has adopted COVER; what it sends on the way is not looked at."""
    root = Root(T0, 1000, position)
    assert root.adopt(3, COVER) == [RouteHeld()]
    for last, rows in segments:
        root.reroute(last, rows)
    root.rerouted()
    return root


def test_covering_stores_each_unit_with_its_position() -> None:
    root = Root(T0, 1000)
    (apply,) = root.feed(unit_of([0, 1], -1, 2))
    assert isinstance(apply, Apply)
    assert (apply.position, plain(apply.rows)) == (Position(2, -1, 0), plain(numbered([0, 1])))
    assert apply.state["stored_rows"] == root.rows == 2
    (apply,) = root.feed(unit_of([], 2, 5))
    assert isinstance(apply, Apply)
    assert (apply.position.stored, apply.rows) == (5, None)


def test_a_gap_is_read_again_and_a_repeat_is_dropped_row_by_row() -> None:
    root = Root(T0, 1000)
    root.feed(unit_of([0, 1], -1, 1))
    assert root.feed(unit_of([5], 4, 5)) == [Reread(T0, 2)]
    assert root.feed(unit_of([0, 1], -1, 1)) == [Dropped(2, "watermark")]
    dropped, send = root.feed(unit_of([0, 1, 2, 3], -1, 4, dead=[1, 4]))
    assert dropped == Dropped(2, "watermark")
    assert isinstance(send, Send)
    assert [d.origin.offset for d in send.dead] == [4], "1 was done before"
    (apply,) = root.delivered(send.ticket)
    assert isinstance(apply, Apply)
    assert plain(apply.rows) == plain(numbered([2, 3]))
    assert (root.dead_rows, root.stored_rows) == (1, 4)


def test_the_position_waits_for_dead_letters_and_so_do_units_behind() -> None:
    root = Root(T0, 1000)
    (send,) = root.feed(unit_of([0], -1, 1, dead=[1]))
    assert isinstance(send, Send)
    assert root.feed(unit_of([2], 1, 2)) == []
    assert root.position.stored == -1
    first, second = applies(root.delivered(send.ticket))
    assert [first.position.stored, second.position.stored] == [1, 2]


def test_parcels_hold_the_rows_of_a_unit_in_order_by_the_nearest_centroid() -> None:
    root = splitting()
    (send,) = root.feed(unit_of([0, 99, 1, 98, 2, 300], -1, 300))
    assert isinstance(send, Send)
    assert [(p, b.offset.tolist()) for p, b in send.parcels] == [
        ((0, 0), [0, 1, 2]), ((0, 1), [99, 98, 300]),
    ]  # fmt: skip
    root.delivered(300)
    assert (root.routed_rows, root.uncovered) == (6, 1)


@given(st.integers(0, 2**32))
def test_routed_is_always_the_prefix_of_what_is_acked(seed: int) -> None:
    chance = random.Random(seed)
    root = splitting()
    waiting: list[int] = []
    done: set[int] = set()
    taken, reached = -1, -1
    units: dict[int, Unit] = {}
    while len(units) < 12 or waiting:
        if len(units) < 12 and chance.random() < 0.5:
            last = taken + chance.randint(1, 3)
            empty = chance.random() < 0.3
            dead = [last] if chance.random() < 0.3 else []
            unit = unit_of([] if empty else range(taken + 1, last), taken, last, dead)
            effects = root.feed(unit)
            units[last], taken = unit, last
            if sends(effects):
                waiting.append(last)
            else:
                done.add(last)
        elif waiting:
            ticket = waiting.pop(chance.randrange(len(waiting)))
            done.add(ticket)
            effects = root.delivered(ticket)
        else:
            continue
        for last in sorted(units):
            if last not in done:
                break
            reached = last
        assert root.position.routed == reached
        for apply in applies(effects):
            assert apply.position.routed == reached
    assert root.routed_rows == sum(len(u) for u in units.values())
    assert root.dead_rows == sum(len(u.dead) for u in units.values())


def test_the_rows_held_go_first_and_wait_for_units_that_are_not_stored_yet() -> None:
    root = Root(T0, 1000)
    (stored,) = applies(root.feed(unit_of([0, 1], -1, 1)))
    (late,) = sends(root.feed(unit_of([2], 1, 3, dead=[3])))
    assert root.adopt(3, COVER) == [], "a dead letter is not acked yet"
    assert root.feed(unit_of([4], 3, 4)) == []
    assert root.rows == 2, "rows stored while adopting are counted once they are stored"
    effects = root.delivered(late.ticket)
    assert [a.position.stored for a in applies(effects)] == [3, 4]
    assert effects[-1] == RouteHeld()
    assert root.rows == 4
    assert stored.rows is not None
    first = root.reroute(1, stored.rows)
    assert [s.ticket for s in sends(first)] == [1]
    for apply in applies(effects):
        assert apply.rows is not None
        root.reroute(apply.position.stored, apply.rows)
    root.rerouted()
    assert (root.mode, root.rows) == (life.SPLITTING, 4)
    for ticket in (4, 3, 1):
        root.delivered(ticket)
    assert root.position == Position(4, 4, 3)


@pytest.mark.parametrize("acks_first", [True, False])
def test_held_rows_are_counted_until_their_owner_has_them_and_then_purged(
    acks_first: bool,
) -> None:
    segments = [(1, numbered([0, 1])), (99, numbered([98, 2, 99]))]
    root = splitting(Position(99, -1, 0), segments)
    assert root.rows == 5

    def ack() -> list[Effect]:
        return root.delivered(99) + root.delivered(1)

    def report() -> list[Effect]:
        assert root.owner_applied((0, 0), Marks({T0: (1, 0)})) == []
        assert root.rows == 3
        assert root.owner_applied((0, 0), Marks({T0: (0, 0)})) == [], "an older report"
        root.owner_applied((0, 0), Marks({T0: (2, 0)}))
        assert root.rows == 2
        return root.owner_applied((0, 1), Marks({T0: (400, 0)}))

    if acks_first:
        ack()
    effects = report()
    if not acks_first:
        assert applies(effects) == [], "routed has not reached them: they may have to be sent again"
        effects = ack()
    purge = applies(effects)[-1]
    assert (purge.purge, purge.state["stored_rows"], root.rows) == (True, 0, 0)
    assert purge.position.routed == 99
    assert not any(a.purge for a in applies(root.feed(unit_of([100], 99, 100))))
    assert not any(a.purge for a in applies(root.delivered(100))), "once"


def test_a_report_that_comes_before_the_held_rows_are_known_is_not_forgotten() -> None:
    root = Root(T0, 1000, Position(1, 1, 3), {"stored_rows": 2})
    root.owner_applied((0, 0), Marks({T0: (1, 0)}))
    root.adopt(3, COVER)
    assert root.reroute(1, numbered([0, 1])) == [], "routed before the crash"
    assert [a.purge for a in applies(root.rerouted())] == [True]


def test_units_without_rows_at_the_end_of_what_is_stored_do_not_hold_the_purge() -> None:
    root = Root(T0, 1000, Position(7, -1, 0), {"stored_rows": 1})
    root.adopt(3, COVER)
    root.reroute(3, numbered([3]))
    root.owner_applied((0, 0), Marks({T0: (3, 0)}))
    assert applies(root.rerouted()) == []
    applied = applies(root.delivered(3))
    assert applied[-1].purge
    assert root.position == Position(7, 7, 3)


def test_a_full_root_pauses_also_after_a_restart_and_resumes_when_it_is_decided() -> None:
    root = Root(T0, 3)
    assert Pause(T0) not in root.feed(unit_of([0, 1], -1, 1))
    assert root.feed(unit_of([2], 1, 2))[-1] == Pause(T0)
    assert root.feed(unit_of([3], 2, 3)) == [Pause(T0), Reread(T0, 3)], "it was on its way"
    again = Root(T0, 3, root.position, root.state)
    assert again.feed(unit_of([3], 2, 3)) == [Pause(T0), Reread(T0, 3)]
    again.adopt(3, COVER)
    assert again.feed(unit_of([3], 2, 3)) == [Pause(T0), Reread(T0, 3)]
    again.reroute(2, numbered([0, 1, 2]))
    assert Resume(T0) in again.rerouted()
    assert sends(again.feed(unit_of([3], 2, 3)))
    sink = Root(T0, 3, root.position, root.state)
    assert sink.adopt_sink(4) == [Resume(T0)]
    (apply,) = sink.feed(unit_of([3], 2, 3))
    assert isinstance(apply, Apply)
    assert (apply.position, sink.rows) == (Position(3, -1, 4), 4)
    assert sink.adopt_sink(4) == []


def test_after_a_crash_only_what_is_not_routed_is_sent_again() -> None:
    root = Root(T0, 1000, Position(5, 2, 3), {"stored_rows": 4})
    root.adopt(3, COVER)
    assert root.reroute(2, numbered([0, 2])) == []
    (send,) = sends(root.reroute(5, numbered([4, 5])))
    assert [b.offset.tolist() for _, b in send.parcels] == [[4, 5]]
    root.rerouted()
    assert root.rows == 4
    (apply,) = applies(root.delivered(5))
    assert apply.position == Position(5, 5, 3)
    assert apply.state["routed_rows"] == 2
    assert root.feed(unit_of([3, 6], 2, 6))[0] == Dropped(1, "watermark")


def test_a_failed_delivery_ends_the_worker_and_counts_nothing() -> None:
    root = splitting()
    root.feed(unit_of([0], -1, 0))
    assert root.failed("too large") == [Stop("too large")]
    assert root.position.routed == -1


def test_examine_raises_on_the_row_that_routing_raises_on() -> None:
    root = Root(T0, 1000)
    root.examine(numbered([0], 3))
    root.adopt(3, COVER)
    root.examine(numbered([0]))
    with pytest.raises(ValueError, match="dimension"):
        root.examine(numbered([0], 3))
    assert root.state == Root(T0, 1000).state


def test_a_row_of_several_in_one_message_is_told_by_its_index() -> None:
    rows = block_of([(T0, 4, i) for i in range(3)], [[0, 0]] * 3)
    root = splitting(Position(4, -1, 0), [(4, rows)])
    root.owner_applied((0, 0), Marks({T0: (4, 1)}))
    assert root.rows == 1
    assert np.array_equal(rows.index, [0, 1, 2])
