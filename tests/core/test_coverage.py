"""The bound of what a cover misses: true as often as it says, and a function of the rows alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pctstream.core.coverage import (
    SETTLED,
    WINDOW,
    Coverage,
    Evidence,
    combined,
    faded_rows,
    limits,
    published,
)

STREAMS = 250
WINDOWS = 30


def held(mass: npt.NDArray[np.float64], seed: int) -> float:
    """How often, looked at ten times a window, the mass at that row lies under the bound."""
    rng = np.random.default_rng(seed)
    beyond = rng.random(len(mass)) < mass
    coverage, good, looks = Coverage(), 0, 0
    for at in range(0, len(mass), WINDOW // 8):
        if coverage.windows:
            good += mass[at] <= coverage.evidence().bound()
            looks += 1
        coverage.take(beyond[at : at + WINDOW // 8])
    return good / looks


@pytest.mark.parametrize("mass", [0.0003, 0.001, 0.003, 0.01, 0.05, 0.4])
def test_the_mass_lies_under_the_bound_as_often_as_it_says(mass: float) -> None:
    stream = np.full(WINDOWS * WINDOW, mass)
    assert np.mean([held(stream, seed) for seed in range(STREAMS)]) >= 0.945


@pytest.mark.parametrize("ends", [(0.001, 0.007), (0.0, 0.006), (0.04, 0.046), (0.1, 0.0)])
def test_it_does_so_while_the_mass_moves_by_a_hundredth_in_50000_rows(
    ends: tuple[float, float],
) -> None:
    stream = np.linspace(*ends, WINDOWS * WINDOW)
    if ends[0] < ends[1]:
        assert (ends[1] - ends[0]) / len(stream) <= 0.01 / 50_000
    assert np.mean([held(stream, seed) for seed in range(STREAMS)]) >= 0.93


def test_however_rows_are_cut_into_units_the_state_is_the_same() -> None:
    rng = np.random.default_rng(1)
    beyond = rng.random(10_000) < 0.02
    whole, ones, pieces = Coverage(), Coverage(), Coverage()
    whole.take(beyond, 96)
    for i in range(len(beyond)):
        ones.take(beyond[i : i + 1], 96)
    for piece in np.split(beyond, np.sort(rng.integers(0, len(beyond), 70))):
        pieces.take(piece, 96)
        pieces = Coverage.from_json(pieces.to_json())
    assert whole == ones == pieces
    windows = beyond[: len(beyond) // 96 * 96].reshape(-1, 96).sum(axis=1)[::-1]
    assert whole.faded == pytest.approx(sum(int(x) / 2**age for age, x in enumerate(windows)))


def test_a_limit_is_broken_where_the_bound_is_beyond_it() -> None:
    for limit, window in ((0.01, 1024), (0.05, 64), (0.3, 16)):
        table = limits(limit, window)
        for w in (1, 2, 5, SETTLED):
            rows, squares = faded_rows(w, window)
            if table[w] < np.inf:
                assert Evidence(table[w], rows, squares).bound() <= limit
                assert Evidence(table[w] + 1 / 16, rows, squares).bound() > limit
            else:
                assert Evidence(0, rows, squares).bound() > limit
            broken = Coverage(0, 0, w, float(min(table[w], 1e9)) + 1 / 16).broken(limit, window)
            assert broken == (table[w] < np.inf)
    assert np.isinf(limits(0.0, 1024)).all()


def test_shards_say_together_what_their_rows_say() -> None:
    one, two = Coverage(), Coverage()
    one.take(np.zeros(WINDOW, np.bool_))
    two.take(np.ones(WINDOW // 2, np.bool_))
    both = combined([one.evidence(), two.evidence()])
    assert both.bound() == pytest.approx(Evidence(512, 1024, 768).bound())
    assert one.evidence().bound() < both.bound() < two.evidence().bound() == 1.0


def test_until_a_window_has_closed_the_scan_has_the_word() -> None:
    coverage = Coverage()
    coverage.take(np.ones(WINDOW - 1, np.bool_))
    assert published(0.003, coverage.evidence()) == 0.003
    coverage.take(np.ones(1, np.bool_))
    assert published(0.003, coverage.evidence()) > 0.99
