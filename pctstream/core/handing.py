"""Handing down: what N0 and the trunk nodes below it do with the rows they stored before they split.

The split begins at the first row (R4). The rows stored are routed first, in order, segment by segment;
those routed before a crash only take their place among the held. They stay in the store, and are
counted here, until the owner of their child has told a mark at or past each (R2, `held`): then the
store lets go of all of them at once.

    RouteHeld -> reroute(segment)* -> rerouted()
    owner_applied(child, marks) -> Apply(purge) once every held row has arrived
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pctstream.core.block import Block, Source
from pctstream.core.cover import Cover
from pctstream.core.effects import Apply, Effect, Send, Stop
from pctstream.core.held import Held
from pctstream.core.marks import Marks
from pctstream.core.names import Path
from pctstream.core.pending import Pending
from pctstream.core.position import Position
from pctstream.core.router import Router
from pctstream.core.walk import Int32

Parcels = tuple[tuple[Path, Block], ...]


class HandsDown(ABC):
    """The part that `Root` and `Trunk` share; both are nodes above the cut."""

    path: Path
    source: Source
    position: Position
    stored_rows: int
    _pending: Pending
    _epoch: int

    def __init__(self) -> None:
        self._router: Router | None = None
        self._held = Held()
        self._through = -1

    def _route_by(self, epoch: int, cover: Cover) -> None:
        """This cover is in force, once the rows stored are on their way."""
        self._router = Router(self.path, cover)
        self._held.children(cover.k)
        self._epoch = epoch

    @property
    @abstractmethod
    def _splitting(self) -> bool:
        """Whether rows are routed as they come."""

    @property
    def emptied(self) -> bool:
        """Whether it has let go of all that it stored, and stores no more."""
        return self._splitting and not self.stored_rows

    @abstractmethod
    def _handed(self, last: int, rows: int, uncovered: int) -> Any:
        """What waits for the acks of a segment: it ends at this offset and has so many rows."""

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
        assert self._router is not None
        child, uncovered = self._router.nearest(rows)
        self._through = last
        self._held.add(rows, child)
        if last <= self.position.routed:
            return []
        parcels = self._parcels(last, rows, child)
        self._pending.add(last, self._handed(last, self._new(rows), uncovered))
        return [Send(last, parcels)] if parcels else self.delivered(last)

    def rerouted(self) -> list[Effect]:
        """All stored segments are on their way; from here on rows are routed as they come."""
        effects = self._opened()
        self._held.seen()
        self.stored_rows = self._held.rows
        stored = self.position.stored
        if stored > max(self._through, self.position.routed):
            # the last units stored held no rows: they are done with those before them
            self._pending.add(stored, self._handed(stored, 0, 0))
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
