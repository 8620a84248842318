"""Partitions of ids against Kafka's own vectors and a plain-Python murmur2."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core import keys

KAFKAS_OWN = {
    # org.apache.kafka.common.utils.UtilsTest.testMurmur2
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


def murmur2(data: bytes) -> int:
    """Java's, digit by digit; unsigned."""
    mix = 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * mix % 2**32
        k = (k ^ k >> 24) * mix % 2**32
        h = h * mix % 2**32 ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * mix % 2**32
    h = (h ^ h >> 13) * mix % 2**32
    return h ^ h >> 15


def test_the_hashes_are_kafkas() -> None:
    assert keys.hashes(pa.array(list(KAFKAS_OWN))).tolist() == list(KAFKAS_OWN.values())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=30), st.integers(1, 1000), st.integers(0, 3))
def test_partitions_equal_the_plain_ones(ids: list[str], count: int, skip: int) -> None:
    # a slice begins somewhere in its buffers
    array = pa.array(ids, pa.string()).slice(min(skip, len(ids)))
    wanted = [(murmur2(i.encode()) & 0x7FFFFFFF) % count for i in array.to_pylist()]
    assert keys.partitions(array, count).tolist() == wanted


def test_a_row_without_an_id_has_no_partition() -> None:
    with pytest.raises(ValueError, match="null"):
        keys.hashes(pa.array(["a", None]))


PUBLISHED = {
    # xxHash's own documentation and tests, and those of its Python binding; seed 0
    "": 0xEF46DB3751D8E999,
    "a": 0xD24EC4F1A98C6E5B,
    "as": 0x1C330FB2D66BE179,
    "asd": 0x631C37CE72A97393,
    "asdf": 0x415872F599CEA71E,
    "abc": 0x44BC2CF5AD770999,
    "Nobody inspects the spammish repetition": 0xFBCEA83C8A378BF1,
    "Call me Ishmael. Some years ago--never mind how long precisely-": 0x02A2E85470D6FD96,
}
P1, P2, P3, P4, P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


def turned(value: int, bits: int) -> int:
    return (value << bits | value % 2**64 >> 64 - bits) % 2**64


def xxh64(data: bytes) -> int:
    """By the published description, in Python's own integers."""

    def part(lane: int, word: int) -> int:
        return turned((lane + word * P2) % 2**64, 31) * P1 % 2**64

    def words(size: int, at: int) -> int:
        return int.from_bytes(data[at : at + size], "little")

    at, h = 0, P5
    if len(data) >= 32:
        lanes = [(P1 + P2) % 2**64, P2, 0, -P1 % 2**64]
        while len(data) - at >= 32:
            lanes = [part(lane, words(8, at + 8 * i)) for i, lane in enumerate(lanes)]
            at += 32
        h = sum(turned(x, n) for x, n in zip(lanes, (1, 7, 12, 18), strict=True)) % 2**64
        for lane in lanes:
            h = ((h ^ part(0, lane)) * P1 + P4) % 2**64
    h = (h + len(data)) % 2**64
    while len(data) - at >= 8:
        h = (turned(h ^ part(0, words(8, at)), 27) * P1 + P4) % 2**64
        at += 8
    if len(data) - at >= 4:
        h = (turned(h ^ words(4, at) * P1 % 2**64, 23) * P2 + P3) % 2**64
        at += 4
    for byte in data[at:]:
        h = turned(h ^ byte * P5 % 2**64, 11) * P1 % 2**64
    h = (h ^ h >> 33) * P2 % 2**64
    h = (h ^ h >> 29) * P3 % 2**64
    return h ^ h >> 32


def test_the_hashes_of_64_bits_are_the_published_ones() -> None:
    assert keys.hashes64(pa.array(list(PUBLISHED))).tolist() == list(PUBLISHED.values())
    assert [keys.checksum(text.encode()) for text in PUBLISHED] == list(PUBLISHED.values())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=100), max_size=30), st.integers(0, 3))
def test_hashes_of_64_bits_equal_the_plain_ones(ids: list[str], skip: int) -> None:
    array = pa.array(ids, pa.string()).slice(min(skip, len(ids)))
    assert keys.hashes64(array).tolist() == [xxh64(i.encode()) for i in array.to_pylist()]


def test_a_null_has_no_hash() -> None:
    with pytest.raises(ValueError, match="null"):
        keys.hashes64(pa.array(["a", None]))
