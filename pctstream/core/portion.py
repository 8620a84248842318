"""A portion: the subtree that hangs from the cut, fed by its pipe alone.

What a portion holds is a function of its pipe (R0): the same messages give the same rows, nodes,
covers and counts at the owner, at a shadow and at a rebuild, however they were collected into units.
Rows are taken one by one by their origin (R3), so that a repeated prefix changes nothing; the subtree
says where each goes (`subtree`); then one WriteBatch stores rows, leaves, nodes, marks and watermark.

    feed(unit) ------> Apply(rows, leaves, nodes); at the marker of its promotion Promote
    adopt(gates) ----> a level has closed, or its epsilon is known
    hurry() ---------> nothing comes: a pass that was put off
    Regrow ----------> begin_pass, revisit(segment)*, end_pass -> Apply(nodes, labels)   (`growth`)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pctstream.core.arrived import Arrived, Came
from pctstream.core.block import Block, Source, Vectors
from pctstream.core.effects import Apply, Dropped, Effect, Prove, Purge, Regrow, Reread, Send, Stop
from pctstream.core.growth import Growth
from pctstream.core.kernels import Int64
from pctstream.core.leaving import Kept, Leaving, to_purge
from pctstream.core.marks import Marks
from pctstream.core.names import Path
from pctstream.core.node import Entry, Gates, Shape
from pctstream.core.pending import Pending
from pctstream.core.position import Position
from pctstream.core.promotion import Promotable, turned
from pctstream.core.subtree import NodeRecord, Subtree
from pctstream.core.unit import Unit, undone
from pctstream.core.walk import Int32

PASS_SHARE = 8
"""A pass is due once this part of all rows came since the last."""


class Portion(Promotable):
    """The pure state machine of one portion at one shard."""

    def __init__(
        self,
        path: Path,
        source: Source,
        centroid: Vectors,
        epoch: int,
        shape: Shape,
        budget: int,
        born_s: float = 0.0,
        position: Position | None = None,
        saved: Mapping[str, Any] | None = None,
        nodes: Iterable[NodeRecord] = (),
        kept: Kept | None = None,
    ) -> None:
        Promotable.__init__(self)
        self.path = path
        self.source = source
        self.position = position or Position(epoch=epoch)
        self.taken = self.position.taken
        self._epoch = epoch
        counts = saved or {}
        self.marks = self._ahead = Marks.from_json(counts.get("marks", []))
        self.rows = int(counts.get("rows", 0))
        self.bytes = int(counts.get("bytes", 0))
        self.gone = int(counts.get("gone", 0))
        """Of ``rows``, those that have left since."""
        self.dead_rows = int(counts.get("dead_rows", 0))
        self._time = float(counts.get("time", born_s))
        self.subtree = Subtree(path, centroid, shape, budget, self._entry(0), nodes)
        self._pending = Pending()
        self._leaving = Leaving(kept)
        self.purged_rows = int(counts.get("purged", 0))
        """Of ``gone``, those that are not in the store any more: at this shard, whatever others did."""
        self._growth: Growth | None = None
        self._since_pass = 0
        self.waits = self._due = False
        """A pass was put off: `hurry`, once nothing comes; or it is due with the next turn."""
        self.version = 0
        """How often something changed: who tells of this portion need not look otherwise."""

    @property
    def state(self) -> dict[str, Any]:
        """Absolute, true for ``position``: what the store keeps and `.state` tells."""
        return {
            "rows": self.rows,
            "gone": self.gone,
            "bytes": self.bytes,
            "dead_rows": self.dead_rows,
            "time": self._time,
            "marks": self.marks.to_json(),
        }

    @property
    def grown_to(self) -> int:
        """The open level, once every node above it that has a cover has split."""
        return self.subtree.grown_to

    @property
    def mode(self) -> str:
        """Where its root is in its life."""
        return self.subtree.nodes[0].state

    @property
    def held_rows(self) -> int:
        """Rows that lie in this node's store and have not left."""
        return self.rows - self.gone

    def _entry(self, mode: int) -> Entry:
        return (mode, self.position.stored, self._time, self._epoch)

    def feed(self, unit: Unit) -> list[Effect]:
        """The next messages of the pipe."""
        if unit.prev > self.taken:
            return [Reread(self.source, self.taken + 1)]
        if unit.last <= self.taken:
            return [Dropped(len(unit), "watermark")] if len(unit) else []
        effects: list[Effect] = []
        self._leaving.turn()
        for part in unit.parts():
            if part.last > self.taken:
                if not self._passes(part.markers):
                    effects += self._stand()
                    break
                effects += self._take(part)
        return effects + self._finished()

    def _take(self, unit: Unit) -> list[Effect]:
        effects: list[Effect] = []
        marks, came = self._ahead.copy(), Came()
        if unit.rows is not None:
            fresh = unit.rows.keep(marks.advance(unit.rows))
            if len(fresh) < len(unit.rows):
                effects.append(Dropped(len(unit.rows) - len(fresh), "mark"))
            came = self._come(unit.last, fresh)
        dead = undone(unit, self.taken)
        self.taken, self._ahead = unit.last, marks
        arrived = Arrived(
            unit.last, unit.time_ms / 1000.0, came, marks, self.subtree.take_records(), len(dead),
            unit.fences,
        )  # fmt: skip
        self._pending.add(unit.last, arrived)
        if dead:
            return [*effects, Send(unit.last, (), dead)]
        self._pending.finish(unit.last)
        return effects

    def _come(self, last: int, entries: Block) -> Came:
        """Rows to their leaves; those that leave because of them are counted out (R11)."""
        rows = entries.plain
        if not len(rows):
            return Came(None, None, *self._leave(entries))
        self.subtree.now = (2, last, self._time, self._epoch)
        leaves = self.subtree.place(rows.vectors, self.subtree.fading.of(rows))
        self._leaving.came(last, rows, leaves)
        return Came(rows, leaves, *self._leave(entries))

    def _leave(self, entries: Block) -> tuple[Int64 | None, int]:
        """(segment, row) of the rows that leave, and how many of them because of their age."""
        if entries.changes is None:
            return None, 0
        left = self._leaving.left(entries)
        if not len(left.places):
            return None, 0
        self.subtree.leave(left.leaf)
        if (fading := self.subtree.fading).on:
            fading.left(left.leaf, fading.steps(self._leaving.times(left.places)))
        return left.places, left.expired

    def examine(self, rows: Block) -> None:
        """Compute for each row alone what feeding it will; raises where it would."""
        self.subtree.examine(rows.plain.vectors)

    def delivered(self, ticket: int) -> list[Effect]:
        """The dead letters of this ticket are acked."""
        self._pending.finish(ticket)
        return self._finished()

    def _finished(self) -> list[Effect]:
        effects: list[Effect] = []
        for item in self._pending.drain():
            effects += [self._applied(item), *(Prove(self.path, f) for f in item.fences)]
        if self._epoch_to_be >= 0:
            return effects + self._turn_over()
        return effects + self._grow() + self._dead()

    def _turn_over(self) -> list[Effect]:
        """It stands at the marker of its promotion; what it took is in the store with these effects."""
        if self._pending:
            return []
        position = Position(self.position.stored, -1, self._epoch_to_be)
        return [turned(self.path, self.source, position, self.state, self.subtree)]

    def _applied(self, arrived: Arrived) -> Effect:
        self.marks = arrived.marks
        self.dead_rows += arrived.dead
        self._time = max(self._time, arrived.time)
        self.position = self._done(arrived.last)
        rows, leaves, left, expired = arrived.came
        self._leaving.done(arrived.last)
        if rows is not None:
            plain = rows.plain
            self.rows += len(plain)
            self._since_pass += len(plain)
            self.bytes += plain.content_bytes
        self.gone += arrived.came.gone
        return self._apply(arrived.nodes, rows, leaves, left=left, expired=expired)

    def _done(self, last: int) -> Position:
        return Position(last, last, self._epoch)

    def _apply(
        self, nodes: tuple[NodeRecord, ...], rows: Block | None = None,
        leaves: Int32 | None = None, labels: tuple[tuple[int, Int32], ...] = (),
        purge: bool = False, left: Int64 | None = None, expired: int = 0,
    ) -> Apply:  # fmt: skip
        self.version += 1
        return Apply(
            self.path, self.source, self.position, self.state, rows, purge,
            leaves=leaves, nodes=nodes, labels=labels, left=left, expired=expired,
        )  # fmt: skip

    def failed(self, reason: str) -> list[Effect]:
        return [Stop(reason)]  # a dead letter was refused by the broker (R2)

    def _dead(self) -> list[Effect]:
        """Whether so many rows that left lie where no scan can follow that they are to be purged."""
        if self._pending or not to_purge(self.rows, self.gone, self.purged_rows):
            return []
        return [Purge()] if to_purge(self.rows, self.subtree.dead, self.purged_rows) else []

    def purged(self) -> None:
        """All of those are off the disk."""
        self.purged_rows = self.subtree.dead
        self._leaving = self._leaving.again()

    # growing

    def adopt(self, gates: Gates) -> list[Effect]:
        """What the routing says of levels now; every step of a move makes it be said again."""
        if fresh := gates != self.subtree.gates:
            self.subtree.open(gates)
            self.version += 1
        return self._grow(now=fresh)

    def hurry(self) -> list[Effect]:
        """Nothing comes at the moment: a pass that was put off costs nobody's time."""
        return self._grow(now=True)

    def _grow(self, now: bool = False) -> list[Effect]:
        """A pass, if a node waits for one, and every row that was taken lies in the store.

        Leaves end one by one while rows come, and each pass reads all of them: unless it is to be
        ``now``, it is put off until so many rows came that all passes together stay linear in the rows.
        """
        if not self.subtree.work:
            self.waits = False
            return []
        if self._pending or not (
            now or self._due or self._since_pass * PASS_SHARE >= self.rows - self.purged_rows
        ):
            self.waits = True
            return []
        return [Regrow()]

    def put_off(self) -> None:
        """Another portion sees its rows again."""
        self.waits = self._due = True

    def begin_pass(self) -> None:
        """The rows stored come next, in order."""
        self._since_pass, self.waits, self._due = 0, False, False
        self._growth = Growth(self.subtree, self._entry(2))

    def revisit(self, offset: int, rows: Block, leaves: Int32, gone: Int64 | None = None) -> None:
        """One stored segment, the leaf of each of its rows, and which of them have left."""
        assert self._growth is not None
        if rows.changes is not None:  # at a trunk node, where nothing but its first node is
            leaves, gone, rows = leaves[rows.changes.brings], None, rows.plain
        steps = self.subtree.fading.of(rows)
        self._growth.take(offset, rows.vectors, leaves, gone, steps)

    def end_pass(self) -> list[Effect]:
        """All were seen: what it brought is written at once; it may make the next pass due."""
        assert self._growth is not None
        self._growth.finish()
        labels, self._growth = tuple(self._growth.labels), None
        nodes = self.subtree.take_records()
        self.version += 1
        effects: list[Effect] = [self._apply(nodes, labels=labels)] if nodes else []
        return effects + self._grow(now=True)
