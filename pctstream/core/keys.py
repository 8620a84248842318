"""Which ingest partition an id goes to: Kafka's own choice for a keyed message.

An id must always come through the same partition (R11), whoever produces it: a Java client that
keys by id, librdkafka with `partitioner=murmur2_random`, or blocks of ours, whose rows are grouped
by this partition before they become one message without a key. So this is the Java client's
`toPositive(murmur2(key)) % partitions`, over all ids of an Arrow array at once.

Source: `org.apache.kafka.common.utils.Utils.murmur2` (Austin Appleby's MurmurHash2, public domain).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pctstream.core.lanes import compiled

Ints = npt.NDArray[np.int32]

_SEED = 0x9747B28C
_MIX = 0x5BD1E995
_LOW = 0xFFFFFFFF


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


def hashes(ids: pa.StringArray) -> Ints:
    """murmur2 of each id's UTF-8 bytes, signed as in Java; int32 [n].

    >>> hashes(pa.array(["21", "foobar", "abc"])).tolist()
    [-973932308, -790332482, 479470107]
    """
    if ids.null_count:
        raise ValueError("an id is null: a row without one has no partition of its own")
    out = np.empty(len(ids), np.uint32)
    if len(ids):
        _, offsets, data = ids.buffers()
        starts = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + len(ids) + 1]
        text = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
        _murmur2(text, starts, out)
    return out.view(np.int32)


def partitions(ids: pa.StringArray, count: int) -> Ints:
    """The partition of each id among ``count``; int32 [n].

    >>> partitions(pa.array(["21", "foobar", "abc", "21"]), 8).tolist()
    [4, 6, 3, 4]
    """
    return (hashes(ids) & np.int32(0x7FFFFFFF)) % np.int32(count)
