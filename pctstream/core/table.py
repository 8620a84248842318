"""A table of cells that is asked: runs side by side, and what a search of them found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pctstream.core.cells import Cells, tiled
from pctstream.core.codes import filled, ranges
from pctstream.core.kernels import Float64, Int64
from pctstream.core.search import search_all
from pctstream.core.sweep import GROUPS, HUBS, SLOT


@dataclass(frozen=True, slots=True)
class Found:
    """Of m questions; a row is known by its slot in the table."""

    distance: Float64
    """f64[m, k], the nearest first; +inf where there were fewer rows."""
    slot: Int64
    """i64[m, k]; -1 where there were fewer."""
    count: Int64
    """i64[m]"""
    lost: Float64
    """f64[m]: the least distance of a row that was found and let go."""
    reach: Float64
    """f64[m]: how far the last cell's centre was."""
    cells: Int64
    """i64[m]: scanned."""
    rows: Int64
    """i64[m]: scanned."""


class Table:
    """Runs side by side; slots count through all of them.

    >>> from pctstream.core.cells import cells_of
    >>> table = Table([cells_of(np.array([[0, 0], [3, 4]], np.float32))], 2)
    >>> found = table.search(np.array([[0.0, 0.0]]), 2)
    >>> found.distance.tolist(), table.place(found.slot[0]).tolist()
    ([[0.0, 5.0]], [[0, 0], [0, 1]])
    """

    def __init__(self, runs: Sequence[Cells], dimension: int) -> None:
        self.runs = tuple(runs)  # keeps alive what the addresses point at
        self.dimension = dimension
        self.rows = sum(run.count for run in runs)
        """Of all runs."""
        self.cells = sum(map(len, runs))
        """Of all runs."""
        self._known = np.zeros((len(runs) + 1, SLOT + 1), np.int64)
        for i, run in enumerate(runs):
            self._known[i, :GROUPS] = run.addresses
            self._known[i + 1, GROUPS:] = self._known[i, GROUPS:] + (
                len(run.members),
                len(run.rows),
            )
        none = np.zeros((0, dimension), np.float32)
        self._hubs = tiled(np.concatenate([none, *(run.hubs for run in runs)]))
        reaches = [np.zeros((2, 0), np.float64), *(run.reach for run in runs)]
        self._reach = np.concatenate(reaches, axis=1)
        self._known[-1, HUBS] = self._hubs.ctypes.data

    @property
    def slots(self) -> int:
        """So long is a mask."""
        return int(self._known[-1, SLOT])

    def starts(self) -> Int64:
        """i64[runs + 1]: the first slot of each run."""
        return self._known[:, SLOT]

    def place(self, slots: Int64) -> Int64:
        """i64[n, 2]: the run, and the row of it, that stands at each slot."""
        run = np.searchsorted(self.starts(), slots, side="right") - 1
        own = slots - self.starts()[run]
        row = [int(self.runs[r].rows[s]) for r, s in zip(run.tolist(), own.tolist(), strict=True)]
        return np.stack([run, np.array(row, np.int64)], axis=1)

    def search(
        self, queries: Float64, k: int, within: Float64 | None = None, probes: int = 0,
        reach: Float64 | None = None, mask: npt.NDArray[np.bool_] | None = None,
    ) -> Found:  # fmt: skip
        """The k nearest rows to each query f64[m, d].

        None farther than ``within`` f64[m]. Exact unless ``probes`` (cells to look at) or ``reach``
        f64[m] (centres no farther) bound it. ``mask`` bool[slots]: rows that count.
        """
        m = len(queries)
        if queries.shape[1:] != (self.dimension,):
            raise ValueError(f"queries of shape {queries.shape}, rows have {self.dimension}")
        if mask is not None and len(mask) != self.slots:
            raise ValueError(f"a mask of {len(mask)} slots, the table has {self.slots}")
        endless = np.full(m, np.inf)
        numbers = np.zeros((3, m), np.int64)
        edges = np.zeros((2, m))
        distance, slot = np.full((m, k), np.inf), np.full((m, k), -1, np.int64)
        approximate = probes > 0 or reach is not None
        asked = np.zeros((m, filled(self.dimension)), np.float64)
        asked[:, : self.dimension] = queries
        search_all(
            asked, self.dimension, self._known, self._reach, k,
            endless if within is None else within, (probes or 1 << 62) if approximate else 0,
            endless if reach is None else reach, float(ranges(self.dimension)[1]),
            np.zeros(0, np.bool_) if mask is None else mask, distance, slot, numbers, edges,
        )  # fmt: skip
        return Found(distance, slot, numbers[0], edges[0], edges[1], numbers[1], numbers[2])
