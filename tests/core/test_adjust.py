"""Adjusting: who splits and joins, what it may cost, that it ends, and what is said of what was denied."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from core.points import data, skewed, whole

from pctstream.config import load
from pctstream.core.adjust import Adjusted
from pctstream.core.granularity import COST, Granularity
from pctstream.core.regions import Regions
from pctstream.core.spatial import SpatialIndex
from pctstream.errors import ConfigError
from pctstream.settings import SpatialSettings

KINDS = list(itertools.product(("quadtree", "kdtree"), ("proximity", "count")))
Pattern = Literal["quadtree", "kdtree"]


@pytest.fixture(params=KINDS, ids="-".join)
def limits(request: pytest.FixtureRequest) -> Granularity:
    pattern, neighbors = request.param
    return Granularity(pattern, neighbors, split_rows=200, merge_rows=60, budget_per_min=1e9)


def settled(index: SpatialIndex, most: int = 60) -> list[Adjusted]:
    """Adjusts until nothing changes."""
    out = []
    for now_s in range(most):
        out.append(index.adjust_now(float(now_s)))
        if not (out[-1].splits or out[-1].merges):
            return out
    raise AssertionError(f"still changing after {most} adjustments")


def at_rest(index: SpatialIndex, limits: Granularity) -> None:
    """No region is too dense and no two that could be joined are too sparse."""
    nodes = index.regions.nodes
    for node in index.regions.leaves().tolist():
        assert nodes.rows[node] <= limits.split_rows
        for other in index.regions.partners(node):
            assert max(nodes.rows[node], nodes.rows[other]) >= limits.merge_rows


def test_regions_split_where_rows_crowd_and_join_when_they_go(limits: Granularity) -> None:
    index, points = SpatialIndex(limits), skewed(20_000)
    for first in range(0, 20_000, 5000):
        index.insert(np.arange(first, first + 5000), *points[first : first + 5000].T)
        done = index.adjust_now(0.0)
        assert done.reindexed <= done.touched
    settled(index)
    at_rest(index, limits)
    whole(index)
    box = index.regions.nodes.box[index.regions.leaves()]
    sizes = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    assert sizes.max() > 100 * sizes.min()
    many = len(box)
    index.delete(np.arange(0, 19_000))
    for done in settled(index):
        assert done.splits == 0 and done.reindexed <= done.touched
    at_rest(index, limits)
    whole(index)
    assert len(index.regions.leaves()) <= many / 8
    index.delete(np.arange(20_000))
    settled(index)
    assert len(index.regions.leaves()) == 1


def test_at_rest_only_what_changed_is_looked_at(limits: Granularity) -> None:
    index, points = SpatialIndex(limits), skewed(10_000)
    index.insert(np.arange(10_000), *points.T)
    settled(index)
    assert index.adjust_now(99.0).considered == 0
    index.insert(np.array([-1]), *points[:1].T)
    many = len(index.regions.leaves())
    assert 1 <= index.adjust_now(99.0).considered < many / 4


def test_the_fires_move_over_the_continent(limits: Granularity, shared_data: Any) -> None:
    x, y = data(shared_data, "au_fires_2019.npz")
    index = SpatialIndex(limits, globe=True)
    for first in range(0, len(x), 3000):
        keys = np.arange(first, min(first + 3000, len(x)))
        index.insert(keys, x[keys], y[keys])
        index.delete(keys - 9000)
        done = index.adjust_now(first / 300.0)
        assert done.reindexed <= done.touched
    assert whole(index).keys() == set(range(len(x) - 9000, len(x)))


def test_equal_points_at_each_depth_end(limits: Granularity) -> None:
    index = SpatialIndex(limits, bounds=(0.0, 0.0, 1.0, 1.0))
    x = np.concatenate([np.full(1000, 2.0**-depth) for depth in range(1, 31)])
    index.insert(np.arange(len(x)), x, x)
    done = settled(index)
    assert done[-1].denied["split", "identical"] >= 20
    assert sum(one.reindexed for one in done) < 3 * len(x)
    whole(index)


def test_identical_points_are_left_alone(limits: Granularity) -> None:
    index = SpatialIndex(replace(limits, split_rows=5000, merge_rows=1000))
    index.insert(np.arange(100_000), np.full(100_000, 0.3), np.full(100_000, -7.1))
    done = index.adjust_now(0.0)
    assert (done.splits, done.reindexed) == (0, 0)
    assert [(one.kind, one.rows, one.why) for one in done.told] == [("split", 100_000, "identical")]
    # one far away parts them, two at once do not; and very near is as good as equal at some depth
    index.insert(np.array([-1]), np.array([0.3 + 1e-12]), np.array([-7.1]))
    settled(index)
    nodes = index.regions.nodes
    assert nodes.depth[index.regions.leaves()].max() <= 48
    assert len(index.regions.leaves()) < 200


@pytest.mark.parametrize("pattern", ["quadtree", "kdtree"])
def test_sizes_stay_within_their_bounds(pattern: Pattern) -> None:
    limits = Granularity(pattern, split_rows=50, merge_rows=20, min_size=1.0, max_size=16.0,
                         budget_per_min=1e9)  # fmt: skip
    index, rng = SpatialIndex(limits, bounds=(0.0, 0.0, 64.0, 64.0)), np.random.default_rng(0)
    index.insert(np.arange(20_000), *rng.normal(32, 1.5, (2, 20_000)).clip(0, 63.9))
    done = settled(index)
    box = index.regions.nodes.box[index.regions.leaves()]
    sides = box[:, 2:] - box[:, :2]
    assert sides.min() >= 1.0 and sides.max() <= 16.0
    assert done[-1].denied["split", "min_size"] > 0
    assert done[-1].denied["merge", "max_size"] > 0
    whole(index)


@pytest.mark.parametrize("pattern", ["quadtree", "kdtree"])
def test_rows_on_a_line_are_parted_along_it(pattern: Pattern) -> None:
    limits = Granularity(pattern, split_rows=100, merge_rows=20, min_size=1e-3, budget_per_min=1e9)
    index = SpatialIndex(limits)
    index.insert(np.arange(5000), np.random.default_rng(0).random(5000), np.zeros(5000))
    assert not settled(index)[0].denied
    at_rest(index, limits)


def test_no_more_regions_than_allowed() -> None:
    index = SpatialIndex(
        Granularity(split_rows=20, merge_rows=1, max_regions=30, budget_per_min=1e9)
    )
    index.insert(np.arange(5000), *skewed(5000).T)
    done = index.adjust_now(0.0)
    assert len(index.regions.leaves()) <= 30 and done.denied["split", "regions"] > 0


def test_nothing_is_split_where_there_is_no_memory_for_it() -> None:
    index = SpatialIndex(Granularity(split_rows=200, merge_rows=60, budget_per_min=1e9))
    index.insert(np.arange(5000), *skewed(5000).T)
    index.most_bytes = index.bytes_with(0)
    before = sum(one.splits + one.merges for one in settled(index))
    assert index.last.denied["split", "bytes"] > 0 and index.bytes_with(0) <= index.most_bytes
    whole(index)
    index.most_bytes *= 100
    assert sum(one.splits for one in settled(index)) > before
    assert len(index.regions.leaves()) > 25


def test_the_criteria_choose_different_neighbors() -> None:
    """Of two partners one is nearer, the other has as many rows."""
    for neighbors, other in (("proximity", [0.0, 0.0, 4.0, 2.0]), ("count", [0.0, 0.0, 2.0, 16.0])):
        limits = Granularity("quadtree", neighbors, split_rows=100, merge_rows=40)
        index = SpatialIndex(limits, bounds=(0.0, 0.0, 4.0, 16.0))
        half = (1, 2.0, None, None)
        index.regions.cut(index.regions.root, (0, 2.0, half, half))
        counts = [(1.0, 1.0, 5), (3.0, 1.0, 30), (1.0, 9.0, 6), (3.0, 9.0, 60)]
        x, y = (np.repeat([c[i] for c in counts], [c[2] for c in counts]) for i in (0, 1))
        index.insert(np.arange(len(x)), x, y)
        assert index.adjust_now(0.0).merges == 1
        assert other in index.regions.nodes.box[index.regions.leaves()].round(6).tolist()


def test_a_hot_and_a_cold_neighbor_do_not_join_to_split_again() -> None:
    limits = Granularity(split_rows=100, merge_rows=40, query_half_life_s=1e9)
    index = SpatialIndex(limits, bounds=(0.0, 0.0, 2.0, 2.0))
    half = (1, 1.0, None, None)
    index.regions.cut(index.regions.root, (0, 1.0, half, half))
    x = np.repeat([0.5, 1.5], [2, 36])
    index.insert(np.arange(38), x, np.full(38, 0.5))
    index.box((1.5, 1.2, 1.9, 1.3))
    for _ in range(50):
        index.box((0.4, 0.4, 0.6, 0.6))
    # each joins the empty one beside it
    assert [index.adjust_now(float(t)).merges for t in range(3)] == [2, 0, 0]
    assert sorted(rows for _, rows in index.regions.listed()) == [2, 36]


def flipping(
    limits: Granularity, budget: float, intervals: int
) -> Iterator[tuple[SpatialIndex, Adjusted]]:
    """All rows jump from one corner to the other each interval of 10 s."""
    limits = replace(limits, budget_per_min=budget)
    index, points = SpatialIndex(limits, bounds=(0.0, 0.0, 2.0, 2.0)), skewed(5000)
    for interval in range(intervals):
        index.insert(np.arange(5000), *(points + interval % 2 * 0.999).T)
        yield index, index.adjust_now(10.0 * interval)


def test_an_adversary_is_stopped_by_the_budget(limits: Granularity) -> None:
    free = sum(done.cost for _, done in flipping(limits, 1e9, 60))
    denied = 0
    budget = 5000.0
    for index, done in flipping(limits, budget, 60):  # noqa: B007
        denied += done.denied["split", "budget"] + done.denied["merge", "budget"]
    minutes = 10.0
    # what a minute allows, the full bucket of the beginning, and what was lent once
    most = budget * (minutes + 1) + 20_000.0
    assert index.budget.spent <= most < free / 5
    assert denied > 50
    assert any(one.why == "budget" for one in done.told)
    whole(index)


def test_a_moving_hot_spot_touches_little(limits: Granularity) -> None:
    limits = replace(limits, split_rows=500, merge_rows=150)
    index, points, rng = SpatialIndex(limits), skewed(100_000), np.random.default_rng(0)
    index.insert(np.arange(100_000), *points.T)
    settled(index)
    for interval in range(20):
        centre = 0.2 + 0.03 * interval
        keys = 100_000 + interval * 1000 + np.arange(1000)
        index.insert(keys, *rng.normal(centre, 0.01, (2, 1000)))
        index.delete(keys - 100_000)
        done = index.adjust_now(100.0 + 10.0 * interval)
        assert done.reindexed <= done.touched and done.reindexed <= 0.05 * len(index)
    whole(index)


def test_a_cut_that_was_given_up_goes_on_and_hides_nothing() -> None:
    limits = Granularity(split_rows=200, merge_rows=60, budget_per_min=1e9, slice_rows=256)
    index, points = SpatialIndex(limits), skewed(4000)
    index.insert(np.arange(4000), *points.T)
    for steps in (1, 3, 2):
        work = index.adjust(0.0)
        for _ in range(steps):
            assert next(work).rows <= 256
        work.close()
        whole(index)
        assert [rows for _, rows in index.regions.listed()] == [4000], "readers see the old region"
    assert 0 < index.regions.nodes.rows[index.regions.root] < 4000
    index.adjust_now(0.0)
    settled(index)
    at_rest(index, limits)
    assert len(index.regions.listed()) == len(index.regions.leaves())


def test_seconds_are_charged() -> None:
    index = SpatialIndex(Granularity(split_rows=200, merge_rows=60, cost=COST | {"second": 1e4}))
    index.insert(np.arange(4000), *skewed(4000).T)
    ticks = itertools.count()
    done = index.adjust_now(0.0, clock=lambda: next(ticks) * 0.5)
    assert done.seconds == pytest.approx(0.5 * len([done.splits]))
    assert done.cost == pytest.approx(4000 + 100 * (done.created + done.deleted) + 1e4 * done.seconds,
                                      rel=0.5)  # fmt: skip
    assert index.budget.spent == done.cost


def test_settings_change_at_the_next_adjustment() -> None:
    index = SpatialIndex(Granularity(budget_per_min=1e9))
    index.insert(np.arange(4000), *skewed(4000).T)
    assert settled(index)[0].splits == 0
    index.configure(replace(index.config, split_rows=200, merge_rows=60, pattern="kdtree"))
    assert index.adjust_now(1.0).splits == 1
    index.configure(replace(index.config, split_rows=10_000, merge_rows=4000, pattern="quadtree"))
    settled(index)
    assert len(index.regions.leaves()) == 1


def test_what_is_impossible_is_refused_naming_both() -> None:
    with pytest.raises(ConfigError, match=r"split_rows = 2000 .* merge_rows = 1000"):
        Granularity(split_rows=2000, merge_rows=1000)
    with pytest.raises(ConfigError, match=r"max_size = 3.0 .* min_size = 2.0"):
        Granularity(min_size=2.0, max_size=3.0)
    both = {"spatial.max_size": 3.0, "spatial.min_size": 2.0}
    with pytest.raises(ConfigError, match=r"spatial\.max_size = 3.0 .* spatial\.min_size = 2.0"):
        load(None, {}, both)


def test_the_settings_are_those_of_the_configuration() -> None:
    assert Granularity() == Granularity.of(SpatialSettings())
    assert Granularity.of(SpatialSettings(split_rows=9999)).split_rows == 9999


def test_regions_are_called_the_same_after_a_restart() -> None:
    limits = Granularity(split_rows=200, merge_rows=60, budget_per_min=1e9)
    index, points = SpatialIndex(limits), skewed(5000)
    index.insert(np.arange(5000), *points.T)
    stored: dict[bytes, bytes] = {}
    for now_s in range(3):
        index.adjust_now(float(now_s))
        index.delete(np.arange(1000 * now_s, 1000 * now_s + 1000))
        for key, value in index.regions.changes().items():
            stored |= {} if value is None else {key: value}
            if value is None:
                stored.pop(key, None)
    again = SpatialIndex(limits)
    again.restore(stored)
    rest = np.arange(3000, 5000)
    again.insert(rest, *points[rest].T)
    named = [{i.regions.name(n): rows for n, rows in i.regions.listed()} for i in (index, again)]
    assert named[0] == named[1]
    assert isinstance(again.regions, Regions)
    whole(again)
