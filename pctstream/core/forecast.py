"""The forecast of one series: several models side by side, the one with the smallest errors so far.

With each value every model says what it expects at some leads up to the horizon. When the time of a lead
has come, what was said is graded: errors are of forecasts that were made before, never of a fit to what
was known. Errors count half after `HALF_LIFE` values.

- **Choice.** The better of naive and seasonal naive, unless another's mean error over all leads is
  smaller by `MARGIN` and by `SURE` standard errors of the difference (the errors of overlapping horizons
  are not independent, so as many count as one). On a random walk nothing is better than naive, and
  only such care keeps it.
- **Interval.** The empirical quantile of the chosen model's own usual errors at that lead.
- **Noise.** The robust scale of its usual errors one step ahead.
- **Error.** `mase`: mean absolute error over the horizon, in units of what the seasonal naive (without
  a period: naive) forecast erred one step ahead. `naive_mase` is the same of the better naive one.
- **Fitting** (`due`, `fit`) is left to the caller, who has many series and little time.

A value that is not finite is a gap: nothing is graded, the last one stays.

>>> forecast = Forecast(horizon=3)
>>> for t in range(40): forecast.push(5.0 * t)
>>> forecast.now.path.round().tolist(), forecast.model, forecast.now.mase < forecast.now.naive_mase
([198.0, 202.0, 205.0], 'holt', True)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pctstream.core.grades import Grades
from pctstream.core.kernels import Float64
from pctstream.core.models import Last, Model, Repeat, Smooth, fitted, replayed
from pctstream.core.season import period

SERIES = 144
"""Values that a fit looks at."""
FIRST_FIT = 24
"""Values before the first fit."""
REFIT = 120
"""Values after which a fit is due again though nothing happened."""
REST = 24
"""Values between two fits at least."""
WORSE = 1.5
"""A fit is due when the last errors are so much larger than those before."""
HALF_LIFE = 36
"""Values after which an error counts half."""
ERRORS = 64
"""Errors that intervals and noise are made of."""
ENOUGH = 8
"""Errors at each lead before a model may be chosen."""
MARGIN = 0.05
"""Part by which a model must err less than the better naive one."""
SURE = 0.6
"""And standard errors of the difference."""
LEADS = 6
"""Leads at which forecasts are graded; the intervals of those between are interpolated."""
COVER = 0.8
"""Part of the values that the interval is to hold."""
LARGEST = 1e15
"""Of any value: sums of squares stay finite."""

NAIVE, SEASONAL_NAIVE, HOLT = "naive", "seasonal_naive", "holt"
NAMES = (
    NAIVE, SEASONAL_NAIVE, HOLT, "ets", "arima(1,0,1)", "arima(1,1,1)",
    "seasonal ets", "seasonal arima(1,0,1)",
)  # fmt: skip
SEASONAL = [i for i, name in enumerate(NAMES) if name.startswith("seasonal")]
STRAIGHT = 0.3, 0.3, 0.95
"""Smoothing of level and trend and damping of `holt`, which needs no fit."""
GUESS = 1.6
"""Half of an interval one step ahead, in units of noise, until there are errors."""


class Now(NamedTuple):
    """What is known of a series after its last value, by the model chosen."""

    chosen: int
    level: float
    """Where the series is without the noise of its last value."""
    path: Float64
    """The next values as expected, float64[horizon]."""
    low: Float64
    high: Float64
    """The interval that holds `COVER` of them."""
    noise: float
    """The usual size of an error one step ahead, as a standard deviation; above 0."""
    mase: float | None
    """None as long as too little was graded, or nothing ever changed."""
    naive_mase: float | None


class Forecast:
    """One series; ``floor`` is the least a value can be, ``grain`` the smallest noise it can have."""

    def __init__(
        self, horizon: int, model: str = "auto", floor: float = -math.inf, grain: float = 1e-9
    ) -> None:
        self.horizon = horizon
        self._floor, self._grain = floor, grain
        self.leads = np.unique(np.linspace(1, horizon, min(LEADS, horizon)).round().astype(int))
        self.values: list[float] = []
        self.count = 0
        self.period: int | None = None
        self._models: list[Model | None] = [Last(), None, Smooth(*STRAIGHT)]
        self._models += [None] * (len(NAMES) - len(self._models))
        self._allowed = np.array([model in ("auto", family) for family in map(_family, NAMES)])
        shape = (len(NAMES), len(self.leads))
        self._said = np.full((horizon, *shape), np.nan)
        self._errors = np.full((ERRORS, *shape), np.nan)
        self._sum, self._n = np.zeros(shape), np.zeros(shape)
        self._grades = Grades(len(NAMES))
        self._fitted_at = 0
        self._alarm = False
        self._low = self._high = 0.0
        self._now: Now | None = None

    def push(self, value: float) -> None:
        """The next value of the series."""
        missing = not math.isfinite(value)
        if missing:
            value = self.values[-1] if self.values else max(0.0, self._floor)
        y = min(max(value, -LARGEST, self._floor), LARGEST)
        if not missing:
            self._grade(y)
        self.values.append(y)
        if len(self.values) > 2 * SERIES:
            del self.values[:SERIES]
        recent = self.values[-SERIES:]
        low, high = min(recent), max(recent)
        self._low, self._high = max(self._floor, 2 * low - high), 2 * high - low
        for model in self._models:
            if model is not None:
                model.push(y)
        self._say(self.count)
        self.count += 1
        self._now = None

    def _grade(self, y: float) -> None:
        # what was said at lead h was said h values ago
        said = self._said[(self.count - self.leads) % self.horizon, :, np.arange(len(self.leads))].T
        errors = np.abs(y - said)
        self._errors[self.count % ERRORS] = errors
        known = ~np.isnan(errors)
        fade = 0.5 ** (1.0 / HALF_LIFE)
        self._n = np.where(known, fade * self._n + 1.0, self._n)
        self._sum = np.where(known, fade * self._sum + errors, self._sum)
        self._grades.add(errors.mean(axis=1), fade)

    def _say(self, count: int) -> None:
        said = self._said[count % self.horizon]
        said[:] = np.nan
        for k, model in enumerate(self._models):
            if model is not None:
                path = self._within(model.path(self.horizon))
                said[k] = path[self.leads - 1]

    def _within(self, path: Float64) -> Float64:
        """No model may leave what was seen by more than its range."""
        return np.minimum(np.maximum(path, self._low), self._high)

    # fitting

    def alarm(self) -> None:
        """Something changed at once: what was fitted may be wrong."""
        self._alarm = True

    @property
    def due(self) -> int:
        """How much a fit is needed: 0 not at all, 1 by age, 2 as something happened, 3 the first."""
        since = self.age
        if self.count < FIRST_FIT or since < REST:
            return 0
        if not self._fitted_at:
            return 3
        if self._alarm or self._grades.worse(self.now.chosen, WORSE):
            return 2
        return int(since >= min(REFIT, self._fitted_at))

    @property
    def age(self) -> int:
        """Values since the last fit."""
        return self.count - self._fitted_at

    def fit(self) -> None:
        """Fit the models to the last values, of which there must be some."""
        y = np.array(self.values[-SERIES:])
        m = period(y, self.period)
        if m != self.period:
            self.period = m
            for part in (self._sum, self._n):
                part[SEASONAL] = 0.0
            self._errors[:, SEASONAL] = self._said[:, SEASONAL] = np.nan
            self._grades.forget(SEASONAL)
            for k in SEASONAL:
                self._models[k] = None
        found = fitted(y, m)
        if m is not None:
            found[SEASONAL_NAIVE] = replayed(Repeat(m), y)
        for name, model in found.items():
            self._models[NAMES.index(name)] = model
        self._fitted_at, self._alarm, self._now = self.count, False, None
        self._say(self.count - 1)

    # what is known now

    @property
    def now(self) -> Now:
        """After the last value."""
        if self._now is None:
            means = self._means()
            self._now = self._look(self._choose(means), means)
        return self._now

    def _means(self) -> Float64:
        """The mean error of each model, float64[models]; inf where too little is known."""
        enough = self._n.min(axis=1) >= ENOUGH
        means = (self._sum / np.maximum(self._n, 1.0)).mean(axis=1)
        known: Float64 = np.where(enough, means, np.inf)
        return known

    def _choose(self, means: Float64) -> int:
        base = int(means[1] < means[0])
        allowed = np.where(self._allowed, means, np.inf)
        best = int(np.argmin(allowed))
        if best < 2 or allowed[best] > (1.0 - MARGIN) * means[base]:
            return base
        return best if self._grades.surely_less(best, base, SURE, self.horizon) else base

    def _look(self, chosen: int, means: Float64) -> Now:
        model = self._models[chosen]
        assert model is not None
        path = self._within(model.path(self.horizon))
        level = min(max(model.level, self._low), self._high)
        errors = self._usual(chosen)
        known = (errors == errors).sum(axis=0)
        scale = _middle(errors) / 0.6745 if known[0] else 0.0
        noise = max(scale, 0.01 * abs(level), self._grain)
        rank = np.minimum(np.ceil(COVER * (known + 1)).astype(int), known) - 1
        wide = errors[np.maximum(rank, 0), np.arange(len(self.leads))]
        guess = GUESS * noise * np.sqrt(self.leads)
        wide = np.maximum.accumulate(np.where(known >= ENOUGH, wide, guess))
        half = np.interp(np.arange(1, self.horizon + 1), self.leads, wide)
        n, total = self._n[:, 0], self._sum[:, 0]
        step = 1 if n[1] >= ENOUGH else 0
        unit = float(total[step] / n[step]) if n[step] else 0.0
        mase, naive = (
            float(mean / unit) if unit > 0 and math.isfinite(mean) else None
            for mean in (means[chosen], means[:2].min())
        )
        return Now(chosen, level, path, np.maximum(path - half, self._floor), path + half, noise,
                   mase, naive)  # fmt: skip

    def _usual(self, chosen: int) -> Float64:
        """Its errors, sorted at each lead, NaN last: the last `ERRORS`, or of a younger series those in
        the later half where these are smaller. What begins is fed unevenly, and the errors of then
        would be taken for noise until the others outnumber them."""
        whole: Float64 = np.sort(self._errors[:, chosen], axis=0)
        late = max(ENOUGH + self.horizon, -(-self.count // 2))
        if late >= ERRORS:
            return whole
        places = np.arange(self.count - late, self.count) % ERRORS
        half: Float64 = np.sort(self._errors[places, chosen], axis=0)
        return half if _middle(half) < _middle(whole) else whole

    @property
    def model(self) -> str:
        """The chosen model's name, with the period if it has one."""
        chosen = self.now.chosen
        return f"{NAMES[chosen]}, period {self.period}" if chosen in SEASONAL else NAMES[chosen]


def _middle(errors: Float64) -> float:
    """The median of sorted errors one step ahead; inf where there are none."""
    known = int((errors[:, 0] == errors[:, 0]).sum())
    return float(errors[known // 2, 0]) if known else math.inf


def _family(name: str) -> str:
    words = name.removeprefix("seasonal ").removeprefix("seasonal_").split("(")
    return "ets" if words[0] == HOLT else words[0]
