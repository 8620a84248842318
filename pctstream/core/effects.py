"""What the core asks to have done. ``agents.perform`` is the one place that does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from pctstream.core.block import Block, Source
from pctstream.core.drawer import Change
from pctstream.core.kernels import Int64
from pctstream.core.names import Path
from pctstream.core.position import Position
from pctstream.core.subtree import NodeRecord
from pctstream.core.unit import DeadLetter, Fence
from pctstream.core.walk import Int32


@dataclass(frozen=True, slots=True)
class Apply:
    """One WriteBatch: the position of the input, the node's state, rows appended or purged.

    Of a portion also: the leaf of each new row, the nodes that changed, and the leaves of stored rows
    that moved, as (offset of the segment, number of each row's leaf).

    ``left``: (segment, row) i64[m, 2] of stored rows that leave; they keep their place (R0). ``expired``:
    how many of them did because of their age, where nothing below counts them again. ``filed``:
    (name of a directory of ids, what changes in it).
    """

    path: Path
    source: Source
    position: Position
    state: dict[str, Any]
    rows: Block | None = None
    purge: bool = False
    leaves: Int32 | None = None
    nodes: tuple[NodeRecord, ...] = ()
    labels: tuple[tuple[int, Int32], ...] = ()
    left: Int64 | None = None
    expired: int = 0
    filed: tuple[tuple[str, tuple[Change, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    """Rows to child pipes and dead letters; answered by ``delivered(ticket)`` once all are acked."""

    ticket: int
    parcels: tuple[tuple[Path, Block], ...]
    dead: tuple[DeadLetter, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteHeld:
    """Read the rows stored at the node behind the segment ``after``, in order, and hand each segment to
    ``reroute``; then ``rerouted``. ``in_pieces``: a turn each, for there may be very many."""

    after: int = -1
    in_pieces: bool = False


@dataclass(frozen=True, slots=True)
class Regrow:
    """Show the portion its stored rows in order: ``begin_pass``, ``revisit`` each, ``end_pass``."""


@dataclass(frozen=True, slots=True)
class Purge:
    """Take the rows that left off the disk, where no scan can follow; answered by ``purged``."""


@dataclass(frozen=True, slots=True)
class Promote:
    """One WriteBatch: the store of a portion becomes that of a trunk node, without the rows that left;
    its node is made anew from that (`promotion`)."""

    path: Path
    source: Source
    position: Position
    state: dict[str, Any]
    root: NodeRecord


@dataclass(frozen=True, slots=True)
class Prove:
    """Say what the store holds of the portion now, for this move, at this place of its pipe."""

    path: Path
    fence: Fence


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
    time_ms: int = 0
    """Of the message; 0: now."""


Effect = (
    Apply
    | Send
    | RouteHeld
    | Regrow
    | Purge
    | Promote
    | Prove
    | Reread
    | Pause
    | Resume
    | Dropped
    | Stop
)
