"""The coverage of every node of a subtree, as columns that the walk counts into (`coverage`).

The first rows that a split node hands down are those its cover was found in: they lie within epsilon by
definition. So its open window begins at minus their number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pctstream.core.coverage import SETTLED, Coverage, closed, faded_rows, limits
from pctstream.core.lanes import inlined

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

NEVER = 1 << 62
"""A window that never comes."""
ROWS, MISSED, WINDOWS, RESUME = range(4)
"""Columns of ``counts``: of the open window, its rows and those beyond; windows closed; and the one from
which on the node may re-open."""


def broke(node: int, limit: Any, counts: Any, faded: Any) -> bool:
    """Whether the window that has just closed broke the bound of a node, and it may re-open."""
    w: int = counts[node, WINDOWS]
    return bool(w >= counts[node, RESUME]) and bool(faded[node] > limit[min(w, SETTLED)])


_closed, _broke = inlined(closed), inlined(broke)


@inlined
def halts(
    node: int, taken: int, missed: int, window: int, every: int, limit: Any, counts: Any, faded: Any
) -> bool:
    """Count rows of a node, ``taken`` together, only the last of which may close the window; whether it
    did, and something is due: the bound is beyond the limit, or it was one of ``every`` windows (0: none
    is)."""
    counts[node, ROWS] += taken
    counts[node, MISSED] += missed
    if counts[node, ROWS] < window:
        return False
    faded[node] = _closed(faded[node], counts[node, MISSED])
    counts[node, WINDOWS] += 1
    counts[node, ROWS], counts[node, MISSED] = 0, 0
    if every > 0 and counts[node, WINDOWS] % every == 0:
        return True
    return _broke(node, limit, counts, faded)


@dataclass(slots=True)
class Watch:
    """Of every node, index is its number: what `Coverage` has of one, and when it may re-open."""

    window: int
    limit: float
    """Of the bound; 0: nobody re-opens."""
    cooldown: int
    """Rows of a node in which it does not re-open, once its cover is in force."""
    looks: bool = False
    """Whether nodes look after their children (`folding`): once in so many rows."""
    counts: Int64 = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    faded: Float64 = field(default_factory=lambda: np.zeros(0))

    @property
    def limits(self) -> Float64:
        """As `coverage.limits`."""
        return limits(self.limit, self.window)

    def extend(self, nodes: int) -> None:
        """So many more nodes, without a cover."""
        self.counts = np.concatenate([self.counts, np.zeros((nodes, 4), np.int64)])
        self.faded = np.concatenate([self.faded, np.zeros(nodes)])

    def begin(self, node: int, sample: int = 0) -> None:
        """A cover is in force; ``sample``: of the rows that come, the first so many were scanned."""
        self.counts[node], self.faded[node] = (-sample, 0, 0, 0), 0.0
        self.rest(node)

    def _windows(self, rows: int) -> int:
        return max(1, -(-rows // self.window))

    @property
    def every(self) -> int:
        """Windows after which a node looks after its children; 0: it does not."""
        return self._windows(self.cooldown) if self.looks else 0

    def broken(self, node: int) -> bool:
        """As `broke`."""
        return broke(node, self.limits, self.counts, self.faded)

    def missed(self, node: int) -> float:
        """The faded share of rows beyond, in closed windows; at least one has."""
        rows, _ = faded_rows(int(self.counts[node, WINDOWS]), self.window)
        return float(self.faded[node]) / rows

    def passed(self, node: int) -> int:
        """Rows in closed windows since its cover is in force."""
        return int(self.counts[node, WINDOWS]) * self.window

    def rest(self, node: int, rows: int = 0) -> None:
        """It does not re-open before the cool-down, or so many rows, are over."""
        wait = self._windows(max(self.cooldown, rows))
        self.counts[node, RESUME] = self.counts[node, WINDOWS] + wait

    def stop(self, node: int) -> None:
        """It does not re-open."""
        self.counts[node, RESUME] = NEVER

    def scratch(self) -> Watch:
        """One that may be counted into and thrown away."""
        one = Watch(self.window, 0.0, self.cooldown)
        one.extend(len(self.faded))
        return one

    def of(self, node: int) -> list[Any]:
        """For the store: a coverage, and the window from which on it may re-open."""
        rows, missed, windows, resume = self.counts[node].tolist()
        return [*Coverage(rows, missed, windows, float(self.faded[node])).to_json(), resume]

    def restore(self, node: int, saved: Iterable[Any]) -> None:
        """As `of` gave it."""
        *coverage, resume = saved
        found = Coverage.from_json(coverage)
        self.counts[node] = found.rows, found.beyond, found.windows, resume
        self.faded[node] = found.faded
