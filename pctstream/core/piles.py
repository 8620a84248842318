"""Rows on their way into blocks: one pile per ingest partition.

All rows of an id go to one pile (core.keys) and leave it in the order in which they came. A pile
gives up a block when it has `block_rows` rows or `block_bytes` bytes, when rows with other columns
come, when it has waited too long, or when it is told to. Time comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pctstream.core import given, keys
from pctstream.errors import RowRefused

ROW_BYTES = 900_000
"""Largest row: the tree would refuse a larger one, and a block of it alone must fit a message."""


class Sealed(NamedTuple):
    """A block that is ready to go: the value of a message for one partition."""

    partition: int
    rows: int
    value: bytes


class _Pile:
    def __init__(self) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.rows = self.bytes = 0
        self.since = 0.0

    def put(self, rows: pa.RecordBatch, since: float) -> None:
        if not self.batches:
            self.since = since
        self.batches.append(rows)
        self.rows += rows.num_rows
        self.bytes += rows.nbytes

    def take(self) -> pa.RecordBatch:
        rows = given.joined(self.batches)
        self.batches, self.rows, self.bytes = [], 0, 0
        return rows


class Piles:
    """Groups rows by partition into blocks.

    >>> piles = Piles(8, block_rows=2, block_bytes=10_000)
    >>> ids = pa.array(["21", "foobar", "21", "21"])
    >>> list(piles.spread(given.batch(np.ones((4, 2), np.float32), ids), 0.0))[0][:2]
    (4, 2)
    >>> [block[:2] for block in piles.seal()]
    [(4, 1), (6, 1)]
    """

    def __init__(self, partitions: int, block_rows: int, block_bytes: int) -> None:
        self._piles = [_Pile() for _ in range(partitions)]
        self._block_rows, self._block_bytes = block_rows, block_bytes
        self._turn = 0

    def __len__(self) -> int:
        return len(self._piles)

    def spread(self, rows: pa.RecordBatch, now: float) -> Iterator[Sealed]:
        """Put each row on its pile; the blocks that are full."""
        to = self._partitions(rows)
        order = np.argsort(to, kind="stable")
        ends = np.cumsum(np.bincount(to, minlength=len(self._piles)))
        for partition, some in enumerate(np.split(order, ends[:-1])):
            if len(some):
                yield from self._put(partition, rows.take(pa.array(some)), now)

    def seal(self, partition: int | None = None) -> Iterator[Sealed]:
        """What waits in one pile or in all, as blocks."""
        for one in range(len(self._piles)) if partition is None else [partition]:
            if self._piles[one].rows:
                yield from self._blocks(one, self._piles[one].take())

    def late(self, before: float) -> Iterator[Sealed]:
        """The piles whose first row came before that time, as blocks."""
        for partition, pile in enumerate(self._piles):
            if pile.rows and pile.since < before:
                yield from self.seal(partition)

    def partition(self, id: str) -> int:
        """The partition of an id."""
        return int(keys.partitions(pa.array([id]), len(self._piles))[0])

    def _partitions(self, rows: pa.RecordBatch) -> npt.NDArray[np.int32]:
        if "id" in rows.schema.names:
            return keys.partitions(rows["id"], len(self._piles))
        turns = (np.arange(rows.num_rows) + self._turn) % len(self._piles)
        self._turn += rows.num_rows
        return turns.astype(np.int32)

    def _put(self, partition: int, rows: pa.RecordBatch, now: float) -> Iterator[Sealed]:
        pile = self._piles[partition]
        if pile.batches and not pile.batches[0].schema.equals(rows.schema):
            yield from self.seal(partition)
        pile.put(rows, now)
        if pile.rows < self._block_rows and pile.bytes < self._block_bytes:
            return
        waiting, since = pile.take(), pile.since
        step = max(1, min(self._block_rows, waiting.num_rows * self._block_bytes // waiting.nbytes))
        full = waiting.num_rows - waiting.num_rows % step
        if full < waiting.num_rows:
            pile.put(waiting.slice(full), since)
        for start in range(0, full, step):
            yield from self._blocks(partition, waiting.slice(start, step))

    def _blocks(self, partition: int, rows: pa.RecordBatch) -> Iterator[Sealed]:
        """One block; two halves if it turns out to be too many bytes."""
        value = given.encode(rows)
        if len(value) <= self._block_bytes or rows.num_rows == 1:
            yield Sealed(partition, rows.num_rows, value)
            return
        half = rows.num_rows // 2
        yield from self._blocks(partition, rows.slice(0, half))
        yield from self._blocks(partition, rows.slice(half))


def check_sizes(rows: pa.RecordBatch) -> None:
    """RowRefused("too-large") if a row of the batch is larger than ROW_BYTES."""
    if not rows.num_rows or rows.nbytes <= ROW_BYTES:
        return
    vector = rows["vector"].nbytes
    if vector // rows.num_rows + rows.nbytes - vector <= ROW_BYTES:
        return
    for at in range(rows.num_rows):
        size = rows.slice(at, 1).nbytes
        if size > ROW_BYTES:
            name = f" ({rows['id'][at].as_py()})" if "id" in rows.schema.names else ""
            raise RowRefused(
                "too-large", f"row {at}{name} has {size:,} bytes; {ROW_BYTES:,} may go"
            )
