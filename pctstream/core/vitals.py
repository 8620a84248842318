"""Which parts of a process still do something: the judge behind `/livez`.

A part counts something up whenever it comes round; whoever watches looks at the counts. Only time in
which somebody was watching counts, as in `core.monitor`: a process that was stopped for a minute must not
find, on waking, that all its parts have been silent for a minute.

>>> vitals = Vitals(step_s=1.0)
>>> for second in range(5):
...     vitals.look(float(second), {"reader": second, "wiring": 7})
>>> vitals.still
{'wiring': 4.0}
"""

from __future__ import annotations

from collections.abc import Mapping


class Vitals:
    """For how long each part of a process has not come round."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._now: float | None = None
        self._clock = 0.0
        self._seen: dict[str, tuple[int, float]] = {}

    def look(self, now: float, counts: Mapping[str, int]) -> None:
        """It is ``now``, in seconds of any clock that never goes back; the parts have counted so far."""
        self._clock += 0.0 if self._now is None else min(now - self._now, self._step_s)
        self._now = now
        before = self._seen
        self._seen = {
            part: before[part] if before.get(part, (-1, 0.0))[0] == count else (count, self._clock)
            for part, count in counts.items()
        }

    @property
    def still(self) -> dict[str, float]:
        """Seconds, of those that did not come round between the last two looks."""
        found = {part: self._clock - since for part, (_, since) in self._seen.items()}
        return {part: seconds for part, seconds in found.items() if seconds > 0}
