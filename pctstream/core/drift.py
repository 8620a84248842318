"""Drift: how much will the density of each portion change until the horizon, and is that much?

Per portion one forecast of its rows a second (`forecast`), and detectors (`detectors`) on that series, on
the mean distance to its centroid and on the share of its rows that the covers do not cover.

    score = |what is expected at the horizon - the level now| / the noise

The level is where the forecast's model sees the series without the noise of its last value, so a
stationary stream has a score near 0 whatever its last window was, and a naive forecast has 0. Every
window's score is kept; once its horizon has come it is graded by what really came: |rows a second then -
the level of that time| / the noise of that time.

Everything at window t is made of windows up to t. Fits take some 20 ms a portion, so a step fits no more
portions than `FIT_SHARE` of its time allows: first those that never were, then those where something
happened, then the oldest. Nothing here is stored: who begins again observes the windows of the table
`density` once more, at 0.2 ms each, and fits come back a step at a time.

>>> drift = Drift({"window_s": 5.0, "horizon": 6, "model": "auto"})
>>> for t in range(60):
...     drift.observe("N0,0", Window(t, 500.0 + 25.0 * t, 0.0, 0.4, 0.0, 1))
...     drift.observe("N0,1", Window(t, 500.0, 0.0, 0.4, 0.0, 1))
...     scores = drift.step(t)
>>> scores["N0,0"].score > 3.0, scores["N0,1"].score, scores["N0,1"].model
(True, 0.0, 'naive')
>>> scores["N0,0"].parts["share_then"] > scores["N0,0"].parts["share_now"] > 0.75
True
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from pctstream.core.density import Window
from pctstream.core.detectors import Detectors, Event
from pctstream.core.forecast import SERIES, Forecast, Now
from pctstream.core.surge import Surge, path

FIT_S = 0.02
"""Seconds that fitting one portion may take: measured in `benchmarks/forecast.py`."""
FIT_SHARE = 0.1
"""Of one core, for fitting."""
HISTORY = 120
"""Scores kept of a portion, beyond those not graded yet."""
EVENTS = 20
"""Events kept of a portion."""
AHEAD = 3
"""Windows ahead of which a forecast must have seen what came, or the series surges."""
REMEMBERED = SERIES // 2
"""A portion of which so many windows are missing begins again."""


class Expected(NamedTuple):
    """A point of a forecast: the rows a second in the window that begins at ``t`` (seconds)."""

    t: float
    rows_s: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Past:
    """A score and, once its horizon has come, the change there was; both in units of noise."""

    t: float
    score: float
    realised: float | None
    level: float
    noise: float


@dataclass(frozen=True, slots=True)
class DriftScore:
    """What is known of a portion's drift at the end of a window."""

    portion: str
    t: float
    """When that window began, in seconds of the broker's clock."""
    score: float
    parts: dict[str, float]
    """forecast_change, level_now and level_then (rows a second), noise (the same), share_now and
    share_then (of the rows of all portions), alarms (events within the last horizon)."""
    forecast: tuple[Expected, ...]
    model: str
    mase: float | None
    naive_mase: float | None
    detectors: tuple[Event, ...]
    history: tuple[Past, ...]

    def to_json(self, window_s: float, history: int = HISTORY) -> dict[str, Any]:
        """As the view and the table `drift` show it, with the last so many of its scores."""
        return {
            "portion": self.portion,
            "time": self.t,
            "score": self.score,
            "parts": self.parts,
            "forecast": [e._asdict() for e in self.forecast],
            "model": self.model,
            "mase": self.mase,
            "naive_mase": self.naive_mase,
            "detectors": [
                {"t": e.window * window_s, "series": e.series, "detector": e.detector}
                for e in self.detectors
            ],
            "history": [
                {
                    "t": p.t,
                    "score": p.score,
                    "realised": p.realised,
                    "level": p.level,
                    "noise": p.noise,
                }
                for p in self.history[-history:]
            ],
        }


class Drift:
    """All portions of a tree; ``settings`` are those of the section [drift]."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.window_s = float(settings["window_s"])
        self.horizon = int(settings["horizon"])
        self._model = str(settings["model"])
        self._portions: dict[str, _Portion] = {}
        self._total_now = self._total_then = 0.0

    def observe(self, key: str, window: Window) -> None:
        """The next window of a portion. One that was seen changes nothing; missing ones are gaps."""
        portion = self._portions.get(key)
        if portion is not None and window.number <= portion.last:
            return
        if portion is None or window.number - portion.last > REMEMBERED:
            portion = self._portions[key] = _Portion(
                Forecast(self.horizon, self._model, floor=0.0, grain=1.0 / self.window_s),
                1.0 / self.window_s,
                window.number - 1,
            )
        portion.observe(window, self.window_s, self.horizon)

    def recall(self, key: str, history: Sequence[Mapping[str, Any]]) -> None:
        """The history of a portion that was observed again, as `DriftScore.to_json` gave it."""
        if (portion := self._portions.get(key)) is not None:
            past = (Past(**entry) for entry in history)
            portion.history.extend(p for p in past if p.t <= portion.last * self.window_s)

    def forget(self, key: str) -> None:
        """This portion is no more."""
        self._portions.pop(key, None)

    def step(self, number: int) -> dict[str, DriftScore]:
        """Window ``number`` is over for all that told of it: fits who needs it most, and says how
        things are for every portion. A portion's score is kept in its history once per window."""
        self._fit()
        levels = {key: portion.levels for key, portion in self._portions.items()}
        self._total_now = sum(now for now, _ in levels.values())
        self._total_then = sum(then for _, then in levels.values())
        for portion in self._portions.values():
            if portion.last <= number:
                portion.keep(self.window_s)
        return {key: self.score(key) for key in self._portions}

    def _fit(self) -> None:
        may = max(1, int(self.window_s * FIT_SHARE / FIT_S))
        due = ((p.forecast.due, p.forecast.age, key) for key, p in self._portions.items())
        needy = sorted((-need, -age, key) for need, age, key in due if need)
        for _, _, key in needy[:may]:
            self._portions[key].forecast.fit()

    def score(self, key: str) -> DriftScore:
        """Of one portion (KeyError if nothing was told of it); its shares are those of the last step."""
        portion = self._portions[key]
        now, then = portion.levels
        seen = portion.now
        recent = [e for e in portion.events if e.window > portion.last - self.horizon]
        parts = {
            "forecast_change": then - now,
            "noise": seen.noise,
            "level_now": now,
            "level_then": then,
            "share_now": now / self._total_now if self._total_now > 0 else 0.0,
            "share_then": then / self._total_then if self._total_then > 0 else 0.0,
            "alarms": float(len(recent)),
        }
        points = zip(seen.path.tolist(), seen.low.tolist(), seen.high.tolist(), strict=True)
        return DriftScore(
            portion=key,
            t=portion.last * self.window_s,
            score=portion.score,
            parts=parts,
            forecast=tuple(
                Expected((portion.last + 1 + i) * self.window_s, *point)
                for i, point in enumerate(points)
            ),
            model=portion.model,
            mase=seen.mase,
            naive_mase=seen.naive_mase,
            detectors=tuple(portion.events),
            history=tuple(portion.history),
        )


class _Portion:
    """One portion's series."""

    def __init__(self, forecast: Forecast, grain: float, last: int) -> None:
        self.forecast = forecast
        self.last = last
        self.events: deque[Event] = deque(maxlen=EVENTS)
        self.history: deque[Past] = deque(maxlen=HISTORY + forecast.horizon)
        self._lead = min(AHEAD, forecast.horizon)
        self._surge = Surge(self._lead)
        self._step: float | None = None
        self._watched = {
            "rows_s": Detectors("rows_s", grain),
            "mean_distance": Detectors("mean_distance"),
            "uncovered": Detectors("uncovered", 0.01),
        }

    def observe(self, window: Window, window_s: float, horizon: int) -> None:
        """The next window."""
        for _ in range(window.number - self.last - 1):
            self.forecast.push(float("nan"))
        self.last = window.number
        rate = window.rows / window_s
        self.forecast.push(rate)
        seen = self.forecast.now
        ahead = seen.path.tolist()
        self._step = self._surge.push(rate, ahead[0], ahead[self._lead - 1], seen.noise)
        values = {
            "rows_s": rate,
            "mean_distance": window.mean_distance,
            "uncovered": window.uncovered,
        }
        for name, value in values.items():
            events = self._watched[name].push(window.number, value)
            self.events.extend(events)
            if events and name == "rows_s":
                self.forecast.alarm()
        came = (window.number - horizon) * window_s
        for i in range(max(0, len(self.history) - horizon), len(self.history)):
            past = self.history[i]
            if past.realised is None and past.t == came:
                self.history[i] = replace(past, realised=abs(rate - past.level) / past.noise)

    @property
    def now(self) -> Now:
        """What the forecast's model sees; in a surge or halt, from the last value on."""
        seen = self.forecast.now
        if self._step is None:
            return seen
        level, noise = self.forecast.values[-1], self._surge.noise(seen.noise)
        going = np.maximum(0.0, path(level, self._step, len(seen.path)))
        low = np.maximum(0.0, going - (seen.high - seen.path))
        high = going + (seen.high - seen.path)
        return seen._replace(level=level, path=going, low=low, high=high, noise=noise)

    @property
    def model(self) -> str:
        """What speaks now."""
        if self._step is None:
            return self.forecast.model
        return "surge" if self._step else "halt"

    @property
    def levels(self) -> tuple[float, float]:
        """Rows a second now and at the horizon."""
        seen = self.now
        return seen.level, float(seen.path[-1])

    @property
    def score(self) -> float:
        """The change that is expected, in units of noise."""
        seen = self.now
        return abs(float(seen.path[-1]) - seen.level) / seen.noise

    def keep(self, window_s: float) -> None:
        """Write the score of the last window into the history, once."""
        t = self.last * window_s
        if not self.history or self.history[-1].t < t:
            seen = self.now
            self.history.append(Past(t, self.score, None, seen.level, seen.noise))
