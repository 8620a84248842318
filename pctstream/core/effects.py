"""What the core asks to have done. ``agents.perform`` is the one place that does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pctstream.core.block import Block, Source
from pctstream.core.names import Path
from pctstream.core.unit import DeadLetter


@dataclass(frozen=True, slots=True)
class Position:
    """How far one input is done (R2).

    Below ``stored`` every row lies in the node's store; below ``routed`` every row is acked by the
    broker on its way down, or dead-lettered. ``epoch`` is the routing in force there (R4).
    """

    stored: int = -1
    routed: int = -1
    epoch: int = 0

    @property
    def taken(self) -> int:
        """The offset that reading goes on behind (R1)."""
        return max(self.stored, self.routed)


@dataclass(frozen=True, slots=True)
class Apply:
    """One WriteBatch: the position of the input, the node's state, rows appended or purged."""

    path: Path
    source: Source
    position: Position
    state: dict[str, Any]
    rows: Block | None = None
    purge: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """Rows to child pipes and dead letters; answered by ``delivered(ticket)`` once all are acked."""

    ticket: int
    parcels: tuple[tuple[Path, Block], ...]
    dead: tuple[DeadLetter, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteHeld:
    """Read the rows stored at the node in order and hand each segment to ``reroute``."""


@dataclass(frozen=True, slots=True)
class Reread:
    """Deliver the input again from this offset: a unit was lost in the process (R6)."""

    source: Source
    offset: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Deliver nothing more of this input until ``Resume``."""

    source: Source


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on delivering this input."""

    source: Source


@dataclass(frozen=True, slots=True)
class Dropped:
    """Rows that were applied before; ``reason`` is "watermark" or "mark"."""

    rows: int
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """End the worker: it starts again from its watermarks."""

    reason: str


class Parcel(NamedTuple):
    """One message to produce."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


Effect = Apply | Send | RouteHeld | Reread | Pause | Resume | Dropped | Stop


@dataclass(slots=True)
class Pending:
    """Things that finish in any order and count in theirs.

    >>> pending = Pending()
    >>> pending.add(7, "first"); pending.add(9, "second"); pending.finish(9); pending.drain()
    []
    >>> pending.finish(7); pending.drain()
    ['first', 'second']
    """

    _items: dict[int, Any] = field(default_factory=dict)
    _done: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, ticket: int, item: Any) -> None:
        self._items[ticket] = item

    def finish(self, ticket: int) -> None:
        self._done.add(ticket)

    def drain(self) -> list[Any]:
        """The finished items from the front on."""
        out = []
        while self._items and (head := next(iter(self._items))) in self._done:
            out.append(self._items.pop(head))
            self._done.discard(head)
        return out
