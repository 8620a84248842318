"""The errors of several models on one series, as they are graded: who is better, and who got worse.

Each grade is the mean error over all leads of what was said of one value. Older ones fade.

>>> grades = Grades(2)
>>> for t in range(40): grades.add(np.array([2.0 + t % 2, 1.0 + t % 3]), fade=0.98)
>>> grades.surely_less(1, 0, sure=1.0, together=1), grades.surely_less(1, 0, sure=1.0, together=30)
(True, False)
"""

from __future__ import annotations

import math

import numpy as np

from pctstream.core.kernels import Float64

RECENT = 0.8
"""Weight of the errors before in the mean of the last few."""


class Grades:
    """Mean errors over all leads, by the time at which they were graded."""

    def __init__(self, models: int) -> None:
        self._n = self._n2 = 0.0
        self._mean = np.zeros((2, models))
        self._square = np.zeros((2, models))
        self._weight = np.zeros((2, models))
        self._weight2 = np.zeros((2, models))
        self._recent = np.full(models, np.nan)
        self._long = np.full(models, np.nan)

    def add(self, errors: Float64, fade: float) -> None:
        """Errors float64[models], NaN where one is not known."""
        less = errors[:2, None] - errors[None, :]
        known = ~np.isnan(less)
        less = np.where(known, less, 0.0)
        for total, value in (
            (self._mean, less), (self._square, less**2), (self._weight, 1.0),
        ):  # fmt: skip
            np.copyto(total, fade * total + value, where=known)
        np.copyto(self._weight2, fade**2 * self._weight2 + 1.0, where=known)
        for mean, keep in ((self._recent, RECENT), (self._long, fade)):
            begun = np.where(np.isnan(mean), errors, keep * mean + (1.0 - keep) * errors)
            np.copyto(mean, begun, where=~np.isnan(errors))

    def forget(self, models: list[int]) -> None:
        """These begin again."""
        for total in (self._mean, self._square, self._weight, self._weight2):
            total[:, models] = 0.0
            total[[k for k in models if k < 2]] = 0.0
        self._recent[models] = self._long[models] = np.nan

    def surely_less(self, model: int, base: int, sure: float, together: int) -> bool:
        """Whether the model errs less than the base by so many standard errors; ``together`` errors
        that follow each other count as one."""
        weight = self._weight[base, model]
        if not weight:
            return False
        mean = self._mean[base, model] / weight
        spread = max(0.0, self._square[base, model] / weight - mean**2)
        free = max(1.0, weight**2 / self._weight2[base, model] / together)
        return bool(mean > sure * math.sqrt(spread / free))

    def worse(self, model: int, times: float) -> bool:
        """Whether the last errors of the model are so much larger than all."""
        return bool(self._recent[model] > times * self._long[model])
