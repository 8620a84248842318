"""The forecaster that the workers run, as a forecast that `simulate` can try.

It is asked once per window with all loads so far and goes on from where it was: a window costs it one
value a portion and the few fits that `Drift` allows itself.

>>> foreseen = Foreseen(window_s=5.0, horizon=6)
>>> loads = np.array([[100.0, 50.0 + 10.0 * max(0, t - 30)] for t in range(45)])
>>> for t in range(45): predicted, scores = foreseen(loads[: t + 1], 6)
>>> predicted.round().tolist(), bool(scores[1] > 3.0 > scores[0])
([100.0, 227.0], True)
"""

from __future__ import annotations

import numpy as np

from pctstream.core.density import Window
from pctstream.core.drift import Drift, DriftScore
from pctstream.core.layout import Float64


class Foreseen:
    """One series of loads, portion by portion."""

    def __init__(self, window_s: float, horizon: int, model: str = "auto") -> None:
        self._drift = Drift({"window_s": window_s, "horizon": horizon, "model": model})
        self._window_s = window_s
        self._seen = 0
        self._scores: dict[str, DriftScore] = {}

    def __call__(self, loads: Float64, horizon: int) -> tuple[Float64, Float64]:
        """Of loads f64[t, P] in rows/s: (those at the horizon f64[P], drift scores f64[P]).

        The horizon is the one it was made with.
        """
        for number in range(self._seen, len(loads)):
            for p, rate in enumerate(loads[number].tolist()):
                window = Window(number, rate * self._window_s, 0.0, None, None, 1)
                self._drift.observe(str(p), window)
            self._scores = self._drift.step(number)
        self._seen = len(loads)
        known = [self._scores[str(p)] for p in range(loads.shape[1])]
        predicted = np.array([score.parts["level_then"] for score in known], np.float64)
        return predicted, np.array([score.score for score in known], np.float64)
