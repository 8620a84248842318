"""Who the rows of a segment are: ids and origins without the vectors, to be kept in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pctstream.core.block import Block, Ints, Longs, Origin, Source
from pctstream.core.keys import Hashes, hashes, hashes64, joined64


@dataclass(frozen=True, slots=True)
class Identity:
    """Of the n rows of one segment, which ends at ``last`` in its input."""

    last: int
    sources: tuple[Source, ...]
    source: Ints
    offset: Longs
    index: Ints
    ids: pa.Array | None
    hashes: Ints
    """int32[n] of the ids; of a row without one that of the empty text."""

    def __len__(self) -> int:
        return len(self.offset)

    @classmethod
    def of(cls, last: int, block: Block) -> Identity:
        """A copy: the block's own bytes may go."""
        ids = None if block.ids is None else block.ids.take(pa.array(np.arange(len(block))))
        known: Any = np.zeros(0, np.int32)
        if ids is not None:
            known = hashes(pc.fill_null(ids, ""))
        return cls(
            last, block.sources, block.source.copy(), block.offset.copy(), block.index.copy(),
            ids, known,
        )  # fmt: skip

    @property
    def nbytes(self) -> int:
        parts = (self.source, self.offset, self.index, self.hashes)
        return sum(part.nbytes for part in parts) + (0 if self.ids is None else self.ids.nbytes)

    def origin(self, row: int) -> Origin:
        """Where the row stood in the ingest log."""
        source = self.sources[self.source[row]]
        return Origin(source.topic, source.partition, int(self.offset[row]), int(self.index[row]))

    def called(self, rows: Longs) -> tuple[pa.Array, pa.Array]:
        """`name` and `origin` of these rows i64[n] as texts, of many in one go.

        >>> rows = Block((Source("t", 3),), *(np.full(2, 5, k) * (k != "i4") for k in ("i4", "i8", "i4")),
        ...              np.zeros((2, 1), np.float32), pa.array(["a", None]))
        >>> [part.to_pylist() for part in Identity.of(7, rows).called(np.array([1, 0]))]
        [['t/3/5/0', 'a'], ['t/3/5/0', 't/3/5/0']]
        """
        heads = pa.array([f"{s.topic}/{s.partition}" for s in self.sources])
        places = (pc.cast(pa.array(n[rows]), pa.string()) for n in (self.offset, self.index))
        origins = pc.binary_join_element_wise(heads.take(pa.array(self.source[rows])), *places, "/")
        if self.ids is None:
            return origins, origins
        return pc.coalesce(self.ids.take(pa.array(rows)), origins), origins

    def name(self, row: int) -> str:
        """The row's id; its origin where it has none."""
        given = None if self.ids is None else self.ids[row].as_py()
        return str(self.origin(row)) if given is None else str(given)

    def find(self, name: str, hash_: int) -> npt.NDArray[np.int64]:
        """Rows i64[n] of this id, whose hash the caller knows.

        >>> rows = Block((Source("t", 0),), *(np.zeros(2, k) for k in ("i4", "i8", "i4")),
        ...              np.zeros((2, 1), np.float32), pa.array(["a", None]))
        >>> Identity.of(7, rows).find("a", int(hashes(pa.array(["a"]))[0])).tolist()
        [0]
        """
        if self.ids is None:
            return np.zeros(0, np.int64)
        rows = np.flatnonzero(self.hashes == hash_)
        return rows[[self.ids[int(row)].as_py() == name for row in rows]]

    def at(self, origin: Origin) -> npt.NDArray[np.int64]:
        """Rows without an id that have this origin."""
        wanted = Source(origin.topic, origin.partition)
        if wanted not in self.sources:
            return np.zeros(0, np.int64)
        here = (self.offset == origin.offset) & (self.index == origin.index)
        rows = np.flatnonzero(here & (self.source == self.sources.index(wanted)))
        return rows[[self.ids is None or not self.ids[int(row)].is_valid for row in rows]]


def names64(rows: Block) -> Hashes:
    """XXH64 of what each row is called: its id, its origin where it has none; uint64 [n].

    >>> rows = Block((Source("t", 3),), *(np.full(2, 5, k) * (k != "i4") for k in ("i4", "i8", "i4")),
    ...              np.zeros((2, 1), np.float32), pa.array(["a", None]))
    >>> (names64(rows) == hashes64(pa.array(["a", "t/3/5/0"]))).all()
    np.True_
    """
    ids = rows.ids
    if ids is not None and not ids.null_count:
        return hashes64(ids)
    heads = [f"{source.topic}/{source.partition}" for source in rows.sources]
    origins = joined64(heads, rows.source, rows.offset, rows.index)
    if ids is None:
        return origins
    return np.where(ids.is_valid(), hashes64(pc.fill_null(ids, "")), origins)


def origin_of(text: str) -> Origin | None:
    """The origin that a text names.

    >>> origin_of("t/3/5/0"), origin_of("t/3"), origin_of("t/3/5/x")
    (Origin(topic='t', partition=3, offset=5, index=0), None, None)
    """
    parts = text.rsplit("/", 3)
    if len(parts) != 4 or not all(p.isascii() and p.isdigit() and len(p) < 19 for p in parts[1:]):
        return None
    partition, offset, index = map(int, parts[1:])
    return Origin(parts[0], partition, offset, index)
