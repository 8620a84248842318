"""Which child a row goes to, once the node's cover is in force."""

from __future__ import annotations

import numpy as np

from pctstream.core import kernels
from pctstream.core.block import Block
from pctstream.core.cover import Cover
from pctstream.core.names import Path
from pctstream.core.walk import Int32


class Router:
    """The cover of a trunk node, laid out for routing."""

    def __init__(self, path: Path, cover: Cover) -> None:
        self.path = path
        self.cover = cover
        self.k = cover.k
        self._table = kernels.transpose(cover.centroids)

    def nearest(self, rows: Block) -> tuple[Int32, int]:
        """The child int32[n] of each row, -1 for a bare entry; and how many rows lie beyond epsilon."""
        if rows.changes is not None:
            child = np.full(len(rows), -1, np.int32)
            child[rows.changes.brings], beyond = self.nearest(rows.plain)
            return child, beyond
        child = kernels.nearest(rows.vectors, self._table, self.k)
        cover = self.cover
        return child, kernels.beyond(rows.vectors, child, cover.prototypes, cover.epsilon)

    def parcels(self, rows: Block, child: Int32) -> tuple[tuple[Path, Block], ...]:
        """The rows of each child that gets any, in order."""
        order, starts = kernels.grouped(child, self.k)
        sorted_rows = rows.take(order)
        return tuple(
            ((*self.path, i), sorted_rows.slice(int(starts[i]), int(starts[i + 1])))
            for i in range(self.k)
            if starts[i + 1] > starts[i]
        )
