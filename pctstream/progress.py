"""How far something is: a bar on a terminal, a line every few seconds anywhere else."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

LINE_S = 5.0
BAR_S = 0.2
WINDOW_S = 10.0
WIDTH = 30


class Progress:
    """Tells ``out`` about a count that grows to ``total`` (None: nobody knows).

    The rate is that of the last ten seconds, so that the ETA follows a change.
    """

    def __init__(
        self,
        out: TextIO,
        label: str,
        total: int | None,
        unit: str = "rows",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out, self._label, self._total, self._unit, self._now = out, label, total, unit, now
        self._bar = out.isatty()
        self._started = self._told = now()
        self._seen: deque[tuple[float, int]] = deque([(self._started, 0)])

    def update(self, done: int) -> None:
        """Tell it if the last time is long enough ago."""
        now = self._now()
        if now - self._told < (BAR_S if self._bar else LINE_S):
            return
        self._told = now
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] > WINDOW_S:
            self._seen.popleft()
        self._tell(self._line(done))

    def close(self, done: int) -> None:
        """The last word: the whole count, at the mean rate."""
        seconds = self._now() - self._started
        rate = done / seconds if seconds > 0 else 0.0
        said = f"{self._label}: {done:,} {self._unit} in {seconds:.1f} s ({rate:,.0f}/s)"
        self._tell(said, "\n" if self._bar else "")

    def _line(self, done: int) -> str:
        (first, before), (last, now) = self._seen[0], self._seen[-1]
        rate = (now - before) / (last - first) if last > first else 0.0
        text = f"{self._label}: {self._share(done)}, {rate:,.0f}/s"
        if self._total is not None and rate > 0:
            text += f", {duration((self._total - done) / rate)} left"
        return text

    def _share(self, done: int) -> str:
        if not self._total:
            return f"{done:,} {self._unit}"
        part = min(1.0, done / self._total)
        full = int(part * WIDTH)
        bar = f"[{'#' * full}{'.' * (WIDTH - full)}] " if self._bar else ""
        return f"{bar}{done:,} of {self._total:,} {self._unit} ({part:.0%})"

    def _tell(self, text: str, end: str = "") -> None:
        # on a terminal: back to the start of the line, and clear what was longer
        self._out.write(f"\r{text}\x1b[K{end}" if self._bar else f"{text}\n")
        self._out.flush()


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(9.4), duration(75), duration(7384)
    ('9 s', '1 min 15 s', '2 h 3 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
