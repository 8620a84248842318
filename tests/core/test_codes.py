"""Codes against the rows that they stand for: what a code says is never farther than the row is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core.cells import cells_of
from pctstream.core.codes import LARGEST_DIFFERENCE, LARGEST_SUM, filled, ranges
from pctstream.core.table import Table


@given(st.integers(1, 900_000))
def test_no_sum_of_codes_is_too_large(dimension: int) -> None:
    row, question = ranges(dimension)
    assert 1 <= row <= 127 and question >= 1
    assert filled(dimension) * (row + question) ** 2 <= LARGEST_SUM
    assert row + question <= LARGEST_DIFFERENCE


@pytest.mark.parametrize("scale", [1e-40, 1e-3, 1.0, 1e30])
def test_no_row_is_farther_from_its_code_than_its_cell_says(scale: float) -> None:
    rng = np.random.default_rng(0)
    rows = (scale * (rng.normal(size=(700, 7)) + 5)).astype(np.float32)
    cells = cells_of(rows)
    slots = np.flatnonzero(cells.rows >= 0)
    cell = np.searchsorted(cells.first, slots // 8, side="right") - 1
    code = cells.codes.tiles[slots // 8, :, slots % 8].reshape(len(slots), filled(7))
    place = cells.codes.origin[cell] + cells.codes.grid[cell, :1] * code
    away = np.linalg.norm(cells.x[slots] - place[:, :7], axis=1)
    assert (away <= cells.codes.grid[cell, 1] * (1 + 1e-9)).all()
    assert (place[:, 7:] == 0).all()
    assert np.abs(code).max() == 127
    # of a row of seven numbers no more than half a step each, and the rounding of the mean
    assert (away <= cells.codes.grid[cell, 0] * 0.501 * 7**0.5).all()


@pytest.mark.parametrize("d", [3, 40, 5000, 40_000])
def test_far_and_near_questions_are_answered_as_by_brute_force(d: int) -> None:
    rng = np.random.default_rng(d)
    rows = (rng.normal(size=(120, d)) * rng.choice([1e-4, 1.0, 100.0], (120, 1))).astype(np.float32)
    rows[50:70] = rows[50] * np.float32(1 + 1e-6)
    table = Table([cells_of(rows, size=16)], d)
    row = table.runs[0].rows
    for far in (0.0, 1e-7, 1.0, 300.0, 1e12, 1e30):
        query = rows[55] + far * rng.normal(size=d)
        away = np.sqrt(np.cumsum((rows.astype(np.float64) - query) ** 2, axis=1)[:, -1])
        found = table.search(query[None], 9)
        assert found.distance[0].tolist() == np.sort(away)[:9].tolist()
        assert away[row[found.slot[0]]].tolist() == found.distance[0].tolist()
