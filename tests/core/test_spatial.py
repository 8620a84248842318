"""Boxes and nearest rows against brute force while everything changes, and what they cost."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from core.points import H, best_grid, data, in_box, skewed, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core.coarse import estimated
from pctstream.core.geography import RADIUS_M
from pctstream.core.granularity import Granularity
from pctstream.core.pace import Pace
from pctstream.core.spatial import NEAREST, SpatialIndex
from pctstream.errors import QueryRefused

KINDS = list(itertools.product(("quadtree", "kdtree"), ("proximity", "count")))


@pytest.fixture(params=KINDS, ids="-".join)
def limits(request: pytest.FixtureRequest) -> Granularity:
    pattern, neighbors = request.param
    return Granularity(pattern, neighbors, split_rows=200, merge_rows=60, budget_per_min=1e9)


def haversine(x: Any, y: Any, point: Any) -> Any:
    """Metres, by chords: another formula than the product's."""

    def places(lon: Any, lat: Any) -> Any:
        lon, lat = np.radians(lon), np.radians(lat)
        return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])

    chord = np.linalg.norm(places(x, y) - places(*point)[:, None], axis=0)
    return 2 * RADIUS_M * np.arcsin(np.minimum(1.0, chord / 2))


def check_box(index: SpatialIndex, rows: dict[int, tuple[float, float]], box: Any) -> None:
    keys = np.array(list(rows), np.int64)
    x, y = np.array(list(rows.values())).reshape(-1, 2).T
    wanted = sorted(keys[in_box(x, y, box)].tolist())
    for subdivide in (True, False):
        found = index.box(box, subdivide=subdivide, explain=True)
        assert sorted(found.keys.tolist()) == wanted
        assert [rows[k] for k in found.keys.tolist()] == list(zip(found.x, found.y, strict=True))
        assert found.scanned == sum(t.rows for t in found.touched if t.how == "scanned")


def check_nearest(index: SpatialIndex, rows: dict[int, tuple[float, float]], point: Any) -> None:
    keys = np.array(list(rows), np.int64)
    x, y = np.array(list(rows.values())).reshape(-1, 2).T
    square = (x - point[0]) ** 2 + (y - point[1]) ** 2
    away = haversine(x, y, point) if index.globe else square
    for k in (1, 10, NEAREST):
        found, order = index.nearest(point, k), np.lexsort((keys, away))[:k]
        assert len(set(found.keys.tolist())) == len(found.keys) == len(order)
        if index.globe:
            assert np.allclose(found.distances, away[order], rtol=1e-6, atol=0.2)
        else:
            assert found.keys.tolist() == keys[order].tolist()
            assert found.distances.tolist() == np.sqrt(away[order]).tolist()


def test_answers_are_brute_forces_while_regions_split_and_join(limits: Granularity) -> None:
    limits = replace(limits, slice_rows=512)
    index, points, rng = SpatialIndex(limits), skewed(3000), np.random.default_rng(1)
    points = points.round(3)  # many ties, many rows on edges
    rows: dict[int, tuple[float, float]] = {}
    slices = 0
    for turn in range(4):
        keys = rng.integers(0, 3000, 1000)
        index.insert(keys, *points[keys].T + 0.1 * turn)
        rows |= dict(
            zip(keys.tolist(), map(tuple, (points[keys] + 0.1 * turn).tolist()), strict=True)
        )
        for n, _ in enumerate(index.adjust(float(turn))):
            slices += 1
            gone = rng.choice(list(rows), 20)
            index.delete(gone)
            rows = {k: v for k, v in rows.items() if k not in gone}
            corner = rng.random(2) * 1.5
            check_box(index, rows, (*corner, *(corner + rng.choice([0.01, 0.1, 0.7]))))
            if n % 4 == 0:
                check_nearest(index, rows, tuple(rng.random(2) * 1.5))
        edge = index.regions.nodes.box[rng.choice(index.regions.leaves())]
        check_box(index, rows, tuple(edge.tolist()))
    assert slices > 10
    assert whole(index).keys() == rows.keys()


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), max_size=60), st.integers(0, 99))
@settings(max_examples=25)
def test_small_boxes_with_everything_on_edges(places: list[tuple[int, int]], seed: int) -> None:
    index = SpatialIndex(Granularity(split_rows=3, merge_rows=1), cells=(4, 4))
    rows = {i: (float(x), float(y)) for i, (x, y) in enumerate(places)}
    rng = np.random.default_rng(seed)
    for first in range(0, len(places), 9):
        part = np.array(places[first : first + 9], np.float64)
        index.insert(np.arange(first, first + len(part)), *part.T)
        index.adjust_now(float(first))
    low = rng.integers(-5, 5, 2)
    check_box(index, rows, (*low.tolist(), *(low + rng.integers(0, 5, 2)).tolist()))
    check_nearest(index, rows, tuple(rng.integers(-5, 5, 2).astype(float).tolist()))


def test_of_rows_equally_far_the_lower_key_comes_first_also_from_another_region() -> None:
    index = SpatialIndex(bounds=(-2.0, -2.0, 2.0, 2.0))
    index.regions.cut(index.regions.root, (0, 1.0, None, None))
    index.insert(np.array([5, 2]), np.array([-1.0, 1.0]), np.zeros(2))
    assert index.nearest((0.0, 0.0), 1).keys.tolist() == [2]
    assert index.nearest((0.0, 0.0), 2).keys.tolist() == [2, 5]


def test_rows_outside_given_bounds_are_found_too() -> None:
    index = SpatialIndex(Granularity(split_rows=50, merge_rows=10), bounds=(0.0, 0.0, 1.0, 1.0))
    points = np.random.default_rng(0).normal(0.5, 1.0, (3000, 2)).round(2)
    index.insert(np.arange(3000), *points.T)
    index.adjust_now(0.0)
    whole(index)
    assert 1000 < index.density_map.outside < 2900
    rows = dict(enumerate(map(tuple, points.tolist())))
    for box in (
        (-1.0, -1.0, -0.1, 2.0),
        (0.9, 0.2, 3.0, 0.3),
        (1.0, 1.0, 1.0, 1.0),
        (-9.0, 1.01, 9.0, 1.5),
    ):
        check_box(index, rows, box)
    check_nearest(index, rows, (-1.0, 2.0))


def test_the_earthquakes_over_poles_and_the_antimeridian(
    shared_data: Any, limits: Granularity
) -> None:
    x, y = data(shared_data, "earthquakes_1965_2016.npz")
    index = SpatialIndex(replace(limits, split_rows=500, merge_rows=150), globe=True)
    index.insert(np.arange(len(x)), x, y)
    index.adjust_now(0.0)
    rows = dict(zip(range(len(x)), zip(x.tolist(), y.tolist(), strict=True), strict=True))
    whole(index)
    for point in ((179.99, -20.0), (-180.0, 52.0), (180.0, -60.0), (0.0, 90.0), (33.0, -90.0),
                  (120.0, 24.0), (-100.0, 85.0)):  # fmt: skip
        check_nearest(index, rows, point)
    found = index.box((170.0, -30.0, -170.0, -10.0))
    wanted = set(in_box(x, y, (170, -30, 180, -10))) | set(in_box(x, y, (-180, -30, -170, -10)))
    assert set(found.keys.tolist()) == wanted and len(found.keys) == len(wanted) > 1000


def test_the_globe_at_its_seams() -> None:
    index = SpatialIndex(Granularity(split_rows=20, merge_rows=5, budget_per_min=1e9), globe=True)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-180, 180, 2000), np.degrees(np.arcsin(rng.uniform(-1, 1, 2000)))
    x[:4], y[:6] = (180.0, -180.0, 180.0, -180.0), (0.0, 0.0, 1.0, 1.0, 90.0, -90.0)
    assert index.insert(np.arange(2000), x, y).inserted == 2000
    index.adjust_now(0.0)
    rows = dict(enumerate(zip(np.where(x == 180.0, -180.0, x).tolist(), y.tolist(), strict=True)))
    for point in rng.uniform((-180, -90), (180, 90), (40, 2)):
        check_nearest(index, rows, tuple(point.tolist()))
    assert sorted(index.box((179.999, -0.5, 180.0, 1.5)).keys.tolist())[:4] == [0, 1, 2, 3]
    assert sorted(index.box((180.0, 0.0, -179.999, 1.0)).keys.tolist()) == [0, 1, 2, 3]
    everywhere = index.box((-180.0, -90.0, 180.0, 90.0)).keys
    assert len(everywhere) == len(set(everywhere.tolist())) == 2000


def test_what_has_no_position_is_refused_with_the_reason() -> None:
    globe = SpatialIndex(globe=True)
    put = globe.insert(np.arange(5), np.array([1.0, 181.0, np.nan, 0.0, 9.0]),
                       np.array([1.0, 0.0, 0.0, -90.5, np.inf]))  # fmt: skip
    assert (put.inserted, len(globe)) == (1, 1)
    assert put.refused == {"not finite": 2, "longitude beyond 180": 1, "latitude beyond 90": 1}
    plane = SpatialIndex()
    assert plane.insert(np.array([1]), np.array([1e300]), np.array([0.0])).refused == {
        "beyond 1.09951e+12": 1
    }
    for ask, said in [
        (lambda: globe.box((0.0, 0.0, 190.0, 1.0)), "within -180 and 180"),
        (lambda: globe.box((0.0, 0.0, 10.0, 91.0)), "within -90 and 90"),
        (lambda: globe.box((0.0, 1.0, 1.0, 0.0)), "y0 = 1.0 is above"),
        (lambda: plane.box((1.0, 0.0, 0.0, 1.0)), "x0 = 1.0 is above"),
        (lambda: plane.box((1.0, 0.0, float("nan"), 1.0)), "four finite numbers"),
        (lambda: plane.nearest((0.0, 0.0), 0), "k = 0"),
        (lambda: plane.nearest((0.0,), 1), "two numbers"),
        (lambda: globe.nearest((0.0, 99.0), 1), "latitude beyond 90"),
    ]:
        with pytest.raises(QueryRefused, match=said):
            ask()


def test_an_empty_index_answers_and_an_empty_call_does_nothing() -> None:
    index, none = SpatialIndex(), np.zeros(0)
    assert len(index.box((0.0, 0.0, 1.0, 1.0)).keys) == len(index.nearest((0.0, 0.0), 3).keys) == 0
    assert index.insert(none.astype(np.int64), none, none) == (0, 0, {})
    assert index.delete(np.array([1])) == 0 and index.adjust_now(0.0).splits == 0
    index.insert(np.array([1]), np.array([5.0]), np.array([5.0]))
    index.delete(np.array([1]))
    index.adjust_now(1.0)
    assert len(index) == 0 and index.density_map.counts.sum() == 0


def test_explain_tells_sizes_depths_and_sub_boxes(limits: Granularity) -> None:
    index = SpatialIndex(limits)
    rng = np.random.default_rng(0)
    dense, sparse = rng.normal(0.25, 0.01, (4000, 2)), rng.random((300, 2))
    index.insert(np.arange(4300), *np.concatenate([dense, sparse]).T)
    index.adjust_now(0.0)
    box = (0.2, 0.2, 0.9, 0.9)
    found = index.box(box, explain=True)
    assert len({(t.box[2] - t.box[0], t.box[3] - t.box[1]) for t in found.touched}) >= 2
    # cut at the median, regions of as many rows are as deep
    assert len({t.depth for t in found.touched}) >= 2 or limits.pattern == "kdtree"
    assert {t.how for t in found.touched} >= {"all", "scanned"}
    for t in found.touched:
        assert t.sub_box == (*np.maximum(t.box[:2], box[:2]), *np.minimum(t.box[2:], box[2:]))
        assert (t.how == "all") <= (t.sub_box == t.box)


def test_subdividing_a_big_box_with_an_empty_middle_compares_fewer_rows(
    limits: Granularity,
) -> None:
    rng = np.random.default_rng(0)
    angle = rng.random(20_000) * 2 * np.pi
    ring = np.stack([np.cos(angle), np.sin(angle)]) * rng.normal(1, 0.02, 20_000)
    index = SpatialIndex(replace(limits, split_rows=500, merge_rows=150))
    index.insert(np.arange(20_000), *ring)
    index.adjust_now(0.0)
    for box in ((-0.9, -0.9, 0.9, 0.9), (-0.5, -0.8, 0.8, 1.2), (-2.0, -2.0, 2.0, 2.0)):
        one, other = (index.box(box, subdivide=subdivide) for subdivide in (True, False))
        assert sorted(one.keys.tolist()) == sorted(other.keys.tolist())
        assert sorted(one.keys.tolist()) == in_box(*ring, box).tolist()
        # cuts at the median lie along the ring less well
        assert one.scanned < (0.7 if limits.pattern == "quadtree" else 0.85) * other.scanned
    middle = index.box((-0.9, -0.9, 0.9, 0.9), explain=True)
    assert "empty" in {t.how for t in middle.touched}


def asked(index: SpatialIndex, centres: Any) -> float:
    """Rows compared per box around the centres."""
    return float(np.mean([index.box((*(c - H), *(c + H))).scanned for c in centres]))


def test_fewer_rows_are_compared_than_by_the_best_grid_also_after_the_queries_moved(
    limits: Granularity,
) -> None:
    points, rng = skewed(40_000), np.random.default_rng(2)
    limits = replace(limits, split_rows=1000, merge_rows=200)
    index = SpatialIndex(limits)
    index.insert(np.arange(40_000), *points.T)
    now_s = 0.0
    spots = [points, *(points[np.abs(points - points[i]).max(axis=1) < 0.1] for i in (3, 7))]
    for spot in spots:
        for _ in range(3):
            asked(index, rng.choice(spot, 200))
            now_s += 10.0
            index.adjust_now(now_s)
        centres = rng.choice(spot, 200)
        grid = best_grid(*points.T, centres, len(index.regions.leaves()))
        assert asked(index, centres) <= 0.5 * grid
    whole(index)


def test_a_limit_is_kept_and_told() -> None:
    index, points = SpatialIndex(Granularity(split_rows=500, merge_rows=100)), skewed(5000)
    index.insert(np.arange(5000), *points.T)
    index.adjust_now(0.0)
    for box in ((0.0, 0.0, 1.0, 1.0), (0.1, 0.1, 0.8, 0.7), (-1.0, -1.0, 3.0, 3.0)):
        inside = set(in_box(*points.T, box).tolist())
        for limit in (0, 1, 255, 256, 257, 1000, len(inside) - 1, len(inside), len(inside) + 1):
            found = index.box(box, limit=limit)
            assert len(found.keys) == min(limit, len(inside)) == len(set(found.keys.tolist()))
            assert set(found.keys.tolist()) <= inside
            assert found.truncated == (len(inside) > limit)
    globe = SpatialIndex(globe=True)
    globe.insert(np.arange(4), np.array([179.0, 179.5, -179.0, -179.5]), np.zeros(4))
    found = globe.box((178.0, -1.0, -178.0, 1.0), limit=3)
    assert len(found.keys) == 3 and found.truncated


def test_regions_alone_bound_what_a_box_has() -> None:
    index, points = SpatialIndex(Granularity(split_rows=200, merge_rows=60)), skewed(5000)
    index.insert(np.arange(5000), *points.T)
    index.adjust_now(0.0)
    told = index.described()
    assert len({one["id"] for one in told}) == len(told)
    boxes, rows = np.array([one["box"] for one in told]), np.array([one["rows"] for one in told])
    off = []
    for x, y, w, h in np.random.default_rng(0).random((200, 4)):
        box = (x, y, min(1.0, x + w), min(1.0, y + h))
        estimate, truth = estimated(boxes, rows, box), len(in_box(*points.T, box))
        assert estimate.least <= truth <= estimate.most
        assert estimate.least <= estimate.about <= estimate.most
        off.append(abs(estimate.about - truth))
    assert np.mean(off) < 200
    assert estimated(boxes, rows, (-9.0, -9.0, 9.0, 9.0)) == (5000, 5000.0, 5000)


def test_queries_fade() -> None:
    limits = Granularity(
        split_rows=2000, merge_rows=400, budget_per_min=1e9, query_half_life_s=10.0
    )
    index, points = SpatialIndex(limits), skewed(20_000)
    index.insert(np.arange(20_000), *points.T)
    index.adjust_now(0.0)
    index.adjust_now(1.0)
    coarse = len(index.regions.leaves())
    asked(index, points[:300])
    index.adjust_now(2.0)
    fine = len(index.regions.leaves())
    for minute in range(1, 20):
        index.adjust_now(60.0 * minute)
    # what is between the two thresholds stays as it is
    assert fine > 5 * coarse and len(index.regions.leaves()) < 0.5 * fine
    assert index.regions.nodes.queries[index.regions.leaves()].max() < 0.01


def test_an_adjustment_is_due_by_time_and_by_changes() -> None:
    index = SpatialIndex(pace=Pace(10.0, 1000, 0.5))
    index.insert(np.arange(100), *skewed(100).T)
    assert index.pace.due(0.0, len(index)) == "changes"  # half of all
    index.adjust_now(0.0)
    assert [index.pace.due(t, len(index)) for t in (0.1, 9.9, 10.0)] == [None, None, "interval"]
    index.insert(np.arange(1000, 3000), *skewed(2000).T)
    assert index.pace.due(0.2, len(index)) == "changes"
    index.adjust_now(0.2)
    index.delete(np.arange(1000, 2000))
    assert index.pace.due(0.3, 10_000) == "changes"
    assert index.pace.due_s(0.3) == pytest.approx(9.9)
