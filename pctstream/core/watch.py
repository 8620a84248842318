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

from pctstream.core.coverage import SETTLED, Coverage, closed, limits
from pctstream.core.lanes import inlined

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

NEVER = 1 << 62
"""In ``resume``: a window that never comes."""


@inlined
def broke(
    node: int, beyond: bool, window: int, limit: Any, rows: Any, missed: Any, windows: Any, faded: Any,
    resume: Any,
) -> bool:  # fmt: skip
    """Count a row of a node; whether at its end a window closed whose bound is beyond the limit."""
    rows[node] += 1
    if beyond:
        missed[node] += 1
    if rows[node] < window:
        return False
    faded[node] = closed(faded[node], missed[node])
    windows[node] += 1
    rows[node], missed[node] = 0, 0
    may: bool = windows[node] >= resume[node]
    return may and bool(faded[node] > limit[min(windows[node], SETTLED)])


@dataclass(slots=True)
class Watch:
    """Of every node, index is its number: what `Coverage` has of one, and from which window on it may
    re-open."""

    window: int
    limit: float
    """Of the bound; 0: nobody re-opens."""
    cooldown: int
    """Rows of a node in which it does not re-open, once its cover is in force."""
    rows: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    missed: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    windows: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    faded: Float64 = field(default_factory=lambda: np.zeros(0))
    resume: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def limits(self) -> Float64:
        """As `coverage.limits`."""
        return limits(self.limit, self.window)

    def extend(self, nodes: int) -> None:
        """So many more nodes, without a cover."""
        for name in ("rows", "missed", "windows", "faded", "resume"):
            held = getattr(self, name)
            setattr(self, name, np.concatenate([held, np.zeros(nodes, held.dtype)]))

    def begin(self, node: int, sample: int = 0) -> None:
        """A cover is in force; ``sample``: of the rows that come, the first so many were scanned."""
        self.rows[node], self.missed[node] = -sample, 0
        self.windows[node], self.faded[node] = 0, 0.0
        self.rest(node)

    def rest(self, node: int, rows: int = 0) -> None:
        """It does not re-open before the cool-down, or so many rows, are over."""
        wait = max(1, -(-max(self.cooldown, rows) // self.window))
        self.resume[node] = self.windows[node] + wait

    def scratch(self) -> Watch:
        """One that may be counted into and thrown away."""
        one = Watch(self.window, 0.0, self.cooldown)
        one.extend(len(self.rows))
        return one

    def of(self, node: int) -> list[Any]:
        """For the store: a coverage, and ``resume``."""
        coverage = Coverage(
            int(self.rows[node]), int(self.missed[node]), int(self.windows[node]),
            float(self.faded[node]),
        )  # fmt: skip
        return [*coverage.to_json(), int(self.resume[node])]

    def restore(self, node: int, saved: Iterable[Any]) -> None:
        """As `of` gave it."""
        *coverage, resume = saved
        found = Coverage.from_json(coverage)
        self.rows[node], self.missed[node] = found.rows, found.beyond
        self.windows[node], self.faded[node], self.resume[node] = found.windows, found.faded, resume
