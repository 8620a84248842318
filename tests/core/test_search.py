"""Search over cells against brute force: the same rows at the same distances, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core.cells import cell_rows, cells_of
from pctstream.core.table import Table
from pctstream.core.ties import candidates


def distances(rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """By definition: float64, one number after the other."""
    squares = (rows.astype(np.float64) - query) ** 2
    return np.sqrt(np.cumsum(squares, axis=1)[:, -1])


def clustered(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    centres = rng.normal(0, 3, (5, d))
    return (centres[rng.integers(0, 5, n)] + rng.normal(0, 1, (n, d))).astype(np.float32)


def table_of(rng: np.random.Generator, rows: np.ndarray, runs: int) -> tuple[Table, np.ndarray]:
    """The rows spread over runs, each with leaves of its own; which row stands at each slot."""
    parts = np.array_split(rng.permutation(len(rows)), runs)
    made = [cells_of(np.ascontiguousarray(rows[p]), (np.arange(len(p)) % 3).astype(np.int32))
            for p in parts]  # fmt: skip
    table = Table(made, rows.shape[1])
    row = np.full(table.slots, -1, np.int64)
    for part, run, start in zip(parts, made, table.starts(), strict=False):
        own = np.flatnonzero(run.rows >= 0)
        row[own + start] = part[run.rows[own]]
    return table, row


def expected(rows: np.ndarray, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest by (distance, number of the row), and their distances."""
    away = distances(rows, query)
    order = np.lexsort((np.arange(len(rows)), away))[:k]
    return order, away[order]


@pytest.mark.parametrize("d", [1, 2, 3, 8, 11, 31, 128, 784])
@pytest.mark.parametrize("runs", [1, 4])
def test_exact_answers_are_those_of_brute_force(d: int, runs: int) -> None:
    rng = np.random.default_rng(d)
    rows = clustered(rng, 900 if d < 200 else 300, d)
    table, row = table_of(rng, rows, runs)
    assert sorted(row[row >= 0].tolist()) == list(range(len(rows)))
    queries = np.concatenate([rows[:6].astype(np.float64), rng.normal(0, 4, (6, d))])
    for k in (1, 10, 200):
        found = table.search(queries, k)
        for i, query in enumerate(queries):
            order, away = expected(rows, query, k)
            assert found.distance[i].tolist() == away.tolist()
            assert row[found.slot[i]].tolist() == order.tolist()
            assert found.rows[i] <= len(rows)


@given(st.integers(0, 10**6))
def test_ties_are_all_brought_to_light(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, (int(rng.integers(1, 400)), 2)).astype(np.float32)
    table, row = table_of(rng, rows, int(rng.integers(1, 4)))
    k = int(rng.integers(1, 30))
    query = rng.integers(-4, 5, 2) / 2
    found = table.search(query[None], k)
    away, slots = candidates(table, found, 0, query, k, np.inf)
    order = np.lexsort((row[slots], away))[:k]
    wanted, far = expected(rows, query, k)
    assert row[slots[order]].tolist() == wanted.tolist()
    assert away[order].tolist() == far.tolist()


def test_equal_rows_are_one_ball_however_many() -> None:
    rows = np.concatenate([np.full((5000, 3), 0.1, np.float32), np.ones((10, 3), np.float32)])
    cells = cells_of(rows)
    assert len(cells) < 100
    table = Table([cells], 3)
    query = np.array([[0.1, 0.1, 0.1]])
    found = table.search(query, 3)
    assert len(candidates(table, found, 0, query[0], 3, np.inf)[0]) == 5000
    assert table.search(np.ones((1, 3)), 12).distance[0, :10].tolist() == [0.0] * 10


def test_what_is_farther_than_asked_or_masked_is_not_there() -> None:
    rng = np.random.default_rng(7)
    rows = clustered(rng, 2000, 6)
    table, row = table_of(rng, rows, 3)
    wanted = rng.random(len(rows)) < 0.3
    mask = np.zeros(table.slots, np.bool_)
    mask[row >= 0] = wanted[row[row >= 0]]
    for query in rng.normal(0, 3, (20, 6)):
        away = distances(rows, query)
        radius = float(rng.choice(away))
        found = table.search(query[None], 2000, np.array([radius]))
        assert (
            sorted(row[found.slot[0, : found.count[0]]]) == np.flatnonzero(away <= radius).tolist()
        )
        found = table.search(query[None], 9, mask=mask)
        assert found.distance[0].tolist() == np.sort(away[wanted])[:9].tolist()


def test_a_ball_that_lies_beyond_is_not_scanned() -> None:
    rng = np.random.default_rng(1)
    rows = np.concatenate([rng.normal(c, 0.1, (500, 4)) for c in (0, 50, 100)]).astype(np.float32)
    table = Table([cells_of(rows)], 4)
    found = table.search(np.zeros((1, 4)), 5)
    assert found.rows[0] <= 500
    assert found.cells[0] < table.cells / 2


def test_an_approximate_search_looks_at_the_nearest_cells_and_fills_up() -> None:
    rng = np.random.default_rng(2)
    rows = clustered(rng, 3000, 16)
    table, _ = table_of(rng, rows, 2)
    queries = rows[:20].astype(np.float64)
    exact = table.search(queries, 10)
    some = table.search(queries, 10, probes=8)
    assert (some.cells <= 8).all()
    assert (some.rows <= 8 * cell_rows(16)).all()
    assert (some.distance >= exact.distance).all()
    assert table.search(queries, 3000, probes=1).count.tolist() == [3000] * 20
    # with the reach that it told, another table looks just as far
    again = table.search(queries, 10, reach=some.reach)
    assert (again.distance <= some.distance).all()
    assert (
        table.search(queries, 10, probes=table.cells).distance.tolist() == exact.distance.tolist()
    )


def test_extreme_numbers_are_not_lost_to_rounding() -> None:
    big = np.array([[1e19, 0], [-1e19, 0], [1e-30, 0], [0, 0]], np.float32)
    table = Table([cells_of(big)], 2)
    for query in (np.array([3e38, 0.0]), np.array([1e-32, 0.0]), np.array([3e18, 1.0])):
        found = table.search(query[None], 4)
        assert found.distance[0].tolist() == np.sort(distances(big, query)).tolist()


def test_no_rows_no_answer() -> None:
    table = Table([], 3)
    assert table.search(np.zeros((1, 3)), 5).count.tolist() == [0]
    empty = Table([cells_of(np.zeros((0, 3), np.float32))], 3)
    assert empty.search(np.zeros((1, 3)), 5).count.tolist() == [0]
    with pytest.raises(ValueError, match="rows have 3"):
        empty.search(np.zeros((1, 2)), 5)
