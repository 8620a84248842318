"""Prediction pays: the policy with the workers' own forecaster, against the same one without.

Simulated, from made-up loads (`core/loads.py`); `benchmarks/prediction.py` has more seeds and longer runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import series

from pctstream.core import loads
from pctstream.core.density import Window
from pctstream.core.drift import Drift
from pctstream.core.foreseen import Foreseen
from pctstream.core.layout import Float64, ShardRoom
from pctstream.core.policy import Tuning
from pctstream.core.simulate import Carrying, Run, last, simulate
from pctstream.core.surge import Surge

PORTIONS = 16
PATHS = [(0, i) for i in range(PORTIONS)]
ROUND = {path: i % 4 for i, path in enumerate(PATHS)}
ROOMS = [ShardRoom(s) for s in range(4)]


def tried(
    rates: Float64, window_s: float, horizon: int, full: float = 0.0, how: object = None
) -> Run:
    carrying = Carrying(window_s, horizon, full=full)
    forecast = last if how == "last" else Foreseen(window_s, horizon)
    return simulate(rates, PATHS, ROUND, ROOMS, Tuning(), carrying, forecast)


def test_a_hot_spot_is_met_before_it_hurts() -> None:
    blind = ahead = moves = blind_moves = 0.0
    for seed in range(3):
        rates = loads.hot_spot(np.random.default_rng(seed), 100, PORTIONS, 5.0, height=5.0)
        without, with_it = tried(rates, 5.0, 6, how="last"), tried(rates, 5.0, 6)
        blind, ahead = blind + without.overload_s, ahead + with_it.overload_s
        blind_moves, moves = blind_moves + len(without.moves), moves + len(with_it.moves)
    assert blind > 30.0
    assert ahead <= 0.5 * blind
    assert moves <= 1.5 * blind_moves


def test_half_an_hour_of_nothing_new_moves_nothing() -> None:
    rates = loads.stationary(np.random.default_rng(1), 360, PORTIONS)
    full = float(rates.sum(axis=1).max())
    run = tried(rates, 5.0, 6, full)
    assert run.moves == [] and run.overload_s > 0, "one shard has more than its share all the time"


def test_a_square_wave_moves_a_portion_once_per_cool_down() -> None:
    rates = loads.square(np.random.default_rng(2), 144, PORTIONS, period=2)
    run = tried(rates, 5.0, 6, float(rates.sum(axis=1).max()))
    times: dict[tuple[int, ...], list[float]] = {}
    for done in run.moves:
        times.setdefault(done.move.portion, []).append(done.planned_s)
    assert all(b - a >= 60.0 for t in times.values() for a, b in itertools.pairwise(t))


def surges(values: Float64, noise: float) -> list[int]:
    """The windows in which a series surges, if its last value is what is expected of it."""
    surge = Surge(lead=3)
    return [t for t, y in enumerate(values.tolist()) if surge.push(y, y, y, noise)]


@pytest.mark.parametrize(
    ("made", "most"), [(series.noise, 0), (series.autoregressive, 30), (series.walk, 60)]
)  # fmt: skip
def test_chance_is_no_surge(made: Callable[..., Float64], most: int) -> None:
    """Of 20 x 600 windows; what wanders really goes somewhere now and then."""
    found = 0
    for seed in range(20):
        values = made(np.random.default_rng(seed), 600)
        noise = float(np.median(np.abs(np.diff(values)))) / 0.6745
        found += len(surges(values, noise))
    assert found <= most


def test_a_ramp_surges_from_its_third_step_to_its_end_and_a_jump_never() -> None:
    rng = np.random.default_rng(3)
    t = np.arange(100)
    ramp = 100 + 20 * np.clip(t - 50, 0, 15) + rng.normal(0, 2, 100)
    found = surges(ramp, 2.8)
    assert found[0] in (52, 53) and found[-1] in (65, 66) and len(found) >= 12
    jump = 100 + 200.0 * (t >= 50) + rng.normal(0, 2, 100)
    assert surges(jump, 2.8) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_ramp_that_is_over_is_not_expected_to_go_on(seed: int) -> None:
    """After 12 windows, before a model has learnt it, one flat window is enough."""
    rng = np.random.default_rng(seed)
    rates = 100 + 60 * np.clip(np.arange(70) - 40, 0, 12) + rng.normal(0, 3, 70)
    drift = Drift({"window_s": 5.0, "horizon": 6, "model": "auto"})
    ahead = []
    for number, rate in enumerate(rates.tolist()):
        drift.observe("p", Window(number, 5.0 * rate, 0.0, None, None, 1))
        ahead.append(drift.step(number)["p"].parts["level_then"] - rate)
    assert min(ahead[44:52]) > 120.0, "on the way it is foreseen"
    assert np.abs(ahead[53:60]).max() < 30.0


def test_a_ramp_is_seen_soon_after_an_uneven_beginning() -> None:
    """Workers that start, or start again, are fed unevenly: six such windows, twelve even ones, a ramp."""
    soon, on_the_way = 0, []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        begins = np.maximum(0.0, 250.0 + rng.normal(0, 250, 6))
        rates = np.append(
            begins, 250 + 35 * np.clip(np.arange(28) - 11, 0, 16) + rng.normal(0, 9, 28)
        )
        drift = Drift({"window_s": 3.0, "horizon": 6, "model": "auto"})
        scores = []
        for number, rate in enumerate(rates.tolist()):
            drift.observe("p", Window(number, 3.0 * rate, 0.0, None, None, 1))
            scores.append(drift.step(number)["p"].score)
        soon += max(scores[18:22]) > 2.0
        on_the_way.append(np.mean(np.array(scores[20:32]) > 2.0))
    assert soon >= 9, "by the fourth step of the ramp"
    assert np.median(on_the_way) > 0.9, "its own steps are not taken for noise"
