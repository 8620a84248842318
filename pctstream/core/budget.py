"""What changes of the regions cost, and how much of it a minute allows.

A change costs its rows moved, its regions made and removed, and the seconds it took, each by a weight.
Seconds are known only afterwards, so what a change will cost is told with the seconds that a row has
taken lately; what it did cost is charged. A bucket holds at most one minute's budget and is filled
evenly. A change may be made if the bucket has what it costs, or if it is full: then it goes below zero,
and nothing is changed until it is full of what was lent. So over T minutes at most T + 1 budgets are
spent and one change more, whatever the rows do: a density that flips for ever cannot keep the shard busy.
"""

from __future__ import annotations

from collections.abc import Mapping

_NEW = 0.2
"""How much the last slice counts in the seconds a row takes."""


class Budget:
    """The bucket; time is given in seconds of any clock that does not fall.

    >>> budget = Budget({"reindexed_row": 1.0, "region": 100.0, "second": 1e6}, per_min=6000.0)
    >>> budget.refill(0.0)
    >>> cost = budget.cost(rows=5000, regions=5)
    >>> cost, budget.allows(cost)
    (5500.0, True)
    >>> budget.charge(5000, 5, 0.001)
    >>> budget.allows(cost)
    False
    >>> budget.refill(60.0)
    >>> budget.left
    5500.0
    """

    def __init__(self, weights: Mapping[str, float], per_min: float) -> None:
        self.left = per_min
        self.spent = 0.0
        """Ever."""
        self._at: float | None = None
        self._row_s = 0.0
        self.set(weights, per_min)

    def set(self, weights: Mapping[str, float], per_min: float) -> None:
        """Other weights and another budget, from now on."""
        self._weights, self.per_min = dict(weights), per_min
        self.left = min(self.left, per_min)

    def refill(self, now_s: float) -> None:
        """What came in since the last time."""
        since = 0.0 if self._at is None else max(0.0, now_s - self._at)
        self._at = now_s if self._at is None else max(self._at, now_s)
        self.left = min(self.per_min, self.left + since * self.per_min / 60.0)

    def cost(self, rows: int, regions: int) -> float:
        """What a change is expected to cost."""
        return self._cost(rows, regions, rows * self._row_s)

    def allows(self, cost: float) -> bool:
        """Whether a change of this cost may be made now; never with a budget of 0."""
        return self.per_min > 0.0 and (cost <= self.left or self.left >= self.per_min)

    def charge(self, rows: int, regions: int, seconds: float) -> None:
        """What was done."""
        if rows and seconds:
            self._row_s += _NEW * (seconds / rows - self._row_s)
        cost = self._cost(rows, regions, seconds)
        self.left -= cost
        self.spent += cost

    def _cost(self, rows: int, regions: int, seconds: float) -> float:
        weights = self._weights
        cost = rows * weights["reindexed_row"] + regions * weights["region"]
        return cost + seconds * weights["second"]
