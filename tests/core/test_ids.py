"""The entries that go down, applied by child, against a dict; what trunk nodes hand on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pctstream.core.block import Block, Origin, Source, decode, encode
from pctstream.core.changes import Changes
from pctstream.core.cover import refine
from pctstream.core.effects import RouteHeld, Send
from pctstream.core.ids import Below, Here, told_to_all
from pctstream.core.known import Known
from pctstream.core.leaving import Leaving, firsts
from pctstream.core.marks import Marks
from pctstream.core.root import Root
from pctstream.core.unit import Unit

OURS, THEIRS = Source("t", 0), Source("theirs", 3)
K = 4


def rows_of(rng: np.random.Generator, first: dict[Source, int], count: int, ids: int) -> Block:
    """Rows and deletes of two sources, each in order, most of them named."""
    which = rng.integers(0, 2, count)
    offset = np.empty(count, np.int64)
    for n, source in enumerate((OURS, THEIRS)):
        mine = which == n
        offset[mine] = first[source] + np.arange(int(mine.sum()))
        first[source] += int(mine.sum())
    names = [None if rng.random() < 0.2 else str(rng.integers(ids)) for _ in range(count)]
    gone = np.array([n is not None and rng.random() < 0.2 for n in names], np.bool_)
    vectors = rng.normal(size=(count, 3)).astype(np.float32)
    return Block(
        (OURS, THEIRS), which.astype(np.int32), offset, np.zeros(count, np.int32), vectors,
        pa.array(names, pa.string()), None, pa.array([b"{}"] * count),
        Changes.deletes(gone),
    )  # fmt: skip


class Child:
    """A pipe and what it leads to: rows by origin, as a portion would have them."""

    def __init__(self) -> None:
        self.live: dict[Origin, bytes] = {}
        self.marks = Marks()

    def take(self, entries: Block, strict: bool) -> None:
        entries = decode(encode(entries))
        assert self.marks.copy().advance(entries).all(), "the marks of a pipe rise"
        self.marks.advance(entries)
        for i, origin in enumerate(entries.origins()):
            changes = entries.changes or Changes.none(len(entries))
            if changes.offset[i] >= 0:
                source = entries.sources[int(changes.source[i])]
                old = Origin(*source, int(changes.offset[i]), int(changes.index[i]))
                assert not strict or old in self.live
                self.live.pop(old, None)
            if not changes.bare[i]:
                self.live[origin] = entries.vectors[i].tobytes()


def sent(entries: Block, to: Any, children: list[Child], strict: bool = True) -> None:
    for child, place in enumerate(children):
        mine = entries.keep(to == child) if (to == child).any() else None
        if mine is not None:
            place.take(mine, strict)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_left_below_is_what_a_dict_holds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    below, children = Below(), [Child() for _ in range(K)]
    grand = [[Child() for _ in range(3)] for _ in range(K)]
    first = {OURS: 0, THEIRS: 0}
    left: dict[Origin, bytes] = {}
    newest: dict[str, Origin] = {}
    for unit in range(30):
        rows = rows_of(rng, first, int(rng.integers(1, 25)), 12)
        brings = np.ones(len(rows), np.bool_) if rows.changes is None else rows.changes.brings
        child = np.where(brings, rng.integers(0, K, len(rows)), -1).astype(np.int32)
        assert rows.ids is not None
        for i, origin in enumerate(rows.origins()):
            name = rows.ids[i].as_py()
            if name is not None and (old := newest.pop(name, None)) is not None:
                del left[old]
            if brings[i]:
                left[origin] = rows.vectors[i].tobytes()
                if name is not None:
                    newest[name] = origin
        entries, to = below.turned(unit, rows, child)
        below.done(unit)
        sent(entries, to, children)
        for at in range(K):  # as trunk nodes: what leaves is told to all children
            if (to == at).any():
                mine = entries.keep(to == at)
                lower = rng.integers(0, 3, len(mine)).astype(np.int32)
                if mine.changes is not None:
                    lower[mine.changes.bare == 1] = -1
                sent(*told_to_all(mine, lower, 3), grand[at], strict=False)
        assert {o: v for c in children for o, v in c.live.items()} == left
        assert {o: v for some in grand for c in some for o, v in c.live.items()} == left


def test_ids_never_seen_and_rows_without_one_change_nothing() -> None:
    rows = rows_of(np.random.default_rng(0), {OURS: 0, THEIRS: 0}, 5, 10**9).plain
    child = np.zeros(5, np.int32)
    entries, to = Below().turned(0, rows, child)
    assert entries is rows
    assert to is child


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_leave_are_found_by_origin_whatever_was_read_before(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, kept = {OURS: 0, THEIRS: 0}, _Kept()
    leaving = Leaving(kept)
    before: set[tuple[int, int]] = set()
    places: dict[Origin, tuple[int, int]] = {}
    for unit in range(20):
        rows = rows_of(rng, first, 12, 5).plain
        leaves = rng.integers(0, 9, len(rows)).astype(np.int32)
        if rng.random() < 0.3:
            leaving = Leaving(kept)
        leaving.turn()
        if len(rows):
            leaving.came(unit, rows, leaves)
            leaving.done(unit)
            places |= {o: (unit, i) for i, o in enumerate(rows.origins())}
        asked = [*rng.permutation(len(places))[:4].tolist()]
        origins = [list(places)[i] for i in asked]
        entries = _leave([*origins, Origin("t", 0, 10**6, 0), Origin("never", 0, 0, 0)])
        found, leaf, _ = leaving.left(entries)
        right = sorted({places[o] for o in origins} - before)
        assert sorted(map(tuple, found.tolist())) == right, "a row leaves once"
        before |= set(right)
        for segment, row in right:
            kept.left.setdefault(segment, []).append(row)
        kept.pieces[unit] = rows, leaves
        for (segment, row), at in zip(found.tolist(), leaf.tolist(), strict=True):
            assert kept.pieces[segment][1][row] == at


def _leave(origins: list[Origin]) -> Block:
    n = len(origins)
    sources = tuple(dict.fromkeys(Source(*o[:2]) for o in origins))
    number = np.array([sources.index(Source(*o[:2])) for o in origins], np.int32)
    changes = Changes(
        np.ones(n, np.int8), number, np.array([o.offset for o in origins], np.int64),
        np.zeros(n, np.int32),
    )  # fmt: skip
    return Block(
        sources, number, np.arange(n), np.zeros(n, np.int32), np.zeros((n, 1), np.float32),
        changes=changes,
    )  # fmt: skip


class _Kept:
    """A store's part."""

    def __init__(self) -> None:
        self.pieces: dict[int, Any] = {}
        self.left: dict[int, list[int]] = {}

    def gone(self) -> Any:
        return {segment: np.array(rows) for segment, rows in self.left.items()}

    def firsts(self) -> Any:
        return iter((unit, firsts(rows)) for unit, (rows, _) in self.pieces.items() if len(rows))

    def piece(self, segment: int) -> Any:
        return self.pieces.get(segment)


def test_here_the_rows_and_deletes_that_left_are_told_once() -> None:
    rng = np.random.default_rng(3)
    here, first = Here(), {OURS: 0, THEIRS: 0}
    newest: dict[str, tuple[int, int]] = {}
    for unit in range(20):
        rows = rows_of(rng, first, 9, 6)
        brings = np.ones(len(rows), np.bool_) if rows.changes is None else rows.changes.brings
        assert rows.ids is not None
        right = []
        for i, name in enumerate(rows.ids.to_pylist()):
            if name is not None and name in newest:
                right.append(newest.pop(name))
            if not brings[i]:
                right.append((unit, i))
            elif name is not None:
                newest[name] = (unit, i)
        left = here.left(unit, rows, stays=True)
        assert sorted([] if left is None else map(tuple, left.tolist())) == sorted(right)


def _log(rng: np.random.Generator, count: int) -> Block:
    """Messages of an ingest partition, one entry each; some are copies from another topic."""
    rows = rows_of(rng, {OURS: 0, THEIRS: 0}, count, 10)
    return replace(rows, offset=np.where(rows.source == 0, np.arange(count), rows.offset))


class Root0:
    """N0 over four children, and what arrived there."""

    def __init__(self, children: list[Child]) -> None:
        self.children = children
        self.sent = 0
        self.root = Root(OURS, 10**6)

    def split(self) -> None:
        centroids = np.array([[1, 1, 1], [-1, 1, 0], [0, -1, 1], [1, -1, -1]], np.float32)
        cover = refine(centroids, centroids, 1e-3, 0, 1)
        assert any(isinstance(e, RouteHeld) for e in self.root.adopt(1, cover))
        self.root.rerouted()

    def feed(self, log: Block, first: int, last: int) -> None:
        self.feed_unit(Unit(OURS, first - 1, last, log.slice(first, last + 1)))

    def feed_unit(self, unit: Unit) -> None:
        for effect in self.root.feed(unit):
            if isinstance(effect, Send):
                for path, entries in effect.parcels:
                    self.sent += len(entries)
                    marks = self.children[path[-1]].marks
                    fresh = entries.keep(marks.copy().advance(entries))
                    if len(fresh):
                        self.children[path[-1]].take(fresh, strict=True)
                self.root.delivered(effect.ticket)


@pytest.mark.parametrize("seed", range(5))
def test_a_lost_store_is_made_again_and_what_was_sent_is_not_sent_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log, right, found = _log(rng, 240), [], []
    for loses in (False, True):
        n0 = Root0([Child() for _ in range(4)])
        n0.split()
        at, cuts = 0, np.random.default_rng(seed + 9)
        while at < len(log):
            last = min(len(log) - 1, at + int(cuts.integers(1, 20)))
            n0.feed(log, at, last)
            at = last + 1
            if loses and at > 150:
                done, before, loses = n0.root.done, n0.sent, False
                assert done is not None
                assert done.ids
                n0 = Root0(n0.children)
                n0.split()
                n0.root.know(Known(done.routed, done.marks))
                for again in range(0, done.routed + 1, 7):  # other units than before
                    n0.feed(log, again, min(again + 6, len(log) - 1))
                    if again + 6 <= done.routed:
                        assert n0.sent == 0
                        assert again + 6 == done.routed or n0.root.done is None
                at = n0.root.taken + 1
                n0.sent += before
        (found if right else right).append([c.live for c in n0.children])
    assert found == right
