"""The bridge's copies, where they come from, and that N0 takes each row once."""

from __future__ import annotations

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core import bridge, ingest
from pctstream.core.block import Block, Source
from pctstream.core.cover import Cover, refine
from pctstream.core.effects import Apply, Dropped, Send
from pctstream.core.marks import Marks
from pctstream.core.news import news
from pctstream.core.position import Position
from pctstream.core.root import Root
from pctstream.core.tree import Turns
from pctstream.core.unit import Message, Unit

HOME = Source("pct.P0", 1)
THEIRS = Source("their.topic-1_x", 9)
D = 2


def row(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


def copied(messages: list[Message], start: int = 0, source: Source = THEIRS) -> list[Message]:
    """The copies of messages as they lie in the ingest log from offset ``start`` on."""
    parcels = bridge.copies("pct", 4, source, messages, -1, -1).parcels
    said = [{k: v.decode() for k, v in p.headers} for p in parcels]
    return [
        Message(start + i, p.key, p.value, s.get("content-type"), s.get("pct-type"), p.time_ms,
                -1, s[bridge.ORIGIN])
        for i, (p, s) in enumerate(zip(parcels, said, strict=True))
    ]  # fmt: skip


def decoded(messages: list[Message], prev: int = -1) -> Unit:
    return ingest.decode(HOME, messages, prev, messages[-1].offset, D, "euclidean")


def test_a_copy_is_the_message_with_its_origin_and_nothing_that_it_claims() -> None:
    told = Message(
        7, b"key", b'{"vector":[1,2]}', "application/json", "marker", 123_000, 5, "x/0/0"
    )
    (parcel,) = bridge.copies("pct", 4, THEIRS, [told], 6, 7).parcels
    assert parcel[:4] == ("pct.P0", 1, b"key", told.value)
    assert dict(parcel.headers) == {
        "pct-origin": b"their.topic-1_x/9/7", "content-type": b"application/json",
    }  # fmt: skip
    assert parcel.time_ms == 123_000


def test_what_is_too_large_is_a_dead_letter_under_its_own_origin() -> None:
    large = Message(3, b"k", b"x" * bridge.LARGEST_BYTES)
    unit = bridge.copies("pct", 4, THEIRS, [large, Message(4, None, row(1, 2))], 2, 4)
    assert [(str(d.origin), d.code, d.value) for d in unit.dead] == [
        ("their.topic-1_x/9/3/0", "too-large", None)
    ]
    assert len(unit.parcels) == 1
    assert len(unit) == 2


def test_rows_keep_their_origin_whatever_they_are_and_whoever_they_lie_between() -> None:
    own = Message(0, b"a", row(0, 1))
    theirs = copied(
        [Message(40, b"b", row(1, 1)), Message(41, b"c", orjson.dumps({"vector": [2, 1]})),
         Message(42, b"d", b"junk"), Message(44, b"e", row(np.nan, 0))],
        start=1,
    )  # fmt: skip
    other = copied([Message(5, b"f", row(3, 1))], 5, Source("other", 1))
    unit = decoded([own, *theirs, *other, Message(6, b"g", row(4, 1))])
    assert unit.rows is not None
    assert [str(o) for o in unit.rows.origins()] == [
        "pct.P0/1/0/0", "their.topic-1_x/9/40/0", "their.topic-1_x/9/41/0", "other/1/5/0",
        "pct.P0/1/6/0",
    ]  # fmt: skip
    assert unit.rows.ids.to_pylist() == ["a", "b", "c", "f", "g"]
    assert [(str(d.origin), d.code) for d in unit.dead] == [
        ("their.topic-1_x/9/42/0", "decode"), ("their.topic-1_x/9/44/0", "not-finite"),
    ]  # fmt: skip
    assert (unit.source, unit.prev, unit.last) == (HOME, -1, 6)


def test_an_origin_that_names_no_other_topic_is_refused() -> None:
    forged = [
        "pct.P0/1/5",
        "their/1",
        "their/-1/5",
        "their/1/5/0",
        "a b/1/2",
        "",
        "t/1/" + "9" * 40,
    ]
    for origin in forged:
        unit = decoded([Message(8, None, row(1, 2), origin=origin), Message(9, None, row(3, 4))], 7)
        assert [(str(d.origin), d.code) for d in unit.dead] == [("pct.P0/1/8/0", "schema")]
        assert len(unit) == 1


@given(
    st.lists(st.tuples(st.sampled_from("abx"), st.integers(1, 4)), min_size=1, max_size=12),
    st.integers(1, 7), st.data(),
)  # fmt: skip
def test_repeats_of_a_bridge_are_taken_once(
    turns: list[tuple[str, int]], size: int, data: st.DataObject
) -> None:
    """Bridges of two foreign partitions that now and then go back, between rows of our own: cut
    into units anywhere, with a part delivered twice, each row and each refused one comes once."""
    at = {"a": 0, "b": 0}
    log: list[Message] = []
    for who, count in turns:
        if who == "x":
            log += [Message(len(log) + i, None, row(1, 2)) for i in range(count)]
            continue
        at[who] = data.draw(st.integers(0, at[who]))
        some = [
            Message(at[who] + i, None, b"bad" if (at[who] + i) % 3 == 2 else row(at[who] + i, 0))
            for i in range(count)
        ]
        log += copied(some, len(log), Source(who, 1))
        at[who] += count
    taken, marks = -1, Marks()
    rows: list[str] = []
    dead: list[str] = []
    start = 0
    while taken < len(log) - 1:
        unit = decoded(log[start : start + size], start - 1)
        fresh = news(unit, taken, marks)
        rows += [] if fresh.rows is None else [str(o) for o in fresh.rows.origins()]
        dead += [str(d.origin) for d in fresh.dead]
        taken, marks = unit.last, fresh.marks
        start = data.draw(st.integers(max(0, taken - 2), taken + 1))
        if start + size <= taken + 1:
            start = taken + 1
    everything = {
        f"{who}/1/{i}/0"
        for who in "ab"
        for i in range(max((m for m in _ends(log, who)), default=0))
    }
    everything |= {f"pct.P0/1/{m.offset}/0" for m in log if m.origin is None}
    assert len(rows) == len(set(rows))
    assert len(dead) == len(set(dead))
    assert set(rows) | set(dead) == everything
    assert all(int(o.split("/")[2]) % 3 == 2 for o in dead)


def _ends(log: list[Message], who: str) -> list[int]:
    places = [m.origin.split("/") for m in log if m.origin]
    return [int(p[2]) + 1 for p in places if p[0] == who]


def _unit(prev: int, block: Block) -> Unit:
    return Unit(HOME, prev, prev + 1, block)


def _theirs(first: int, count: int) -> Block:
    none = np.zeros(count, np.int32)
    offsets = np.arange(first, first + count, dtype=np.int64)
    vectors = np.stack([np.arange(count), np.arange(count)], axis=1).astype(np.float32)
    return Block((THEIRS,), none, offsets, none, vectors)


def _cover() -> Cover:
    points = np.array([[0, 0], [9, 9]], np.float32)
    return refine(points, points, 1.0, 0, 2)


def test_the_root_keeps_the_marks_with_the_position_and_tells_only_of_what_is_routed() -> None:
    root = Root(HOME, 100)
    (stored,) = [e for e in root.feed(_unit(-1, _theirs(0, 3))) if isinstance(e, Apply)]
    assert Marks.from_json(stored.state["marks"]).of(THEIRS) == (2, 0)
    assert root.done is None, "what is only stored here is in no pipe"
    again = root.feed(_unit(0, _theirs(1, 4)))
    assert Dropped(2, "mark") in again
    (stored,) = [e for e in again if isinstance(e, Apply)]
    assert stored.rows is not None
    assert stored.rows.offset.tolist() == [3, 4]
    restored = Root(HOME, 100, stored.position, stored.state)
    assert [e for e in restored.feed(_unit(1, _theirs(0, 5))) if isinstance(e, Dropped)] == [
        Dropped(5, "mark")
    ]


def test_a_root_that_hands_down_commits_nothing_before_all_it_stored_is_routed() -> None:
    root = Root(HOME, 100)
    segments = [(0, _theirs(0, 3)), (1, _theirs(3, 3))]
    for last, rows in segments:
        root.feed(_unit(last - 1, rows))
    root.adopt(1, _cover())
    sends = [e for last, rows in segments for e in root.reroute(last, rows)]
    root.rerouted()
    assert [type(e) for e in sends] == [Send, Send]
    root.delivered(0)
    assert root.position.routed == 0
    assert root.done is None, "its marks are those of the second segment"
    root.delivered(1)
    assert root.done is not None
    assert root.done[0] == 1
    assert root.done[1].of(THEIRS) == (5, 0)


def test_a_root_without_a_store_goes_on_from_what_was_committed() -> None:
    root = Root(HOME, 100)
    marks = Marks()
    marks.past(THEIRS, (3, 0))
    root.begin(Position(8, 8), marks)
    assert root.done == (8, marks, False, 0)
    effects = root.feed(_unit(8, _theirs(2, 4)))
    assert Dropped(2, "mark") in effects


def test_a_sample_has_a_bridged_row_once() -> None:
    turns = Turns([1], D)
    turns.add(decoded(copied([Message(0, None, row(5, 5)), Message(1, None, row(6, 6))])))
    turns.add(decoded(copied([Message(1, None, row(6, 6)), Message(2, None, row(7, 7))], 2), 1))
    assert turns.take({1}).ravel().tolist() == [5, 5, 6, 6, 7, 7]
