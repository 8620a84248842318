"""Forecasts of series whose nature is known. All 100 seeds: `benchmarks/forecast.py`."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import series
from hypothesis import given, settings
from hypothesis import strategies as st
from series import Trial

from pctstream.core.forecast import Forecast
from pctstream.core.season import period


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (series.trend, ("ets", "holt")),
        (series.autoregressive, ("arima",)),
        (series.season, ("seasonal",)),
        (series.season_24, ("seasonal",)),
        (series.walk, ("naive",)),
    ],
)
def test_the_family_that_made_a_series_is_chosen(made, names) -> None:
    trials = [Trial(made(np.random.default_rng(seed), 240), 120) for seed in range(5)]
    assert sum(trial.models[-1].startswith(names) for trial in trials) >= 3
    assert np.mean([trial.part(*names) for trial in trials]) > 0.6
    assert 0.7 <= np.mean([trial.coverage for trial in trials]) <= 0.9
    if names == ("seasonal",):
        m = 24 if made is series.season_24 else 12
        assert all(trial.forecast.period == m for trial in trials)
        assert np.mean([t.error / t.naive_error(m) for t in trials]) < 1
        assert all(t.forecast.now.mase <= t.forecast.now.naive_mase for t in trials)
    elif names == ("naive",):
        assert np.mean([t.error / t.naive_error() for t in trials]) < 1.03
    else:
        assert np.mean([t.error / t.naive_error() for t in trials]) < 1


@pytest.mark.parametrize("model", ["naive", "ets", "arima"])
def test_no_other_family_than_the_one_that_is_set(model: str) -> None:
    forecast = Forecast(6, model)
    used = set()
    for value in series.season(np.random.default_rng(1), 200).tolist():
        forecast.push(value)
        if forecast.due:
            forecast.fit()
        used.add(forecast.model.split(",")[0].removeprefix("seasonal ").split("(")[0])
    allowed = {"naive", "seasonal_naive", *([model] if model != "ets" else ["ets", "holt"])}
    assert used <= allowed and (model == "naive" or used & (allowed - {"naive", "seasonal_naive"}))


def test_beijing_is_no_worse_than_the_better_naive_forecast(shared_data: Path) -> None:
    ratios = {}
    for column in ("PM2.5", "O3", "TEMP", "PRES"):
        trial = Trial(series.beijing(shared_data, column, 500), 168, fit_every=2)
        assert 0.65 <= trial.coverage <= 0.9
        ratios[column] = trial.error / min(trial.naive_error(), trial.naive_error(24))
        # where the day repeats, better than repeating it
        assert trial.error < trial.naive_error(24)
    assert np.mean(list(ratios.values())) <= 1.05 and ratios["TEMP"] < 0.9


def test_what_was_said_does_not_depend_on_what_came_later() -> None:
    rng = np.random.default_rng(3)
    head = series.season(rng, 150)
    tails = series.shift(rng, 60), series.walk(rng, 60)
    one, two = (Trial(np.concatenate([head, tail]), 0) for tail in tails)
    for (_, a), (_, b) in zip(one.said[:150], two.said[:150], strict=True):
        assert a.path.tobytes() == b.path.tobytes() and a.low.tobytes() == b.low.tobytes()
        assert (a.chosen, a.level, a.noise, a.mase) == (b.chosen, b.level, b.noise, b.mase)
    assert one.said[151][1].path.tolist() != two.said[151][1].path.tolist()


def test_mase_is_the_error_over_the_errors_of_a_step() -> None:
    """Errors that fade, summed up by hand for the naive forecast."""
    y = series.walk(np.random.default_rng(5), 80)
    forecast = Forecast(4, "naive")
    for value in y.tolist():
        forecast.push(value)
    weights = 0.5 ** (np.arange(80)[::-1] / 36)
    error = [
        np.average(np.abs(y[h:] - y[:-h]), weights=weights[h:]) for h in range(1, 5)
    ]  # of each lead
    assert forecast.now.mase == pytest.approx(np.mean(error) / error[0], rel=1e-9)
    assert forecast.now.mase == forecast.now.naive_mase


BROKEN = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1e-308, 1e308, -1e308, 1e15, math.nan, math.inf, 5.0]),
)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(BROKEN, max_size=60),
    st.sampled_from(["as it is", "constant", "zeros with one", "steps", "repeats", "rises"]),
    st.integers(1, 40),
    st.booleans(),
)
def test_no_series_breaks_it(values, kind, horizon, counts) -> None:
    last = next((v for v in values if math.isfinite(v)), 0.0)
    y = {
        "as it is": values,
        "constant": [last] * 60,
        "zeros with one": [0.0] * 40 + values[:1] + [0.0] * 30,
        "steps": [v for v in values[:6] for _ in range(12)],
        "repeats": (values[:7] * 12)[:90],
        "rises": [1e300**0.05 * 1.2**i for i in range(70)] + values[:5],
    }[kind]
    forecast = Forecast(horizon, floor=0.0 if counts else -math.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for i, value in enumerate(y):
            forecast.push(value)
            if forecast.due or i % 17 == 16:
                forecast.fit()
            now = forecast.now
            assert all(np.isfinite(a).all() and len(a) == horizon for a in now[2:5])
            assert (now.low <= now.path).all() and (now.path <= now.high).all()
            assert now.noise > 0 and math.isfinite(now.level)
            assert now.mase is None or (math.isfinite(now.mase) and now.mase >= 0)
            if counts:
                assert now.level >= 0 and (now.low >= 0).all()
    if len(y) < 8:
        assert forecast.model == "naive"


@given(st.integers(3, 20), st.integers(0, 2**32 - 1))
def test_a_period_is_found(m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pattern = rng.normal(0, 1, m)
    pattern[rng.integers(m)] += 6  # one peak, so that no shorter period is as good
    y = np.tile(pattern, 200 // m)[:144] + rng.normal(0, 0.2, 144)
    assert period(y + 0.05 * np.arange(144)) == m
    assert period(y, held=m) == m
    assert period(np.arange(144.0) + seed) is None
