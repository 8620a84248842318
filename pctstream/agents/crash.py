"""Points where a test has a worker die, raise or hang, by its environment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable


class CrashPoints:
    """``PCT_CRASH_AT=point[:n]``: die by SIGKILL the nth time the point is passed."""

    def __init__(self, text: str = "", die: Callable[[], None] | None = None) -> None:
        self._point, _, nth = text.partition(":")
        self._left = int(nth or 1)
        self._die = die or (lambda: os.kill(os.getpid(), signal.SIGKILL))

    def passing(self, point: str) -> None:
        if point != self._point:
            return
        self._left -= 1
        if self._left == 0:
            self._die()


def crash_points() -> CrashPoints:
    """What the environment asks for: a worker that dies, a node agent that raises, or one that hangs."""

    def raise_once() -> None:
        raise RuntimeError("PCT_RAISE_AT: a node agent raises with a block in hand")

    def hang() -> None:
        threading.Event().wait()

    for name, die in (("PCT_RAISE_AT", raise_once), ("PCT_HANG_AT", hang)):
        if text := os.environ.get(name):
            return CrashPoints(text, die)
    return CrashPoints(os.environ.get("PCT_CRASH_AT", ""))
