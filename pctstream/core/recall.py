"""How many cells must be scanned so that an approximate answer has so much of the exact one.

Rows of the table itself are asked as questions, and answered exactly. Where in the order of the cells
by their centres' distance does the cell of each true neighbour stand? Had the search ended after p cells,
it would have found those before p. So one pass over a sample tells the recall of every p at once, and
the p for a target is read off. A sample errs: the mean recall of the sample must lie two standard
errors above the target. And a row that is asked has helped to shape its own cell, as a question has
not: of what the target leaves to miss, a quarter is held back for that.

What is promised is a mean over questions that are distributed as the rows are. Questions from elsewhere
may get less; how much is expected is told with every answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pctstream.core.kernels import Float64, Int64
from pctstream.core.lanes import LANES, compiled
from pctstream.core.table import Table

Bools = npt.NDArray[np.bool_]

SAMPLE = 192
"""Rows that are asked."""
ERRORS = 2.0
HELD_BACK = 0.25


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a sample of a table's rows told, for one k.

    >>> learnt = Learnt(np.array([[0, 1], [0, 3]]), 8)
    >>> learnt.probes(0.75), learnt.probes(1.0), learnt.expected(2)
    (4, 4, 0.75)
    """

    ranks: Int64
    """i64[sample, k]: how many cells lie before that of each true neighbour; -1: there is none."""
    cells: int
    """Of the table."""

    def probes(self, recall: float) -> int:
        """The fewest cells for that mean recall; all of them where the sample promises it of no fewer."""
        recall += HELD_BACK * (1.0 - recall)
        low, high = 1, self.cells
        while low < high:
            middle = (low + high) // 2
            if sure(self._recalls(middle)) >= recall:
                high = middle
            else:
                low = middle + 1
        return low

    def expected(self, probes: int) -> float:
        """The mean recall of the sample after so many cells."""
        found = self._recalls(probes)
        return float(found.mean()) if len(found) else 1.0

    def _recalls(self, probes: int) -> Float64:
        there = self.ranks >= 0
        return recall_of(there, there & (self.ranks < probes))


def sure(found: Float64) -> float:
    """What the mean is at least, of which these f64[n] are a sample: two standard errors below theirs."""
    if len(found) < 2:
        return 0.0
    return float(found.mean() - ERRORS * found.std() / math.sqrt(len(found)))


def recall_of(there: Bools, hit: Bools) -> Float64:
    """f64[<= m]: of each question the share of its neighbours bool[m, k] that were hit; those that have
    none are left out."""
    count = there.sum(axis=1)
    found: Float64 = hit.sum(axis=1)[count > 0] / count[count > 0]
    return found


def learn(table: Table, k: int, rng: np.random.Generator, sample: int = SAMPLE) -> Learnt:
    """Ask ``sample`` rows of the table for their k nearest others."""
    starts = table.starts()
    slots = [np.flatnonzero(run.rows >= 0) + starts[i] for i, run in enumerate(table.runs)]
    everyone = np.concatenate([np.zeros(0, np.int64), *slots])
    picked = np.sort(rng.choice(everyone, min(sample, len(everyone)), replace=False))
    ranks = np.full((len(picked), k), -1, np.int64)
    for i, slot in enumerate(picked.tolist()):
        run = int(np.searchsorted(starts, slot, side="right")) - 1
        query = table.runs[run].vectors(np.array([slot - starts[run]])).astype(np.float64)
        found = table.search(query, k + 1)
        others = found.slot[0, : found.count[0]]
        others = others[others != slot][:k]
        ranks[i, : len(others)] = ranks_of(table, query[0], others)
    return Learnt(ranks, table.cells)


def ranks_of(table: Table, query: Float64, slots: Int64) -> Int64:
    """i64[n]: how many cells' centres are nearer to the query f64[d] than that of each slot's cell."""
    squares, own = [], np.empty(len(slots), np.float64)
    starts = table.starts()
    run_of = np.searchsorted(starts, slots, side="right") - 1
    for r, run in enumerate(table.runs):
        found = _squares(query, run.centres, len(run.size))
        squares.append(found)
        mine = run_of == r
        tile = (slots[mine] - starts[r]) // LANES
        own[mine] = found[np.searchsorted(run.first, tile, side="right") - 1]
    ranks: Int64 = np.searchsorted(np.sort(np.concatenate(squares)), own, side="left")
    return ranks


@compiled
def _squares(query: Any, centres: Any, places: int) -> Any:
    out = np.zeros(places, np.float64)
    for cell in range(places):
        for j in range(query.shape[0]):
            difference = query[j] - np.float64(centres[cell // LANES, j, cell % LANES])
            out[cell] += difference * difference
    return out
