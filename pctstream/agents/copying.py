"""A portion from one shard's store to another's, over HTTP (DESIGN 7, COPYING).

The source gives the portion as its store has it at one moment, key by key, while it goes on applying
the pipe. One Arrow stream; the last record says how many keys there were and what they hash to. The
target writes as it reads, but what makes the portion whole (its state and its place in the pipe) only
when all was there and right: a copy that broke off is begun again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pyarrow as pa

from pctstream import stamp
from pctstream.core.block import Source, decode
from pctstream.core.names import Path
from pctstream.errors import NotReady, PctError, RowRefused
from pctstream.keyspace import ROWS, of_kind
from pctstream.store import Store, portion_prefixes, whole_keys

SCHEMA = pa.schema([("key", pa.large_binary()), ("value", pa.large_binary())])
PIECE_BYTES = 256 * 1024
"""Of keys and values sent together; one larger value goes alone."""
END = b""
"""Key of the last record: no store has it."""


class CopyBroken(PctError):
    """What came is not the whole copy."""

    code = "copy-broken"
    retriable = True
    status = 502


def sent(
    store: Store, path: Path, source: Source, piece_bytes: int = PIECE_BYTES
) -> Iterator[bytes]:
    """The copy of a portion as pieces of an Arrow stream; ``store`` must not change meanwhile."""
    state = store.state(path) or {}
    told = {"rows": str(state.get("rows", 0)), "bytes": str(state.get("bytes", 0)),
            "schema": str(stamp.SCHEMA)}  # fmt: skip
    sink = _Sink()
    digest, pairs = hashlib.blake2b(digest_size=16), 0
    with pa.ipc.new_stream(sink, SCHEMA.with_metadata(told)) as writer:
        some: list[tuple[bytes, bytes]] = []
        size = 0
        for key, value in store.portion(path, source):
            _add(digest, key, value)
            some.append((key, value))
            pairs, size = pairs + 1, size + len(key) + len(value)
            if size >= piece_bytes:
                writer.write_batch(_batch(some))
                yield sink.taken()
                some, size = [], 0
        end = orjson.dumps({"pairs": pairs, "hash": digest.hexdigest()})
        writer.write_batch(_batch([*some, (END, end)]))
    yield sink.taken()


def received(
    store: Store, path: Path, source: Source, pieces: Iterator[bytes],
    told: Callable[[int, int], None], copied: Callable[[int, int], None],
) -> None:  # fmt: skip
    """Write a copy as it comes; CopyBroken or NotReady where it is not whole.

    ``told(rows, bytes)``: of the whole portion; ``copied(rows, bytes)``: after each piece, and it may
    wait, or raise to give up.
    """
    store.expect(path, source)
    digest, pairs = hashlib.blake2b(digest_size=16), 0
    whole: list[tuple[bytes, bytes]] = []
    end: Any = None
    allowed = tuple(portion_prefixes(path))
    last = whole_keys(path, source)
    try:
        # buffered: a reader of Arrow takes a short read for the end
        with pa.ipc.open_stream(io.BufferedReader(Body(pieces), PIECE_BYTES)) as reader:
            head = reader.schema.metadata or {}
            if (schema := int(head.get(b"schema", 1))) != stamp.SCHEMA:
                raise CopyBroken(f"a copy of schema {schema}, here it is {stamp.SCHEMA}")
            told(int(head.get(b"rows", 0)), int(head.get(b"bytes", 0)))
            for batch in reader:
                some, rows, size = [], 0, 0
                for key, value in zip(
                    *(batch[c].to_pylist() for c in ("key", "value")), strict=True
                ):
                    if key == END:
                        end = orjson.loads(value)
                        continue
                    _add(digest, key, value)
                    pairs, size = pairs + 1, size + len(key) + len(value)
                    if key in last:
                        whole.append((key, value))
                    elif key.startswith(allowed):
                        some.append((key, value))
                        rows += len(decode(value)) if key.startswith(of_kind(ROWS)) else 0
                    else:
                        raise CopyBroken(f"a copy with the key {key[:40]!r} is not of this portion")
                store.take(some)
                copied(rows, size)
    except (pa.ArrowException, OSError, RowRefused, ValueError) as error:
        raise CopyBroken(f"the copy broke off: {error}") from None
    if end != {"pairs": pairs, "hash": digest.hexdigest()}:
        raise CopyBroken("the copy ended early, or is not what was sent")
    if not whole:
        raise NotReady("the source has read nothing of this portion yet")
    store.take(whole)


class Body(io.RawIOBase):
    """The pieces of an answer as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


class _Sink(io.RawIOBase):
    """What a writer wrote since it was last asked for."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(self._pieces[-1])

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _batch(pairs: list[tuple[bytes, bytes]]) -> pa.RecordBatch:
    columns = [pa.array([pair[i] for pair in pairs], pa.large_binary()) for i in (0, 1)]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _add(digest: Any, key: bytes, value: bytes) -> None:
    for part in (key, value):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
