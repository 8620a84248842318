"""Rows from the Arrow streams of other people's libraries.

What is unambiguous is taken as they write it by default: lists of any length type and number type for
the vector, integers or any kind of string for the id, timestamps of any unit and zone, dates, seconds
or ISO 8601 texts for the time, dictionaries instead of values, compressed buffers, several batches in
one stream (rows are counted on through them). A schema that is no row's fault, or a stream that is
broken, refuses the message; a bad value refuses its row.

Nothing becomes much larger here than it came (R13): see `frames` and `fields`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pctstream.core import fields, given
from pctstream.core.block import Block, Ints, Longs, Source, Vectors, matrix
from pctstream.core.changes import Changes
from pctstream.core.fields import Bad
from pctstream.core.frames import EXPANDED_BYTES, walk
from pctstream.core.unit import Message
from pctstream.errors import RowRefused

Seconds = npt.NDArray[np.float64]
VECTORS = ("vector", "embedding", "values")
"""What a row may call its vector; the first of these is it."""


class Refusal(NamedTuple):
    """A row that cannot be taken: its number in the message (or block), code and reason."""

    row: int
    code: str
    why: str


class Rows(NamedTuple):
    """What a message says: the rows that can be read, the others, and each row as it came."""

    blocks: list[Block]
    refused: list[Refusal]
    original: Callable[[int], bytes | None]


class Places(NamedTuple):
    """Of n rows, where each came: offset i64, number in its message i32, its message's time f64 (s)."""

    offset: Longs
    row: Ints
    seconds: Seconds

    @classmethod
    def of(cls, messages: Sequence[Message], counts: Sequence[int], first: int = 0) -> Places:
        """Rows of messages that have so many each; ``first``: the number of the first one.

        >>> said = [Message(7, None, None, time_ms=500), Message(9, None, None, time_ms=1000)]
        >>> [part.tolist() for part in Places.of(said, [1, 2])]
        [[7, 9, 9], [0, 0, 1], [0.5, 1.0, 1.0]]
        """
        ends = np.cumsum(counts)
        index = np.arange(ends[-1]) - np.repeat(ends - counts, counts) + first
        seconds = np.array([m.time_ms / 1000.0 for m in messages])
        offset = np.array([m.offset for m in messages], np.int64)
        return cls(np.repeat(offset, counts), index.astype(np.int32), np.repeat(seconds, counts))


def read(source: Source, message: Message, dimension: int) -> Rows:
    """The rows of an Arrow stream; RowRefused where the message is no rows."""
    found = batches(message.value or b"")
    firsts = list(accumulate((batch.num_rows for batch in found), initial=0))

    left = EXPANDED_BYTES

    def original(row: int) -> bytes | None:
        nonlocal left
        if left <= 0:
            # each carries the schema and dictionaries of all: together they could be very large
            return None
        at = bisect_right(firsts, row) - 1
        value = given.encode(found[at].slice(row - firsts[at], 1))
        left -= len(value)
        return value

    rows = Rows([], [], original)
    for first, batch in zip(firsts, found, strict=False):
        bad: Bad = {}
        places = Places.of([message], [batch.num_rows], first)
        block = block_of(source, places, batch, dimension, bad)
        if bad:
            keep = np.ones(batch.num_rows, np.bool_)
            keep[list(bad)] = False
            block = block.keep(keep)
            rows.refused.extend(Refusal(first + row, *why) for row, why in sorted(bad.items()))
        if len(block):
            rows.blocks.append(block)
    return rows


def batches(stream: bytes) -> list[pa.RecordBatch]:
    """The record batches of a stream that nobody has looked at yet."""
    walk(stream)
    try:
        with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
            found = list(reader)
        for batch in found:
            batch.validate(full=True)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RowRefused("decode", f"not an Arrow stream: {error}") from None
    return found


def widths(stream: bytes) -> list[int]:
    """How long the vector of each row is; 0 for a row without one."""
    found: list[int] = []
    for batch in batches(stream):
        _, lengths, _ = _lists(_vector(batch))
        found += lengths.tolist()
    return found


def block_of(
    source: Source, places: Places, batch: pa.RecordBatch, dimension: int, bad: Bad
) -> Block:
    """A row for each of the batch; those in ``bad`` are none."""
    names = batch.schema.names
    if len(set(names)) < len(names):
        raise RowRefused("schema", "two columns of the block have the same name")
    deletes = not set(VECTORS) & set(names) and "deleted" in names
    name, count = None if deletes else _name(batch), batch.num_rows
    others = [n for n in names if n != name and n not in given.COLUMNS]
    ids = fields.ids(batch["id"]) if "id" in names else None
    gone = np.zeros(count, np.bool_)
    missing: Bad = {}
    if deletes:  # what only deletes needs no vector
        vectors = np.zeros((count, dimension), np.float32)
        missing = dict.fromkeys(
            range(count), ("schema", "the row has no vector and deletes nothing")
        )
    else:
        vectors = _vectors(_vector(batch), dimension, missing)
    if "deleted" in names:
        gone = fields.deleted(batch["deleted"], ids, bad)
        vectors = np.where(gone[:, None], np.float32(0.0), vectors)
    bad |= {row: why for row, why in missing.items() if not gone[row]}
    return Block(
        (source,),
        np.zeros(count, np.int32),
        places.offset,
        places.row,
        vectors,
        ids,
        fields.times(batch["time"], bad) if "time" in names else pa.array(places.seconds),
        fields.payloads(batch, others),
        Changes.deletes(gone),
    )


# the vector


def _name(batch: pa.RecordBatch) -> str:
    name = next((n for n in VECTORS if n in batch.schema.names), None)
    if name is None:
        there = ", ".join(batch.schema.names)
        raise RowRefused("schema", f'the block has no column "vector", but {there or "none"}')
    return name


def _vector(batch: pa.RecordBatch) -> Any:
    """The vector column, as lists of numbers."""
    name = _name(batch)
    column = batch[name]
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    kind, types = column.type, pa.types
    lists = types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind)
    if not lists or not (types.is_floating(kind.value_type) or types.is_integer(kind.value_type)):
        raise RowRefused(
            "schema", f'"{name}" must be fixed_size_list<float32>, or lists of numbers: not {kind}'
        )
    return column


def _vectors(column: Any, dimension: int, bad: Bad) -> Vectors:
    """float32 [n, dimension]; rows that have none go to ``bad``, and are zeros."""
    if pa.types.is_fixed_size_list(column.type):
        if column.type.list_size != dimension:
            raise RowRefused(
                "dimension",
                f"the block has dimension {column.type.list_size}, the tree {dimension}",
            )
        plain = column.type.value_type == pa.float32() and not column.null_count
        if plain and not column.values.null_count:
            return matrix(column)
    starts, lengths, numbers = _lists(column)
    flat = np.asarray(numbers.cast(pa.float32(), safe=False).fill_null(0))
    gone = np.asarray(column.is_null())
    fits = ~gone & (lengths == dimension)
    vectors = np.zeros((len(column), dimension), np.float32)
    places = starts[fits, None] + np.arange(dimension)
    vectors[fits] = flat[places]
    for row in np.flatnonzero(gone):
        bad[int(row)] = ("schema", "the vector is null")
    for row in np.flatnonzero(~gone & ~fits):
        bad[int(row)] = (
            "dimension", f"the vector has {lengths[row]} numbers, the tree {dimension}",
        )  # fmt: skip
    if numbers.null_count:
        holes = np.zeros(len(column), np.bool_)
        holes[fits] = np.asarray(numbers.is_null())[places].any(axis=1)
        for row in np.flatnonzero(holes):
            bad[int(row)] = ("schema", "the vector has a null")
    return vectors


def _lists(column: Any) -> tuple[Longs, Longs, Any]:
    """Of each row where its numbers start and how many they are, and all numbers."""
    count = len(column)
    if pa.types.is_fixed_size_list(column.type):
        width = column.type.list_size
        starts = (column.offset + np.arange(count, dtype=np.int64)) * width
        lengths = np.full(count, width, np.int64)
    else:
        offsets = np.asarray(column.offsets).astype(np.int64)
        starts, lengths = offsets[:-1], np.diff(offsets)
    return starts, np.where(np.asarray(column.is_null()), 0, lengths), column.values
