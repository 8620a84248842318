"""Rows a second of whatever counts rows: of one node, and of a shard as the sum of its nodes.

A shard's rows are no counter: a portion that moves away takes its rows along. Its nodes' are, in the
shard that answers for them.

>>> rates = Rates(every_s=2.0)
>>> [rates.of("N0,1", rows, now) for rows, now in ((10, 0.0), (30, 1.0), (50, 4.0), (60, 5.0))]
[0.0, 0.0, 10.0, 10.0]
>>> rates.of("N0,1", 5, 8.0)  # it was handed down, or counted anew
0.0
"""

from __future__ import annotations


class Rates:
    """By name; counted over ``every_s`` seconds or more."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._last: dict[str, tuple[float, int, float]] = {}

    def of(self, name: str, rows: int, now: float) -> float:
        """Rows a second, of what has counted ``rows`` until ``now``; 0 until that is known."""
        then, before, rate = self._last.setdefault(name, (now, rows, 0.0))
        if now - then >= self._every_s:
            rate = max(0, rows - before) / (now - then)
            self._last[name] = (now, rows, rate)
        return rate
