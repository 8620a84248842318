"""Which rows of a run count: those that have left keep their slots, and a search passes them over.

A run has its rows in the order of their places, so one is found by a search of sorted numbers, and the
slot it has by turning the table of slots around once. Of a segment's rows it may hold some; those of others
are passed over. Nothing is kept for a node that no row has left.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pctstream.core.kernels import Int64
from pctstream.core.run import Run

Mask = npt.NDArray[np.bool_]


class Alive:
    """Of one run.

    >>> run = Run.of(np.array([[0], [9], [1]], np.float32), np.zeros(3, np.int32),
    ...              np.array([[4, 0], [4, 1], [6, 0]]))
    >>> alive = Alive(run)
    >>> alive.leave(numbers(6, np.array([0])))
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
        self._places = numbers(run.place[:, 0], run.place[:, 1])

    def leave(self, places: Int64) -> None:
        """The rows of these places (`numbers`) count no more, those of them that are here."""
        at = np.minimum(np.searchsorted(self._places, places), len(self._places) - 1)
        self.slots[self._slot[at[self._places[at] == places]]] = False


def numbers(segment: Int64 | int, row: Int64) -> Int64:
    """Places as one number each; a segment is one message, of fewer than 2^32 rows."""
    return (np.asarray(segment, np.int64) << 32) | row
