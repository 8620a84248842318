"""Markers: from which row on another epoch routes, however the rows come, and who waits for what (R4)."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from core.rows import T0, block_of, cover_of
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core import ingest, life
from pctstream.core.between import MARKER, marker_message
from pctstream.core.block import Block, Source
from pctstream.core.cover import Cover, refine
from pctstream.core.effects import Apply, Effect, Pause, Reread, Resume, RouteHeld, Send
from pctstream.core.formats import FLOAT32
from pctstream.core.known import Known
from pctstream.core.marks import Marks
from pctstream.core.names import ROOT
from pctstream.core.node import Gates, Shape
from pctstream.core.poison import sift
from pctstream.core.position import Position
from pctstream.core.root import Root
from pctstream.core.router import Epochs
from pctstream.core.trunk import Trunk
from pctstream.core.unit import Message, Unit

FIRST = cover_of([[0, 0], [100, 100], [0, 1]], 50.0)
ROWS = np.array([[0, 0], [100, 100], [60, 60], [30, 30]], np.float32)
GROWN = refine(ROWS, ROWS, 1.0, 0, 1)
"""Children at 0, 100; from epoch 5 on at 60, from epoch 8 on at 30."""
CHILDREN = {3: 2, 5: 3, 8: 4}


def epochs(seq: int, cover: Cover = GROWN) -> Epochs:
    return Epochs("h", seq, {e: k for e, k in CHILDREN.items() if e <= seq}, cover)


def marker(offset: int, epoch: int, history: str = "h") -> Message:
    return Message(offset, None, marker_message(history, ROOT, epoch), pct_type=MARKER)


def row(offset: int, place: float, origin: str | None = None) -> Message:
    return Message(offset, None, struct.pack("<2f", place, place), origin=origin)


def unit(messages: list[Message], prev: int) -> Unit:
    return ingest.decode(T0, messages, prev, messages[-1].offset, 2, "euclidean")


def splitting(seq: int, position: Position | None = None) -> Root:
    root = Root(T0, 1000, position)
    root.learn(epochs(seq))
    assert root.adopt(3, FIRST) == [RouteHeld()]
    root.rerouted()
    return root


def children(effects: list[Effect]) -> dict[int, int]:
    """Offset -> child of the rows sent."""
    return {
        int(offset): path[-1]
        for e in effects if isinstance(e, Send) for path, rows in e.parcels for offset in rows.offset
    }  # fmt: skip


@given(st.integers(0, 2**32))
def test_a_unit_is_cut_at_its_markers_however_it_was_collected(seed: int) -> None:
    chance = random.Random(seed)
    messages: list[Message] = []
    for offset in range(chance.randint(1, 25)):
        kind = chance.choice(["row", "row", "bad", "theirs", "bad theirs", "marker", "unreadable"])
        home = f"u/{chance.randint(0, 1)}/{offset + 50}" if "theirs" in kind else None
        if kind == "marker":
            messages.append(marker(offset, chance.randint(1, 9)))
        elif kind == "unreadable":
            messages.append(Message(offset, None, b'{"epoch": 3}', pct_type=MARKER))
        elif "bad" in kind:
            messages.append(Message(offset, None, b"?", origin=home))
        else:
            messages.append(row(offset, float(offset), home))
    whole = unit(messages, -1)
    assert all(m.origin is None for m in messages if m.pct_type)
    stretches: list[list[Message]] = [[]]
    for message in messages:
        if message.pct_type == MARKER and b"history" in (message.value or b""):
            stretches.append([])
        stretches[-1].append(message)
    wanted = []
    for some in filter(None, stretches):
        part = unit(some, some[0].offset - 1)
        wanted.append((part.prev, part.last, _origins(part.rows), [d.origin for d in part.dead]))
    parts = list(whole.parts())
    assert [(p.prev, p.last, _origins(p.rows), [d.origin for d in p.dead]) for p in parts] == wanted
    assert all(len(p.markers) <= 1 for p in parts)
    assert [m.epoch for p in parts for m in p.markers] == [m.epoch for m in whole.markers]


def _origins(rows: Block | None) -> list[object]:
    return [] if rows is None else list(rows.origins())


def test_a_row_that_is_refused_does_not_shift_a_marker() -> None:
    def examine(some: Block) -> None:
        if 11 in some.offset:
            raise ArithmeticError("eleven")

    theirs = [row(0, 1.0, "u/0/11"), marker(1, 5), row(2, 1.0, "u/0/12"), row(3, 1.0)]
    parts = list(sift(examine, unit(theirs, -1)).parts())
    assert [(len(p), [d.code for d in p.dead], len(p.markers)) for p in parts] == [
        (0, ["apply"], 0), (2, [], 1)
    ]  # fmt: skip


def test_rows_behind_the_first_marker_that_counts_go_by_its_epoch() -> None:
    root = splitting(9)
    messages = [
        row(0, 61), marker(1, 4), row(2, 61), marker(3, 5, "another"), row(4, 61), marker(5, 5),
        row(6, 61), row(7, 25), marker(8, 8), row(9, 25), marker(10, 5), row(11, 25), marker(12, 8),
        row(13, 25),
    ]  # fmt: skip
    effects = root.feed(unit(messages, -1))
    assert children(effects) == {0: 1, 2: 1, 4: 1, 6: 2, 7: 0, 9: 3, 11: 3, 13: 3}
    positions = [
        e.position
        for ticket in [e.ticket for e in effects if isinstance(e, Send)]
        for e in root.delivered(ticket) if isinstance(e, Apply)
    ]  # fmt: skip
    assert [(p.routed, p.epoch) for p in positions] == [
        (0, 3), (2, 3), (4, 3), (7, 5), (9, 8), (11, 8), (13, 8)
    ]  # fmt: skip


def test_the_epoch_travels_with_the_position() -> None:
    for after, child in ((Position(-1, 4, 3), 1), (Position(-1, 7, 5), 2), (Position(-1, 9, 8), 2)):
        root = splitting(9, after)
        assert children(root.feed(unit([row(20, 61)], after.taken))) == {20: child}
    assert children(splitting(9, Position(-1, 9, 8)).feed(unit([row(20, 25)], 9))) == {20: 3}


def test_an_input_waits_until_routing_was_read_that_far() -> None:
    root = splitting(4)
    messages = [row(0, 61), marker(1, 5), row(2, 61)]
    send, pause, reread = root.feed(unit(messages, -1))
    assert children([send]) == {0: 1}
    assert (pause, reread) == (Pause(T0), Reread(T0, 1)), "before the marker, or it would be lost"
    assert root.feed(unit([row(3, 61)], 2)) == [Reread(T0, 1)]
    assert root.learn(epochs(4)) == [Resume(T0)]
    assert root.feed(unit(messages[1:], 0)) == [Pause(T0), Reread(T0, 1)]
    assert root.learn(epochs(5)) == [Resume(T0)]
    assert root.learn(epochs(6)) == []
    assert children(root.feed(unit(messages[1:], 0))) == {2: 2}


def test_an_epoch_that_counts_not_is_not_waited_for_twice() -> None:
    root = splitting(7)  # 7 was read, and is no epoch of N0
    assert children(root.feed(unit([marker(0, 7), row(1, 61)], -1))) == {1: 1}


def test_a_covering_n0_stores_nothing_from_behind_a_marker() -> None:
    root = Root(T0, 1000)
    messages = [row(0, 61), marker(1, 5), row(2, 61)]
    apply, *waits = root.feed(unit(messages, -1))
    assert isinstance(apply, Apply)
    assert (apply.position.stored, waits) == (0, [Pause(T0), Reread(T0, 1)])
    root.learn(epochs(9))
    assert root.feed(unit(messages[1:], 0)) == [Pause(T0), Reread(T0, 1)]
    assert root.adopt(3, FIRST) == [RouteHeld()]
    (held,) = root.reroute(0, block_of([(T0, 0, 0)], [[61, 61]]))
    assert children([held]) == {0: 1}
    assert root.rerouted()[0] == Resume(T0)
    assert children(root.feed(unit(messages[1:], 0))) == {2: 2}


def test_who_has_routed_before_stores_nothing_until_it_knows_by_what() -> None:
    root = Root(T0, 1000, Position(-1, 9, 5))
    assert root.feed(unit([row(10, 61)], 9)) == [Pause(T0), Reread(T0, 10)]
    root.learn(epochs(4))
    assert root.adopt(3, FIRST) == [], "the split was read, its epoch was not"
    root.learn(epochs(5))
    assert root.adopt(3, FIRST) == [RouteHeld()]
    root.rerouted()
    assert children(root.feed(unit([row(10, 61)], 9))) == {10: 2}


def test_a_sink_has_no_markers() -> None:
    root = Root(T0, 1000)
    root.adopt_sink(2)
    (apply,) = root.feed(unit([marker(0, 5)], -1))
    assert isinstance(apply, Apply)
    assert (root.mode, apply.position) == (life.SINK, Position(0, -1, 2))


def test_a_store_that_was_lost_routes_each_row_by_the_epoch_of_its_place() -> None:
    root = splitting(9)
    root.know(Known(4, Marks()))
    messages = [row(0, 61), marker(1, 5), row(2, 61), marker(3, 8), row(4, 25), row(5, 25)]
    assert children(root.feed(unit(messages, -1))) == {5: 3}, "what was routed is not sent again"
    root = splitting(9)
    assert children(root.feed(unit(messages, -1))) == {0: 1, 2: 2, 4: 3, 5: 3}


def test_rows_say_of_a_new_cover_nothing_before_its_marker() -> None:
    root = splitting(9)
    effects = root.feed(unit([row(0, 500), row(1, 600), marker(2, 5), row(3, 700)], -1))
    for send in [e for e in effects if isinstance(e, Send)]:
        root.delivered(send.ticket)
    assert (root.uncovered, root.witness.coverage.rows, root.witness.recent) == (3, 1, [1])


def test_an_id_that_comes_again_behind_a_marker_leaves_the_child_it_was_at() -> None:
    root = splitting(9)
    named = {"key": b"a", "content_type": FLOAT32}
    messages = [row(0, 61)._replace(**named), marker(1, 5), row(2, 61)._replace(**named)]
    first, second = (e for e in root.feed(unit(messages, -1)) if isinstance(e, Send))
    ((there, came),) = first.parcels
    assert (there, came.changes) == ((0, 1), None)
    (old, leaves), (new, comes) = second.parcels
    assert (old, new) == ((0, 1), (0, 2))
    assert leaves.changes is not None
    assert leaves.changes.bare.tolist() == [1], "told where it was, by origin"
    assert (leaves.changes.offset.tolist(), comes.brought) == ([0], 1)


@pytest.mark.parametrize("seq", [12, 30])
def test_a_trunk_node_is_told_in_its_pipe(seq: int) -> None:
    pipe, shape = Source("t.P0.3", 0), Shape(2, gap=5, sink_rows=100, max_level=3)
    node = Trunk((0, 3), pipe, np.zeros(2, np.float32), 5, shape, 50, 50.0)
    said = Epochs("h", seq, {e: k for e, k in {12: 2, 20: 3}.items() if e <= seq}, GROWN)
    node.learn(said)
    node.adopt(Gates(2, {1: 1.0}, (50.0, 90.0)))
    node.split(12, FIRST)
    assert node.rerouted()[0] == Resume(pipe)

    def came(offset: int, prev: int, *between: Message) -> Unit:
        rows = block_of([(T0, offset, 0)], [[61, 61]])
        found = (
            ingest.decode_pipe(pipe, between, prev, offset) if between else Unit(pipe, prev, offset)
        )
        return Unit(pipe, prev, offset, rows, (), 0, (), found.markers)

    told = Message(2, None, marker_message("h", (0, 3), 20), pct_type=MARKER)
    assert children(node.feed(came(1, -1))) == {1: 1}
    effects = node.feed(came(3, 1, told))
    if seq < 20:
        assert effects == [Pause(pipe), Reread(pipe, 2)]
    else:
        (send,) = [e for e in effects if isinstance(e, Send)]
        assert children([send]) == {3: 2}
        node.delivered(1)
        assert [e.position.epoch for e in node.delivered(3) if isinstance(e, Apply)] == [20]
