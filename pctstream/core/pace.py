"""When regions are adjusted: after an interval, or sooner after many changes."""

from __future__ import annotations

from typing import Literal


class Pace:
    """`change_rows` rows that came or went, or `change_fraction` of all (0: not asked), are many.

    >>> pace = Pace(interval_s=10.0, change_rows=100)
    >>> [pace.due(t, rows=5000) for t in (0.0, 9.9, 10.0)]
    [None, None, 'interval']
    >>> pace.done(10.0)
    >>> pace.changed(100)
    >>> pace.due(10.1, rows=5000), pace.due_s(10.1)
    ('changes', 9.9)
    """

    def __init__(self, interval_s: float, change_rows: int, change_fraction: float = 0.0) -> None:
        self.interval_s, self.change_rows = interval_s, change_rows
        self.change_fraction = change_fraction
        self.changes = 0
        """Rows that came or went since the last adjustment."""
        self._since: float | None = None

    def changed(self, rows: int) -> None:
        """So many more rows came or went."""
        self.changes += rows

    def due(self, now_s: float, rows: int) -> Literal["interval", "changes"] | None:
        """What sets off an adjustment now, if anything does; the first call begins the interval."""
        if self.due_s(now_s) <= 0.0:
            return "interval"
        share = self.change_fraction * rows
        many = self.changes >= self.change_rows or (0.0 < share <= self.changes)
        return "changes" if many else None

    def due_s(self, now_s: float) -> float:
        """Seconds until the interval is over."""
        if self._since is None:
            self._since = now_s
        return round(self._since + self.interval_s - now_s, 9)

    def done(self, now_s: float) -> None:
        """An adjustment began: both begin anew."""
        self._since, self.changes = now_s, 0

    def follow(self, other: Pace) -> None:
        """Goes on from where another one is."""
        self.changes, self._since = other.changes, other._since
