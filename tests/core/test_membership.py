"""Rows in regions against a dictionary: any order of inserts, moves, deletes, cuts in slices, joins."""

from __future__ import annotations

import numpy as np
import pytest
from core.points import whole
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core.granularity import Granularity
from pctstream.core.pages import PAGE
from pctstream.core.spatial import SpatialIndex

STEPS = st.lists(st.tuples(st.sampled_from("iiimdddchj"), st.integers(0, 2**30)), max_size=30)


@given(STEPS)
@settings(max_examples=40)
def test_every_row_is_where_the_dictionary_says(steps: list[tuple[str, int]]) -> None:
    index = SpatialIndex(Granularity(split_rows=10, merge_rows=2), cells=(8, 8))
    there: dict[int, tuple[float, float]] = {}
    for what, number in steps:
        rng = np.random.default_rng(number)
        size = int(rng.integers(1, 3 * PAGE))
        keys = rng.integers(-700, 700, size) * 2**40
        x, y = rng.normal(0, 1 + number % 5, (2, size)).round(2)
        if what in "im":
            index.insert(keys, x, y)
            there |= dict(zip(keys.tolist(), zip(x.tolist(), y.tolist(), strict=True), strict=True))
        elif what == "d":
            assert index.delete(keys) == len({k for k in keys.tolist() if there.pop(k, None)})
        elif len(there):
            regions = index.regions
            leaves = regions.leaves()
            node = int(leaves[number % len(leaves)])
            x0, y0, x1, y1 = regions.nodes.box[node].tolist()
            uncut = regions.nodes.rows[regions.nodes.axis >= 0].sum() == 0
            if what == "c":
                half = (1, (y0 + y1) / 2, None, None)
                regions.cut(node, (0, (x0 + x1) / 2, half, half))
            elif what == "h" or not uncut:
                for above in np.flatnonzero(regions.nodes.axis >= 0).tolist():
                    index.members.hand_down(above, 1 + number % (2 * PAGE))
            elif partners := regions.partners(node):
                index.members.join(node, partners[0])
    if not there:
        assert len(index) == 0
        return
    assert whole(index).keys() == there.keys()
    found = index.box((-1e9, -1e9, 1e9, 1e9))
    said = zip(
        found.keys.tolist(), zip(found.x.tolist(), found.y.tolist(), strict=True), strict=True
    )
    assert dict(said) == there and len(found.keys) == len(there)


@pytest.mark.parametrize("step", [1, 3, 2**16, 2**31, 2**32, 2**40, 2**48 + 1, -(2**33)])
def test_keys_of_any_pattern_are_spread(step: int) -> None:
    """Half a table of 32,768 entries: a search meets two or three, not hundreds."""
    index = SpatialIndex()
    keys = np.arange(16_000) * step
    index.insert(keys, np.zeros(16_000), np.zeros(16_000))
    full = np.flatnonzero(index.members._table)
    runs = np.split(full, np.flatnonzero(np.diff(full) > 1) + 1)
    assert len(index.members._table) == 32_768
    assert np.mean([len(run) for run in runs]) < 4 and max(map(len, runs)) < 200


def test_keys_that_collide_and_the_same_key_twice_in_a_call() -> None:
    index = SpatialIndex()
    keys = np.arange(5000) * 2**32
    index.insert(np.concatenate([keys, keys[:100]]), np.arange(5100.0), np.arange(5100.0))
    assert len(index) == 5000
    moved = index.box((5000.0, 0.0, 5099.0, 1e4)).keys
    assert sorted(moved.tolist()) == keys[:100].tolist()
    assert index.delete(keys[::2]) == 2500 and index.delete(keys[::2]) == 0
    assert sorted(index.box((0.0, 0.0, 1e4, 1e4)).keys.tolist()) == keys[1::2].tolist()
    assert index.delete(np.array([keys[1], keys[1]])) == 1
    whole(index)


def test_what_more_rows_take_is_known_before_they_come() -> None:
    index, rng = SpatialIndex(Granularity(split_rows=200, merge_rows=60)), np.random.default_rng(0)
    first = 0
    for size in (1, 300, 5000, 70, 40_000, 3):
        expected = index.bytes_with(size)
        index.insert(np.arange(first, first + size), *rng.random((2, size)))
        pages, table = index.members.pages, index.members._table
        arrays = [*pages, *index.regions.nodes, table, index.density_map.counts]
        taken = sum(one.nbytes for one in arrays) + index.density_map._changes.nbytes
        assert expected == index.bytes_with(0) == taken
        first += size
        index.adjust_now(0.0)
    index.delete(np.arange(first))
    assert index.bytes_with(0) < 300_000, "rows that are gone take nothing"
    index.insert(np.arange(5), *rng.random((2, 5)))
    assert len(whole(index)) == 5
