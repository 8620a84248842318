"""Find-cover: a node reads its rows until few enough balls cover them. Theory: see `cover`."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from pctstream.core import kernels
from pctstream.core.lanes import LANES, Float32, empty_table, expect_rows, transpose
from pctstream.core.scan import FULL, QUIET, scan

Stop = Literal["gap", "block"]
State = Literal["covering", "cover", "sink"]


class FindCover:
    """A node in mode 0: feed it rows in order until its state is "cover" or "sink".

    >>> find = FindCover(1, epsilon=1.0, gap=3, sink_rows=100, stop="gap", max_prototypes=10)
    >>> find.feed(np.array([[0], [0.5], [4], [4.5], [0.1], [0.2], [9]], np.float32))
    >>> find.state, find.reason, find.rows, find.prototypes.tolist()
    ('cover', 'gap', 6, [[0.0], [4.0]])
    """

    def __init__(
        self, dimension: int, epsilon: float, gap: int, sink_rows: int, stop: str,
        max_prototypes: int,
    ) -> None:  # fmt: skip
        if stop not in ("gap", "block"):
            raise ValueError(f"stop={stop!r}: a scan ends by 'gap' or by 'block'")
        if min(dimension, gap, sink_rows, max_prototypes) < 1 or not 0 < epsilon < math.inf:
            raise ValueError("dimension, epsilon, gap, sink_rows and max_prototypes must be > 0")
        self.epsilon, self.gap, self.sink_rows = float(epsilon), gap, sink_rows
        self.stop: Stop = "block" if stop == "block" else "gap"
        self.max_prototypes = max_prototypes
        self.state: State = "covering"
        self.reason: Literal["", "gap", "block", "rows", "prototypes"] = ""
        self.rows = 0
        self.gap_now = 0
        self._dimension = dimension
        self._count = 0
        self._prototypes: Float32 = np.zeros((0, dimension), np.float32)
        self._table = empty_table(0, dimension)
        # most nodes of a deep level need few: a table of 64 for each would be memory for nothing
        self._allocate(min(LANES, max_prototypes))

    def _allocate(self, columns: int) -> None:
        prototypes = np.zeros((columns, self._dimension), np.float32)
        table = empty_table(columns, self._dimension)
        prototypes[: self._count] = self._prototypes[: self._count]
        table[: len(self._table)] = self._table
        self._prototypes, self._table = prototypes, table

    def know(self, prototypes: Float32) -> None:
        """Begin with these f32[k, d], pairwise farther than epsilon: a scan that is taken up again.

        >>> find = FindCover(1, epsilon=1.0, gap=2, sink_rows=100, stop="gap", max_prototypes=10)
        >>> find.know(np.array([[0], [4]], np.float32))
        >>> find.feed(np.array([[0.5], [9], [4.5], [9.5], [50]], np.float32))
        >>> find.state, find.rows, find.prototypes.tolist()
        ('cover', 4, [[0.0], [4.0], [9.0]])
        """
        expect_rows(prototypes, self._dimension)
        k = len(prototypes)
        if k > self.max_prototypes or self.rows:
            raise ValueError(
                f"{k} prototypes for a scan of {self.rows} rows that may have {self.max_prototypes}"
            )
        self._prototypes, self._table, self._count = prototypes, transpose(prototypes), k
        self._allocate(min(max(k + LANES, 2 * k), self.max_prototypes))

    def feed(self, rows: Float32) -> None:
        """The next rows f32[n, d]; what comes after the row that ended the scan is not looked at.

        No row is kept, only the prototypes: the first ``rows`` rows that were fed are the sample.
        """
        expect_rows(rows, self._dimension)
        at = 0
        while self.state == "covering" and at < len(rows):
            piece = rows[at : at + self.sink_rows - self.rows]
            done = scan(
                piece, self._prototypes, self._table, self._count, self.gap_now, self.rows,
                self.epsilon, self.gap, self.stop == "block",
            )  # fmt: skip
            self._count, self.gap_now = done.prototypes, done.gap
            self.rows += done.consumed
            at += done.consumed
            if done.end == QUIET:
                self.state, self.reason = "cover", self.stop
            elif done.end == FULL and self._count < self.max_prototypes:
                self._allocate(min(2 * self._count, self.max_prototypes))
            elif done.end == FULL:
                self.rows += 1
                self.gap_now = 0
                self.state, self.reason = "sink", "prototypes"
            elif self.rows == self.sink_rows:
                self.state, self.reason = "sink", "rows"

    @property
    def prototypes(self) -> Float32:
        """A copy f32[k, d] of the prototypes so far."""
        return self._prototypes[: self._count].copy()


def auto_epsilon(rows: Float32, fanout: int, steps: int = 48) -> float:
    """An epsilon > 0 at which the greedy cover of these rows has about `fanout` prototypes.

    Bisection between 0 and the greatest distance from the first row (where the cover is one ball):
    the count falls with epsilon, though not always. The closest count met wins, then the larger
    epsilon. Rows that are all equal have no scale of their own: 1.
    """
    expect_rows(rows, rows.shape[1])
    if not len(rows) or fanout < 1:
        raise ValueError(f"no epsilon for {len(rows)} rows and fanout {fanout}")
    same = np.zeros(len(rows), np.int32)
    # a little more than the greatest distance, whose square may have been rounded down
    high = float(kernels.distances(rows, same, rows[:1]).max()) * (1.0 + 2.0**-40)
    if high == 0.0:
        return 1.0
    low, best, missed = 0.0, high, fanout - 1
    limit = 2 * fanout
    prototypes = np.zeros((limit, rows.shape[1]), np.float32)
    for _ in range(steps):
        middle = low + (high - low) / 2.0
        if not missed or not low < middle < high:
            break
        table = empty_table(limit, rows.shape[1])
        done = scan(rows, prototypes, table, 0, 0, 0, middle, len(rows) + 1, False)
        off = abs(done.prototypes - fanout) if done.end != FULL else limit + 1
        if off < missed:
            best, missed = middle, off
        low, high = (middle, high) if done.prototypes > fanout else (low, middle)
    return best
