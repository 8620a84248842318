"""A process that stood still may have been replaced: it must not go on as if nothing had happened.

A thread beats; a gap between two beats longer than the session timeout raises the fence. Behind it a
worker answers 503 and produces nothing. It falls when the group assigns shards again, or when
heartbeats went on under the same generation: then nobody had missed this worker (the whole machine
slept, say).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

TICK_S = 0.25


class Fence:
    """Up while this process may no longer be who it was; any thread may ask."""

    def __init__(
        self, session_timeout_s: float, heartbeat_s: float, generation: Callable[[], int]
    ) -> None:
        self._session_timeout_s = session_timeout_s
        self._heartbeat_s = heartbeat_s
        self._generation = generation
        self._last = time.monotonic()
        self._raised: tuple[float, int] | None = None

    def beat(self) -> None:
        """This process runs."""
        _ = self.up
        self._last = time.monotonic()

    def fall(self) -> None:
        """The group has assigned this worker its shards."""
        self._raised = None

    def wait(self, closing: threading.Event) -> None:
        """Until it has fallen, or the worker closes."""
        while self.up and not closing.wait(TICK_S):
            pass

    @property
    def up(self) -> bool:
        now = time.monotonic()
        if self._raised is None:
            if now - self._last <= self._session_timeout_s:
                return False
            self._raised = (now, self._generation())
        since, generation = self._raised
        if now - since > 3 * self._heartbeat_s and self._generation() == generation >= 0:
            self._raised = None
        return self._raised is not None
