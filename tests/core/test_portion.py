"""A portion: the same whatever the units, and exactly the rows of its pipe."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from core.rows import block_of, numbered, plain
from hypothesis import given
from hypothesis import strategies as st

from pctstream.agents.portions import node_columns
from pctstream.core.block import Block, Origin, Source, concat, encode
from pctstream.core.effects import Apply, Dropped, Reread, Send, Stop
from pctstream.core.ingest import decode_pipe
from pctstream.core.node import Shape
from pctstream.core.poison import sift
from pctstream.core.portion import Portion
from pctstream.core.position import Position
from pctstream.core.subtree import NodeRecord
from pctstream.core.unit import DeadLetter, Message, Unit

PIPE = Source("t.P0.3", 0)
INGEST = [Source("t.P0", p) for p in range(3)]
CENTRE = np.array([0.5, -0.25, 3.0], np.float32)


SHAPE = Shape(3, max_level=1)


def portion(old: Portion | None = None) -> Portion:
    """A leaf of level 1, new or as its store has it."""
    if old is None:
        return Portion((0, 3), PIPE, CENTRE, 5, SHAPE, 9)
    return Portion((0, 3), PIPE, CENTRE, 5, SHAPE, 9, 0.0, old.position, old.state, kept(old))


def kept(node: Portion) -> list[NodeRecord]:
    """Its nodes as the store has them once all was written."""
    tree = node.subtree
    return [
        NodeRecord(n.number, n.record | {"counts": tree.counts.of([n.number])[0]})
        for n in tree.nodes
    ]


def unit_of(rows: Block | None, prev: int, last: int, *dead: DeadLetter) -> Unit:
    return Unit(PIPE, prev, last, rows, dead)


def a_pipe(chance: random.Random) -> list[Message]:
    """Messages as writers leave them: several sources, prefixes repeated, one unreadable."""
    values: list[bytes] = []
    rows: dict[Source, list[Block]] = {s: [] for s in INGEST}
    for source in INGEST:
        for offset in range(0, 40, chance.randint(1, 4)):
            vector = [chance.gauss(0, 1e3) * 10.0 ** chance.randint(-6, 6) for _ in range(3)]
            name = [None if chance.random() < 0.5 else "x" * chance.randint(1, 9)]
            rows[source].append(block_of([(source, offset, 0)], [vector], name))
    heads = dict.fromkeys(INGEST, 0)
    while any(heads[s] < len(rows[s]) for s in INGEST):
        parts = []
        for source in chance.sample(INGEST, chance.randint(1, 3)):
            if chance.random() < 0.2:
                heads[source] = chance.randint(0, heads[source])
            stop = min(len(rows[source]), heads[source] + chance.randint(1, 4))
            parts += rows[source][heads[source] : stop]
            heads[source] = stop
        values += [encode(concat(parts))] if parts else []
    values.insert(chance.randint(0, len(values)), b"torn")
    return [Message(i, None, v) for i, v in enumerate(values)]


def fed(node: Portion, messages: list[Message], chance: random.Random) -> list[Block]:
    """Deliver everything behind the node's watermark in units of any size; the rows applied."""
    applied: list[Block] = []
    prev = node.taken
    while prev < len(messages) - 1:
        last = min(len(messages) - 1, prev + chance.randint(1, 6))
        effects = node.feed(decode_pipe(PIPE, messages[prev + 1 : last + 1], prev, last))
        for effect in list(effects):
            if isinstance(effect, Send):
                effects += node.delivered(effect.ticket)
        applied += [e.rows for e in effects if isinstance(e, Apply) and e.rows is not None]
        prev = last
    return applied


@given(st.integers(0, 2**32))
def test_a_portion_is_a_function_of_its_pipe(seed: int) -> None:
    """R0: any grouping into units, any restart: the same rows, and the same state to the bit."""
    chance = random.Random(seed)
    messages = a_pipe(chance)
    whole = portion()
    rows = concat(fed(whole, messages, random.Random(1)))
    cut = random.Random(seed + 1)
    parts: list[Block] = []
    node = portion()
    for stop in (len(messages) // 3, len(messages)):
        parts += fed(node, messages[:stop], cut)
        node = portion(node)
    assert node.state == whole.state
    assert node.position == whole.position == Position(len(messages) - 1, len(messages) - 1, 5)
    assert plain(concat(parts)) == plain(rows)

    expected = {}
    for row in (
        r
        for m in messages
        if m.value != b"torn"
        for r in plain(decode_pipe(PIPE, [m], m.offset - 1, m.offset).rows)
    ):
        expected.setdefault(row[0], row)  # fmt: skip
    assert {r[0]: r for r in plain(rows)} == expected
    assert len(rows) == len(expected) == whole.rows
    assert whole.bytes == rows.content_bytes
    assert whole.dead_rows == 1

    distances = [math.dist(v, CENTRE.tolist()) for v in rows.vectors.tolist()]
    told = node_columns((0, 3), kept(whole), SHAPE)
    assert told["radius"][0] >= max(distances)
    assert told["radius"][0] <= max(distances) * (1 + 1e-12)
    assert told["mean_distance"][0] == pytest.approx(math.fsum(distances) / len(rows), rel=1e-12)
    assert kept(node) == kept(whole)


def test_the_radius_bounds_rows_of_many_dimensions() -> None:
    rows = np.random.default_rng(3).normal(size=(500, 784)).astype(np.float32)
    places = [(INGEST[0], i, 0) for i in range(500)]
    for i in range(500):
        node = Portion((0, 3), PIPE, rows[0] / 3, 5, Shape(784, max_level=1), 9)
        node.feed(unit_of(block_of(places[i : i + 1], rows[i]), -1, 0))
        (radius,) = node_columns((0, 3), kept(node), Shape(784))["radius"]
        assert radius >= math.dist(rows[i].tolist(), (rows[0] / 3).tolist())


def test_a_gap_is_read_again_and_repeats_are_dropped() -> None:
    node = portion()
    rows = numbered([1, 2], 3, INGEST[0])
    (apply,) = node.feed(unit_of(rows, -1, 3))
    assert isinstance(apply, Apply)
    assert (apply.position, apply.path, apply.purge) == (Position(3, 3, 5), (0, 3), False)
    assert node.feed(unit_of(rows, 4, 5)) == [Reread(PIPE, 4)]
    assert node.feed(unit_of(rows, -1, 3)) == [Dropped(2, "watermark")]
    dropped, apply = node.feed(unit_of(numbered([2, 3], 3, INGEST[0]), 3, 4))
    assert dropped == Dropped(1, "mark")
    assert isinstance(apply, Apply)
    assert plain(apply.rows) == plain(numbered([3], 3, INGEST[0]))
    dropped, apply = node.feed(unit_of(rows, 4, 5))
    assert isinstance(apply, Apply)
    assert (apply.rows, apply.position.stored) == (None, 5), "nothing new, but the position moves"


def test_rows_behind_an_unacked_dead_letter_wait_and_are_not_taken_twice() -> None:
    node = portion()
    torn = DeadLetter(Origin(*PIPE, 0, 0), "decode", "torn", None, b"?", "pipe")
    (send,) = node.feed(unit_of(numbered([1], 3, INGEST[0]), -1, 0, torn))
    assert isinstance(send, Send)
    assert node.feed(unit_of(numbered([1, 2], 3, INGEST[0]), 0, 1)) == [Dropped(1, "mark")]
    assert (node.rows, node.position.stored) == (0, -1)
    assert node.state["marks"] == []
    first, second = node.delivered(send.ticket)
    assert isinstance(first, Apply)
    assert isinstance(second, Apply)
    assert (first.state["rows"], second.state["rows"]) == (1, 2)
    assert first.state["marks"] == [["t.P0", 0, 1, 0, 1]]
    assert (first.position.stored, second.position.stored) == (0, 1)


def test_a_row_refused_by_the_core_is_dead_whatever_its_place_in_the_ingest_log() -> None:
    """Its origin is of another log than the pipe: no watermark of the pipe says it is done."""
    node = portion()
    node.feed(unit_of(None, -1, 100))
    rows = numbered([7, 8, 9], 3, INGEST[0])

    def examine(some: Block) -> None:
        node.examine(some)
        if 8 in some.offset:
            raise ArithmeticError("eight")

    (send,) = node.feed(sift(examine, unit_of(rows, 100, 101)))
    assert isinstance(send, Send)
    assert [(d.origin, d.code) for d in send.dead] == [(Origin("t.P0", 0, 8, 0), "apply")]
    (apply,) = node.delivered(send.ticket)
    assert isinstance(apply, Apply)
    assert plain(apply.rows) == plain(numbered([7, 9], 3, INGEST[0]))
    assert node.dead_rows == 1


def test_a_failed_delivery_ends_the_worker() -> None:
    assert portion().failed("why") == [Stop("why")]
