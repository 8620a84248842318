"""Series whose nature is known: what a forecast, a detector and a drift score are tried on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pctstream.core.density import Window
from pctstream.core.drift import Drift, DriftScore
from pctstream.core.forecast import Forecast, Now

Series = NDArray[np.float64]
BEIJING = ("PM2.5", "O3", "TEMP", "PRES", "DEWP", "WSPM")


def trend(rng: np.random.Generator, n: int) -> Series:
    """A line in noise: it rises by its noise in 3 steps."""
    return 1000 + np.arange(n) + rng.normal(0, 3, n)


def autoregressive(rng: np.random.Generator, n: int) -> Series:
    """AR(1) with 0.8 around 100."""
    y, steps = np.zeros(n), rng.normal(0, 10, n)
    for t in range(1, n):
        y[t] = 0.8 * y[t - 1] + steps[t]
    return 100 + y


def season(rng: np.random.Generator, n: int, m: int = 12) -> Series:
    """A sine of period m, three times as high as its noise."""
    return 100 + 10 * np.sin(2 * np.pi * np.arange(n) / m) + rng.normal(0, 10 / 3, n)


def season_24(rng: np.random.Generator, n: int) -> Series:
    """The same with period 24."""
    return season(rng, n, 24)


def walk(rng: np.random.Generator, n: int) -> Series:
    """A random walk: nothing is better than its last value."""
    return 1000 + np.cumsum(rng.normal(0, 5, n))


def noise(rng: np.random.Generator, n: int) -> Series:
    """Nothing but noise around 100."""
    return 100 + rng.normal(0, 5, n)


def shift(rng: np.random.Generator, n: int) -> Series:
    """Noise that jumps by 10 times its size in the middle."""
    return noise(rng, n) + 50 * (np.arange(n) >= n // 2)


def ramps(rng: np.random.Generator, n: int, least: float = 2.0, most: float = 8.0) -> Series:
    """Level stretches and ramps in turn, each of 20 to 60 windows, up or down by ``least`` to ``most``
    a window, in a noise of 3."""
    slopes = np.concatenate(
        [
            np.full(rng.integers(20, 60), slope * rng.uniform(least, most) * rng.choice([-1, 1]))
            for slope in [0, 1] * (n // 20)
        ]
    )[:n]
    level = np.cumsum(slopes)
    lines: Series = 50 + level - level.min() + rng.normal(0, 3, n)
    return lines


def gentle_ramps(rng: np.random.Generator, n: int) -> Series:
    """The same, that rise by 1 to 8 times the noise within a horizon of 6."""
    return ramps(rng, n, 0.5, 4.0)


def beijing(data: Path, column: str, hours: int, station: int = 0) -> Series:
    """Hourly values of a column of the data set at one station."""
    with np.load(data / "beijing_air.npz") as saved:
        at = saved["station"] == station
        values: Series = saved["X"][at, saved["columns"].tolist().index(column)][:hours]
    return values.astype(np.float64)


class Trial:
    """A forecast fed with a series value by value; what it said is kept and judged by hand here."""

    def __init__(self, values: Series, begin: int, horizon: int = 6, fit_every: int = 1) -> None:
        self.forecast = Forecast(horizon)
        self.models: list[str] = []
        self.said: list[tuple[int, Now]] = []
        self._values, self._horizon = values, horizon
        for t, value in enumerate(values.tolist()):
            self.forecast.push(value)
            if self.forecast.due and t % fit_every == 0:
                self.forecast.fit()
            if t >= begin:
                self.models.append(self.forecast.model)
                self.said.append((t, self.forecast.now))

    def part(self, *names: str) -> float:
        """Of all windows, the part in which the model's name begins with one of these."""
        return sum(name.startswith(names) for name in self.models) / len(self.models)

    @property
    def coverage(self) -> float:
        """Part of the values that lay within what was said of them."""
        inside = [
            now.low[h - 1] <= self._values[t + h] <= now.high[h - 1]
            for t, now in self.said
            for h in range(1, self._horizon + 1)
            if t + h < len(self._values)
        ]
        return float(np.mean(inside))

    @property
    def error(self) -> float:
        """Mean absolute error over the horizon of what was said."""
        return self._mean({t: now.path for t, now in self.said})

    def naive_error(self, m: int = 0) -> float:
        """The same of the last value, or of the one ``m`` before."""
        y, leads = self._values, np.arange(1, self._horizon + 1)
        paths = {t: y[t + leads - m] if m else np.full(self._horizon, y[t]) for t, _ in self._whole}
        return self._mean(paths)

    @property
    def _whole(self) -> list[tuple[int, Now]]:
        return [(t, now) for t, now in self.said if t + self._horizon < len(self._values)]

    def _mean(self, paths: dict[int, Series]) -> float:
        y, leads = self._values, np.arange(1, self._horizon + 1)
        return float(np.mean([np.abs(paths[t] - y[t + leads]).mean() for t, _ in self._whole]))


class Scores:
    """The scores of one portion window by window, beside the changes that came.

    ``realised`` is worked out here from the series and the noise of each time, not by the product.
    """

    def __init__(self, rates: Series, horizon: int = 6, window_s: float = 5.0) -> None:
        drift = Drift({"window_s": window_s, "horizon": horizon, "model": "auto"})
        self.scores, self.realised = [], []
        self.last: DriftScore | None = None
        for t, rate in enumerate(rates.tolist()):
            drift.observe("N0,0", Window(t, rate * window_s, 0.0, None, None, 1))
            now = self.last = drift.step(t)["N0,0"]
            if t + horizon < len(rates):
                self.scores.append(now.score)
                change = abs(rates[t + horizon] - now.parts["level_now"])
                self.realised.append(change / now.parts["noise"])

    def correlation(self, begin: int) -> float:
        """Spearman's, from this window on; 0 where all scores are alike."""
        scores, realised = self.scores[begin:], self.realised[begin:]
        if len(set(scores)) < 2:
            return 0.0
        return float(stats.spearmanr(scores, realised).statistic)
