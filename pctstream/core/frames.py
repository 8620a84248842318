"""The frames of an Arrow stream, walked before a library reads it.

A stream is a row of frames ``FFFFFFFF, int32 length, flatbuffer, body``, then ``FFFFFFFF 00000000``
(Arrow columnar format 1.5, encapsulated message format). The walk looks at lengths only. It tells a
cut stream from one that was never any, finds what follows the end, and adds up what compressed
buffers claim to become: a few bytes may claim many gigabytes, and a library allocates what they claim
(R13).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from pctstream.errors import RowRefused

MAGIC = b"\xff\xff\xff\xff"
EXPANDED_BYTES = 16 * 1024 * 1024
"""What a message may become once it is decompressed and written out without dictionaries."""

SCHEMA, _DICTIONARY, BATCH = 1, 2, 3
_WORD = struct.Struct("<I").unpack_from
_INT = struct.Struct("<i").unpack_from
_LONG = struct.Struct("<q").unpack_from
_VTABLE = struct.Struct("<6H").unpack_from


class Frames(NamedTuple):
    """Of a whole stream: what kind each frame is, where each ends, whether buffers are compressed."""

    kinds: tuple[int, ...]
    ends: tuple[int, ...]
    compressed: bool


def walk(stream: bytes) -> Frames:
    """Its frames, where the stream is whole and no larger inside than allowed.

    Else RowRefused: ``truncated`` where the bytes end before the stream does, ``too-large`` where its
    buffers claim more than EXPANDED_BYTES, ``decode`` where it is no Arrow stream.

    >>> walk(MAGIC + (8).to_bytes(4, "little") + b"1234")
    Traceback (most recent call last):
    pctstream.errors.RowRefused: the Arrow stream is cut: frame 0 ends at byte 16 of 12
    """
    try:
        return _walk(stream)
    except (struct.error, ValueError) as error:
        raise RowRefused("decode", f"not an Arrow stream: {error}") from None


def _walk(stream: bytes) -> Frames:
    at = claimed = 0
    compressed = False
    kinds: list[int] = []
    ends: list[int] = []
    while at < len(stream):
        if stream[at : at + 4] != MAGIC[: len(stream) - at]:
            what = "bytes that are no frame follow" if kinds else "it does not begin like one"
            raise RowRefused("decode", f"not an Arrow stream: {what} at byte {at}")
        if at + 8 > len(stream):
            raise _cut(len(kinds), at + 8, len(stream))
        size = _INT(stream, at + 4)[0]
        start, body = at + 8, at + 8 + size
        if size == 0:
            if start < len(stream):
                raise RowRefused(
                    "decode",
                    f"{len(stream) - start} bytes follow the end of the Arrow stream: send each "
                    "stream as a message of its own",
                )
            break
        if size < 0:
            raise RowRefused("decode", f"not an Arrow stream: a frame of {size} bytes")
        if body > len(stream):
            raise _cut(len(kinds), body, len(stream))
        kind, header, length = _message(stream, start)
        at = body + length
        if length < 0 or at > len(stream):
            raise _cut(len(kinds), at, len(stream))
        kinds.append(kind)
        ends.append(at)
        sizes = _sizes(stream, kind, header, body)
        compressed |= sizes is not None
        claimed += sum(sizes or ())
        if claimed > EXPANDED_BYTES:
            raise RowRefused(
                "too-large", f"the block decompresses to {claimed} bytes, at most {EXPANDED_BYTES}"
            )
    if at == len(stream) and BATCH not in kinds:
        # only after a batch may a stream end without its end mark
        raise _cut(len(kinds), len(stream) + 8, len(stream))
    return Frames(tuple(kinds), tuple(ends), compressed)


def size_at(stream: bytes, start: int) -> int:
    """Bytes of the flatbuffer in the frame that begins at ``start``."""
    return int(_INT(stream, start + 4)[0])


def batch_at(stream: bytes, start: int) -> tuple[int, int, int, int]:
    """Of the frame of a batch that begins at ``start``, where it says: the bytes of its body, its
    rows, the lengths of its arrays, and the places of its buffers."""
    message = start + 8
    _, _, header, body = _fields(stream, message + _WORD(stream, message)[0])
    rows, arrays, buffers, _ = _fields(stream, _target(stream, header))
    return body, rows, _target(stream, arrays) + 4, _target(stream, buffers) + 4


def _cut(frame: int, end: int, length: int) -> RowRefused:
    return RowRefused(
        "truncated", f"the Arrow stream is cut: frame {frame} ends at byte {end} of {length}"
    )


def _message(stream: bytes, start: int) -> tuple[int, int, int]:
    """(kind of header, where its table is, length of the body) of a flatbuffer Message."""
    _, kind, header, length = _fields(stream, start + _WORD(stream, start)[0])
    return (
        stream[kind] if 0 < kind < len(stream) else 0,
        _target(stream, header),
        _LONG(stream, length)[0] if length else 0,
    )


def _sizes(stream: bytes, kind: int, header: int, body: int) -> list[int] | None:
    """Bytes that each compressed buffer of a batch says it becomes; None if it has none."""
    if kind == _DICTIONARY and header:
        header = _target(stream, _fields(stream, header)[1])
    if kind not in (_DICTIONARY, BATCH) or not header:
        return None
    _, _, buffers, compression = _fields(stream, header)
    if not compression:
        return None
    buffers = _target(stream, buffers)
    count = _WORD(stream, buffers)[0]
    places = np.frombuffer(stream, "<i8", 2 * count, buffers + 4).reshape(count, 2)
    # each begins with its length when decompressed, -1: as it is
    sizes = (_LONG(stream, body + offset)[0] for offset, length in places.tolist() if length >= 8)
    return [size for size in sizes if size > 0]


def _fields(stream: bytes, table: int) -> list[int]:
    """Where the first four fields of a flatbuffer table are; 0 for one that it lacks."""
    size, _, *offsets = _VTABLE(stream, table - _INT(stream, table)[0])
    return [table + o if o and 6 + 2 * n <= size else 0 for n, o in enumerate(offsets)]


def _target(stream: bytes, place: int) -> int:
    """What an offset in a flatbuffer points at; 0 for a field that is not there."""
    return int(place + _WORD(stream, place)[0]) if place else 0
