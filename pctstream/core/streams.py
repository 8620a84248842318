"""Many small Arrow streams, read as one.

To open a stream, to check it and to make arrays of it costs fifty times what its row costs, and in a
busy process more: each of these calls lets another thread go first. Producers that send a few rows at a
time send the same schema each time. So messages in a row that are one schema, byte for byte, and one
plain batch each become one stream (an encapsulated message says nothing of the stream it lies in), which
is checked and read in one go. Only where all is well: of what is not, each is read alone (`batches`), so
that it is the same rows that are refused, for the same reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from pctstream.core.batches import Places, block_of, read
from pctstream.core.block import Block, Source
from pctstream.core.fields import Bad
from pctstream.core.frames import BATCH, SCHEMA, size_at, walk
from pctstream.core.unit import Message
from pctstream.errors import RowRefused

SMALL_BYTES = 131_072
"""Of a message, up to which reading together pays: half the time at 64 KiB, nothing won at half a MiB."""
ALIGNED = 8
"""Bytes; an array that does not begin at a multiple is copied, or refused."""


def block(source: Source, messages: Sequence[Message], dimension: int) -> Block | None:
    """All rows of these messages; None where not every one of them can be had like this."""
    try:
        stream = _joined(messages)
        if stream is None:
            return None
        with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
            table = reader.read_all()
        table.validate(full=True)
        counts = [len(chunk) for chunk in table.column(0).chunks] if table.num_columns else []
        if len(counts) != len(messages) or not table.num_rows:
            return None
        batch = table.combine_chunks().to_batches()[0]
        bad: Bad = {}
        rows = block_of(source, Places.of(messages, counts), batch, dimension, bad)
    except (pa.ArrowException, OSError, ValueError, RowRefused):
        return None
    return None if bad else rows


def original(source: Source, message: Message, dimension: int, row: int) -> bytes | None:
    """A row as it came."""
    return read(source, message, dimension).original(row)


def _joined(messages: Sequence[Message]) -> bytes | None:
    """One stream of their batches; None where they are not alike."""
    likeness: _Likeness | None = None
    parts = list[bytes]()
    for message in messages:
        stream = message.value or b""
        if likeness is None or not likeness.of(stream):
            found = _plain(stream)
            if found is None or (likeness and found.schema != likeness.schema):
                return None
            if likeness is None:
                parts.append(found.schema)
            likeness = found
        parts.append(stream[likeness.begin : likeness.end])
    return b"".join(parts)


class _Likeness(NamedTuple):
    """What two streams of equal layout have in common: all but the body of their one batch. `walk` looks
    at no more than that, so what it said of one holds of the other."""

    schema: bytes
    head: bytes
    tail: bytes
    length: int
    begin: int
    end: int

    def of(self, stream: bytes) -> bool:
        return (
            len(stream) == self.length
            and stream.startswith(self.head)
            and stream.endswith(self.tail)
        )


def _plain(stream: bytes) -> _Likeness | None:
    """Of a small stream of one plain batch; None of others."""
    if len(stream) > SMALL_BYTES:
        return None
    frames = walk(stream)
    if frames.kinds != (SCHEMA, BATCH) or frames.compressed:
        return None
    if any(end % ALIGNED for end in frames.ends):
        return None
    begin, end = frames.ends
    body = begin + 8 + size_at(stream, begin)
    return _Likeness(stream[:begin], stream[:body], stream[end:], len(stream), begin, end)
