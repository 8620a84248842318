"""Drift scores of portions whose future is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import series
from series import Scores

from pctstream.core.density import Window
from pctstream.core.detectors import Detectors
from pctstream.core.drift import FIT_S, FIT_SHARE, Drift, DriftScore
from pctstream.core.forecast import FIRST_FIT, Forecast

SETTINGS = {"window_s": 5.0, "horizon": 6, "model": "auto"}


def told(number: int, rate: float, distance: float = 1.0) -> Window:
    return Window(number, 5.0 * rate, 640.0 * rate, distance, 0.0, 1)


def run(rates: np.ndarray, drift: Drift | None = None) -> list[DriftScore]:
    drift = drift or Drift(SETTINGS)
    out = []
    for number, rate in enumerate(rates.tolist()):
        drift.observe("N0,0", told(number, rate))
        out.append(drift.step(number)["N0,0"])
    return out


def test_the_score_tells_what_comes_on_ramps_and_nothing_on_noise() -> None:
    ramps = [Scores(series.ramps(np.random.default_rng(s), 300)).correlation(60) for s in range(3)]
    noise = [Scores(series.noise(np.random.default_rng(s), 300)).correlation(60) for s in range(3)]
    assert np.median(ramps) >= 0.5
    assert abs(np.median(noise)) < 0.2


def test_a_ramp_has_a_high_score_and_noise_a_low_one() -> None:
    noise = series.noise(np.random.default_rng(0), 200)
    quiet = run(noise)
    assert max(s.score for s in quiet[60:]) < 3.0
    ramp = run(np.concatenate([noise[:100], noise[100:] + 8.0 * np.arange(100)]))
    assert max(s.score for s in ramp[60:100]) < 3.0 < min(s.score for s in ramp[120:])
    assert all(s.parts["level_then"] > s.parts["level_now"] for s in ramp[120:])


def test_a_score_is_made_of_its_parts_and_of_the_past_alone() -> None:
    rng = np.random.default_rng(2)
    head, tails = series.ramps(rng, 140), (series.noise(rng, 40), series.walk(rng, 40))
    one, two = (run(np.concatenate([head, tail])) for tail in tails)
    assert one[:140] == two[:140] and one[141].forecast != two[141].forecast
    for score in one:
        parts = score.parts
        assert score.score == abs(parts["forecast_change"]) / parts["noise"]
        assert parts["forecast_change"] == parts["level_then"] - parts["level_now"]
        assert score.forecast[-1].rows_s == parts["level_then"]
        assert [round(e.t - score.t, 6) for e in score.forecast] == [5.0 * h for h in range(1, 7)]
        assert all(0 <= e.low <= e.rows_s <= e.high for e in score.forecast)
        json.dumps(score.to_json(5.0), allow_nan=False)


def test_history_is_graded_when_the_horizon_has_come() -> None:
    rates = series.ramps(np.random.default_rng(4), 90)
    scores = run(rates)
    past = scores[-1].history
    assert [p.t for p in past] == [5.0 * t for t in range(90)]
    for t, kept in enumerate(past):
        assert (kept.score, kept.level) == (scores[t].score, scores[t].parts["level_now"])
        if t + 6 < 90:
            real = abs(rates[t + 6] - scores[t].parts["level_now"]) / scores[t].parts["noise"]
            assert kept.realised == pytest.approx(real)
        else:
            assert kept.realised is None


def test_repeats_change_nothing_and_gaps_are_no_change() -> None:
    rates = series.noise(np.random.default_rng(6), 120)
    plain, holes = Drift(SETTINGS), Drift(SETTINGS)
    for number, rate in enumerate(rates.tolist()):
        plain.observe("N0,0", told(number, rate))
        plain.observe("N0,0", told(number, 9e9))
        plain.observe("N0,0", told(number - 3, 9e9))
        if number % 40 < 35:
            holes.observe("N0,0", told(number, rate))
        with_holes, without = holes.step(number), plain.step(number)
    assert without["N0,0"] == run(rates)[-1]
    assert with_holes["N0,0"].score < 3 and not with_holes["N0,0"].detectors
    holes.observe("N0,0", told(1000, 7.0))
    again = holes.step(1000)["N0,0"]
    assert len(again.history) == 1 and again.parts["level_now"] == pytest.approx(7.0)


def test_shares_are_of_all_portions_and_a_portion_can_go() -> None:
    drift = Drift(SETTINGS)
    for number in range(60):
        drift.observe("N0,0", told(number, 100.0 + 5.0 * number))
        drift.observe("N0,1", told(number, 300.0))
        scores = drift.step(number)
    for part in ("share_now", "share_then"):
        assert sum(s.parts[part] for s in scores.values()) == pytest.approx(1.0)
    assert scores["N0,0"].parts["share_then"] > scores["N0,0"].parts["share_now"]
    drift.forget("N0,1")
    assert set(drift.step(60)) == {"N0,0"}
    with pytest.raises(KeyError):
        drift.score("N0,1")


def test_no_step_fits_more_than_its_time_allows_and_everybody_gets_a_turn(monkeypatch) -> None:
    fits: list[Forecast] = []
    monkeypatch.setattr(Forecast, "fit", lambda self: fits.append(self) or mark(self))

    def mark(self: Forecast) -> None:
        self._fitted_at = self.count

    may, portions = int(5.0 * FIT_SHARE / FIT_S), 60
    drift = Drift(SETTINGS)
    for number in range(FIRST_FIT + 4):
        for i in range(portions):
            drift.observe(f"N0,{i}", told(number, 50.0))
        before = len(fits)
        drift.step(number)
        assert len(fits) - before <= may
    assert len({id(f) for f in fits}) == len(fits) == portions


def test_detectors_see_a_step_soon_and_nothing_in_noise() -> None:
    late, false = [], 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        noise = rng.normal(0, 1, 600)
        still = Detectors("rows_s")
        false += sum(len(still.push(t, 100 + v)) for t, v in enumerate(noise.tolist()))
        moved = Detectors("rows_s")
        steps = noise + 3.0 * (np.arange(600) >= 300)
        seen = [e.window for t, v in enumerate(steps.tolist()) for e in moved.push(t, 100 + v)]
        late.append(min(t for t in seen if t >= 300) - 300)
    assert false <= 5
    assert np.median(late) <= 12 and max(late) <= 40


def test_a_change_of_distance_alone_is_told() -> None:
    drift = Drift(SETTINGS)
    rng = np.random.default_rng(8)
    for number in range(120):
        away = 1.0 + 0.02 * rng.normal() + (0.2 if number >= 90 else 0.0)
        drift.observe("N0,0", told(number, 100.0 + rng.normal(), away))
        score = drift.step(number)["N0,0"]
    assert {e.series for e in score.detectors} == {"mean_distance"}
    assert min(e.window for e in score.detectors) in range(90, 110)
