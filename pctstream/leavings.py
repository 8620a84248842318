"""What left: which stored rows do not count any more, and the directories that say which these are.

Rows that leave stay in their segments, because a node that still covers scans them in their place (R0).
So what left is a second stream beside the segments, under the same offsets: whoever follows both, up to
one offset, has what is live at it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import orjson

from pctstream.core.block import Block
from pctstream.core.leaving import First, Piece
from pctstream.core.names import Path, node_name

_OFFSET = struct.Struct(">q")
Change = tuple[bytes, bytes | None]
Places = npt.NDArray[np.int64]


class KV(Protocol):
    """An ordered map of bytes with atomic batches."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]: ...

    def keys(self, prefix: bytes, start: bytes = b"") -> Iterator[bytes]: ...

    def frozen(self) -> KV: ...

    def write(self, changes: Sequence[Change]) -> None: ...

    def close(self) -> None: ...


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
        prefix = _prefix(b"x", node_name(path))
        for key, value in self._kv.scan(prefix, prefix + _OFFSET.pack(after + 1)):
            yield _OFFSET.unpack(key[len(prefix) :])[0], np.frombuffer(value, "<i8").reshape(-1, 2)

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

    def firsts(self, path: Path) -> Iterator[tuple[int, list[First]]]:
        """The first origin of each source in each segment."""
        prefix = _prefix(b"w", node_name(path))
        for key, value in self._kv.scan(prefix):
            yield _OFFSET.unpack(key[len(prefix) :])[0], orjson.loads(value)

    def drawer(self, path: Path, name: str) -> Drawer:
        """Where the pages of a directory of ids lie."""
        return Drawer(self._kv, drawer_prefix(node_name(path), name))


class Drawer:
    """A part of a store under keys of its own."""

    def __init__(self, kv: KV, prefix: bytes) -> None:
        self._kv, self._prefix = kv, prefix

    def get(self, key: bytes) -> bytes | None:
        return self._kv.get(self._prefix + key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._kv.scan(self._prefix + prefix):
            yield key[len(self._prefix) :], value

    def keys(self, prefix: bytes) -> Iterator[bytes]:
        for key in self._kv.keys(self._prefix + prefix):
            yield key[len(self._prefix) :]


class Rows(Protocol):
    """A store, as who finds rows that leave needs it."""

    def firsts(self, path: Path) -> Iterator[tuple[int, list[First]]]: ...

    def segment(self, path: Path, offset: int) -> Block | None: ...

    def leaves(self, path: Path, offset: int) -> npt.NDArray[np.int32]: ...


class Kept:
    """The rows of one node, for who finds those that leave (`core.leaving`)."""

    def __init__(self, store: Rows, path: Path) -> None:
        self._store, self._path = store, path

    def firsts(self) -> Iterator[tuple[int, list[First]]]:
        return self._store.firsts(self._path)

    def piece(self, segment: int) -> Piece | None:
        rows = self._store.segment(self._path, segment)
        return None if rows is None else (rows, self._store.leaves(self._path, segment))


def of_rows(node: str) -> list[bytes]:
    """Prefixes of the keys of a node's rows and of what is said of them."""
    return [_prefix(kind, node) for kind in (b"r", b"l", b"w", b"x")]


def drawer_prefix(node: str, name: str) -> bytes:
    """Of the keys of a directory."""
    return _prefix(b"d", node) + name.encode() + b"/"


def first_key(node: str, offset: int) -> bytes:
    """Of the first origins of a segment."""
    return _prefix(b"w", node) + _OFFSET.pack(offset)


def left_key(node: str, offset: int) -> bytes:
    """Of what left at an offset."""
    return _prefix(b"x", node) + _OFFSET.pack(offset)


def _prefix(kind: bytes, node: str) -> bytes:
    return kind + f"/{node}/".encode()
