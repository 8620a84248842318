"""Which child a row goes to, once the node's cover is in force.

A cover that is re-opened only grows: its children keep their numbers and centroids, new ones come behind
them. So the cover of each epoch is the first so many children of the newest one, without those that were
folded by then (`folding`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pctstream.core import kernels
from pctstream.core.block import Block
from pctstream.core.cover import Cover, closest
from pctstream.core.names import Path
from pctstream.core.walk import Int32

Bools = npt.NDArray[np.bool_]


class Epochs(NamedTuple):
    """What `.routing` says of a node's epochs up to its record ``seq``."""

    history: str
    """The author of record 0."""
    seq: int
    children: Mapping[int, int]
    """Epoch -> how many children rows go to."""
    cover: Cover
    """With the children of all of them."""
    folded: Mapping[int, int] = {}
    """Child -> the epoch from which on it gets no more rows."""

    def gone(self, epoch: int) -> list[int]:
        """Which children get no rows in an epoch.

        >>> Epochs("a", 9, {3: 2, 7: 2}, None, {0: 7}).gone(3), Epochs("a", 9, {}, None, {0: 7}).gone(8)
        ([], [0])
        """
        return [child for child, since in self.folded.items() if since <= epoch]


class Router:
    """The cover of a trunk node, laid out for routing: its first ``k`` children (None: all) but the
    ``folded`` ones, of whom at least one is left."""

    def __init__(
        self, path: Path, cover: Cover, k: int | None = None, folded: Sequence[int] = ()
    ) -> None:
        self.path = path
        self.cover = cover
        self.k = cover.k if k is None else k
        self._left: Int32 = np.setdiff1d(np.arange(self.k, dtype=np.int32), folded).astype(np.int32)
        """The number of each child that gets rows."""
        centroids = cover.centroids[self._left]
        self._table = kernels.transpose(centroids)
        self._prototypes = cover.prototypes[self._left]
        self._closest = closest(centroids, self._prototypes)

    def nearest(self, rows: Block) -> tuple[Int32, Bools]:
        """The child int32[n] of each row, -1 for a bare entry; and which rows, bool[rows], lie beyond
        epsilon."""
        if rows.changes is not None:
            child = np.full(len(rows), -1, np.int32)
            child[rows.changes.brings], beyond = self.nearest(rows.plain)
            return child, beyond
        at = kernels.nearest(rows.vectors, self._table, len(self._left))
        epsilon = self.cover.epsilon
        first = self._closest[at]
        beyond = kernels.lies_beyond(rows.vectors, first, self._prototypes, epsilon)
        return self._left[at], beyond

    def parcels(self, rows: Block, child: Int32) -> tuple[tuple[Path, Block], ...]:
        """The rows of each child that gets any, in order."""
        order, starts = kernels.grouped(child, self.k)
        sorted_rows = rows.take(order)
        return tuple(
            ((*self.path, i), sorted_rows.slice(int(starts[i]), int(starts[i + 1])))
            for i in range(self.k)
            if starts[i + 1] > starts[i]
        )
