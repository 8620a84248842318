"""From the messages of a log to a unit of validated rows (CONTRACT: Rows on the ingest topic).

A refused row becomes a dead letter, its good neighbours go on. What lies in a pipe was validated
when it was written: there a message is a block of ours, or it is a dead letter as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from pctstream.core import batches, expiry, fields, formats, kernels, objects, streams
from pctstream.core.batches import Refusal
from pctstream.core.between import FENCE, MARKER, fence, marker
from pctstream.core.block import Block, Origin, Source, concat
from pctstream.core.block import decode as decode_block
from pctstream.core.bridge import runs
from pctstream.core.formats import FLOAT32
from pctstream.core.unit import DeadLetter, Fence, Marker, Message, Unit, joined
from pctstream.errors import RowRefused

ROW_BYTES = 900_000
LARGEST = float(np.finfo(np.float32).max)


def decode(
    source: Source,
    messages: Sequence[Message],
    prev: int,
    last: int,
    dimension: int,
    metric: str,
    assumed: str = "auto",
    row_bytes: int = ROW_BYTES,
) -> Unit:
    """One unit from consecutive messages of the ingest partition ``source``.

    ``dimension`` is what the tree has, ``metric`` "euclidean" or "cosine" (rows are normalised),
    ``assumed`` the format where a message does not say, ``row_bytes`` the content bytes that a row
    may have and still fit into a message of its child's pipe.
    """
    unit = _unit(source, messages, prev, last, dimension, metric, assumed, row_bytes)
    if not unit.markers:
        return unit
    # a marker is seldom: what was decoded in one go is decoded again up to it and from it on
    parts = []
    for to in [*(m.offset - 1 for m in unit.markers), last]:
        some = [m for m in messages if prev < m.offset <= to]
        parts.append(_unit(source, some, prev, to, dimension, metric, assumed, row_bytes))
        prev = to
    return joined(parts)


def _unit(
    source: Source, messages: Sequence[Message], prev: int, last: int, dimension: int, metric: str,
    assumed: str, row_bytes: int,
) -> Unit:  # fmt: skip
    """One unit; a marker in it is behind no row."""
    good: list[Block] = []
    dead: list[DeadLetter] = []
    markers: list[Marker] = []
    for home, some in runs(source, messages):
        if home != source:  # what another topic has is rows, whatever its header says
            some = [m for m in some if m.pct_type is None]
        found, refused, between = _decoded(home, some, dimension, metric, assumed, row_bytes)
        dead, markers = dead + refused, markers + between
        good += [found] if found else []
    time_ms = messages[-1].time_ms if messages else 0
    rows = concat(good) if good else None
    return Unit(source, prev, last, rows, tuple(dead), time_ms, markers=tuple(markers))


def _decoded(
    source: Source, messages: Sequence[Message], dimension: int, metric: str, assumed: str,
    row_bytes: int,
) -> tuple[Block | None, list[DeadLetter], list[Marker]]:  # fmt: skip
    """The rows of messages that come from one partition, their dead letters, the markers between."""
    found = _Found(source, dimension)
    plain = _plain(messages, 4 * dimension)
    if plain:
        found.floats = [(m, None) for m in messages]
    for message in () if plain else messages:
        if message.pct_type is not None:
            found.ours(message)
            continue
        found.tried(message, lambda m: found.take(m, assumed))
    found.flush()
    dead, rows = found.dead, None
    if found.blocks:
        block = concat(found.blocks)
        rows, refusals = validate(block, metric, row_bytes)
        by_offset = {m.offset: m for m in messages} if refusals else {}
        for place, code, why in refusals:
            row = int(block.index[place])
            message = by_offset[int(block.offset[place])]
            original = found.originals.get(message.offset)
            value = original(row) if original else message.value
            # one too large for a pipe may be too large for a dead letter: its origin finds it
            value = None if code == "too-large" else value
            dead.append(_letter(source, message, Refusal(row, code, why), value))
    return rows, dead, found.markers


def _plain(messages: Sequence[Message], size: int) -> bool:
    """All are what comes most often: one float32 row each, said to be one, without an id."""
    for _, key, value, said, kind, _, _, origin in messages:
        if said != FLOAT32 or key or kind is not None or origin is not None:
            return False
        if value is None or len(value) != size:
            return False
    return bool(messages)


Original = Callable[[int], bytes | None]


class _Found:
    """The blocks of a unit in the order of its messages; those of one row each, in runs of a format."""

    def __init__(self, source: Source, dimension: int) -> None:
        self.blocks: list[Block] = []
        self.originals: dict[int, Original] = {}
        self.dead: list[DeadLetter] = []
        self.markers: list[Marker] = []
        self._source, self._dimension, self._size = source, dimension, 4 * dimension
        self.floats: list[tuple[Message, str | None]] = []
        self._objects: list[tuple[Message, objects.ObjectRow]] = []
        self._streams: list[Message] = []

    def tried(self, message: Message, take: Callable[[Message], None]) -> None:
        """Its rows, or a dead letter."""
        try:
            take(message)
        except RowRefused as refused:
            self.dead.append(_whole(self._source, message, refused.code, str(refused)))
        except MemoryError:
            raise
        except Exception as error:
            # the core alone decides here: the same bytes fail again, at whoever reads them (R6)
            why = f"the message cannot be read: {error!r}"
            self.dead.append(_whole(self._source, message, "decode", why))

    def take(self, message: Message, assumed: str) -> None:
        """The rows of one message; RowRefused leaves everything as it was."""
        if message.origin is not None:
            raise RowRefused("schema", f"{message.origin!r} is no place in another topic")
        if message.value is None:
            self._one(message, objects.delete(message.name, message, self._dimension))
            return
        if message.content_type == FLOAT32:  # the shortest way for what comes most often
            kind, said = formats.SAID_FLOAT32
        else:
            kind, said = formats.recognise(message, self._dimension, assumed)
        if kind == FLOAT32:
            if len(message.value) != self._size:
                raise formats.wrong_length(message, self._dimension)
            named = (message, message.name)
            if self._objects or self._streams:
                self.flush()
            self.floats.append(named)
        elif said is not None:
            self._one(message, objects.read(said, message, self._dimension))
        else:
            if self.floats or self._objects:
                self.flush()
            self._streams.append(message)

    def ours(self, message: Message) -> None:
        """A message of our own between the rows: an expiry is entries in its place."""
        if message.pct_type == MARKER:
            self.markers += marker(message)
        if message.pct_type == expiry.EXPIRE:
            self.flush()
            self.blocks += expiry.entries(self._source, message, self._dimension)

    def _one(self, message: Message, row: objects.ObjectRow) -> None:
        if self.floats or self._streams:
            self.flush()
        self._objects.append((message, row))

    def _many(self, message: Message) -> None:
        source = self._source
        found = batches.read(source, message, self._dimension)
        self.dead += [_letter(source, message, r, found.original(r.row)) for r in found.refused]
        self.blocks += found.blocks
        self.originals[message.offset] = found.original

    def _all(self, messages: list[Message]) -> None:
        """Blocks of several rows each, together where that can be."""
        source, dimension = self._source, self._dimension
        rows = streams.block(source, messages, dimension) if len(messages) > 1 else None
        self.blocks += [] if rows is None else [rows]
        for m in messages:
            if rows is None:
                self.tried(m, self._many)
            else:
                self.originals[m.offset] = partial(streams.original, source, m, dimension)

    def flush(self) -> None:
        """End the run: its rows as one block."""
        if self.floats:
            rows = formats.float32_rows(self._source, self.floats, self._dimension)
            self.blocks.append(rows)
            self.floats = []
        if self._objects:
            self.blocks.append(objects.block(self._source, self._objects))
            self._objects = []
        if self._streams:
            self._all(self._streams)
            self._streams = []


def validate(block: Block, metric: str, row_bytes: int = ROW_BYTES) -> tuple[Block, list[Refusal]]:
    """The rows that may enter the tree (normalised under cosine), and the others, each with the
    first reason against it; a Refusal counts the rows of ``block``."""
    checks: list[tuple[str, str, Any]] = [
        ("too-large", f"the row has more than {row_bytes} bytes (blocks.row_bytes)",
         block.row_sizes() > row_bytes),
        ("id", f"the id is empty or longer than {fields.ID_BYTES} bytes", fields.bad_ids(block)),
    ]  # fmt: skip
    cosine, norms = metric == "cosine", np.zeros(0)
    # one number tells of nearly all blocks that neither of these checks can refuse a row
    if cosine or not block.dimension * kernels.magnitude(block.vectors) ** 2 < LARGEST / 2:
        norms = kernels.norms(block.vectors)
        finite = kernels.finite(block.vectors)
        fits = np.where(finite, norms, 0.0) ** 2 < LARGEST
        checks += [
            ("not-finite", "the vector has a NaN or an infinity", ~finite),
            ("norm", "the squared norm overflows float32: scale the vectors down", ~fits),
        ]
    if cosine:
        none = norms == 0.0 if block.changes is None else (norms == 0.0) & block.changes.brings
        checks.append(("zero-vector", "a zero vector has no direction", none))
    bad = np.zeros(len(block), np.bool_)
    refused: list[Refusal] = []
    for code, why, mask in checks:
        refused += [Refusal(int(row), code, why) for row in np.flatnonzero(mask & ~bad)]
        bad |= mask
    good = block.keep(~bad)
    if cosine and len(good):
        unit = kernels.normalise(good.vectors)
        unit[norms[~bad] == 0.0] = 0.0  # deletes
        good = replace(good, vectors=unit)
    return good, refused


def _letter(source: Source, message: Message, refusal: Refusal, value: bytes | None) -> DeadLetter:
    origin = Origin(source.topic, source.partition, message.offset, refusal.row)
    return DeadLetter(
        origin, refusal.code, refusal.why, message.key, value, time_ms=message.time_ms
    )


def _whole(source: Source, message: Message, code: str, why: str) -> DeadLetter:
    return _letter(source, message, Refusal(0, code, why), message.value)


def decode_pipe(
    source: Source, messages: Sequence[Message], prev: int, last: int, dimension: int = 0
) -> Unit:
    """One unit from consecutive messages of the pipe ``source``, blocks that a shard wrote.

    A message that is no block (of ``dimension``; 0: that of the first) is a dead letter of stage
    "pipe" under its place in the pipe.
    """
    blocks: list[Block] = []
    dead: list[DeadLetter] = []
    fences: list[Fence] = []
    markers: list[Marker] = []
    for message in messages:
        if message.pct_type is not None:
            if message.pct_type == FENCE:
                fences += fence(message, sum(map(len, blocks)))
            elif message.pct_type == MARKER:
                markers += marker(message, sum(map(len, blocks)))
            continue
        try:
            block = decode_block(message.value or b"")
            dimension = dimension or block.dimension
            if block.dimension != dimension:
                raise RowRefused("decode", f"a block of {block.dimension} instead of {dimension}")
        except RowRefused as refused:
            dead.append(_unreadable(source, message, refused))
            continue
        if len(block):
            blocks.append(block)
    time_ms = messages[-1].time_ms if messages else 0
    rows = concat(blocks) if blocks else None
    return Unit(source, prev, last, rows, tuple(dead), time_ms, tuple(fences), tuple(markers))


def _unreadable(source: Source, message: Message, refused: RowRefused) -> DeadLetter:
    origin = Origin(source.topic, source.partition, message.offset, 0)
    return DeadLetter(
        origin, "decode", str(refused), message.key, message.value, "pipe", message.time_ms
    )
