"""What forecasts a series: models that are fitted seldom and go on with each value for next to nothing.

Each model takes the values one by one (`push`) and says at any time what comes next (`path`). The
parameters are found by statsmodels, which costs some 20 ms a series; going on is a line of arithmetic,
for which statsmodels would take 4 ms.

    Last        the last value                                            naive
    Repeat      the value one period ago                                  seasonal naive
    Smooth      level and damped trend, exponentially smoothed            ETS(A, Ad, N)
    Arma        ARIMA(1, d, 1), d = 0 around a mean, or 1
    Seasonal    one of the two above for what is left once each phase's share is taken away

`level` is where the series is now without the noise of its last value, so that path - level is the
change that a model expects and not the return of a random error to the mean.
"""

from __future__ import annotations

import warnings
from collections import deque
from typing import Any, Protocol

import numpy as np

from pctstream.core.kernels import Float64
from pctstream.core.season import phases

SEASON_RATE = 0.1
"""How much of an error changes the share of its phase."""
STEADY = 0.98
"""Largest autoregressive coefficient: beyond it a series runs away."""


class Model(Protocol):
    """What every model can do."""

    def push(self, y: float) -> None:
        """The next value."""

    def path(self, leads: int) -> Float64:
        """The next values as expected, float64[leads]."""

    @property
    def level(self) -> float:
        """Where the series is now."""


class Last:
    """The last value, for ever."""

    level = 0.0

    def push(self, y: float) -> None:
        """The next value."""
        self.level = y

    def path(self, leads: int) -> Float64:
        """float64[leads]."""
        return np.full(leads, self.level)


class Repeat:
    """What was one period ago."""

    def __init__(self, m: int) -> None:
        self._last: deque[float] = deque(maxlen=m)
        self.level = 0.0

    def push(self, y: float) -> None:
        """The next value."""
        self.level = self._last[0] if len(self._last) == self._last.maxlen else y
        self._last.append(y)

    def path(self, leads: int) -> Float64:
        """float64[leads]."""
        return np.resize(np.array(self._last), leads)


class Smooth:
    """Level and damped trend.

    >>> smooth = Smooth(0.5, 0.3, 1.0)
    >>> for y in range(40): smooth.push(float(y))
    >>> smooth.path(3).round(2).tolist(), round(smooth.level, 2)
    ([40.0, 41.0, 42.0], 39.0)
    """

    def __init__(self, alpha: float, beta: float, phi: float) -> None:
        self._alpha, self._beta, self._phi = alpha, beta, phi
        self._trend = 0.0
        self._sums = np.zeros(0)
        self._begun = False
        self.level = 0.0

    def push(self, y: float) -> None:
        """The next value."""
        if not self._begun:
            self.level, self._begun = y, True
            return
        trend = self._phi * self._trend
        level = self._alpha * y + (1.0 - self._alpha) * (self.level + trend)
        self._trend = self._beta * (level - self.level) + (1.0 - self._beta) * trend
        self.level = level

    def path(self, leads: int) -> Float64:
        """float64[leads]."""
        if len(self._sums) != leads:
            self._sums = np.cumsum(self._phi ** np.arange(1.0, leads + 1))
        return self.level + self._trend * self._sums

    @property
    def next(self) -> float:
        """The next value as expected."""
        return self.level + self._phi * self._trend


class Arma:
    """ARMA(1, 1) of the distance to ``mean``, or of the differences if that is None.

    >>> arma = Arma(0.5, 0.0, 10.0)
    >>> arma.push(18.0)
    >>> arma.path(3).tolist()
    [14.0, 12.0, 11.0]
    """

    def __init__(self, phi: float, theta: float, mean: float | None) -> None:
        self._phi, self._theta, self._mean = phi, theta, mean
        self._x = self._error = 0.0
        self._last: float | None = None
        self._powers = np.zeros(0)

    def push(self, y: float) -> None:
        """The next value."""
        before = self._mean if self._mean is not None else self._last
        x = 0.0 if before is None else y - before
        self._error = x - (self._phi * self._x + self._theta * self._error)
        self._x, self._last = x, y

    def path(self, leads: int) -> Float64:
        """float64[leads]."""
        if len(self._powers) != leads:
            self._powers = self._phi ** np.arange(0.0, leads)
            if self._mean is None:
                self._powers = np.cumsum(self._powers)
        return self._before + self._step * self._powers

    @property
    def _step(self) -> float:
        return self._phi * self._x + self._theta * self._error

    @property
    def _before(self) -> float:
        return self._mean if self._mean is not None else self._last or 0.0

    @property
    def next(self) -> float:
        """The next value as expected."""
        return self._before + self._step

    @property
    def level(self) -> float:
        """One step back from where the next two lead."""
        turn = 2.0 - self._phi if self._mean is not None else 1.0 - self._phi
        return self._before + turn * self._step


class Seasonal:
    """A model of what is left once each phase's share is taken away."""

    def __init__(self, share: Float64, inner: Smooth | Arma) -> None:
        self._share = share.copy()
        self._inner = inner
        self._phase = -1

    def push(self, y: float) -> None:
        """The next value."""
        first = self._phase < 0
        self._phase = phase = (self._phase + 1) % len(self._share)
        left = y - float(self._share[phase])
        error = 0.0 if first else left - self._inner.next
        self._inner.push(left)
        self._share[phase] += SEASON_RATE * error

    def path(self, leads: int) -> Float64:
        """float64[leads]."""
        m = len(self._share)
        return self._inner.path(leads) + self._share[(self._phase + 1 + np.arange(leads)) % m]

    @property
    def level(self) -> float:
        """What is left, and the share of the phase now."""
        return self._inner.level + float(self._share[self._phase])


def replayed(model: Any, y: Float64) -> Model:
    """The model, once it has seen these values."""
    for value in y.tolist():
        model.push(value)
    return model  # type: ignore[no-any-return]


def fitted(y: Float64, m: int | None) -> dict[str, Model]:
    """The models that are fitted, by name, after the values float64[n] with this period.

    What does not converge, or breaks on this series, is left out.
    """
    models: dict[str, Model] = {}
    shift, scale = float(y.mean()), float(y.std())
    if not scale > 1e-9 * max(1.0, abs(shift)):
        return models
    z = (y - shift) / scale
    made = {"ets": _smooth(z), "arima(1,0,1)": _arma(z, 0), "arima(1,1,1)": _arma(z, 1)}
    unit = {name: model for name, model in made.items() if model is not None}
    for name, (a, b, c) in unit.items():
        models[name] = replayed(_of(name, a, b, c, shift, scale), y)
    if m is not None:
        share = phases(z, m)
        left = z - share[np.arange(len(z)) % m]
        for name, found in (("ets", _smooth(left)), ("arima(1,0,1)", _arma(left, 0))):
            if found is not None:
                inner = _of(name, *found, shift, scale)
                models["seasonal " + name] = replayed(Seasonal(share * scale, inner), y)
    return models


def _of(name: str, a: float, b: float, c: float, shift: float, scale: float) -> Smooth | Arma:
    if name == "ets":
        return Smooth(a, b, c)
    return Arma(a, b, None if name == "arima(1,1,1)" else shift + scale * c)


Parameters = tuple[float, float, float]


def _smooth(z: Float64) -> Parameters | None:
    """alpha, beta and phi of a smoothed series with a damped trend."""
    # statsmodels takes a second to import: who fits nothing, as a worker at its start, goes without
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            model = ExponentialSmoothing(
                z, trend="add", damped_trend=True, initialization_method="heuristic"
            )
            found = model.fit(use_brute=False, method="SLSQP").params  # L-BFGS-B: 10 x slower
    except Exception:  # whatever it raises, the naive forecast is there
        return None
    named = ("smoothing_level", "smoothing_trend", "damping_trend")
    return _finite(tuple(float(found[name]) for name in named))


def _arma(z: Float64, d: int) -> Parameters | None:
    """phi, theta and the mean of an ARIMA(1, d, 1), by Hannan and Rissanen's regressions: two of
    them, where the likelihood takes 20 to 200 ms."""
    from statsmodels.tsa.arima.estimators.hannan_rissanen import hannan_rissanen

    mean = float(z.mean()) if d == 0 else 0.0
    x = z - mean if d == 0 else np.diff(z)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            phi, theta, _ = hannan_rissanen(x, ar_order=1, ma_order=1, demean=False)[0].params
    except Exception:  # whatever it raises, the naive forecast is there
        return None
    steady = float(np.clip(phi, -STEADY, STEADY)), float(np.clip(theta, -STEADY, STEADY))
    return _finite((*steady, mean))


def _finite(values: tuple[float, ...]) -> Parameters | None:
    a, b, c = values
    return (a, b, c) if np.isfinite(values).all() else None
