"""A sink that scans again: its rows were too many for a cover, and the stream goes on.

When a sink has had 2 Y rows, 4 Y, 8 Y and so on (Y = `tree.sink_rows`), find-cover begins anew with the row
behind, and ends by the rules of the first time: with a cover when X rows added nothing, in vain after Y
rows or where more prototypes would be needed than the node may have. So all scans of a node together look
at no more rows than it had. That goes for every limit that may have made it a sink (`sink_rows`,
`prototypes`, `nodes`): its room does not grow, but what the rows need may shrink.

    take(rows) ----> all stay, unless the scan ends with a cover: then those behind go down

With a cover it splits at that very row. **Its children begin with the row behind it**, as those that a
re-opening finds: what the sink holds by then stays where it is, at the node, counted and searched there as
rows of an earlier time. It is not handed down as at a first split, because the dead of a sink are purged
(`purging`): which rows are left says the store, not the sequence, so children that scanned them would be
others at each shard (R0), and to keep the dead of every sink for good is no bound. The rows that stay may
leave one by one, superseded, deleted or expired, and are purged as at a sink. The centroids are the
prototypes: k-means would need the rows.

The children may be there before their level is open; they scan nothing until it is.

Everything here follows from the sequence of the node's rows: where a scan begins is a number of rows, and
the prototypes so far are kept (`reopening.Aside`), since rows that were scanned may be purged.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pctstream.core.cover import Cover
from pctstream.core.find import FindCover
from pctstream.core.lanes import Float32
from pctstream.core.node import Shape
from pctstream.core.reopening import Aside


class Sink:
    """Of one node that became a sink.

    >>> sink = Sink(Shape(1, gap=2, sink_rows=4), 1.0, room=3, seen=4)
    >>> sink.take(np.array([[0], [5], [9], [20], [3], [3.5], [3.1], [70]], "f4"))
    7
    >>> sink.cover.prototypes.tolist(), sink.cover.rows
    ([[3.0]], 3)
    """

    def __init__(
        self, shape: Shape, epsilon: float, room: int, seen: int, scanned: Any = None,
        aside: Aside | None = None,
    ) -> None:  # fmt: skip
        """``room``: children that it may have; ``seen``: rows that it had so far; ``scanned``: (rows, of
        these the last ones without an addition), if a scan goes on."""
        self._shape, self._epsilon, self.seen = shape, epsilon, seen
        self._room = min(room, shape.prototypes)
        self._find: FindCover | None = None
        self._saved = 0
        """Of the prototypes of the scan, how many the store has; -1: others, that are to go."""
        if scanned is not None and aside is not None:
            self._find = self._scan()
            self._find.know(aside.rows)
            self._find.rows, self._find.gap_now = scanned
            self._saved = len(aside.rows)

    def _scan(self) -> FindCover:
        shape = self._shape
        return FindCover(
            shape.dimension, self._epsilon, shape.gap, shape.sink_rows, shape.stop, self._room
        )

    def take(self, rows: Float32) -> int:
        """The next rows f32[n, d] of the node; how many of them stay there."""
        at = 0
        while self.cover is None:
            at += self.pass_by(len(rows) - at)
            if at == len(rows):
                return at
            self._find = self._find or self._scan()
            before = self._find.rows
            self._find.feed(rows[at:])
            self.seen += self._find.rows - before
            at += self._find.rows - before
            if self._find.state == "sink":
                self._find, self._saved = None, -1
        return at

    def pass_by(self, rows: int) -> int:
        """Of the next so many rows, how many stay unlooked at: those up to where a scan begins."""
        if self._find is not None:
            return 0
        passed = min(rows, self._begins - self.seen) if self._room > 0 else rows
        self.seen += passed
        return passed

    @property
    def _begins(self) -> int:
        """Behind so many rows the next scan begins."""
        at = 2 * self._shape.sink_rows
        while at < self.seen:
            at *= 2
        return at

    @property
    def cover(self) -> Cover | None:
        """Once the scan has ended with one: a row for each cell, epsilon around it."""
        if self._find is None or self._find.state != "cover":
            return None
        found = self._find.prototypes
        k, radius = len(found), np.nextafter(np.float32(self._epsilon), np.float32(np.inf))
        return Cover(
            found, found, np.ones(k, np.int64), np.full(k, radius, np.float32), self._epsilon,
            self._find.rows, self._shape.gap, 1.0, 1.0,
        )  # fmt: skip

    # the store

    @property
    def record(self) -> dict[str, Any]:
        """What the store keeps beside `Node.record`."""
        find = self._find
        scanned = None if find is None else (find.rows, find.gap_now)
        return {"epsilon": self._epsilon, "dimension": self._shape.dimension, "scanned": scanned}

    def take_aside(self) -> Aside | None:
        """What the store does not have of the prototypes of the scan."""
        found = np.zeros((0, self._shape.dimension), np.float32)
        if self._find is not None:
            found = self._find.prototypes
        if self._saved == len(found):
            return None
        first, self._saved = max(0, self._saved), len(found)
        return Aside(first, found[first:])
