"""Densities against rows counted one by one."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core.density import Counters, Density, Window


def counted(times: np.ndarray, at: float) -> Counters:
    """What came until then, of rows of 8 bytes at distance 2, every fourth beyond epsilon."""
    n = int((times <= at).sum())
    return Counters(n, 8 * n, 2.0 * n, n // 4)


@given(
    st.lists(st.floats(0, 200), max_size=200),
    st.lists(st.floats(0, 200), min_size=2, max_size=40, unique=True),
    st.randoms(use_true_random=False),
)
def test_windows_hold_what_came_however_it_was_told(rows, tellings, random) -> None:
    """Evenly spread by hand over each pair of tellings that counts; repeats and old ones do not."""
    times = np.sort(rows)
    order = [t for t in sorted(tellings) for _ in range(random.randint(1, 2))]
    for _ in range(3):
        order.insert(random.randint(0, len(order)), random.choice(order))
    density, window_s, closed, last, counts = Density(10.0), 10.0, [], None, []
    for at in order:
        closed += density.tell(at, counted(times, at))
        if last is None or at > last:
            counts.append((at, counted(times, at).rows))
            last = at
    spread = {w.number: w for w in closed}
    assert list(spread) == sorted(spread) and len(spread) == len(closed)
    begin, end = math.ceil(counts[0][0] / window_s), math.floor(counts[-1][0] / window_s)
    assert set(spread) == set(range(begin, end))
    for number, window in spread.items():
        low, high = number * window_s, (number + 1) * window_s
        expected = sum(
            (m - n) * max(0.0, min(high, b) - max(low, a)) / (b - a)
            for (a, n), (b, m) in itertools.pairwise(counts)
        )
        assert window.rows == pytest.approx(expected, abs=1e-6)
        assert window.bytes == pytest.approx(8 * expected, abs=1e-5)
        if expected > 1e-6:
            assert window.mean_distance == pytest.approx(2.0)
            assert window.uncovered is not None and 0 <= window.uncovered <= 1


def steady(density: Density, begin: int, end: int, rate: int = 10) -> list[Window]:
    """Tell once a second of so many rows a second, all of them since time 0."""
    return [
        w
        for at in range(begin, end)
        for w in density.tell(float(at), Counters(rate * at, 0, 0.0, 0))
    ]


def test_a_rebuild_is_no_burst_and_loses_nothing() -> None:
    density = Density(5.0)
    steady(density, 0, 21)
    for read in range(0, 600, 30):  # a new owner reads 600 rows in a second
        assert density.tell(60.0 + read / 600, Counters(read, 0, 0.0, 0), caught_up=False) == []
    closed = density.tell(61.0, Counters(610, 0, 0.0, 0))
    assert [round(w.rows, 6) for w in closed] == [50.0] * 8
    assert {w.spread for w in closed} == {9} and closed[0].number == 4
    assert {w.rows for w in steady(density, 62, 90)} == {50.0}


def test_an_owner_that_wakes_changes_nothing() -> None:
    density = Density(5.0)
    steady(density, 0, 30)
    before = json.dumps(density.to_json())
    for late in ((12.0, 120), (29.0, 290), (31.0, 289), (29.0, 400), (math.nan, 500)):
        assert density.tell(late[0], Counters(late[1], 0, 0.0, 0)) == []
    assert json.dumps(density.to_json()) == before


def test_what_was_not_known_for_longer_than_the_series_begins_again() -> None:
    density = Density(5.0, length=10)
    steady(density, 0, 30)
    assert density.tell(90.0, Counters(5, 0, 0.0, 0)) == [] and not density.windows
    (closed,) = density.tell(95.0, Counters(45, 0, 0.0, 0))
    assert (closed.number, closed.rows) == (18, 40.0)
    assert density.tell(40.0, Counters(1, 0, 0.0, 0)) == []


def test_it_is_bounded_and_goes_on_from_what_was_saved() -> None:
    whole, cut = Density(5.0, length=12), Density(5.0, length=12)
    steady(whole, 0, 203)
    steady(cut, 0, 101)
    restored = Density.from_json(json.loads(json.dumps(cut.to_json())), length=12)
    steady(restored, 101, 203)
    assert restored.to_json() == whole.to_json()
    assert len(whole.windows) == 12 and whole.windows[-1].number == 39


def test_without_rows_a_mean_is_not_known() -> None:
    density = Density(1.0)
    density.tell(0.0, Counters(0, 0, 0.0, 0))
    (empty,) = density.tell(1.0, Counters(0, 0, 0.0, 0))
    assert empty == Window(0, 0.0, 0.0, None, None, 1)
