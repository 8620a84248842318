"""Blocks: many rows in one piece, and the bytes that carry them between pipes.

A block holds its rows column by column. The vectors are one C-contiguous float32 array, so that a
kernel walks them without touching a Python object per row, and a pipe message is one Arrow record
batch of the same columns, so that decoding costs 0.1 ms whatever its size.

Every row keeps its **origin** (topic, partition, offset, index), its name for life: where it stood
in the ingest log. The topic and partition are the row's *source*; a block lists its sources once and
each row points into that list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pctstream.core import changes as changed
from pctstream.core import stream
from pctstream.core.changes import Changes
from pctstream.errors import RowRefused

Vectors = npt.NDArray[np.float32]
Longs = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]

ARROW = "application/vnd.apache.arrow.stream"
_OPTIONAL = ("id", "time", "payload")
_KINDS = [np.dtype(kind) for kind in ("int32", "int64", "int32", "float32")]


class Source(NamedTuple):
    """A partition of a topic that rows were ingested from."""

    topic: str
    partition: int


class Origin(NamedTuple):
    """Where a row stood in the ingest log: its name for life."""

    topic: str
    partition: int
    offset: int
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}/{self.index}"


Picked = npt.NDArray[np.int64] | slice


@dataclass(frozen=True, slots=True)
class Block:
    """Rows in order.

    Shapes: ``vectors`` float32 [n, d]; ``source`` int32 [n] indexes ``sources``; ``offset`` int64 [n]
    and ``index`` int32 [n] complete the origin. ``ids`` (UTF-8 strings, null: the origin names the
    row), ``times`` (seconds since the epoch, null: unknown) and ``payloads`` (JSON objects as bytes,
    null: none) are Arrow arrays of length n, or None where every row lacks them. ``changes`` is None
    where every entry brings a row and does nothing else (`changes`).
    """

    sources: tuple[Source, ...]
    source: Ints
    offset: Longs
    index: Ints
    vectors: Vectors
    ids: pa.Array | None = None
    times: pa.Array | None = None
    payloads: pa.Array | None = None
    changes: Changes | None = None

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    @property
    def dimension(self) -> int:
        return int(self.vectors.shape[1])

    @property
    def content_bytes(self) -> int:
        """Bytes of what the rows say: a sum over rows, however they were grouped into blocks."""
        texts = sum(_bytes_of(t) for t in (self.ids, self.payloads) if t is not None)
        return len(self) * (4 * self.dimension + 24) + texts

    def row_sizes(self) -> Longs:
        """Bytes of what each row says, int64 [n]: 4 d + 24, its id and its payload."""
        sizes = np.full(len(self), 4 * self.dimension + 24, np.int64)
        for texts in (self.ids, self.payloads):
            if texts is not None:
                sizes += np.asarray(pc.fill_null(pc.binary_length(texts), 0), np.int64)
        return sizes

    def take(self, rows: npt.NDArray[np.int64]) -> Block:
        """The rows at these positions, in the order given."""
        picked = pa.array(rows)
        some = [None if a is None else a.take(picked) for a in self._optional()]
        return self._at(rows, *some)

    def slice(self, start: int, stop: int) -> Block:
        """Rows start to stop without copying."""
        some = [None if a is None else a.slice(start, stop - start) for a in self._optional()]
        return self._at(slice(start, stop), *some)

    def _at(
        self, rows: Picked, ids: pa.Array | None, times: pa.Array | None, payloads: pa.Array | None
    ) -> Block:
        return Block(
            self.sources, self.source[rows], self.offset[rows], self.index[rows], self.vectors[rows],
            ids, times, payloads, self.changes and self.changes.at(rows),
        )  # fmt: skip

    def keep(self, mask: npt.NDArray[np.bool_]) -> Block:
        """The rows where the mask is true; the block itself if that is all of them."""
        return self if bool(mask.all()) else self.take(np.flatnonzero(mask))

    @property
    def plain(self) -> Block:
        """The rows alone: entries that bring none are left out, and what the others do besides."""
        return (
            self if self.changes is None else replace(self.keep(self.changes.brings), changes=None)
        )

    @property
    def brought(self) -> int:
        """How many entries bring a row."""
        return len(self) if self.changes is None else int(self.changes.brings.sum())

    def pieces(self, rows: int, content_bytes: int) -> list[Block]:
        """The block cut so that no piece has more rows or (on average) more bytes than that."""
        if not len(self):
            return []
        per_row = max(1, self.content_bytes // len(self))
        step = max(1, min(rows, content_bytes // per_row))
        if step >= len(self):
            return [self]
        return [self.slice(i, min(i + step, len(self))) for i in range(0, len(self), step)]

    def origins(self) -> list[Origin]:
        """The origin of each row (for people and dead letters, not for hot paths)."""
        return [
            Origin(self.sources[s].topic, self.sources[s].partition, int(o), int(i))
            for s, o, i in zip(self.source, self.offset, self.index, strict=True)
        ]

    def _optional(self) -> tuple[pa.Array | None, pa.Array | None, pa.Array | None]:
        return self.ids, self.times, self.payloads


def _bytes_of(texts: pa.Array) -> int:
    """Of all of them together: where none is null their places tell, which asks no library."""
    if texts.null_count or not len(texts):
        return int(pc.sum(pc.binary_length(texts)).as_py() or 0)
    wide = np.int64 if texts.type in (pa.large_string(), pa.large_binary()) else np.int32
    starts = np.frombuffer(texts.buffers()[1], wide)
    return int(starts[texts.offset + len(texts)]) - int(starts[texts.offset])


def empty(dimension: int) -> Block:
    """A block of no rows."""
    none = np.zeros(0, np.int32)
    return Block((), none, np.zeros(0, np.int64), none, np.zeros((0, dimension), np.float32))


def concat(blocks: Sequence[Block]) -> Block:
    """The rows of all blocks, in order; equal sources become one.

    >>> a = Block((Source("t", 0),), *(np.zeros(1, t) for t in (np.int32, np.int64, np.int32)),
    ...           np.ones((1, 2), np.float32))
    >>> both = concat([a, a])
    >>> len(both), both.sources
    (2, (Source(topic='t', partition=0),))
    """
    if len(blocks) == 1:
        return blocks[0]
    known: dict[Source, int] = {}
    places = [
        np.array([known.setdefault(s, len(known)) for s in block.sources], np.int32)
        for block in blocks
    ]
    sources = [place[block.source] for place, block in zip(places, blocks, strict=True)]
    lengths = [len(b) for b in blocks]
    return Block(
        tuple(known),
        np.concatenate(sources),
        np.concatenate([b.offset for b in blocks]),
        np.concatenate([b.index for b in blocks]),
        np.concatenate([b.vectors for b in blocks]),
        _concat([b.ids for b in blocks], lengths, pa.string()),
        _concat([b.times for b in blocks], lengths, pa.float64()),
        _concat([b.payloads for b in blocks], lengths, pa.binary()),
        changed.joined([b.changes for b in blocks], places, lengths),
    )


def _concat(
    arrays: list[pa.Array | None], lengths: list[int], kind: pa.DataType
) -> pa.Array | None:
    if all(a is None for a in arrays):
        return None
    full = [pa.nulls(n, kind) if a is None else a for a, n in zip(arrays, lengths, strict=True)]
    return pa.concat_arrays(full)


def encode(block: Block) -> bytes:
    """The block as one Arrow stream: what lies in child pipes and in the store."""
    columns: dict[str, Any] = {"offset": block.offset, "index": block.index}
    if len(block.sources) > 1:
        columns["source"] = block.source
    for name, array in zip(_OPTIONAL, block._optional(), strict=True):
        if array is not None:
            columns[name] = array
    if block.changes is not None:
        columns |= block.changes.columns()
    kind = stream.Kind(block.sources, block.dimension, tuple(columns))
    return stream.encode(kind, block.vectors, list(columns.values()))


def read_batch(data: bytes) -> pa.RecordBatch:
    """The one record batch of an Arrow stream; RowRefused("decode") if it is not one."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            batch = reader.read_next_batch()
            batch.validate(full=True)
    except (pa.ArrowException, StopIteration, OSError, ValueError) as error:
        raise RowRefused("decode", f"not an Arrow stream of one record batch: {error}") from None
    return batch


def matrix(column: Any) -> Vectors:
    """A fixed_size_list<float32>[d] column as float32 [n, d] without copying."""
    width = column.type.list_size
    values = column.values.slice(column.offset * width, len(column) * width)
    return np.asarray(values.to_numpy(zero_copy_only=True)).reshape(len(column), width)


def decode(data: bytes) -> Block:
    """The block that ``encode`` wrote; RowRefused("decode") for anything else.

    >>> one = Block((Source("t", 3),), np.zeros(2, np.int32), np.array([5, 6]), np.zeros(2, np.int32),
    ...             np.arange(4, dtype=np.float32).reshape(2, 2), pa.array(["a", "b"]))
    >>> [str(o) for o in decode(encode(one)).origins()]
    ['t/3/5/0', 't/3/6/0']
    """
    if (known := _decoded(data)) is not None:
        return known
    batch = read_batch(data)
    try:
        sources = tuple(Source(*s) for s in orjson.loads(batch.schema.metadata[b"pct"]))
        names = set(batch.schema.names)
        rows = batch.num_rows
        source = np.asarray(batch["source"]) if "source" in names else np.zeros(rows, np.int32)
        if rows and (source.min() < 0 or source.max() >= len(sources)):
            raise RowRefused("schema", "a row points at a source that the block does not list")
        offset, index = np.asarray(batch["offset"]), np.asarray(batch["index"])
        vectors = matrix(batch["vector"])
        if (kinds := [a.dtype for a in (source, offset, index, vectors)]) != _KINDS:
            raise RowRefused("schema", f"columns of the types {list(map(str, kinds))}")
        ids, times, payloads = (batch[n] if n in names else None for n in _OPTIONAL)
        rest = tuple(n for n in batch.schema.names if n != "vector")
        both = {n: batch[n] for n in rest}
        changes = Changes.of_columns(both, len(sources))
        stream.learn(data, stream.Kind(sources, int(vectors.shape[1]), rest))
        return Block(sources, source, offset, index, vectors, ids, times, payloads, changes)
    except (KeyError, TypeError, AttributeError, ValueError, pa.ArrowException) as error:
        raise RowRefused("schema", f"not a block of ours: {error!r}") from None


def _decoded(data: bytes) -> Block | None:
    """A block like one that was decoded before; None where nothing is known of such."""
    try:
        found = stream.decode(data)
    except pa.ArrowException as error:
        raise RowRefused("decode", f"not a block of ours: {error}") from None
    if found is None:
        return None
    kind, vectors, values = found
    columns = dict(zip(kind.columns, values, strict=True))
    source = columns.get("source")
    if source is None:
        source = np.zeros(len(vectors), np.int32)
    elif source.min() < 0 or source.max() >= len(kind.sources):
        raise RowRefused("schema", "a row points at a source that the block does not list")
    ids, times, payloads = (columns.get(n) for n in _OPTIONAL)
    try:
        changes = Changes.of_columns(columns, len(kind.sources))
    except ValueError as error:
        raise RowRefused("schema", f"not a block of ours: {error}") from None
    return Block(
        kind.sources, source, columns["offset"], columns["index"], vectors, ids, times, payloads,
        changes,
    )  # fmt: skip
