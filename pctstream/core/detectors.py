"""Did a series just change at once? ADWIN and Page-Hinkley, both of river, side by side.

ADWIN compares every two parts of what it keeps: few false alarms, some delay. Page-Hinkley sums up by how
much values lie above (or below) their mean: it is quick, and needs to know what is much, so it gets its
values in units of the series' noise. Both see levels: where a series rises and falls by itself, as with
the hour of the day, they tell of that too.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, NamedTuple

NOISE_OF = 64
"""Differences that the noise is made of."""
NOISE_EVERY = 8
"""Values after which it is looked at again, and before the first is judged."""
LARGEST = 1e6
"""In units of noise; beyond it everything is alike."""
SHIFT, SUM = 0.5, 15.0
"""Page-Hinkley: shifts below so much noise do not count, and those above must add up to this much: one
of 3 is seen after 6 values; noise alone gets there once in e^15."""
PATIENCE = 15
"""Page-Hinkley: values before it speaks."""
ADWIN_EVERY = 4
"""Values after which ADWIN looks."""


class Event(NamedTuple):
    """A detector saw a change."""

    window: int
    series: str
    detector: str


class Detectors:
    """Both of them, over one series of a portion."""

    def __init__(self, series: str, grain: float = 1e-9) -> None:
        self._series = series
        self._grain = grain
        self._found: dict[str, Any] = {}
        self._steps: deque[float] = deque(maxlen=NOISE_OF)
        self._last = 0.0
        self._anchor = 0.0
        self._noise = 0.0
        self._count = 0

    def push(self, window: int, value: float | None) -> list[Event]:
        """The value of this window: who sees a change by it. None and NaN are passed over.

        >>> detectors = Detectors("rows_s")
        >>> values = [100.0 + i % 3 for i in range(60)] + [130.0] * 9
        >>> [e for i, v in enumerate(values) for e in detectors.push(i, v)][0]
        Event(window=60, series='rows_s', detector='page_hinkley')
        """
        if value is None or not math.isfinite(value):
            return []
        if self._count:
            self._steps.append(abs(value - self._last))
        else:
            self._anchor = value
        self._last = value
        self._count += 1
        if self._count % NOISE_EVERY == 0:
            self._measure(value)
        if self._count < NOISE_EVERY:
            return []
        if not self._found:
            self._found = _detectors()
        unit = (value - self._anchor) / self._noise
        unit = min(max(unit, -LARGEST), LARGEST)
        events = []
        for name, detector in self._found.items():
            detector.update(unit)
            if detector.drift_detected:
                events.append(Event(window, self._series, name))
        return events

    def _measure(self, value: float) -> None:
        middle = sorted(self._steps)[len(self._steps) // 2]
        # the median step of a noise of 1 is 0.6745 times the square root of 2
        self._noise = max(middle / 0.954, 0.01 * abs(value), self._grain)


def _detectors() -> dict[str, Any]:
    # river takes two seconds and 130 MB to import: who has nothing to judge, as a worker at its start or
    # while the tree's first pipes appear, goes without
    from river import drift as river

    made: Any = river
    return {
        "adwin": made.ADWIN(clock=ADWIN_EVERY),
        "page_hinkley": made.PageHinkley(min_instances=PATIENCE, delta=SHIFT, threshold=SUM),
    }
