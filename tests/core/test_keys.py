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
