"""Proof: what two shards hold of a portion, as a count and a hash that any order of rows gives alike.

Each row's id, origin and float32 bytes become 64 bits twice, under two keys; the sums over all rows,
modulo 2^64, are the hash (a multiset hash as in Clarke et al. 2003, "MSet-Add-Hash", against accidents
and not against an adversary). A row lost, doubled or altered changes it with probability 1 - 2^-128 or so.

>>> import numpy as np
>>> from pctstream.core.block import Block, Source, concat
>>> rows = Block((Source("t", 0),), np.zeros(2, np.int32), np.array([4, 5]), np.zeros(2, np.int32),
...              np.array([[1.0], [2.0]], np.float32))
>>> whole, parts = proof([rows]), proof([rows.slice(1, 2), rows.slice(0, 1)])
>>> whole == parts, whole.rows, proof([rows.slice(0, 1), rows.slice(0, 1)]) == whole
(True, 2, False)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pctstream.core import kernels
from pctstream.core.block import Block
from pctstream.core.lanes import compiled, read_only

UInt64 = npt.NDArray[np.uint64]
KEYS = (0x243F6A8885A308D3, 0x13198A2E03707344)
"""Two numbers with nothing up their sleeves: the first digits of pi."""


class Proof(NamedTuple):
    """Rows, and their hash as 32 hexadecimal digits."""

    rows: int
    hash: str

    def to_json(self) -> dict[str, Any]:
        return {"count": self.rows, "hash": self.hash}


def proof(blocks: Iterable[Block]) -> Proof:
    """Of all rows of these blocks."""
    count, sums = 0, [0] * len(KEYS)
    for block in blocks:
        count += len(block)
        names = _names(block)
        for lane, key in enumerate(KEYS):
            hashes = kernels.row_hashes(block.vectors, names ^ np.uint64(key))
            sums[lane] = (sums[lane] + int(hashes.sum(dtype=np.uint64))) % 2**64
    return Proof(count, "".join(f"{s:016x}" for s in sums))


def _names(block: Block) -> UInt64:
    """u64[n]: a hash of each row's id and origin."""
    sources = np.array([_text(f"{s.topic}/{s.partition}") for s in block.sources], np.uint64)
    origin: UInt64 = _origins(
        read_only(sources[block.source]), read_only(block.offset), read_only(block.index)
    )
    if block.ids is None:
        return origin
    ids = block.ids.cast(pa.large_binary())
    ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    _, offsets, data = ids.buffers()
    starts = np.frombuffer(offsets, np.int64)[ids.offset : ids.offset + len(ids) + 1]
    text = np.frombuffer(data if data is not None else b"", np.uint8)
    named = np.asarray(ids.is_valid())
    return _hashed(text, starts, named, origin)


def _text(text: str) -> int:
    data = text.encode()
    starts = np.array([0, len(data)], np.int64)
    named, seed = np.ones(1, np.bool_), np.zeros(1, np.uint64)
    return int(_hashed(np.frombuffer(data, np.uint8), starts, named, seed)[0])


def _hashed(
    text: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    named: npt.NDArray[np.bool_],
    seed: UInt64,
) -> UInt64:
    found: UInt64 = _hashes(read_only(text), read_only(starts), read_only(named), read_only(seed))
    return found


@compiled
def _hashes(data: Any, starts: Any, named: Any, seed: Any) -> Any:
    out = seed.copy()
    for i in range(seed.shape[0]):
        if named[i]:
            word = seed[i] ^ np.uint64(0x9E3779B97F4A7C15)
            for j in range(starts[i], starts[i + 1]):
                word = (word ^ np.uint64(data[j])) * np.uint64(0x100000001B3)
                word ^= word >> np.uint64(29)
            out[i] = word
    return out


@compiled
def _origins(sources: Any, offset: Any, index: Any) -> Any:
    out = np.empty(sources.shape[0], np.uint64)
    for i in range(sources.shape[0]):
        word = sources[i] + np.uint64(offset[i]) * np.uint64(0xBF58476D1CE4E5B9)
        word ^= word >> np.uint64(31)
        word = (word + np.uint64(index[i])) * np.uint64(0x94D049BB133111EB)
        out[i] = word ^ (word >> np.uint64(30))
    return out
