"""Units: what one input delivers in one go, decoded.

A reader collects the consecutive messages of one topic partition until they are many bytes or the
first has waited for the linger; together they are one unit: decoded at once, routed or applied at
once, counted as done at once. A unit covers the offsets ``(prev, last]`` of its input: a store
applies it only if its own watermark reaches ``prev`` (R6), so nothing can be lost between units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
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
    origin: str | None = None
    """Topic, partition and offset in another topic that this is a copy from (`core.bridge`)."""

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


class Fence(NamedTuple):
    """A place in a pipe where two shards say what they hold (DESIGN 7): behind ``rows`` of the unit.

    ``position``: the place in `<tree>.routing` up to which a reader must have read to know the move.
    """

    offset: int
    rows: int
    move: str
    position: int


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
    fences: tuple[Fence, ...] = ()

    def __len__(self) -> int:
        return 0 if self.rows is None else len(self.rows)

    def parts(self) -> Iterator[Unit]:
        """The unit cut behind each of its fences, which is the last thing in its part."""
        prev, done = self.prev, 0
        ends: list[tuple[int, int, tuple[Fence, ...]]]
        ends = [(f.offset, f.rows, (f,)) for f in self.fences]
        if not ends or ends[-1][0] < self.last:
            ends.append((self.last, len(self), ()))
        for last, rows, fence in ends:
            some = None if self.rows is None or rows == done else self.rows.slice(done, rows)
            dead = tuple(d for d in self.dead if self._within(d.origin, prev, last))
            yield replace(self, prev=prev, last=last, rows=some, dead=dead, fences=fence)
            prev, done = last, rows

    def _within(self, origin: Origin, prev: int, last: int) -> bool:
        """Whether a dead letter is of this part; one that is named elsewhere goes with the last."""
        if (origin.topic, origin.partition) != self.source:
            return last == self.last
        return prev < origin.offset <= last


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
