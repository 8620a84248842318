"""Rows that expire, through N0 to its children and in a portion's store, against a dict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from core.test_ids import Child, K, Root0, _Kept
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core import expiry, ingest
from pctstream.core.block import Block, Origin, Source, concat
from pctstream.core.changes import EXPIRY, Changes
from pctstream.core.expiry import Expired
from pctstream.core.known import Known
from pctstream.core.leaving import Leaving
from pctstream.core.unit import Message, Unit
from pctstream.ingested import Newest

OURS, THEIRS = Source("t", 0), Source("theirs", 3)
Live = dict[Origin, bytes]


def a_log(rng: np.random.Generator, count: int) -> list[Message]:
    """Rows with and without ids, deletes, copies from another topic (some of them twice), expiries."""
    out: list[Message] = []
    theirs = 0
    for offset in range(count):
        kind = rng.choice(
            ["row", "delete", "theirs", "again", "expire"], p=[0.5, 0.1, 0.2, 0.1, 0.1]
        )
        key = str(rng.integers(9)).encode() if rng.random() < 0.7 else None
        value: bytes | None = rng.normal(size=3).astype(np.float32).tobytes()
        origin = said = None
        if kind == "expire":
            places = {
                OURS: int(rng.integers(0, offset + 9)),
                THEIRS: int(rng.integers(0, theirs + 9)),
            }
            key, value, said = None, expiry.said(places), expiry.EXPIRE
        elif kind in ("theirs", "again") and theirs + (kind == "theirs"):
            at = theirs if kind == "theirs" else int(rng.integers(theirs))
            origin, theirs = f"theirs/3/{at}", max(theirs, at + 1)
        elif kind == "delete":
            key, value = key or b"0", None
        out.append(Message(offset, key, value, "application/octet-stream", said, 0, -1, origin))
    return out


def right(log: list[Message]) -> Live:
    """What is left of it."""
    left: Live = {}
    newest: dict[str, Origin] = {}
    seen: set[Origin] = set()
    for message in log:
        if message.pct_type:
            said = {Source(t, p): o for t, p, o in expiry.orjson.loads(message.value)}
            for old in [o for o in left if o.offset < said.get(Source(*o[:2]), 0)]:
                del left[old]
            continue
        origin = Origin(*OURS, message.offset, 0)
        if message.origin:
            origin = Origin(*THEIRS, int(message.origin.rsplit("/")[-1]), 0)
        if origin in seen:
            continue
        seen.add(origin)
        name = message.name
        if name is not None and (old := newest.pop(name, None)) is not None:
            left.pop(old, None)
        if message.value is not None:
            left[origin] = message.value
            if name is not None:
                newest[name] = origin
    return left


def unit_of(log: list[Message], first: int, last: int) -> Unit:
    return ingest.decode(OURS, log[first : last + 1], first - 1, last, 3, "euclidean")


class Aging(Child):
    """A child that lets go of what expires."""

    def take(self, entries: Block, strict: bool) -> None:
        places = {row: (source, upto) for row, source, upto in expiry.places(entries)}
        for row in range(len(entries)):
            one = entries.slice(row, row + 1)
            if row in places:
                source, upto = places[row]
                assert self.marks.copy().advance(one).all()
                self.marks.advance(one)
                for old in [o for o in self.live if o[:2] == source and o.offset < upto]:
                    del self.live[old]
            else:
                super().take(one, strict=False)  # it may name what expired


@pytest.mark.parametrize("seed", range(6))
def test_what_is_left_below_is_what_a_dict_holds_also_after_the_store_is_lost(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log = a_log(rng, 200)
    n0 = Root0([Aging() for _ in range(K)])
    n0.split()
    at, loses = 0, bool(seed % 2)
    while at < len(log):
        last = min(len(log) - 1, at + int(rng.integers(1, 12)))
        n0.feed_unit(unit_of(log, at, last))
        at = last + 1
        assert {o: v for c in n0.children for o, v in c.live.items()} == right(log[:at])
        if loses and at > 120:
            done, loses = n0.root.done, False
            assert done is not None
            n0 = Root0(n0.children)
            n0.split()
            n0.root.know(Known(done.routed, done.marks))
            for again in range(0, at, 7):
                n0.feed_unit(unit_of(log, again, min(again + 6, at - 1)))
            assert n0.sent == 0


@pytest.mark.parametrize("seed", range(4))
def test_verify_expects_what_a_dict_holds(seed: int) -> None:
    log = [m for m in a_log(np.random.default_rng(seed), 150) if not m.origin]
    log = [m._replace(offset=at) for at, m in enumerate(log)]
    newest, origins = Newest(), []
    for at in range(0, len(log), 20):
        rows = unit_of(log, at, min(at + 19, len(log) - 1)).rows
        if rows is not None:
            newest.take(rows)
            origins += rows.plain.origins()
    left = np.flatnonzero(newest.left).tolist()
    assert {origins[i] for i in left} == set(right(log))


@pytest.mark.parametrize("seed", range(6))
def test_each_row_leaves_once_whatever_was_read_before(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kept, left, live = _Kept(), set(), {}
    leaving, offset = Leaving(kept), 0
    for unit in range(40):
        if rng.random() < 0.2:
            leaving = Leaving(kept)
        leaving.turn()
        count = int(rng.integers(1, 9))
        rows = ingest.decode(
            OURS,
            [Message(offset + i, None, bytes(12)) for i in range(count)],
            -1,
            10**6,
            3,
            "euclidean",
        ).rows
        assert rows is not None
        leaves = rng.integers(0, 5, count).astype(np.int32)
        leaving.came(unit, rows, leaves)
        leaving.done(unit)
        live |= {o.offset: (unit, i) for i, o in enumerate(rows.origins())}
        offset += count
        entries, gone = _leave(rng, offset)
        found = leaving.left(entries)
        expected = {live[at] for at in gone if live[at] not in left}
        assert sorted(map(tuple, found.places.tolist())) == sorted(expected)
        left |= expected
        kept.pieces[unit] = rows, leaves
        for segment, row in expected:
            kept.left.setdefault(segment, []).append(row)
        for (segment, row), leaf in zip(found.places.tolist(), found.leaf.tolist(), strict=True):
            assert kept.pieces[segment][1][row] == leaf


def _leave(rng: np.random.Generator, end: int) -> tuple[Block, set[int]]:
    """Some rows by name, and now and then all before a place; the offsets of both."""
    named = rng.integers(0, end, 3).tolist()
    upto = int(rng.integers(0, end + 1)) if rng.random() < 0.4 else 0
    kinds = np.array([1, 1, 1, EXPIRY], np.int8)
    zeros = np.zeros(4, np.int32)
    changes = Changes(kinds, zeros, np.array([*named, upto], np.int64), zeros)
    at = np.arange(4, dtype=np.int64)
    block = Block((OURS,), zeros, at, zeros, np.zeros((4, 3), np.float32), changes=changes)
    return block, {*named, *range(upto)}


def test_an_expiry_reaches_no_farther_than_what_came_before_it() -> None:
    log = [
        Message(0, None, bytes(12), None, None, 0, -1, "theirs/3/5"),
        Message(1, None, expiry.said({OURS: 99, THEIRS: 99}), None, expiry.EXPIRE),
        Message(2, None, bytes(12), None, None, 0, -1, "theirs/3/6"),
    ]
    unit = unit_of(log, 0, 2)
    assert unit.rows is not None
    found = expiry.places(expiry.bounded(unit.rows, OURS, Child().marks))
    assert sorted(found) == [(1, OURS, 1), (2, THEIRS, 6)]


@given(st.binary(max_size=60) | st.sampled_from([
    b"[]", b"{}", b"[[1,2]]", b'[["t",0,-1]]', b'[["t",-1,4]]', b'[["t",0,1e99]]', b"[[[],0,4]]",
    b'[["t",0,9223372036854775807]]', b'[["t",99999999999,4]]', b"null", b"7",
]))  # fmt: skip
def test_what_says_nothing_expires_nothing(value: bytes) -> None:
    found = expiry.entries(OURS, Message(4, None, value, None, expiry.EXPIRE), 3)
    assert all((b.changes.offset >= 0).all() and len(b.sources) <= 60 for b in found if b.changes)


def test_rows_of_another_topic_never_say_what_expires() -> None:
    said = expiry.said({OURS: 3})
    message = Message(3, None, said, None, expiry.EXPIRE, 0, -1, "theirs/3/1")
    log = [Message(at, None, bytes(12)) for at in range(3)]
    unit = ingest.decode(OURS, [*log, message], -1, 3, 3, "euclidean")
    assert unit.rows is not None
    assert unit.rows.changes is None


def test_what_tells_of_expiry_is_not_itself_a_reason_to_tell() -> None:
    known, step = Expired(OURS), 10
    rows: Any = unit_of([Message(at, None, bytes(12)) for at in range(4)], 0, 3).rows
    known.take(rows)
    assert known.next(OURS, 2, step) == 2
    known.take(_told(4, 2))
    assert known.next(OURS, 2, step) is None
    assert known.next(OURS, 5, step) == 5
    known.take(_told(5, 5))
    assert [known.next(OURS, at, step) for at in (5, 6, 99)] == [None] * 3
    again = Expired(OURS, known.to_json())
    assert again.next(OURS, 99, step) is None
    again.take(concat([rows.take(np.array([3])), _told(7, 1)]))
    assert Expired(OURS).next(OURS, 99, step) == 10, "of a lost store nobody knows"


def _told(at: int, upto: int) -> Block:
    [block] = expiry.entries(OURS, Message(at, None, expiry.said({OURS: upto})), 3)
    return block
