"""Made-up loads of portions, f64[T, P] in rows/s, to try policies and forecasts on.

    stationary   every portion has a rate of its own and Poisson noise about it
    hot-spot     besides, one spot ramps up to many times a portion's rate, stays, and wanders on
    square       half of the portions are busy in one phase, the other half in the other

The rates are read off by windows, as a shard would report them. Chance is a Generator given.
"""

from __future__ import annotations

import numpy as np

from pctstream.core.layout import Float64

KINDS = ("stationary", "hot-spot", "square")


def stationary(
    rng: np.random.Generator, windows: int, portions: int, window_s: float = 5.0
) -> Float64:
    """Rates of about 100 rows/s that differ by half."""
    rates = 100.0 * rng.uniform(0.5, 1.5, portions)
    return _counted(rng, np.tile(rates, (windows, 1)), window_s)


def hot_spot(
    rng: np.random.Generator,
    windows: int,
    portions: int,
    window_s: float = 5.0,
    *,
    ramp_s: float = 60.0,
    stay_s: float = 120.0,
    height: float = 8.0,
) -> Float64:
    """One portion ramps up over `ramp_s` to `height` times its rate while the last one ramps down.

    Every `stay_s` it wanders to another, drawn at random.
    """
    rates = 100.0 * rng.uniform(0.5, 1.5, portions)
    loads = np.tile(rates, (windows, 1))
    seconds = np.arange(windows) * window_s
    before = -1
    for begin in np.arange(stay_s, windows * window_s, stay_s):
        spot = int((before + 1 + rng.integers(0, portions - 1)) % portions)
        since = seconds - begin
        up = np.clip(since / ramp_s, 0.0, 1.0)
        down = np.clip((since - stay_s) / ramp_s, 0.0, 1.0)
        loads[:, spot] += (height - 1.0) * rates.mean() * (up - down)
        before = spot
    return _counted(rng, loads, window_s)


def square(
    rng: np.random.Generator,
    windows: int,
    portions: int,
    window_s: float = 5.0,
    *,
    period: int = 2,
    height: float = 5.0,
) -> Float64:
    """Portions of even and of odd number are busy in turn, `period` windows for both together."""
    phase = (np.arange(windows) % period) * 2 >= period
    busy = phase[:, None] == (np.arange(portions) % 2 == 1)
    return _counted(rng, np.where(busy, 100.0 * height, 100.0), window_s)


def _counted(rng: np.random.Generator, rates: Float64, window_s: float) -> Float64:
    """Rates as whole rows counted in a window give them."""
    return rng.poisson(rates * window_s) / window_s
