"""How much a cover misses: an upper confidence bound of the mass beyond epsilon, from the rows routed.

While a node covers, X quiet rows say that its balls miss at most 3 / X of such rows (`cover`). The stream
may change after that, so every row that is routed once the cover is in force is a new observation: it
lies beyond epsilon of every prototype, or not.

**Window.** Rows count in windows of `window` rows of the node. When one closes, what was counted before
fades by half. So the state is four numbers, and it follows from the sequence of yes and no alone, however
rows are cut into units (R0): windows end at a row, not at a time. After w windows the faded number of rows
is n = window (1 + 1/2 + ... ), of rows beyond x; the older half weighs less, an old cover is forgiven.

**Bound.** Of equal weights, Clopper and Pearson (Biometrika 26, 1934): the p for which x or fewer of n rows
beyond had probability 1 - confidence, a quantile of Beta(x + 1, n - x). Of unequal ones, as Korn and
Graubard do it (Survey Methodology 24, 1998): Kish's effective number of rows, (sum w)^2 / sum w^2, and
its share x / n take the places of n and x. From four windows on that is 2.6 to 3 windows. The share may
be no whole number, and the quantile at x + 1 is the cautious side of it. Tried: for masses of 0.01 % to 5 %
the truth lies below the 95 % bound in 95.4 % or more of 20,000 streams each.

**Drift.** A faded share says how things were one and a half windows ago, on average, so a rising mass
outruns it. At the standard window of 1,024 rows the bound holds for 93 % where the mass, as it is at the
moment of asking, changes by at most one hundredth in 50,000 rows of the node; where it falls, always.
A jump is outrun for a window or two, and is what a limit is for.

A new cover starts from nothing; until a window has closed the statement of its own scan stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pctstream.core.cover import CONFIDENCE

WINDOW = 1024
"""Rows of a node after which what was counted before is halved."""
FADE = 0.5
SCANNED = 3.0
"""Over the rows that ended a scan: what it promises, at 95 % confidence (`cover`)."""
SETTLED = 24
"""Windows after which the faded number of rows changes no more."""
GRAIN = 16
"""Limits of faded counts are multiples of 1 / 16: a last bit of a quantile decides nothing (R10)."""

Float64 = npt.NDArray[np.float64]


def least_limit(gap: int) -> float:
    """A limit that a cover found by a gap of X rows keeps where nothing changes: three times what the scan
    says, 9 / X. At the mass 3 / X itself about one node in a hundred is beyond it after four windows.

    >>> least_limit(1000), least_limit(5)
    (0.009, 1.0)
    """
    return min(1.0, 9.0 / gap)


class Evidence(NamedTuple):
    """Faded sums: rows beyond, rows, and squared weights of rows. Those of several shards add up."""

    beyond: float = 0.0
    rows: float = 0.0
    squares: float = 0.0

    @property
    def effective(self) -> float:
        """So many equal rows say as much."""
        return self.rows * self.rows / self.squares if self.squares else 0.0

    def bound(self, confidence: float = CONFIDENCE) -> float:
        """At this confidence no more than this share of rows lies beyond; 1 where nothing was seen.

        >>> round(Evidence(0, 1000, 1000).bound(), 5)  # the rule of three: 3 / n
        0.00299
        >>> round(Evidence(10, 1000, 1000).bound(), 5)
        0.0169
        """
        from scipy.special import betaincinv  # takes a quarter of a second to import

        n = self.effective
        if not n or self.beyond >= self.rows:
            return 1.0
        x = self.beyond / self.rows * n
        return float(betaincinv(x + 1.0, n - x, confidence))


def combined(parts: Iterable[Evidence]) -> Evidence:
    """Of one cover, by several who route by it."""
    beyond = rows = squares = 0.0
    for part in parts:
        beyond, rows, squares = beyond + part.beyond, rows + part.rows, squares + part.squares
    return Evidence(beyond, rows, squares)


def faded_rows(windows: int, window: int) -> tuple[float, float]:
    """Faded number of rows, and of their squared weights, after so many windows.

    >>> faded_rows(2, 1024)
    (1536.0, 1280.0)
    """
    w = min(windows, 2 * SETTLED)
    return (
        window * (1.0 - FADE**w) / (1.0 - FADE),
        window * (1.0 - FADE ** (2 * w)) / (1.0 - FADE**2),
    )


@lru_cache(64)
def limits(limit: float, window: int, confidence: float = CONFIDENCE) -> Float64:
    """f64[SETTLED + 1], read-only: after w windows (`SETTLED` for more) the bound is beyond the limit where
    the faded count of rows beyond is greater than entry w. Infinite where no count is: w = 0, limit 0.

    >>> limits(0.01, 1024)[[0, 1, 2, 4, 24]].tolist()
    [inf, 4.8125, 9.3125, 13.0, 14.25]
    """
    found = np.full(SETTLED + 1, np.inf)
    for w in range(1, SETTLED + 1 if 0.0 < limit < 1.0 else 0):
        rows, squares = faded_rows(w, window)
        low, high = -1, int(rows * GRAIN)  # in grains; bound(low) <= limit < bound(high)
        while high - low > 1:
            middle = (low + high) // 2
            within = Evidence(middle / GRAIN, rows, squares).bound(confidence) <= limit
            low, high = (middle, high) if within else (low, middle)
        # -1: so few rows cannot show it, whatever they say
        found[w] = low / GRAIN if low >= 0 else np.inf
    found.setflags(write=False)
    return found


def closed(faded: float, beyond: int) -> float:
    """The faded count once a window with so many rows beyond has closed."""
    return faded * FADE + beyond


@dataclass(slots=True)
class Coverage:
    """Of one cover by one node: what its rows said since it is in force.

    >>> coverage = Coverage()
    >>> coverage.take(np.array([True, False, False, True, False]), 4)
    >>> coverage
    Coverage(rows=1, beyond=0, windows=1, faded=2.0)
    """

    rows: int = 0
    """Of the open window."""
    beyond: int = 0
    """Of these, beyond epsilon of every prototype."""
    windows: int = 0
    """Closed so far."""
    faded: float = 0.0
    """Rows beyond in closed windows, faded."""

    def take(self, beyond: npt.NDArray[np.bool_], window: int = WINDOW) -> None:
        """The next rows, bool[n]: whether each lies beyond. ``faded`` is as of the last window's end."""
        at = 0
        while at < len(beyond):
            some = beyond[at : at + self.room(window)]
            at += len(some)
            self.rows += len(some)
            self.beyond += int(np.count_nonzero(some))
            if self.rows == window:
                self.faded = closed(self.faded, self.beyond)
                self.rows = self.beyond = 0
                self.windows += 1

    def room(self, window: int = WINDOW) -> int:
        """Rows until the open window closes."""
        return window - self.rows

    @property
    def passed(self) -> int:
        """Rows so far, at the standard window."""
        return WINDOW * self.windows + self.rows

    def broken(self, limit: float, window: int = WINDOW) -> bool:
        """Whether at the end of the last window the bound was beyond the limit."""
        return self.faded > float(limits(limit, window)[min(self.windows, SETTLED)])

    def evidence(self, window: int = WINDOW) -> Evidence:
        """Of all rows so far; those of the open window weigh 1."""
        rows, squares = faded_rows(self.windows, window)
        return Evidence(
            closed(self.faded, self.beyond),
            FADE * rows + self.rows,
            FADE * FADE * squares + self.rows,
        )

    def to_json(self) -> list[Any]:
        """Four numbers."""
        return [self.rows, self.beyond, self.windows, self.faded]

    @classmethod
    def from_json(cls, saved: Iterable[Any]) -> Coverage:
        """
        >>> Coverage.from_json(Coverage(3, 1, 2, 0.5).to_json())
        Coverage(rows=3, beyond=1, windows=2, faded=0.5)
        """
        rows, beyond, windows, faded = saved
        return cls(int(rows), int(beyond), int(windows), float(faded))


def published(scanned: float, evidence: Evidence, window: int = WINDOW) -> float:
    """The bound to tell of a cover whose scan says ``scanned`` (3 / X): that, until the rows routed say
    as much as a window.

    >>> published(0.003, Evidence(0, 200, 200)), round(published(0.003, Evidence(0, 2048, 1366)), 5)
    (0.003, 0.00098)
    """
    return scanned if evidence.effective < window else evidence.bound()
