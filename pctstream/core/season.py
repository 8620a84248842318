"""Does a series repeat, and how? Its period, and what each phase of it adds."""

from __future__ import annotations

import numpy as np

from pctstream.core.kernels import Float64

CYCLES = 3
"""A period is only seen after so many of them."""
ALIKE = 0.3
"""Least autocorrelation at the period."""
CHANCE = 2.5
"""And in units of what chance gives: 1 / sqrt(n)."""
DIP = 0.15
"""A period is a peak of the autocorrelation: before it, it lay lower by so much."""
CLEARLY = 0.03
"""A period is held until another is more alike by so much."""


def period(y: Float64, held: int | None = None) -> int | None:
    """The period of a series float64[n], in steps; None if it has none.

    It is the lag of the highest peak of the autocorrelation, once a straight line is taken away; of the
    lags next to it, the one whose multiples are most alike. The period ``held`` so far stays unless
    another is clearly better. A wandering series may seem to have one; whether it is of use, the errors
    of its forecasts say.

    >>> t = np.arange(60.0)
    >>> period(np.sin(t * 2 * np.pi / 12) + 0.1 * t), period(t), period(np.ones(60))
    (12, None, None)
    """
    n = len(y)
    most = n // CYCLES
    if most < 3:
        return None
    t = np.arange(n) - (n - 1) / 2
    z = y - y.mean()
    z = z - t * (t @ z) / (t @ t)
    power = float(z @ z)
    if not power > 1e-12 * max(1.0, float(y @ y)):
        return None
    spectrum = np.fft.rfft(z, 2 * n)
    found = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n)[:n] / power
    r = found * n / (n - np.arange(n))
    lags = np.arange(2, most + 1)
    lowest = np.minimum.accumulate(r[1:])[lags - 2]
    peak = (r[lags] > r[lags - 1]) & (r[lags] >= r[lags + 1])
    peak &= (r[lags] >= max(ALIKE, CHANCE / np.sqrt(n))) & (r[lags] - lowest >= DIP)
    if not peak.any():
        return held if held is not None and held <= most and r[held] >= ALIKE / 2 else None

    def alike(m: int) -> float:
        return float(r[m : 2 * n // 3 + 1 : m].mean())

    # a multiple of the period may be as alike by chance
    first = int(lags[peak & (r[lags] >= 0.9 * r[lags[peak]].max())][0])
    near = range(max(2, first - first // 8), min(most, first + first // 8) + 1)
    best = max(near, key=alike)
    if held is not None and held <= most and alike(held) >= alike(best) - CLEARLY:
        return held
    return best


def phases(y: Float64, m: int) -> Float64:
    """What each phase adds, float64[m] with mean 0; phase 0 is that of ``y[0]``. Classical
    decomposition: the mean, by phase, of the distance to the moving average over one period.

    >>> phases(np.array([1.0, 4, 1, 2, 5, 2, 3, 6, 3, 4, 7, 4]), 3).round(2).tolist()
    [-0.67, 2.0, -1.33]
    """
    weights = np.full(m, 1.0 / m)
    if m % 2 == 0:
        weights = np.concatenate([[0.5 / m], np.full(m - 1, 1.0 / m), [0.5 / m]])
    half = len(weights) // 2
    apart = y[half : len(y) - half] - np.convolve(y, weights, "valid")
    phase = (np.arange(len(apart)) + half) % m
    adds: Float64 = np.bincount(phase, apart, m) / np.maximum(1, np.bincount(phase, minlength=m))
    adds -= adds.mean()
    return adds
