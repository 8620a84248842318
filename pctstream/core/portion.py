"""A portion: the subtree that hangs from the cut, fed by its pipe alone.

What a portion holds is a function of its pipe (R0): the same messages give the same rows, counts
and radius at the owner, at a shadow and at a rebuild, however they were collected into units. Rows
are taken one by one by their origin (R3), so that a repeated prefix changes nothing; then one
WriteBatch stores rows, marks, counts and watermark.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pctstream.core import kernels, life
from pctstream.core.block import Block, Source, Vectors
from pctstream.core.effects import Apply, Dropped, Effect, Reread, Send, Stop
from pctstream.core.kernels import Float64
from pctstream.core.marks import Marks
from pctstream.core.names import Path
from pctstream.core.pending import Pending
from pctstream.core.position import Position
from pctstream.core.unit import Unit, undone


class Portion:
    """The pure state machine of one portion at one shard."""

    def __init__(
        self,
        path: Path,
        source: Source,
        centroid: Vectors,
        epoch: int,
        position: Position | None = None,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.source = source
        self.mode = life.LEAF
        self.position = position or Position(epoch=epoch)
        self.taken = self.position.taken
        self._epoch = epoch
        self._centroid = centroid.reshape(1, -1)
        # a float64 sum of d squares errs by less than (d + 4) of its last bits
        self._bound = 1.0 + (self._centroid.shape[1] + 4) * 2.0**-52
        counts = saved or {}
        self.marks = self._ahead = Marks.from_json(counts.get("marks", []))
        self.rows = int(counts.get("rows", 0))
        self.bytes = int(counts.get("bytes", 0))
        self.radius = float(counts.get("radius", 0.0))
        self.distance_sum = float(counts.get("distance_sum", 0.0))
        self.dead_rows = int(counts.get("dead_rows", 0))
        self._pending = Pending()

    @property
    def state(self) -> dict[str, Any]:
        """Absolute, true for ``position``: what the store keeps and `.state` tells."""
        return {
            "rows": self.rows,
            "bytes": self.bytes,
            "radius": self.radius,
            "distance_sum": self.distance_sum,
            "dead_rows": self.dead_rows,
            "marks": self.marks.to_json(),
        }

    def feed(self, unit: Unit) -> list[Effect]:
        """The next messages of the pipe."""
        if unit.prev > self.taken:
            return [Reread(self.source, self.taken + 1)]
        if unit.last <= self.taken:
            return [Dropped(len(unit), "watermark")] if len(unit) else []
        effects: list[Effect] = []
        rows, marks = unit.rows, self._ahead.copy()
        distance = np.zeros(0)
        if rows is not None:
            fresh = rows.keep(marks.advance(rows))
            if len(fresh) < len(rows):
                effects.append(Dropped(len(rows) - len(fresh), "mark"))
            rows = fresh
            distance = self.examine(rows)
        dead = undone(unit, self.taken)
        self.taken, self._ahead = unit.last, marks
        self._pending.add(unit.last, (unit.last, rows, marks, distance, len(dead)))
        if dead:
            return [*effects, Send(unit.last, (), dead)]
        return effects + self.delivered(unit.last)

    def examine(self, rows: Block) -> Float64:
        """The distance f64[n] of each row to the centroid; raises where a row has none."""
        return kernels.distances(rows.vectors, np.zeros(len(rows), np.int32), self._centroid)

    def delivered(self, ticket: int) -> list[Effect]:
        """The dead letters of this ticket are acked."""
        self._pending.finish(ticket)
        return [self._applied(*item) for item in self._pending.drain()]

    def _applied(
        self, last: int, rows: Block | None, marks: Marks, distance: Float64, dead: int
    ) -> Effect:
        self.marks = marks
        self.dead_rows += dead
        self.position = Position(last, last, self._epoch)
        if rows is not None and len(rows):
            self.rows += len(rows)
            self.bytes += rows.content_bytes
            self.radius = max(self.radius, float(distance.max()) * self._bound)
            # one row after the other, so that the sum does not depend on the units either
            self.distance_sum = float(np.cumsum([self.distance_sum, *distance])[-1])
        else:
            rows = None
        return Apply(self.path, self.source, self.position, self.state, rows)

    def failed(self, reason: str) -> list[Effect]:
        """A dead letter was refused by the broker (R2)."""
        return [Stop(reason)]
