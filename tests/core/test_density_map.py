"""The density map is what numpy counts, however its bounds came about."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core.density_map import LARGEST, DensityMap, merged


def histogram(x: Any, y: Any, density: DensityMap) -> Any:
    x0, y0, x1, y1 = density.bounds
    return np.histogram2d(x, y, bins=density.cells, range=[[x0, x1], [y0, y1]])[0]


@st.composite
def batches(draw: Any) -> list[Any]:
    """Some batches of positions of all sizes and places, rounded now and then so that edges are met."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    out = []
    for _ in range(draw(st.integers(1, 5))):
        scale = 10.0 ** draw(st.integers(-6, 9))
        points = rng.normal(draw(st.sampled_from([0.0, 1.0, -30.0])), 1, (rng.integers(1, 60), 2))
        out.append(np.round(points, draw(st.integers(0, 6))) * scale)
    return out


@settings(max_examples=40)
@given(batches(), st.sampled_from([(64, 64), (2, 3), (7, 16)]))
def test_counts_are_numpys_after_any_growth_and_removal(parts: list[Any], cells: Any) -> None:
    density, rows = DensityMap(cells), np.zeros((0, 2))
    for part in parts:
        density.add(part[:, 0], part[:, 1])
        rows = np.concatenate([rows, part])
        gone = len(rows) // 3
        density.remove(rows[:gone, 0], rows[:gone, 1])
        rows = rows[gone:]
    x, y = rows.T
    assert np.array_equal(density.counts, histogram(x, y, density))
    assert np.array_equal(density.counts, density.scanned(x, y))
    saved = json.loads(json.dumps(density.to_json()))
    again = DensityMap.from_json(saved)
    assert again.bounds == density.bounds and np.array_equal(again.counts, density.counts)


@settings(max_examples=40)
@given(batches())
def test_maps_of_shards_add_up_to_the_map_of_all_rows(parts: list[Any]) -> None:
    maps = [DensityMap((8, 8)) for _ in parts]
    for density, part in zip(maps, parts, strict=True):
        density.add(part[:, 0], part[:, 1])
    whole, (x, y) = merged(maps), np.concatenate(parts).T
    assert whole.counts.sum() == len(x)
    assert np.array_equal(whole.counts, histogram(x, y, whole))


def test_given_bounds_stay_and_have_their_upper_edges() -> None:
    density = DensityMap((36, 18), (-180.0, -90.0, 180.0, 90.0))
    x, y = np.array([180.0, -180.0, 0.0, 181.0]), np.array([90.0, -90.0, 0.1, 0.0])
    density.add(x, y)
    assert density.outside == 1
    assert np.array_equal(density.counts, histogram(x, y, density))
    assert density.counts[35, 17] == 1 and density.bounds == (-180.0, -90.0, 180.0, 90.0)
    density.remove(x[3:], y[3:])
    assert density.outside == 0 and density.counts.sum() == 3
    other = DensityMap((36, 18), (-180.0, -90.0, 180.0, 80.0))
    with pytest.raises(ValueError, match="bounds are the same"):
        merged([density, other])
    assert merged([density, density]).counts.sum() == 6


def test_the_largest_positions_and_equal_ones_have_a_cell() -> None:
    density = DensityMap((4, 4))
    density.add(np.full(5, 0.1), np.zeros(5))
    assert density.counts.max() == 5
    far = np.array([-LARGEST, LARGEST, 0.0])
    density.add(far, far[::-1].copy())
    assert density.counts.sum() == 8
    assert np.array_equal(density.counts, density.scanned(np.append(far, [0.1] * 5),
                                                          np.append(far[::-1], [0.0] * 5)))  # fmt: skip


@settings(max_examples=40)
@given(batches())
def test_no_box_with_a_change_is_called_unchanged(parts: list[Any]) -> None:
    density, rng = DensityMap((16, 16)), np.random.default_rng(0)
    density.add(*parts[0].T)
    density.settle()
    x, y = np.concatenate(parts).T
    corners = np.sort(rng.choice(np.stack([x, y], 1), (40, 2)), axis=1)
    boxes = corners.reshape(40, 4)
    assert not density.changed(boxes).any()
    for part in parts[1:]:
        density.add(part[:, 0], part[:, 1])
    for box, changed in zip(boxes, density.changed(boxes), strict=True):
        for part in parts[1:]:
            px, py = part.T
            hit = (box[0] <= px) & (px < box[2]) & (box[1] <= py) & (py < box[3])
            assert changed or not hit.any()
