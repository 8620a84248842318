"""So many bytes a second, and fewer while the worker is behind with what matters more."""

from __future__ import annotations

import time
from collections.abc import Callable

BURST_S = 0.25
"""What was not spent for so long may be spent at once."""
LEAST = 1 / 16
"""Of the rate, however busy the worker is: a copy that never ends would never hand its load over."""
CHANGE_S = 0.5
"""The rate is halved or raised again no oftener."""


class Throttle:
    """Holds a rate in bytes a second; it backs off while ``busy`` says so."""

    def __init__(
        self, bytes_per_s: float, busy: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._rate = bytes_per_s
        self._busy = busy
        self._clock = clock
        self._due = clock()
        self._changed = clock()
        self.share = 1.0
        """Of the rate that is used now."""

    def spend(self, size: int) -> float:
        """Seconds to wait after so many bytes.

        >>> now = [0.0]
        >>> throttle = Throttle(1000.0, clock=lambda: now[0])
        >>> throttle.spend(500), throttle.spend(500)
        (0.5, 1.0)
        >>> now[0] = 10.0
        >>> throttle.spend(1000)
        0.75
        """
        now = self._clock()
        if now - self._changed >= CHANGE_S:
            self._changed = now
            self.share = max(LEAST, self.share / 2) if self._busy() else min(1.0, self.share * 2)
        self._due = max(self._due, now - BURST_S) + size / (self._rate * self.share)
        return max(0.0, self._due - now)
