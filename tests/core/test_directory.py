"""The directory against a dict, with crashes between what is known and what is done."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core.directory import Directory
from pctstream.core.young import ENTRY, NOWHERE, UNKNOWN


class Drawer:
    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.held.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter([(k, self.held[k]) for k in self.keys(prefix)])

    def keys(self, prefix: bytes) -> Iterator[bytes]:
        return iter(sorted(k for k in self.held if k.startswith(prefix)))

    def write(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        for key, value in changes:
            if value is None:
                self.held.pop(key, None)
            else:
                self.held[key] = value


def entries(keys: list[int], unit: int, gone: list[bool]) -> np.ndarray:
    out = np.zeros(len(keys), ENTRY)
    out["key"], out["offset"], out["index"] = keys, unit, np.arange(len(keys))
    out["child"] = np.where(gone, NOWHERE, np.array(keys) % 7)
    return out


def expect(old: np.ndarray, some: np.ndarray, known: dict[int, tuple]) -> None:
    for before, entry in zip(old, some, strict=True):
        there = known.get(int(entry["key"]))
        if there is None:
            assert before["child"] in (UNKNOWN, NOWHERE)
        else:
            assert (before["child"], before["offset"], before["index"]) == there
        kept = (int(entry["child"]), int(entry["offset"]), int(entry["index"]))
        known[int(entry["key"])] = kept
        if entry["child"] == NOWHERE:
            del known[int(entry["key"])]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 100), st.integers(5, 300))
def test_it_is_a_dict_that_forgets_what_was_not_done(seed: int, units: int, ids: int) -> None:
    rng = np.random.default_rng(seed)
    drawer, known = Drawer(), {}
    directory, done = Directory(drawer, full=16), 0
    kept: dict[int, tuple] = {}
    waiting: list[tuple[int, np.ndarray]] = []
    unit = 0
    while unit < units:
        keys = [
            int(k) * 0x9E3779B97F4A7C15 % 2**64 for k in rng.integers(0, ids, rng.integers(0, 12))
        ]
        some = entries([int(k) for k in keys], unit, (rng.random(len(keys)) < 0.2).tolist())
        expect(directory.exchange(unit, some), some, known)
        waiting.append((unit, some))
        unit += 1
        for _ in range(int(rng.integers(0, len(waiting) + 1))):
            done, counted = waiting.pop(0)
            drawer.write(directory.done(done))
            expect(counted[:0], counted[:0], kept)
            for entry in counted:
                kept[int(entry["key"])] = tuple(int(entry[n]) for n in ("child", "offset", "index"))
                if entry["child"] == NOWHERE:
                    del kept[int(entry["key"])]
        if rng.random() < 0.05:  # a crash: what was done is known, what was not comes again
            directory, known = Directory(drawer, full=16), dict(kept)
            again, waiting = waiting, []
            for number, some in again:
                expect(directory.exchange(number, some), some, known)
                waiting.append((number, some))


def test_runs_are_merged_and_few_and_the_pages_of_an_unfinished_merge_go() -> None:
    drawer, known = Drawer(), {}
    directory = Directory(drawer, full=1000)
    rng = np.random.default_rng(1)
    for unit in range(120):
        keys = [int(k) for k in rng.integers(0, 2**63, 500)]
        some = entries(keys, unit, [False] * 500)
        expect(directory.exchange(unit, some), some, known)
        drawer.write(directory.done(unit))
        if unit % 7 == 0:
            directory = Directory(drawer, full=1000)
    assert len(directory._runs) < 20
    numbers = {key[2:10] for key in drawer.keys(b"p/")}
    named = {key[2:] for key in drawer.keys(b"m/")}
    assert len(numbers - named) <= 1, "pages of merges that no run needs"
    asked = entries(list(known)[::37], 1000, [False] * len(list(known)[::37]))
    expect(directory.exchange(1000, asked), asked, known)


@pytest.mark.parametrize("damage", [b"", b"garbage"])
def test_a_filter_that_cannot_be_read_is_made_again(damage: bytes) -> None:
    drawer, known = Drawer(), {}
    directory = Directory(drawer, full=100)
    for unit in range(4):
        some = entries(list(range(unit * 100, unit * 100 + 100)), unit, [False] * 100)
        expect(directory.exchange(unit, some), some, known)
        drawer.write(directory.done(unit))
    for key in drawer.keys(b"b/"):
        drawer.held[key] = damage
    asked = entries(list(range(400)), 9, [False] * 400)
    expect(Directory(drawer, full=100).exchange(9, asked), asked, known)


def test_what_expired_is_forgotten_and_nothing_else() -> None:
    drawer, known, upto = Drawer(), {}, [0]

    def forgotten(some: np.ndarray) -> np.ndarray:
        return (some["offset"] < upto[0]) & (some["child"] >= 0)

    directory = Directory(drawer, full=200, forgotten=forgotten)
    rng = np.random.default_rng(2)
    for unit in range(400):
        keys = [int(k) for k in rng.integers(0, 2**63, 90)] + list(range(10))
        some = entries(keys, unit, [False] * 100)
        directory.exchange(unit, some)
        known |= {int(e["key"]): int(e["offset"]) for e in some}
        upto[0] = max(0, unit - 10)
        drawer.write(directory.done(unit))
        if unit % 50 == 0:
            directory = Directory(drawer, full=200, forgotten=forgotten)
    assert len(directory) < 200 * 8 * 8 < len(known)
    asked = entries(list(known), 1000, [False] * len(known))
    for entry, old in zip(asked, directory.exchange(1000, asked), strict=True):
        offset = known[int(entry["key"])]
        if offset >= upto[0] or old["child"] != UNKNOWN:
            assert old["offset"] == offset
