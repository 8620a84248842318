"""N0 as one shard sees it: rows of one ingest partition, held until there is a cover, then routed.

Until the first epoch every row is *stored* at N0, searchable there. The split begins at the start
of the input (R4): the rows held are routed first, in order, then the live ones. A unit is *routed*
when the broker has acked every parcel made of it; units are acked in any order and count in theirs,
so `routed` is always a prefix (R2). Held rows stay, and are counted here, until the owner of their
portion reports a mark at or past them: a row is visible at every moment, and counted once.

    feed(unit) -----> Apply(stored)                       covering, or a sink
    adopt(cover) ---> RouteHeld -> reroute(segment)* -> rerouted()
    feed(unit) -----> Send(ticket) ... delivered(ticket) -> Apply(routed)
    owner_applied(portion, marks) -> Apply(purge) once every held row has arrived
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pctstream.core import life
from pctstream.core.block import Block, Source
from pctstream.core.cover import Cover
from pctstream.core.drawer import BELOW, HERE, Drawer
from pctstream.core.effects import Apply, Effect, Pause, Purge, Resume, RouteHeld, Send
from pctstream.core.expiry import Expired
from pctstream.core.handing import HandsDown, Parcels
from pctstream.core.ids import Below, Here
from pctstream.core.kernels import Int64
from pctstream.core.known import Done, Known
from pctstream.core.leaving import Kept, to_purge
from pctstream.core.marks import Marks
from pctstream.core.names import ROOT
from pctstream.core.news import News, news
from pctstream.core.pending import Pending
from pctstream.core.position import Position
from pctstream.core.router import Bools
from pctstream.core.taken import NO_ROWS, Taken, Witness
from pctstream.core.unit import Unit
from pctstream.core.walk import Int32


class Root(HandsDown):
    """The pure state machine of N0 on one shard; events in, effects out."""

    def __init__(
        self, source: Source, sink_rows: int, position: Position | None = None,
        saved: Mapping[str, Any] | None = None, drawers: Mapping[str, Drawer] | None = None,
        kept: Kept | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.path = ROOT
        self.source = source
        self.position = position or Position()
        self.mode = life.COVERING
        self.taken = self.position.taken
        self._sink_rows = sink_rows
        counts = saved or {}
        self.stored_rows = int(counts.get("stored_rows", 0))
        self.routed_rows = int(counts.get("routed_rows", 0))
        self.dead_rows = int(counts.get("dead_rows", 0))
        self.uncovered = int(counts.get("uncovered", 0))
        self.marks = Marks.from_json(counts.get("marks", ()))
        """Of bridged rows: what the position says of the others."""
        self._marked = self.marks
        self.gone = int(counts.get("gone", 0))
        """Of the rows stored, those that have left; of these some are purged."""
        self.purged_rows = int(counts.get("purged", 0))
        drawer = drawers or {}
        self._here = Here(drawer.get(HERE), kept)
        self._below = Below(drawer.get(BELOW), (Source(*s) for s in counts.get("sources", ())))
        self._known = Known.from_json(counts.get("known"))
        self.witness = Witness.from_json(counts.get("witness"))
        self.expired = Expired(source, counts.get("expired", ()))
        self._pending = Pending()
        self._epoch = self.position.epoch
        self._adopting = False
        self._coming = 0

    @property
    def rows(self) -> int:
        """Rows that are counted at N0 and not yet in a portion."""
        return self._held.rows if self.mode == life.SPLITTING else self.stored_rows - self.gone

    held_rows = rows  # what it is called of a portion

    @property
    def held(self) -> list[int]:
        """Rows held per child at the split, until all have arrived (R2)."""
        return self._held.counts

    @property
    def counts(self) -> dict[str, int]:
        """Rows by what became of them."""
        return {
            "stored_rows": self.stored_rows, "routed_rows": self.routed_rows,
            "dead_rows": self.dead_rows, "uncovered": self.uncovered, "gone": self.gone,
        }  # fmt: skip

    @property
    def state(self) -> dict[str, Any]:
        """What the store keeps beside the position."""
        return self.counts | {
            "marks": self.marks.to_json(), "sources": [list(s) for s in self._below.sources],
            "known": self._known and self._known.to_json(), "expired": self.expired.to_json(),
            "witness": self.witness.to_json(),
        }  # fmt: skip

    def begin(self, position: Position, marks: Marks) -> None:
        """Without a store: what was routed, of bridged rows up to these marks, and in which epoch (R1)."""
        self.position, self.taken, self._epoch = position, position.taken, position.epoch
        self.marks = self._marked = marks

    def know(self, known: Known) -> None:
        """Without a store, where rows had ids: what was routed is read again, and not sent again."""
        self._known = known

    @property
    def done(self) -> Done | None:
        """What may be committed: below it all is routed, and of bridged rows up to these marks. None
        while it stores rows, whose marks are ahead of what is routed, and while it reads again."""
        at = self.position
        if at.routed < max(at.stored, 0) or (self._known and at.routed < self._known.routed):
            return None
        return Done(at.routed, self.marks, len(self._below) > 0, at.epoch)

    @property
    def _must_wait(self) -> bool:
        # what was on its way when the input paused is read again when it resumes (R12); who has
        # routed before stores nothing until it is told again by what (R4)
        return self._full or (self.mode == life.COVERING and self.position.epoch > 0)

    def _accept(self, unit: Unit) -> list[Effect]:
        fresh = news(unit, self.taken, self._marked)
        if self._known is not None:
            fresh = fresh._replace(dead=self._known.unsaid(self.source, fresh.dead))
        self.expired.take(fresh.rows)
        take = self._route if self.mode == life.SPLITTING else self._store
        effects = take(fresh, unit.last)
        self.taken, self._marked = unit.last, fresh.marks
        return [*fresh.dropped, *effects]

    def _store(self, fresh: News, last: int) -> list[Effect]:
        rows, dead = fresh.rows, fresh.dead
        left = None if rows is None else self._here.left(last, rows, stays=True)
        taken = Taken(last, rows, 0, NO_ROWS, len(dead), fresh.marks, left, self._epoch, True)
        self._pending.add(last, taken)
        self._coming += 0 if rows is None else len(rows)
        if dead:
            return [Send(last, (), dead)]
        return self.delivered(last)

    def _route(self, fresh: News, last: int) -> list[Effect]:
        rows, dead = fresh.rows, fresh.dead
        parcels: Parcels = ()
        beyond, count = NO_ROWS, 0
        left = self._here.left(last, rows, stays=False) if rows and self.stored_rows else None
        if rows is not None and len(rows):
            assert self._router is not None
            child, beyond = self._router.nearest(rows)
            parcels, count = self._parcels(last, rows, child), self._new(rows)
        taken = Taken(last, None, count, beyond, len(dead), fresh.marks, left, self._epoch)
        self._pending.add(last, taken)
        if parcels or dead:
            return [Send(last, parcels, dead)]
        return self.delivered(last)

    def _parcels(self, last: int, rows: Block, child: Int32) -> Parcels:
        assert self._router is not None
        entries, to = self._below.turned(last, rows, child, self._router.k)
        if self._known is not None:
            new = self._known.beyond(self.source, entries)
            entries, to = entries.keep(new), to[new]
        return self._router.parcels(entries, to) if len(entries) else ()

    def _new(self, rows: Block) -> int:
        if self._known is not None:
            rows = rows.keep(self._known.beyond(self.source, rows))
        return rows.brought

    def examine(self, rows: Block) -> None:
        """Compute for each row alone what routing will; raises where it would."""
        if self._router is not None:
            self._router.nearest(rows)

    def delivered(self, ticket: int) -> list[Effect]:
        """Everything of this ticket is acked by the broker."""
        self._pending.finish(ticket)
        effects: list[Effect] = []
        routed, epoch = self.position.routed, self.position.epoch
        gone: list[Int64] = []
        for taken in self._pending.drain():
            self.dead_rows += taken.dead
            self.marks = taken.marks or self.marks
            if taken.stored:
                effects.append(self._stored(taken))
            else:
                self.witness = self.witness if taken.epoch == epoch else Witness()
                self.uncovered += self.witness.take(taken.beyond, routed)
                self.routed_rows += taken.new
                routed, epoch = taken.last, taken.epoch
                gone += [] if taken.left is None or not self.stored_rows else [taken.left]
        if routed != self.position.routed:
            self.position = Position(self.position.stored, routed, epoch)
            if self._known is not None and routed >= self._known.routed:
                self._known = None
            effects.append(self._apply(left=np.concatenate(gone) if gone else None))
        if self._adopting and not self._pending:
            self._adopting = False
            effects.append(RouteHeld())
        elif self._full:
            effects.append(Pause(self.source))
        return effects + self._purge() + self._dead()

    def _dead(self) -> list[Effect]:
        """At a sink no scan can follow, so rows that left are purged."""
        sink = self.mode == life.SINK and not self._pending
        due = sink and to_purge(self.stored_rows, self.gone, self.purged_rows)
        return [Purge()] if due else []

    def purged(self) -> None:
        """All rows that left are off the disk."""
        self.purged_rows = self.gone
        self._here.purged()

    @property
    def _full(self) -> bool:
        """A covering N0 takes no further unit once it stores Y rows, until it is decided."""
        taken = self.stored_rows + self._coming
        return self.mode == life.COVERING and taken >= self._sink_rows

    def _stored(self, taken: Taken) -> Apply:
        rows, left = taken.rows, taken.left
        self.position = Position(taken.last, self.position.routed, taken.epoch)
        if rows is None or not len(rows):
            return self._apply()
        self._coming -= len(rows)
        came = rows.brought
        self.stored_rows += came
        self.gone += 0 if left is None else len(left) - (len(rows) - came)
        return self._apply(rows, left=left)

    def _apply(
        self, rows: Block | None = None, purge: bool = False, left: Int64 | None = None
    ) -> Apply:
        at = self.position
        expired = self._here.expired if self.mode == life.SINK else 0
        self._here.expired = 0
        filed = ((HERE, self._here.done(at.taken)), (BELOW, self._below.done(at.routed)))
        return Apply(
            ROOT, self.source, at, self.state, rows, purge, left=left, expired=expired,
            filed=tuple((name, changes) for name, changes in filed if changes),
        )  # fmt: skip

    def adopt_sink(self, epoch: int) -> list[Effect]:
        """N0 ended as a sink: it keeps storing."""
        if self.mode != life.COVERING:
            return []
        self.mode = life.step(self.mode, life.TOO_LARGE)
        self._epoch = epoch
        return [Resume(self.source)]

    def adopt(self, epoch: int, cover: Cover) -> list[Effect]:
        """The cover recorded in this epoch is in force from the input's start on."""
        if self._router is not None or not self._route_by(epoch, cover):
            return []
        if self._pending:
            self._adopting = True
            return []
        return [RouteHeld()]

    # what `HandsDown` asks

    @property
    def _splitting(self) -> bool:
        return self.mode == life.SPLITTING

    @property
    def _is_sink(self) -> bool:
        return self.mode == life.SINK

    def _handed(self, last: int, rows: int, beyond: Bools) -> Taken:
        return Taken(last, None, rows, beyond, 0, None, None, self._epoch)

    def _opened(self) -> list[Effect]:
        self.mode = life.step(life.step(life.COVERING, life.COVER_FOUND), life.LEVEL_OPENED)
        return [Resume(self.source)]

    def _let_go(self) -> Apply:
        self.gone = 0
        self._here = Here()
        return self._apply(purge=True)
