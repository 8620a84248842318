"""Units: what one input delivers in one go, decoded.

A reader collects the consecutive messages of one topic partition until they are many bytes or the
first has waited for the linger; together they are one unit: decoded at once, routed or applied at
once, counted as done at once. A unit covers the offsets ``(prev, last]`` of its input: a store
applies it only if its own watermark reaches ``prev`` (R6), so nothing can be lost between units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pctstream.core.block import Block, Origin, Source, concat
from pctstream.core.names import Path
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


class Marker(NamedTuple):
    """A place in the input of a node above the cut from which on its rows are routed by another epoch
    (R4): behind so many ``rows`` and ``dead`` letters of the unit. ``history``: of which `.routing`."""

    offset: int
    rows: int
    dead: int
    history: str
    node: Path
    epoch: int


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
    markers: tuple[Marker, ...] = ()

    def __len__(self) -> int:
        return 0 if self.rows is None else len(self.rows)

    def parts(self) -> Iterator[Unit]:
        """The unit cut behind each of its fences, which is the last thing in its part, and before each
        of its markers, which is the first."""
        if not (self.fences or self.markers):
            yield self
            return
        cuts = [_Cut(f.offset, f.rows, 0, (f,), ()) for f in self.fences]
        cuts += [_Cut(m.offset - 1, m.rows, m.dead, (), (m,)) for m in self.markers]
        end = _Cut(self.last, len(self), len(self.dead), (), ())
        before, ahead = _Cut(self.prev, 0, 0, (), ()), self.markers[:0]
        for cut in [*sorted(cuts), end]:
            cut = cut._replace(dead=before.dead) if cut.fences else cut
            if cut.last > before.last:
                yield self._part(before, cut, ahead)
                before, ahead = cut, ()
            ahead += cut.ahead

    def _part(self, before: _Cut, cut: _Cut, ahead: tuple[Marker, ...]) -> Unit:
        nothing = self.rows is None or cut.rows == before.rows
        some = None if nothing else self.rows.slice(before.rows, cut.rows)  # type: ignore[union-attr]
        dead = tuple(
            letter for at, letter in enumerate(self.dead)
            # one that is named by its place elsewhere is where it was put
            if (before.last < letter.origin.offset <= cut.last if self._own(letter.origin)
                else before.dead <= at < cut.dead)
        )  # fmt: skip
        return replace(
            self, prev=before.last, last=cut.last, rows=some, dead=dead,
            fences=tuple(f._replace(rows=f.rows - before.rows) for f in cut.fences),
            markers=tuple(m._replace(rows=0, dead=0) for m in ahead),
        )  # fmt: skip

    def _own(self, origin: Origin) -> bool:
        return (origin.topic, origin.partition) == self.source


class _Cut(NamedTuple):
    """Where a part of a unit ends: its last offset, the rows and dead letters up to there, the fences
    that end it, the markers that begin the next one."""

    last: int
    rows: int
    dead: int
    fences: tuple[Fence, ...]
    ahead: tuple[Marker, ...]


def joined(parts: Sequence[Unit]) -> Unit:
    """The unit that has these parts."""
    fences: list[Fence] = []
    markers: list[Marker] = []
    rows = dead = 0
    for part in parts:
        fences += [f._replace(rows=f.rows + rows) for f in part.fences]
        markers += [m._replace(rows=m.rows + rows, dead=m.dead + dead) for m in part.markers]
        rows, dead = rows + len(part), dead + len(part.dead)
    blocks = [part.rows for part in parts if part.rows is not None]
    return Unit(
        parts[0].source, parts[0].prev, parts[-1].last, concat(blocks) if blocks else None,
        tuple(d for part in parts for d in part.dead), parts[-1].time_ms, tuple(fences),
        tuple(markers),
    )  # fmt: skip


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
