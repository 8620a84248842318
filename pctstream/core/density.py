"""Densities: how many rows came to a portion (or a leaf) in each window, made of its absolute counters.

What holds rows tells how many came so far (`Counters`), and the time `at` up to which that is all: the
broker's timestamp of the last row it applied or, once its pipe is read to the end, the present. What
came between two such tellings is spread evenly over the time between, and a window (number
floor(t / window_s)) is closed once a telling reaches its end. So whatever happens in between, the sum of
all windows is what came:

- a repeat, a late telling, or lower counts (an owner that wakes, a rebuild on its way) change nothing;
- a new owner tells the same counts of the same pipe (R0), so the series goes on;
- a gap of several windows is filled evenly, and each says over how many it was `spread`;
- a backlog or a rebuild that catches up is no burst: until it has, nothing is closed; then what came
  meanwhile is spread over the time in which it came, not over that in which it was read;
- a gap longer than the whole series ends it: the next telling begins another.

The first telling is only where the counting begins, and the window in which it lies is not told of.

>>> density = Density(window_s=5.0)
>>> density.tell(12.0, Counters(100, 0, 0.0, 0))
[]
>>> for w in density.tell(27.0, Counters(250, 6400, 30.0, 15)):
...     print(w.number, w.rows, w.mean_distance, w.spread)
3 50.0 0.2 4
4 50.0 0.2 4
>>> density.tell(27.0, Counters(260, 6400, 30.0, 15)), density.tell(40.0, Counters(90, 0, 0.0, 0))
([], [])
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

LENGTH = 720
"""Windows kept: an hour of the default ones."""


class Counters(NamedTuple):
    """What came so far: rows, their bytes, the sum of their distances to the centroid, and how many
    lay beyond epsilon of every prototype. None of them ever falls."""

    rows: int
    bytes: int
    distance: float
    uncovered: int


class Window(NamedTuple):
    """The density of one window; rows and bytes may be fractions, for they were spread."""

    number: int
    rows: float
    bytes: float
    mean_distance: float | None
    """None if no row came, or if it is not known."""
    uncovered: float | None
    """Share of the rows that came."""
    spread: int
    """Windows between the tellings this was made of: 1, or 2 where a telling lay inside, is measured."""


class Density:
    """The series of one portion or leaf."""

    def __init__(self, window_s: float, length: int = LENGTH) -> None:
        self.window_s = window_s
        self.windows: deque[Window] = deque(maxlen=length)
        self._length = length
        self._at: float | None = None
        self._counters = Counters(0, 0, 0.0, 0)
        self._next = 0
        """The first window that is not closed."""
        self._open = (0.0, 0.0, 0.0, 0.0)
        self._spread = 1

    @property
    def next(self) -> int:
        """The first window that is not closed."""
        return self._next

    def tell(self, at: float, counters: Counters, caught_up: bool = True) -> list[Window]:
        """Counters, true at ``at`` (seconds of the broker's clock): the windows that this closes.

        ``caught_up``: whether all that came until then is in them.
        """
        if not caught_up or not math.isfinite(at):
            return []
        number = math.floor(at / self.window_s)
        if self._at is None or number - self._next >= self._length:
            if self._at is None or at > self._at:
                self._begin(at, counters)
            return []
        told = self._counters
        if at <= self._at or counters.rows < told.rows or counters.bytes < told.bytes:
            return []
        span = number - math.floor(self._at / self.window_s) + 1
        # floats summed in another order may lie below: nothing came then
        came = [max(0.0, float(b - a)) for a, b in zip(told, counters, strict=True)]
        closed = []
        before, length = self._at, at - self._at
        while self._next <= number:
            begin, end = self._next * self.window_s, (self._next + 1) * self.window_s
            part = max(0.0, min(end, at) - max(begin, before)) / length
            rows, size, distance, uncovered = (
                o + part * c for o, c in zip(self._open, came, strict=True)
            )
            self._open = rows, size, distance, uncovered
            self._spread = max(self._spread, span - (number * self.window_s == at))
            if end > at:
                break
            closed.append(self._close())
        self._at, self._counters = at, counters
        return closed

    def _begin(self, at: float, counters: Counters) -> None:
        self.windows.clear()
        self._at, self._counters = at, counters
        self._next = math.ceil(at / self.window_s)
        self._open, self._spread = (0.0, 0.0, 0.0, 0.0), 1

    def _close(self) -> Window:
        rows, size, distance, uncovered = self._open
        share = min(1.0, uncovered / rows) if rows > 0 else None
        mean = distance / rows if rows > 0 and math.isfinite(distance) else None
        window = Window(self._next, rows, size, mean, share, self._spread)
        self.windows.append(window)
        self._next += 1
        self._open, self._spread = (0.0, 0.0, 0.0, 0.0), 1
        return window

    def to_json(self) -> dict[str, Any]:
        """Everything, so that another goes on from it."""
        return self.head() | {"windows": [list(w[1:]) for w in self.windows]}

    def head(self) -> dict[str, Any]:
        """How things stand behind the last window."""
        return {
            "window_s": self.window_s,
            "at": self._at,
            "counters": list(self._counters),
            "next": self._next,
            "open": [*self._open, self._spread],
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any], length: int = LENGTH) -> Density:
        """What `to_json` gave."""
        density = cls(float(saved["window_s"]), length)
        density._at = saved["at"]
        density._counters = Counters(*saved["counters"])
        density._next = int(saved["next"])
        rows, size, distance, uncovered, spread = saved["open"]
        density._open, density._spread = (rows, size, distance, uncovered), int(spread)
        first = density._next - len(saved["windows"])
        windows = [Window(first + i, *values) for i, values in enumerate(saved["windows"])]
        density.windows.extend(windows)
        return density
