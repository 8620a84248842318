"""Keys of a store and their values as one Arrow stream, which says at its end what it was.

The last record has a key that no store has; its value says how many pairs there were and what they hash
to. So whoever reads a stream to its end knows that it is whole and as it was sent, whether it came over
HTTP (a portion that moves) or from a file (a snapshot).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
import pyarrow as pa

from pctstream.errors import PctError

SCHEMA = pa.schema([("key", pa.large_binary()), ("value", pa.large_binary())])
PIECE_BYTES = 256 * 1024
"""Of keys and values sent together; one larger value goes alone."""
END = b""
"""Key of the last record: no store has it."""
Pair = tuple[bytes, bytes]


class CopyBroken(PctError):
    """What came is not the whole copy."""

    code = "copy-broken"
    retriable = True
    status = 502


def streamed(
    pairs: Iterable[Pair], told: Mapping[str, str], piece_bytes: int = PIECE_BYTES
) -> Iterator[bytes]:
    """The stream in pieces; ``told`` is what is said of it beforehand."""
    sink = _Sink()
    digest, count = hashlib.blake2b(digest_size=16), 0
    with pa.ipc.new_stream(sink, SCHEMA.with_metadata(dict(told))) as writer:
        some: list[Pair] = []
        size = 0
        for key, value in pairs:
            _add(digest, key, value)
            some.append((key, value))
            count, size = count + 1, size + len(key) + len(value)
            if size >= piece_bytes:
                writer.write_batch(_batch(some))
                yield sink.taken()
                some, size = [], 0
        end = orjson.dumps({"pairs": count, "hash": digest.hexdigest()})
        writer.write_batch(_batch([*some, (END, end)]))
    yield sink.taken()


class Incoming:
    """A stream as it comes: what is told of it, then its pairs, some at a time; CopyBroken where it is
    not whole, or not what was sent."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._digest = hashlib.blake2b(digest_size=16)
        self._reader: Any = None
        self.pairs = 0
        with _as_broken():
            # buffered: a reader of Arrow takes a short read for the end
            self._reader = pa.ipc.open_stream(io.BufferedReader(Body(pieces), PIECE_BYTES))
        head = self._reader.schema.metadata or {}
        self.told = {key.decode(): value.decode() for key, value in head.items()}

    @property
    def hash(self) -> str:
        """Of the pairs so far, as 32 hexadecimal digits."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[list[Pair]]:
        end: Any = None
        while True:
            with _as_broken():
                try:
                    batch = self._reader.read_next_batch()
                except StopIteration:
                    break
                columns = [batch[name].to_pylist() for name in ("key", "value")]
                some = []
                for key, value in zip(*columns, strict=True):
                    if key == END:
                        end = orjson.loads(value)
                        continue
                    _add(self._digest, key, value)
                    self.pairs += 1
                    some.append((key, value))
            yield some
        if end != {"pairs": self.pairs, "hash": self.hash}:
            raise CopyBroken("the copy ended early, or is not what was sent")


class _as_broken:
    """Whatever a reader of Arrow says of bytes that it cannot read."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if isinstance(error, pa.ArrowException | OSError | ValueError | KeyError):
            raise CopyBroken(f"the copy broke off: {error}") from None


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


def _batch(pairs: list[Pair]) -> pa.RecordBatch:
    columns = [pa.array([pair[i] for pair in pairs], pa.large_binary()) for i in (0, 1)]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _add(digest: Any, key: bytes, value: bytes) -> None:
    for part in (key, value):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
