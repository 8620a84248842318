"""Units: what one input delivers in one go, decoded.

A reader collects the consecutive messages of one topic partition until they are many bytes or the
first has waited for the linger; together they are one unit: decoded at once, routed or applied at
once, counted as done at once. A unit covers the offsets ``(prev, last]`` of its input: a store
applies it only if its own watermark reaches ``prev`` (R6), so nothing can be lost between units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pctstream.core.block import Block, Origin, Source
from pctstream.errors import RowRefused


class Message(NamedTuple):
    """One message of a topic partition, as a pure value."""

    offset: int
    key: bytes | None
    value: bytes | None
    content_type: str | None = None
    pct_type: str | None = None
    time_ms: int = 0
    leader_epoch: int = -1

    @property
    def name(self) -> str | None:
        """The key as an id, None without one; RowRefused("id") where it cannot be one."""
        if not self.key:
            return None
        try:
            return self.key.decode()
        except UnicodeDecodeError:
            raise RowRefused("id", "the key is not UTF-8: it cannot be an id") from None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A row (or a whole undecodable message) that was refused, and why."""

    origin: Origin
    code: str
    message: str
    key: bytes | None
    value: bytes | None
    stage: str = "ingest"
    time_ms: int = 0


@dataclass(frozen=True, slots=True)
class Unit:
    """Decoded rows of one input.

    ``source`` is the topic partition it was read from; ``prev`` the offset delivered before it,
    ``last`` the last offset it covers (markers and transaction records included). ``rows`` is None
    where the unit only moves the position.
    """

    source: Source
    prev: int
    last: int
    rows: Block | None = None
    dead: tuple[DeadLetter, ...] = ()
    time_ms: int = 0

    def __len__(self) -> int:
        return 0 if self.rows is None else len(self.rows)


def undone(unit: Unit, taken: int) -> tuple[DeadLetter, ...]:
    """The dead letters of a unit whose input is done up to ``taken``.

    Only those named by their place in this input can be told to be done; a row refused elsewhere
    keeps the name it came with, and twice is better than never.
    """
    return tuple(
        d
        for d in unit.dead
        if (d.origin.topic, d.origin.partition) != unit.source or d.origin.offset > taken
    )
