"""Re-opening: a split node whose rows come to lie beyond its cover finds what the cover lacks.

    watch(rows beyond) ----> kept aside: a greedy cover of them, `ASIDE` at most
    open() ----------------> the bound is beyond its limit (`coverage`): find-cover goes on
    take(rows) ------------> all that come, until it ends; what is found becomes children

Find-cover is taken up where it was: the node's prototypes count, those kept aside count as found, and every
row of the node is looked at. It ends by the rules of the first time: X rows without an addition (so that
3 / X is true of the whole cover again), or, in vain, after Y rows, or where more would be needed than the
node may have. The children found begin with the row behind the one that ended it: rows that came before
stay where they are. Their centroids are the prototypes: k-means would need the rows.

Everything here follows from the sequence of the node's rows (R0). What is kept aside are copies: a row that
leaves and is purged keeps its place in the sequence.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pctstream.core.cover import Cover
from pctstream.core.find import FindCover
from pctstream.core.lanes import Float32
from pctstream.core.node import Shape

ASIDE = 64
"""Rows kept aside by a node that watches: 64 of 784 dimensions are 200 kB. With one more it starts over."""
_EVER = 1 << 62


class Aside(NamedTuple):
    """What the store is to keep: ``rows`` f32[m, d] from number ``first`` on; 0: instead of all others."""

    first: int
    rows: Float32


class Reopening:
    """Of one split node with the cover that is in force.

    >>> nought, one = np.zeros((1, 1), "f4"), np.ones(1, "i8")
    >>> cover = Cover(nought, nought, one, nought[0], 1.0, 9, 3, 1.0, 1.0)
    >>> one = Reopening(cover, Shape(1, gap=2), room=5)
    >>> one.watch(np.array([[4], [4.5], [7]], "f4")); one.aside.tolist()
    [[4.0], [7.0]]
    >>> one.open(); one.take(np.array([[0.5], [9], [7.5], [0.1], [70]], "f4")), one.ended
    (4, 'cover')
    >>> one.grown().prototypes.tolist()
    [[0.0], [4.0], [7.0], [9.0]]
    """

    def __init__(
        self, cover: Cover, shape: Shape, room: int, aside: Float32 | None = None,
        scanned: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        """``room``: children that it may still get; ``scanned``: (rows, of these without an addition),
        if find-cover goes on."""
        self._cover, self._shape = cover, shape
        self.room = max(0, min(room, shape.prototypes - cover.k))
        self.aside = np.zeros((0, cover.dimension), np.float32) if aside is None else aside
        self._saved = -1 if aside is None else len(aside)
        self._greedy: FindCover | None = None
        self._find: FindCover | None = None
        if scanned is not None:
            self.open()
            assert self._find is not None
            self._find.rows, self._find.gap_now = scanned

    def watch(self, rows: Float32) -> None:
        """Rows f32[n, d] beyond the cover, in order, while nothing is open."""
        most = min(ASIDE, self.room)
        while len(rows) and most and self._find is None:
            if self._greedy is None:
                self._greedy = self._scan(most, self.aside, _EVER, _EVER)
            before = self._greedy.rows
            self._greedy.feed(rows)
            if self._greedy.state != "sink":
                self.aside = self._greedy.prototypes
                return
            # the last row it looked at did not fit: with that one it starts over
            rows = rows[self._greedy.rows - before - 1 :]
            self.aside, self._greedy, self._saved = self.aside[:0], None, -1

    def _scan(self, most: int, known: Float32, gap: int, sink_rows: int) -> FindCover:
        shape = self._shape
        find = FindCover(
            self._cover.dimension, self._cover.epsilon, gap, sink_rows, shape.stop, most
        )
        find.know(known)
        return find

    def open(self) -> None:
        """From the next row on it is scanned."""
        shape, known = self._shape, np.concatenate([self._cover.prototypes, self.aside])
        self._greedy = None
        self._find = self._scan(self._cover.k + self.room, known, shape.gap, shape.sink_rows)

    @property
    def scanned(self) -> tuple[int, int] | None:
        """(rows, of these the last ones without an addition); None while nothing is open."""
        return None if self._find is None else (self._find.rows, self._find.gap_now)

    @property
    def ended(self) -> str:
        """Empty while it goes on; "cover", or the limit that made it vain."""
        if self._find is None or self._find.state == "covering":
            return ""
        if self._find.state == "cover":
            return "cover" if len(self.aside) else "gap"
        return "nodes" if self._find.reason == "prototypes" else "sink_rows"

    def take(self, rows: Float32) -> int:
        """The next rows f32[n, d] of the node; how many it looked at: the cover is in force for those."""
        assert self._find is not None
        before = self._find.rows
        self._find.feed(rows)
        self.aside = self._find.prototypes[self._cover.k :]
        return self._find.rows - before

    def grown(self) -> Cover:
        """The cover with what was found: a row for each, weighted by itself, epsilon around it."""
        cover, m = self._cover, len(self.aside)
        radius = np.nextafter(np.float32(cover.epsilon), np.float32(np.inf))
        return Cover(
            np.concatenate([cover.prototypes, self.aside]),
            np.concatenate([cover.centroids, self.aside]),
            np.concatenate([cover.weights, np.ones(m, np.int64)]),
            np.concatenate([cover.radii, np.full(m, radius, np.float32)]),
            cover.epsilon, cover.rows + (self.scanned or (0, 0))[0], self._shape.gap,
            cover.entropy_before, cover.entropy_after,
        )  # fmt: skip

    def take_aside(self) -> Aside | None:
        """What the store does not have of the rows kept aside."""
        if self._saved == len(self.aside):
            return None
        first, self._saved = max(0, self._saved), len(self.aside)
        return Aside(first, self.aside[first:])
