"""Hashes of ids: which ingest partition an id goes to, and 64 bits for filters and directories.

An id must always come through the same partition (R11), whoever produces it: a Java client that
keys by id, librdkafka with `partitioner=murmur2_random`, or blocks of ours, whose rows are grouped
by this partition before they become one message without a key. So ``partitions`` is the Java client's
`toPositive(murmur2(key)) % partitions`, over all ids of an Arrow array at once. ``hashes64`` is XXH64
with seed 0: whatever is kept on disk or sent to another worker may rely on it.

Sources: `org.apache.kafka.common.utils.Utils.murmur2` (Austin Appleby's MurmurHash2, public domain);
Yann Collet, "XXH64 algorithm description", `doc/xxhash_spec.md` of the xxHash library, version 0.2.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pctstream.core.lanes import compiled, inlined, read_only

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

_SEED = 0x9747B28C
_MIX = 0x5BD1E995
_LOW = 0xFFFFFFFF
_P1, _P2, _P3, _P4, _P5 = map(
    np.uint64,
    (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    ),
)


@compiled
def _murmur2(data: Any, starts: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        begin, length = starts[i], starts[i + 1] - starts[i]
        # unsigned 64-bit words whose upper half is cut off again: 32-bit arithmetic that wraps
        mix, low = np.uint64(_MIX), np.uint64(_LOW)
        h = np.uint64(_SEED) ^ np.uint64(length)
        for word in range(length // 4):
            at = begin + 4 * word
            k = (
                np.uint64(data[at])
                | np.uint64(data[at + 1]) << np.uint64(8)
                | np.uint64(data[at + 2]) << np.uint64(16)
                | np.uint64(data[at + 3]) << np.uint64(24)
            )
            k = (k * mix) & low
            k ^= k >> np.uint64(24)
            k = (k * mix) & low
            h = ((h * mix) & low) ^ k
        rest = length % 4
        tail = begin + length - rest
        for byte in range(rest):
            h ^= np.uint64(data[tail + byte]) << np.uint64(8 * byte)
        if rest:
            h = (h * mix) & low
        h ^= h >> np.uint64(13)
        h = (h * mix) & low
        h ^= h >> np.uint64(15)
        out[i] = np.uint32(h)


@inlined
def _turned(value: Any, bits: int) -> Any:
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


@inlined
def _word(data: Any, at: int, size: int) -> Any:
    """``size`` bytes, the lowest first."""
    found = np.uint64(0)
    for byte in range(size):
        found |= np.uint64(data[at + byte]) << np.uint64(8 * byte)
    return found


@inlined
def _round(lane: Any, word: Any) -> Any:
    return _turned(lane + word * _P2, 31) * _P1


@compiled
def _xxh64(data: Any, starts: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        at, end = starts[i], starts[i + 1]
        h = _P5
        if end - at >= 32:
            a, b, c, d = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
            while end - at >= 32:
                a = _round(a, _word(data, at, 8))
                b = _round(b, _word(data, at + 8, 8))
                c = _round(c, _word(data, at + 16, 8))
                d = _round(d, _word(data, at + 24, 8))
                at += 32
            h = _turned(a, 1) + _turned(b, 7) + _turned(c, 12) + _turned(d, 18)
            for lane in (a, b, c, d):
                h = (h ^ _round(np.uint64(0), lane)) * _P1 + _P4
        h += np.uint64(end - starts[i])
        while end - at >= 8:
            h = _turned(h ^ _round(np.uint64(0), _word(data, at, 8)), 27) * _P1 + _P4
            at += 8
        if end - at >= 4:
            h = _turned(h ^ (_word(data, at, 4) * _P1), 23) * _P2 + _P3
            at += 4
        while at < end:
            h = _turned(h ^ (np.uint64(data[at]) * _P5), 11) * _P1
            at += 1
        h = (h ^ (h >> np.uint64(33))) * _P2
        h = (h ^ (h >> np.uint64(29))) * _P3
        out[i] = h ^ (h >> np.uint64(32))


@inlined
def _digits(value: Any, text: Any, at: int) -> int:
    """The number in decimals, as many as it has."""
    if value < 0:
        text[at] = 45
        at += 1
        value = -value
    begin = at
    while value >= 10:
        text[at] = 48 + value % 10
        value //= 10
        at += 1
    text[at] = 48 + value
    at += 1
    last = at - 1
    while begin < last:
        text[begin], text[last] = text[last], text[begin]
        begin, last = begin + 1, last - 1
    return at


@compiled
def _joined(
    heads: Any, begins: Any, head: Any, first: Any, second: Any, text: Any, starts: Any
) -> None:
    """Of each row the bytes of its head, and its two numbers behind slashes."""
    at = 0
    for i in range(first.shape[0]):
        starts[i] = at
        for byte in range(begins[head[i]], begins[head[i] + 1]):
            text[at] = heads[byte]
            at += 1
        text[at] = 47
        at = _digits(first[i], text, at + 1)
        text[at] = 47
        at = _digits(second[i], text, at + 1)
    starts[first.shape[0]] = at


def _text(ids: pa.StringArray) -> tuple[npt.NDArray[np.uint8], Ints]:
    """All ids' bytes side by side, and where each begins and the last ends; int32 [n + 1]."""
    if ids.null_count:
        raise ValueError("an id is null: a row without one has no partition of its own")
    _, offsets, data = ids.buffers()
    starts = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + len(ids) + 1]
    text = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return read_only(text), read_only(starts)


def hashes64(ids: pa.StringArray) -> Hashes:
    """XXH64 of each id's UTF-8 bytes, seed 0; uint64 [n]. ValueError for a null.

    >>> [f"{h:016x}" for h in hashes64(pa.array(["", "abc"]))]
    ['ef46db3751d8e999', '44bc2cf5ad770999']
    """
    out = np.empty(len(ids), np.uint64)
    if len(ids):
        _xxh64(*_text(ids), out)
    return out


def joined64(heads: Sequence[str], head: Ints, first: Longs, second: Ints) -> Hashes:
    """XXH64 of the texts "head/first/second", where ``head`` says which of the ``heads``; uint64 [n].

    >>> of_text = hashes64(pa.array(["b/5/120", "a/0/7"]))
    >>> int32 = lambda *n: np.array(n, np.int32)
    >>> (joined64(["a", "b"], int32(1, 0), np.array([5, 0]), int32(120, 7)) == of_text).all()
    np.True_
    """
    texts = [text.encode() for text in heads]
    begins = np.zeros(len(texts) + 1, np.int32)
    np.cumsum([len(text) for text in texts], out=begins[1:])
    whole = np.frombuffer(b"".join(texts), np.uint8)
    # an int64 has at most 20 characters, an int32 11
    text = np.empty(len(head) * (33 + max(map(len, texts), default=0)), np.uint8)
    starts = np.empty(len(head) + 1, np.int32)
    _joined(
        whole, read_only(begins), read_only(head), read_only(first), read_only(second), text, starts
    )
    out = np.empty(len(head), np.uint64)
    _xxh64(read_only(text), read_only(starts), out)
    return out


def checksum(data: bytes | bytearray | memoryview) -> int:
    """XXH64 of some bytes, seed 0.

    >>> f"{checksum(b'abc'):016x}"
    '44bc2cf5ad770999'
    """
    out = np.empty(1, np.uint64)
    _xxh64(
        read_only(np.frombuffer(data, np.uint8)), read_only(np.array([0, len(data)], np.int32)), out
    )
    return int(out[0])


def hashes(ids: pa.StringArray) -> Ints:
    """murmur2 of each id's UTF-8 bytes, signed as in Java; int32 [n]. ValueError for a null.

    >>> hashes(pa.array(["21", "foobar", "abc"])).tolist()
    [-973932308, -790332482, 479470107]
    """
    out = np.empty(len(ids), np.uint32)
    if len(ids):
        _murmur2(*_text(ids), out)
    return out.view(np.int32)


def partitions(ids: pa.StringArray, count: int) -> Ints:
    """The partition of each id among ``count``; int32 [n].

    >>> partitions(pa.array(["21", "foobar", "abc", "21"]), 8).tolist()
    [4, 6, 3, 4]
    """
    return (hashes(ids) & np.int32(0x7FFFFFFF)) % np.int32(count)
