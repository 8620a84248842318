"""Which rows of a run count: those that have left keep their slots, and a search passes them over.

A run holds whole segments in their order, so a row of it is found by two searches of sorted numbers,
and the slot it has by turning the table of slots around once. Nothing is kept for a run that no row
has left.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pctstream.core.kernels import Int64
from pctstream.core.runs import Run

Mask = npt.NDArray[np.bool_]


class Alive:
    """Of one run.

    >>> run = Run.of(np.array([[0], [9], [1]], np.float32), np.zeros(3, np.int32),
    ...              np.array([[4, 0], [4, 1], [6, 0]]))
    >>> alive = Alive(run)
    >>> alive.leave(6, np.array([0]))
    >>> run.cells.rows[alive.slots & (run.cells.rows >= 0)].tolist()
    [0, 1]
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.slots: Mask = np.ones(len(run.cells.rows), np.bool_)
        """bool[slots]: True for a row that counts; for a slot without a row it says nothing."""
        there = np.flatnonzero(run.cells.rows >= 0)
        self._slot = np.empty(len(there), np.int64)
        self._slot[run.cells.rows[there]] = there
        self._segments = np.ascontiguousarray(run.place[:, 0])

    @staticmethod
    def holds(run: Run, segment: int) -> bool:
        """Whether a run has rows of a segment."""
        return len(run) > 0 and run.place[0, 0] <= segment <= run.place[-1, 0]

    def leave(self, segment: int, rows: Int64) -> None:
        """Rows of a segment count no more."""
        first = int(np.searchsorted(self._segments, segment))
        if first < len(self._segments) and self._segments[first] == segment:
            self.slots[self._slot[first + rows]] = False
