"""A surge: a series runs away from what its model said, and has not yet proved any model right.

A ramp out of nothing is foreseen by no model that is chosen by its errors: these need ten windows. Until
then the last steps speak for themselves. If the last value lies `MISSED` of its noise from what was said
of it a few windows ago, the series is expected to go on along the middle one of its last three steps: a
jump has no such step, and where a ramp ends it is gone with the second flat one. Once the model foresees
the ramp it is missed no more, and the model speaks again.

>>> surge = Surge(lead=3)
>>> steps = []
>>> for y in [50.0, 50.0, 50.0, 50.0, 60.0, 70.0, 80.0, 90.0, 90.0, 90.0]:
...     steps.append(surge.push(y, expected=50.0, noise=2.0))
>>> steps
[0.0, 0.0, 0.0, 0.0, 0.0, 10.0, 10.0, 10.0, 0.0, 0.0]
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

STEPS = 3
"""Steps of which the middle one counts: two at least go as far."""
MISSED = 5.0
"""In units of noise: what was said of the last value must be so far off."""


class Surge:
    """Of one series; ``lead``: windows ahead of which it is told what is expected."""

    def __init__(self, lead: int) -> None:
        self._values: deque[float] = deque(maxlen=STEPS + 1)
        self._said: deque[float] = deque(maxlen=lead)

    def push(self, y: float, expected: float, noise: float) -> float:
        """The next value, what its model now expects ``lead`` windows later, and its noise: the step
        a window that it is going to take, 0.0 as long as its model is to be believed."""
        self._values.append(y)
        whole = len(self._said) == self._said.maxlen
        missed = y - self._said[0] if whole else 0.0
        self._said.append(expected)
        values = list(self._values)
        steps = [b - a for a, b in pairwise(values)]
        if len(steps) < STEPS or abs(missed) < MISSED * noise:
            return 0.0
        step = min(steps[-1], sorted(steps)[STEPS // 2], key=abs)
        return step if step * missed > 0.0 and abs(step) >= noise else 0.0
