"""A trunk node below N0: it covers what comes through its pipe, then routes it to pipes of its own.

Until its level closes it is what a portion is before it splits: rows stored, scanned, a cover found
from them alone. The split is a record of `.routing`, because its children are topics. It begins at
the first row (R4): the rows stored are routed first, in order, and stay until their portions have
them (`held`); then rows are routed as they come, and are done when the broker has acked them (R2).
Repeats are dropped by their marks before anything else, as in every pipe (R3).

    as a portion -----> cover found, told on `.state`, recorded in `.routing`
    split(cover) -----> RouteHeld -> reroute(segment)* -> rerouted()
    feed(unit) -------> Send(ticket) ... delivered(ticket) -> Apply(routed)
    owner_applied ----> Apply(purge) once every held row has arrived

Its cover grows, and children are folded, as N0's do: by a marker in its pipe (`handing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from pctstream.core import life
from pctstream.core.arrived import Arrived, Came
from pctstream.core.block import Block
from pctstream.core.cover import Cover
from pctstream.core.effects import Apply, Dropped, Effect, Resume, RouteHeld, Send
from pctstream.core.handing import HandsDown, Parcels
from pctstream.core.ids import told_to_all
from pctstream.core.kernels import Int64
from pctstream.core.marks import Marks
from pctstream.core.node import Gates
from pctstream.core.portion import Portion
from pctstream.core.position import Position
from pctstream.core.router import Bools
from pctstream.core.subtree import NodeRecord
from pctstream.core.taken import NO_ROWS, Witness
from pctstream.core.unit import Marker, Unit, undone
from pctstream.core.walk import Int32


class Routed(NamedTuple):
    """A unit on its way down; ``marks`` and ``nodes`` are None and empty for held rows."""

    last: int
    rows: int
    dead: int
    epoch: int
    beyond: Bools = NO_ROWS
    """Of the rows, which lie beyond epsilon."""
    time: float = 0.0
    marks: Marks | None = None
    nodes: tuple[NodeRecord, ...] = ()
    left: Int64 | None = None


class Trunk(HandsDown, Portion):
    """The pure state machine of a node between N0 and the cut, at the shard that reads its pipe."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        HandsDown.__init__(self)
        Portion.__init__(self, *args, **kwargs)
        # its children would be topics: that takes a record
        self.subtree.shape = self.subtree.shape._replace(sink_scans=False)
        saved: Mapping[str, Any] = kwargs.get("saved") or {}
        self.stored_rows = int(saved.get("stored_rows", 0))
        self._epoch = max(self._epoch, self.position.epoch)
        self._routing = False
        self._adopting = False
        self._open_level = 1
        self._limit = ""
        self._promoted = bool(saved.get("promoted"))
        self.witness = Witness.from_json(saved.get("witness"))

    @property
    def state(self) -> dict[str, Any]:
        """As of a portion, how many of its rows lie here, and what those routed say of its cover."""
        witness = self.witness.to_json()
        said = {"stored_rows": self.stored_rows, "witness": witness, "promoted": self._promoted}
        return super().state | said

    @property
    def grown_to(self) -> int:
        """The open level, once this node has done what the level above asks of it."""
        waits = self.mode == life.WAITING
        return min(self._open_level, len(self.path) - 1) if waits else self._open_level

    @property
    def held_rows(self) -> int:
        """Rows that lie here: none once all are in portions."""
        return max(0, self.stored_rows - self.gone)

    def adopt(self, gates: Gates) -> list[Effect]:
        """Levels, as far as they concern a node that never splits in this process."""
        self._open_level = gates.open_level
        own = len(self.path) - 1
        return super().adopt(gates._replace(open_level=min(gates.open_level, own)))

    def refuse(self, limit: str) -> list[Effect]:
        """The tree may not grow here: a sink, by the limit that `.routing` names; one that is built
        again becomes it when it has found its cover again."""
        self._limit = limit
        return self._refused()

    def _refused(self) -> list[Effect]:
        node = self.subtree.nodes[0]
        if not self._limit or node.state != life.WAITING:
            return []
        node.limit = self._limit
        node.step(life.TOO_LARGE, self._entry(0))
        self.subtree.changed.add(0)
        return [self._apply(self.subtree.take_records())]

    def end_pass(self) -> list[Effect]:
        """As of a portion; it may have found the cover that was refused."""
        return super().end_pass() + self._refused()

    def split(self, epoch: int, cover: Cover) -> list[Effect]:
        """The cover recorded in this epoch is in force from the pipe's first row on."""
        if self._router is not None or not self._route_by(epoch, cover):
            return []
        self._adopting = True
        return self._begin_routing()

    def _begin_routing(self) -> list[Effect]:
        if not self._adopting or self._pending:
            return []
        self._adopting = False
        node = self.subtree.nodes[0]
        mode, offset, time, epoch = self._entry(2)
        if node.state == life.COVERING:
            # rebuilt from its pipe: what it would find is recorded, and it need not wait for it
            assert self._first is not None
            node.cover, node.find = self._first.cover, None
            self.subtree.covered.add(0)
            node.step(life.COVER_FOUND, (1, offset, time, epoch))
        if node.state == life.WAITING:
            time = self.subtree.gates.splits_at(node.level, time)
            node.step(life.LEVEL_OPENED, (mode, offset, time, epoch))
            self.subtree.changed.add(0)
        if self._promoted and node.cover is None:
            assert self._first is not None
            node.cover = self._first.cover
            self.subtree.covered.add(0)
            self.subtree.changed.add(0)
        down = RouteHeld(in_pieces=self._promoted)
        return [self._apply(self.subtree.take_records()), down]

    @property
    def _must_wait(self) -> bool:
        # who has routed before stores nothing until it is told again by what (R4); nor does one behind
        # the marker of its promotion
        return (self.position.routed >= 0 or self._promoted) and not self._splitting

    def _passes(self, markers: Iterable[Marker]) -> bool:
        return True  # `handing` has judged them

    def _accept(self, unit: Unit) -> list[Effect]:
        if not self._splitting:
            return Portion.feed(self, unit)
        return self._route(unit)

    def _route(self, unit: Unit) -> list[Effect]:
        assert self._router is not None
        effects: list[Effect] = []
        rows, marks = unit.rows, self._ahead.copy()
        parcels: Parcels = ()
        count, left, beyond = 0, None, NO_ROWS
        self._leaving.turn()
        if rows is not None:
            fresh = rows.keep(marks.advance(rows))
            if len(fresh) < len(rows):
                effects.append(Dropped(len(rows) - len(fresh), "mark"))
            if len(fresh):
                child, beyond = self._router.nearest(fresh)
                parcels = self._parcels(unit.last, fresh, child)
                plain = fresh.plain
                count = len(plain)
                steps = self.subtree.fading.of(plain)
                self.subtree.pass_on(plain.vectors, int(np.count_nonzero(beyond)), steps)
                left = self._leave(fresh)[0] if self.stored_rows else None
        dead = undone(unit, self.taken)
        self.taken, self._ahead = unit.last, marks
        routed = Routed(
            unit.last, count, len(dead), self._epoch, beyond, unit.time_ms / 1000.0, marks,
            self.subtree.take_records(), left,
        )  # fmt: skip
        self._pending.add(unit.last, routed)
        if parcels or dead:
            return [*effects, Send(unit.last, parcels, dead)]
        return effects + self.delivered(unit.last)

    def examine(self, rows: Block) -> None:
        """Compute for each row alone what feeding it will; raises where it would."""
        super().examine(rows)
        if self._router is not None:
            self._router.nearest(rows)

    def delivered(self, ticket: int) -> list[Effect]:
        """Everything of this ticket is acked by the broker."""
        return Portion.delivered(self, ticket)

    def _come(self, last: int, entries: Block) -> Came:
        """Entries are stored as they came: what leaves is told to the children in its place."""
        if entries.changes is None:
            return super()._come(last, entries)
        if entries.brought:
            self.subtree.place(entries.plain.vectors, self.subtree.fading.of(entries.plain))
        leaves = np.zeros(len(entries), np.int32)
        self._leaving.came(last, entries, leaves)
        bare = np.flatnonzero(entries.changes.bare)
        left = np.stack([np.full(len(bare), last, np.int64), bare], axis=1)
        if (others := self._leave(entries)[0]) is not None:
            left = np.concatenate([left, others])
        return Came(entries, leaves, left)

    def _finished(self) -> list[Effect]:
        effects: list[Effect] = []
        for item in self._pending.drain():
            effects.append(self._routed(item) if isinstance(item, Routed) else self._applied(item))
        effects += self._grow() + self._begin_routing() + self._purge()
        return effects + (self._dead() if not self._splitting else [])

    def _applied(self, arrived: Arrived) -> Effect:
        rows = arrived.came.rows
        self.stored_rows += 0 if rows is None else rows.brought
        return super()._applied(arrived)

    def _done(self, last: int) -> Position:
        return Position(last, self.position.routed, self._epoch)

    def _routed(self, routed: Routed) -> Effect:
        if routed.marks is not None:
            self.marks = routed.marks
            self.rows += routed.rows
            self.witness = self.witness if routed.epoch == self.position.epoch else Witness()
            self.witness.take(routed.beyond, self.position.routed)
        self.dead_rows += routed.dead
        self._time = max(self._time, routed.time)
        self.position = Position(self.position.stored, routed.last, routed.epoch)
        # what left before the rows stored here were let go of is told below, and counted there
        left = routed.left if self.stored_rows else None
        self.gone += 0 if left is None else len(left)
        return self._apply(routed.nodes, left=left)

    # what `HandsDown` asks

    @property
    def _splitting(self) -> bool:
        return self._routing

    @property
    def _is_sink(self) -> bool:
        return self.mode == life.SINK

    def _handed(self, last: int, rows: int, beyond: Bools) -> Routed:
        self.subtree.counts.uncovered[0] += int(np.count_nonzero(beyond))
        self.subtree.changed.add(0)
        return Routed(last, rows, 0, self._epoch, nodes=self.subtree.take_records())

    def _parcels(self, last: int, rows: Block, child: Int32) -> Parcels:
        assert self._router is not None
        return self._router.parcels(*told_to_all(rows, child, self._router.k))

    def _opened(self) -> list[Effect]:
        self._routing = True
        return [Resume(self.source)]

    def _let_go(self) -> Apply:
        self.bytes = self.gone = 0
        self.subtree.counts.gone[0] = 0
        self._leaving.forget()
        return self._apply((), purge=True)
