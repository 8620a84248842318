"""Whether an id may be among the keys: a Bloom filter in blocks of one cache line.

Theory
------
A key's hash says in which block of 512 bits its ``probes`` bits lie, so that adding and asking cost one
miss of the cache. The price is that blocks are not equally full: with c bits per key a block has
i ~ Poisson(512/c) keys, and the rate of false positives is the mean over i of the rate of a plain filter
of 512 bits with i keys (`rate`; Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom
Filters", 2007). `shape` looks for the fewest bits per key that keep a rate.

A filter is made for a number of keys, its *design*, and is to be made anew when it has `REBUILD` times as
many. It keeps its rate until then: its bits are reckoned for that many. What was added is never denied.
"""

from __future__ import annotations

import functools
import struct
from typing import Any, Self

import numpy as np

from pctstream.core.filters import Mask
from pctstream.core.keys import Hashes, checksum
from pctstream.core.lanes import compiled, inlined, read_only
from pctstream.errors import Unreadable

BLOCK_BITS = 512
_WORDS = BLOCK_BITS // 64
REBUILD = 2
"""A filter is to be made anew at so many times the keys it was designed for."""
LEAST_DESIGN = 4096
"""Keys: smaller ones would be made anew all the time."""
LOOKED_AT, LOOK_AGAIN = 1024, 0.99
"""Blocks: views ask this of every filter, and whole ones are megabytes. Looked at again when there is a
hundredth more of keys."""
BLOCKS_MAX = 1 << 26
"""4 GiB: what is larger is damage."""
_HEAD = struct.Struct("<4sHHIdQQ")
_MAGIC, _VERSION = b"PCTB", 1


class Bloom:
    """A filter for ``design`` keys, of which ``fpr`` of all absent ones are not denied.

    >>> from pctstream.core.keys import hashes64
    >>> import pyarrow as pa
    >>> some = Bloom(0.01)
    >>> some.add(hashes64(pa.array(["a", "b", "a"])))
    2
    >>> some.might(hashes64(pa.array(["a", "b", "c"]))).tolist(), some.keys
    ([True, True, False], 2)
    """

    _looked = 0, 0.0
    """Keys when `expected` was last counted, and what it was."""

    def __init__(self, fpr: float, design: int = LEAST_DESIGN) -> None:
        self.fpr = fpr
        self.design = max(LEAST_DESIGN, design)
        per_key, self.probes = shape(fpr)
        blocks = int(np.ceil(REBUILD * self.design * per_key / BLOCK_BITS))
        if blocks > BLOCKS_MAX:
            raise ValueError(f"a filter for {design} keys is too large")
        self._words: Hashes = np.zeros(blocks * _WORDS, np.uint64)
        self.keys = 0
        """Different keys that were added, as far as the filter could tell."""

    @property
    def bits(self) -> int:
        return 64 * len(self._words)

    @property
    def full(self) -> bool:
        """It is to be made anew."""
        return self.keys >= REBUILD * self.design

    @property
    def expected(self) -> float:
        """Share of absent keys that are not denied now, from the bits set in some of the blocks."""
        if self.keys * LOOK_AGAIN <= self._looked[0]:
            return self._looked[1]
        blocks = self._words.reshape(-1, _WORDS)
        some = blocks[:: -(-len(blocks) // LOOKED_AT)]  # keys are spread evenly
        filled = np.bitwise_count(some).sum(axis=1) / BLOCK_BITS
        self._looked = self.keys, float(np.mean(filled**self.probes))
        return self._looked[1]

    def add(self, hashes: Hashes) -> int:
        """Take these keys, uint64[n]; how many were new."""
        came = int(_add(self._words, self.probes, read_only(hashes)))
        self.keys += came
        return came

    def might(self, hashes: Hashes) -> Mask:
        """bool[n]: False for a key that was surely never added."""
        out = np.empty(len(hashes), np.bool_)
        _might(self._words, self.probes, read_only(hashes), out)
        return out

    def has(self, hash_: int) -> bool:
        """The same of one key."""
        return bool(self.might(np.array([hash_], np.uint64))[0])

    def to_bytes(self) -> bytes:
        """Header, words, checksum of both."""
        blocks = len(self._words) // _WORDS
        head = _HEAD.pack(_MAGIC, _VERSION, self.probes, blocks, self.fpr, self.design, self.keys)
        body = head + self._words.astype("<u8").tobytes()
        return body + checksum(body).to_bytes(8, "little")

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Unreadable for anything that `to_bytes` did not write, down to one bit.

        >>> Bloom.from_bytes(Bloom(0.01).to_bytes()).bits == Bloom(0.01).bits
        True
        """
        if len(raw) < _HEAD.size + 8:
            raise Unreadable(f"a Bloom filter of {len(raw)} bytes")
        magic, version, probes, blocks, fpr, design, keys = _HEAD.unpack_from(raw)
        if magic != _MAGIC or version != _VERSION:
            raise Unreadable(f"no Bloom filter of version {_VERSION}")
        if not 0 < blocks <= BLOCKS_MAX or len(raw) != _HEAD.size + 8 * _WORDS * blocks + 8:
            raise Unreadable(f"a Bloom filter of {blocks} blocks in {len(raw)} bytes")
        if checksum(memoryview(raw)[:-8]) != int.from_bytes(raw[-8:], "little"):
            raise Unreadable("a Bloom filter whose checksum is wrong")
        if not 0 < probes <= PROBES_MAX:
            raise Unreadable(f"a Bloom filter with {probes} probes")
        found = cls.__new__(cls)
        found.fpr, found.design, found.keys, found.probes = fpr, design, keys, probes
        words = np.frombuffer(raw, "<u8", _WORDS * blocks, _HEAD.size)
        found._words = words.astype(np.uint64)
        return found


PROBES_MAX = 24


def rate(per_key: float, probes: int) -> float:
    """False positives of a filter with so many bits per key.

    >>> round(rate(10.0, 6), 4)
    0.0096
    """
    mean = BLOCK_BITS / per_key
    most = int(mean + 12 * np.sqrt(mean) + 12)
    keys = np.arange(most)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most)))])
    share = np.exp(keys * np.log(mean) - mean - logs)
    filled = 1.0 - (1.0 - 1.0 / BLOCK_BITS) ** (probes * keys)
    return float(np.sum(share * filled**probes))


@functools.lru_cache(maxsize=64)
def shape(fpr: float) -> tuple[float, int]:
    """(bits per key, probes) that keep a rate with the fewest bits.

    >>> shape(0.01)
    (10.0, 7)
    """
    if not 0.0 < fpr < 1.0:
        raise ValueError(f"a rate of false positives lies between 0 and 1, not {fpr}")
    for quarter in range(4, 400):
        per_key = quarter / 4
        best = min(range(1, PROBES_MAX + 1), key=lambda probes: rate(per_key, probes))
        if rate(per_key, best) <= fpr:
            return per_key, best
    return 100.0, PROBES_MAX


@inlined
def _mixed(h: Any) -> Any:
    """splitmix64's last step: bits that do not depend on those that chose the block."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@inlined
def _block(h: Any, words: int) -> Any:
    """The first word of a key's block."""
    blocks = np.uint64(words // _WORDS)
    return np.int64(((h >> np.uint64(32)) * blocks) >> np.uint64(32)) * _WORDS


@compiled
def _add(words: Any, probes: Any, hashes: Any) -> int:
    came = 0
    for i in range(hashes.shape[0]):
        h = hashes[i]
        first = _block(h, words.shape[0])
        h = _mixed(h)
        bits, new = h, False
        for probe in range(probes):
            if probe and probe % 7 == 0:  # 7 places of 9 bits
                h = _mixed(h + np.uint64(0x9E3779B97F4A7C15))
                bits = h
            at = first + np.int64((bits >> np.uint64(6)) & np.uint64(7))
            bit = np.uint64(1) << (bits & np.uint64(63))
            new |= words[at] & bit == np.uint64(0)
            words[at] |= bit
            bits = bits >> np.uint64(9)
        came += new
    return came


@compiled
def _might(words: Any, probes: Any, hashes: Any, out: Any) -> None:
    for i in range(hashes.shape[0]):
        h = hashes[i]
        first = _block(h, words.shape[0])
        h = _mixed(h)
        bits, there = h, True
        for probe in range(probes):
            if probe and probe % 7 == 0:
                h = _mixed(h + np.uint64(0x9E3779B97F4A7C15))
                bits = h
            at = first + np.int64((bits >> np.uint64(6)) & np.uint64(7))
            if words[at] & (np.uint64(1) << (bits & np.uint64(63))) == np.uint64(0):
                there = False
                break
            bits = bits >> np.uint64(9)
        out[i] = there
