"""Handing down: what N0 and the trunk nodes below it do with the rows they stored before they split.

The split begins at the first row (R4). The rows stored are routed first, in order, segment by segment;
those routed before a crash only take their place among the held. They stay in the store, and are
counted here, until the owner of their child has told a mark at or past each (R2, `held`): then the
store lets go of all of them at once.

    RouteHeld -> reroute(segment)* -> rerouted()
    owner_applied(child, marks) -> Apply(purge) once every held row has arrived

When its cover is re-opened, or children of it are folded, the rows behind the marker in its input are
routed by the new epoch (R4); the rows stored lie before every marker. The epoch in force is written with
the position. What it is, `.routing` says: an input whose marker names a record that was not read here yet
waits for it, alone.

    feed(marker) -> Pause, Reread ... learn(epochs) -> Resume
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from pctstream.core.block import Block, Source
from pctstream.core.cover import Cover
from pctstream.core.effects import Apply, Dropped, Effect, Pause, Reread, Resume, Send, Stop
from pctstream.core.held import Held
from pctstream.core.marks import Marks
from pctstream.core.names import Path
from pctstream.core.pending import Pending
from pctstream.core.position import Position
from pctstream.core.router import Bools, Epochs, Router
from pctstream.core.unit import Marker, Unit
from pctstream.core.walk import Int32

Parcels = tuple[tuple[Path, Block], ...]


class HandsDown(ABC):
    """The part that `Root` and `Trunk` share; both are nodes above the cut."""

    path: Path
    source: Source
    position: Position
    stored_rows: int
    taken: int
    _pending: Pending
    _epoch: int

    def __init__(self) -> None:
        self._router: Router | None = None
        self._first: Router | None = None
        """By which the rows stored are routed: no marker lies among them."""
        self._epochs: Epochs | None = None
        self._waits = False
        self._held = Held()
        self._through = -1

    def _route_by(self, epoch: int, cover: Cover) -> bool:
        """The cover of this epoch, its first, is in force once the rows stored are on their way; False
        where it has come to another epoch already, of which nothing was read yet."""
        later = self._epoch > epoch
        if later and not (self._epochs and self._epoch in self._epochs.children):
            return False
        self._first = self._router = Router(self.path, cover)
        self._held.children(cover.k)
        self._turn(self._epoch if later else epoch)
        return True

    def _turn(self, epoch: int) -> None:
        self._epoch = epoch
        if self._epochs and epoch in self._epochs.children:
            said = self._epochs
            self._router = Router(self.path, said.cover, said.children[epoch], said.gone(epoch))

    def folds(self, epoch: int) -> bool:
        """Whether in an epoch some of its children get no rows."""
        return self._epochs is not None and bool(self._epochs.gone(epoch))

    def learn(self, epochs: Epochs) -> list[Effect]:
        """What `.routing` says of this node's epochs by now; the input goes on that waits for it."""
        self._epochs = epochs
        waited, self._waits = self._waits, False
        return [Resume(self.source)] if waited else []

    def feed(self, unit: Unit) -> list[Effect]:
        """What comes next through the input."""
        if unit.prev > self.taken:
            return [Reread(self.source, self.taken + 1)]
        effects: list[Effect] = []
        for part in unit.parts():
            if part.last <= self.taken:
                effects += [Dropped(len(part), "watermark")] if len(part) else []
                continue
            if self._must_wait or not self._goes_on(part.markers):
                return effects + self._wait()
            effects += self._accept(part)
        return effects

    @property
    @abstractmethod
    def _must_wait(self) -> bool:
        """Whether nothing may be taken at the moment, whatever it is."""

    @abstractmethod
    def _accept(self, unit: Unit) -> list[Effect]:
        """What lies between two markers."""

    def _goes_on(self, markers: tuple[Marker, ...]) -> bool:
        """Whether what lies behind a marker can be routed; its epoch is in force then, if it counts.

        It counts iff `.routing` has its epoch for this node and the one in force is lower."""
        for marker in markers:
            said = self._epochs
            if marker.node != self.path or marker.epoch <= self._epoch or self._is_sink:
                continue
            if said is None or (
                marker.history == said.history and self._cannot_judge(said, marker)
            ):
                return False
            if marker.history == said.history and marker.epoch in said.children:
                self._turn(marker.epoch)
        return True

    def _cannot_judge(self, said: Epochs, marker: Marker) -> bool:
        return not self._splitting or marker.epoch > said.seq

    def _wait(self) -> list[Effect]:
        """Nothing more is taken until `learn`, or until the rows stored are on their way."""
        self._waits = True
        return [Pause(self.source), Reread(self.source, self.taken + 1)]

    @property
    @abstractmethod
    def _splitting(self) -> bool:
        """Whether rows are routed as they come."""

    @property
    @abstractmethod
    def _is_sink(self) -> bool:
        """Whether it will never split."""

    @property
    def emptied(self) -> bool:
        """Whether it has let go of all that it stored, and stores no more."""
        return self._splitting and not self.stored_rows

    @abstractmethod
    def _handed(self, last: int, rows: int, beyond: Bools) -> Any:
        """What waits for the acks of a segment: it ends at this offset and has so many new rows;
        which rows lie ``beyond`` epsilon."""

    @abstractmethod
    def _parcels(self, last: int, rows: Block, child: Int32) -> Parcels:
        """What goes to the children for these entries of the unit that ends at ``last``."""

    def _new(self, rows: Block) -> int:
        """How many rows these entries bring, to be counted as routed."""
        return rows.brought

    @abstractmethod
    def _opened(self) -> list[Effect]:
        """From here on rows are routed as they come."""

    @abstractmethod
    def _let_go(self) -> Apply:
        """The held rows are gone from here."""

    @abstractmethod
    def delivered(self, ticket: int) -> list[Effect]:
        """Everything of this ticket is acked by the broker."""

    def failed(self, reason: str) -> list[Effect]:
        """The broker refused a message: nothing after it may count as done (R2)."""
        return [Stop(reason)]

    def reroute(self, last: int, rows: Block) -> list[Effect]:
        """One stored segment, in order: routed unless it was before the crash."""
        assert self._first is not None
        child, beyond = self._first.nearest(rows)
        self._through = last
        self._held.add(rows, child)
        if last <= self.position.routed:
            return []
        parcels = self._parcels(last, rows, child)
        self._pending.add(last, self._handed(last, self._new(rows), beyond))
        return [Send(last, parcels)] if parcels else self.delivered(last)

    def rerouted(self) -> list[Effect]:
        """All stored segments are on their way; from here on rows are routed as they come."""
        effects = self._opened()
        self._held.seen()
        self.stored_rows = self._held.rows
        stored = self.position.stored
        if stored > max(self._through, self.position.routed):
            # the last units stored held no rows: they are done with those before them
            self._pending.add(stored, self._handed(stored, 0, np.zeros(0, np.bool_)))
            effects += self.delivered(stored)
        return effects + self._settle()

    def owner_applied(self, child: Path, marks: Marks) -> list[Effect]:
        """The owner of a child has applied rows up to these marks."""
        self._held.reported(child[-1], marks)
        return self._settle()

    def _settle(self) -> list[Effect]:
        if not self._splitting:
            return []
        self._held.settle()
        return self._purge()

    def _purge(self) -> list[Effect]:
        """Once every held row is routed and has arrived, the store lets go of them."""
        if not self._splitting or not self.stored_rows or self._held.rows:
            return []
        if self.position.routed < self.position.stored:
            return []
        self._held.counts = []
        self.stored_rows = 0
        return [self._let_go()]
