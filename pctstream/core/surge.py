"""A surge: a series runs away from what its model said, and has not yet proved any model right.

A ramp out of nothing is foreseen by no model that is chosen by its errors: these need ten windows. Until
then the last steps speak for themselves. If the last value lies `MISSED` of its noise from what was said
of it a few windows ago, the series is expected to go on along the middle one of its last three steps: a
jump has no such step, and where a ramp ends it is gone with the second flat one. Each further step is
expected to be `FADES` of the one before, for no ramp goes on for ever. Once the model foresees the ramp it
is missed no more, and the model speaks again.

A halt is the other end of it. A model that has learnt the ramp expects it to go on long after it is over.
If the last value falls `SHORT` of its noise short of what was said of it, and more than half of the way
that was to be gone, the series is expected to stay where it is. So is one that has risen and that its
model wants back, as long as it does not go.

>>> surge = Surge(lead=3)
>>> steps = []
>>> for y in [50.0, 50.0, 50.0, 50.0, 60.0, 70.0, 80.0, 90.0, 90.0, 90.0]:
...     steps.append(surge.push(y, following=50.0, expected=50.0, noise=2.0))
>>> steps
[None, None, None, None, None, 10.0, 10.0, 10.0, 0.0, 0.0]
>>> ramp = Surge(lead=3)
>>> [ramp.push(y, following=y + 10.0, expected=y + 30.0, noise=2.0) for y in [0, 10, 20, 30, 30, 40]]
[None, None, None, None, 0.0, None]
"""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise

import numpy as np

from pctstream.core.kernels import Float64

STEPS = 3
"""Steps of which the middle one counts: two at least go as far."""
MISSED = 5.0
"""In units of noise: what was said of the last value must be so far off."""
FADES = 0.8
"""A step of a surge, of the one before."""
SHORT = 3.0
"""In units of noise: so far must a value fall short of what was said of it, to be a halt."""


class Surge:
    """Of one series; ``lead``: windows ahead of which it is told what is expected."""

    def __init__(self, lead: int) -> None:
        self._values: deque[float] = deque(maxlen=STEPS + 1)
        self._said: deque[float] = deque(maxlen=lead)
        self._following = math.nan
        self._before: float | None = None
        """The noise before a surge that goes on or has just ended: to its model the steps of a ramp are
        errors too."""
        self._ended = 0
        """Windows since."""

    def push(self, y: float, following: float, expected: float, noise: float) -> float | None:
        """The next value, what its model now says of the ``following`` one and of that ``lead`` windows
        later, and its noise: the step a window that the series is going to take, 0.0 if it stays; None
        as long as its model is to be believed."""
        self._values.append(y)
        whole = len(self._said) == self._said.maxlen
        missed = y - self._said[0] if whole else 0.0
        said, self._following = self._following, following
        self._said.append(expected)
        values = list(self._values)
        noise = self.noise(noise)
        self._ended += 1
        if whole and self._ended > len(self._said):
            self._before = None
        if len(values) <= STEPS:
            return None
        if abs(missed) >= MISSED * noise:
            steps = [b - a for a, b in pairwise(values)]
            step = min(steps[-1], sorted(steps)[STEPS // 2], key=abs)
            if step * missed > 0.0 and abs(step) >= noise:
                self._before, self._ended = noise, 0
                return step
        way = said - values[-2]
        left = math.copysign(1.0, way) * (said - y)
        return 0.0 if left > max(SHORT * noise, abs(way) / 2) else None

    def noise(self, noise: float) -> float:
        """The series' noise, of which its model says so much now."""
        return noise if self._before is None else min(noise, self._before)


def path(level: float, step: float, length: int) -> Float64:
    """The next values of a series that goes on from a level by fading steps, f64[length].

    >>> path(100.0, 10.0, 3).tolist()
    [110.0, 118.0, 124.4]
    """
    going: Float64 = level + step * np.cumsum(FADES ** np.arange(length))
    return going
