"""Weights that fade: a row counts half after `tree.half_life_s`, a quarter after twice that.

Theory
------
How old a row is, its own time says: what came with it, else when the broker took it (`ingest`). Times are
counted in steps, `STEPS` to a half-life, and the **clock** of a portion is the newest step that any row of
it ever had. So nothing here asks what time it is: a stream that rests does not fade, a file of last year
is weighed as it would have been then, and whoever reads the same rows says the same.

Of each node is kept how many of its live rows are of each of the last `KEPT` steps. Rows older than that
weigh nothing (below 2^-16). These are whole numbers that depend on which rows are there and on
nothing else: not on their order, not on units, on when a node split, on who has left in between (R0).

    weight of a node = sum over its steps s of  rows[s] * 2 ^ -((clock - s) / STEPS)

Forward decay, with the newest row for landmark (Cormode, Shkapenyuk, Srivastava and Xu, "Forward decay: a
practical time decay model for streaming systems", ICDE 2009), rounded to steps. Two portions have two
clocks; what each tells is brought to the newest of them (`brought`). Shares, and so the weights of a
cover, are the same whatever moment they are told for.

A row whose time lies ahead of all others makes them as old as that. A row without a time weighs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pctstream.core.block import Block

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]

STEPS = 4
"""To a half-life: a weight is at most a fifth too high."""
KEPT = 16 * STEPS
"""Steps of which rows are counted."""
NEVER = -(1 << 60)
"""The step of a row without a time, and the clock before the first row."""
_FURTHEST = float(1 << 59)
_AGED: Float64 = 2.0 ** (-np.arange(KEPT) / STEPS)


def times_of(rows: Block) -> Float64:
    """f64[n], in seconds; NaN where a row has none."""
    if rows.times is None:
        return np.full(len(rows), np.nan)
    return np.asarray(rows.times.to_numpy(zero_copy_only=False), np.float64)


def brought(weight: float, clock: int, newest: int) -> float:
    """A weight told for one clock, as it is for a newer one.

    >>> brought(8.0, 100, 100), brought(8.0, 100, 104), brought(8.0, NEVER, 104)
    (8.0, 4.0, 0.0)
    """
    return weight * 2.0 ** (-(newest - clock) / STEPS) if newest - clock < 1000 * STEPS else 0.0


class Fading:
    """Of every node of a subtree; index is the node's number. It counts at the leaves alone.

    >>> fading = Fading(60.0)
    >>> fading.extend(2)
    >>> steps = fading.steps(np.array([0.0, 60.0, 120.0]))
    >>> fading.came(np.array([0, 1, 1], np.int32), steps)
    >>> fading.weights(2).tolist()
    [0.25, 1.5]
    >>> fading.left(np.array([1], np.int32), steps[1:2]); fading.weights(2).tolist()
    [0.25, 1.0]
    """

    def __init__(self, half_life_s: float) -> None:
        """``half_life_s`` 0: nothing fades, and nothing is counted."""
        self._step_s = half_life_s / STEPS
        self.clock = NEVER
        self._rows: Int64 = np.zeros((0, KEPT if half_life_s else 0), np.int64)

    @property
    def on(self) -> bool:
        return self._step_s > 0

    def extend(self, nodes: int) -> None:
        """So many more nodes, without rows."""
        self._rows = np.concatenate([self._rows, np.zeros((nodes, self._rows.shape[1]), np.int64)])

    def steps(self, times: Float64) -> Int64:
        """The step i64[n] of each row of a time f64[n] in seconds, NaN where it has none."""
        known = np.isfinite(times)
        step = np.floor(np.where(known, times, 0.0) / self._step_s)
        return np.where(known, np.clip(step, -_FURTHEST, _FURTHEST), NEVER).astype(np.int64)

    def of(self, rows: Block) -> Int64 | None:
        """Of the rows of a block; None where nothing fades."""
        return self.steps(times_of(rows)) if self.on else None

    def came(self, leaf: Int32, steps: Int64) -> None:
        """Rows of these steps i64[n] are at these leaves i32[n] for the first time."""
        if len(steps) and (newest := int(steps.max())) > self.clock:
            if self.clock > NEVER:
                passed = np.arange(max(self.clock, newest - KEPT) + 1, newest + 1)
                self._rows[:, passed % KEPT] = 0
            self.clock = newest
        self._count(leaf, steps, 1)

    def left(self, leaf: Int32, steps: Int64) -> None:
        """Rows that came to these leaves have left."""
        self._count(leaf, steps, -1)

    def moved(self, before: Int32, now: Int32, steps: Int64) -> None:
        """Rows lie at other leaves than before."""
        self._count(before, steps, -1)
        self._count(now, steps, 1)

    def _count(self, leaf: Int32, steps: Int64, by: int) -> None:
        kept = steps > max(self.clock - KEPT, NEVER)
        np.add.at(self._rows, (leaf[kept], steps[kept] % KEPT), by)

    def weights(self, nodes: int) -> Float64:
        """The faded rows f64[nodes] that lie at each node itself, as of the clock."""
        columns = (self.clock - np.arange(KEPT)) % KEPT
        return np.asarray(self._rows[:nodes, columns] @ _AGED, np.float64)

    # the store

    def record(self, number: int) -> dict[str, Any]:
        """What the store keeps of a node: its rows by step, and the clock with number 0."""
        if not self.on:
            return {}
        steps = self.clock - np.arange(KEPT)
        rows = self._rows[number, steps % KEPT]
        said = {str(s): n for s, n in zip(steps.tolist(), rows.tolist(), strict=True) if n}
        return {"fading": said} | ({} if number else {"clock": self.clock})

    def restore(self, records: Sequence[Mapping[str, Any]]) -> None:
        """As `record` gave them, of all nodes from 0 on; ``extend`` was called for each."""
        if not self.on or not records:
            return
        self.clock = int(records[0].get("clock", NEVER))
        for number, record in enumerate(records):
            for step, rows in _live(record, self.clock):
                self._rows[number, step % KEPT] = rows


def _live(record: Mapping[str, Any], clock: int) -> Iterable[tuple[int, int]]:
    """(step, rows) of what a node's record says and is not too old by now."""
    for step, rows in record.get("fading", {}).items():
        if clock - KEPT < int(step) <= clock:
            yield int(step), int(rows)


def told(records: Sequence[Mapping[str, Any]]) -> tuple[int, list[float]]:
    """The clock, and the faded rows of each node's whole subtree, from the records of a portion's nodes.

    >>> nodes = [{"path": [0, 3], "fading": {}, "clock": 9},
    ...          {"path": [0, 3, 0], "fading": {"9": 2, "5": 3}},
    ...          {"path": [0, 3, 1], "fading": {"-90": 7}}]
    >>> told(nodes)
    (9, [3.5, 3.5, 0.0])
    """
    clock = int(records[0].get("clock", NEVER)) if records else NEVER
    whole = {
        tuple(r["path"]): float(sum(n * _AGED[clock - s] for s, n in _live(r, clock)))
        for r in records
    }
    for path in sorted(whole, key=len, reverse=True):
        if path[:-1] in whole:
            whole[path[:-1]] += whole[path]
    return clock, [whole[tuple(r["path"])] for r in records]
