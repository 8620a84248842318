"""What left: which stored rows do not count any more, and the directories that say which these are.

Rows that leave stay in their segments, because a node that still covers scans them in their place (R0).
So what left is a second stream beside the segments, under the same offsets: whoever follows both, up to
one offset, has what is live at it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
import orjson

from pctstream.core.block import Block
from pctstream.core.drawer import Drawer
from pctstream.core.leaving import First, Piece
from pctstream.core.names import Path
from pctstream.keyspace import FIRSTS, LEFT, at_offset, of_directory, of_node, offset_of
from pctstream.kv import KV, Part

Places = npt.NDArray[np.int64]


class Leavings:
    """The part of a store that is about rows that leave."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    def segments(self, path: Path, after: int = -1) -> Iterator[tuple[int, Block]]:
        """(last offset, rows) of each segment."""
        raise NotImplementedError

    def left(self, path: Path, after: int = -1) -> Iterator[tuple[int, Places]]:
        """(offset, (segment, row) int64[m, 2]) of the rows that left ``after`` an offset, beside those
        that came (`segments`)."""
        for key, value in self._kv.scan(of_node(LEFT, path), at_offset(LEFT, path, after + 1)):
            yield offset_of(key), np.frombuffer(value, "<i8").reshape(-1, 2)

    def gone(self, path: Path) -> dict[int, Places]:
        """Segment -> the numbers of its rows that have left, in order."""
        parts = [np.zeros((0, 2), np.int64), *(left for _, left in self.left(path))]
        places = np.unique(np.concatenate(parts), axis=0)
        segments, starts = np.unique(places[:, 0], return_index=True)
        rows = np.split(places[:, 1], starts[1:])
        return dict(zip(segments.tolist(), rows, strict=False))

    def live(self, path: Path) -> Iterator[tuple[int, Block]]:
        """(last offset, rows) of each segment, without those that have left."""
        gone = self.gone(path)
        for offset, rows in self.segments(path):
            if offset in gone:
                keep = np.ones(len(rows), np.bool_)
                keep[gone[offset]] = False
                rows = rows.keep(keep)
            yield offset, rows.plain

    def keys(self, prefix: bytes) -> Iterator[bytes]:
        """All keys that begin so."""
        return self._kv.keys(prefix)

    def firsts(self, path: Path) -> Iterator[tuple[int, list[First]]]:
        """The first origin of each source in each segment."""
        for key, value in self._kv.scan(of_node(FIRSTS, path)):
            yield offset_of(key), orjson.loads(value)

    def drawer(self, path: Path, name: str) -> Drawer:
        """Where the pages of a directory of ids lie."""
        return Part(self._kv, of_directory(path, name))


class Rows(Protocol):
    """A store, as who finds rows that leave needs it."""

    def firsts(self, path: Path) -> Iterator[tuple[int, list[First]]]: ...

    def segment(self, path: Path, offset: int) -> Block | None: ...

    def leaves(self, path: Path, offset: int) -> npt.NDArray[np.int32]: ...

    def gone(self, path: Path) -> dict[int, Places]: ...

    def numbers(self, path: Path, offset: int) -> npt.NDArray[np.int32] | None: ...


class Kept:
    """The rows of one node, for who finds those that leave (`core.leaving`)."""

    def __init__(self, store: Rows, path: Path) -> None:
        self._store, self._path = store, path

    def firsts(self) -> Iterator[tuple[int, list[First]]]:
        return self._store.firsts(self._path)

    def piece(self, segment: int) -> Piece | None:
        rows = self._store.segment(self._path, segment)
        return None if rows is None else (rows, self._store.leaves(self._path, segment))

    def gone(self) -> dict[int, Places]:
        return self._store.gone(self._path)

    def numbers(self, segment: int) -> npt.NDArray[np.int32] | None:
        return self._store.numbers(self._path, segment)
