"""Bloom filters on their way to other workers: whole, or the hashes that came since.

    length of the head (uint32) | head: JSON, one entry a part | the parts' bytes, one behind the other

Bounded: who packs stops at a number of bytes, and who unpacks believes no length it cannot see.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import orjson

from pctstream.core.bloom import Bloom
from pctstream.core.keys import Hashes, checksum
from pctstream.errors import Unreadable

_LENGTH = struct.Struct("<I")


class Part(NamedTuple):
    """One node's filter on one shard, or what came to it."""

    shard: int
    node: str
    made: str
    """Which filter: another one has another name."""
    offset: int
    """Every row of the node's input up to here is in it."""
    since: int
    """Hashes that the other has already; -1: ``data`` is the whole filter."""
    seq: int
    """Hashes that it has had since it was made."""
    data: bytes

    def bloom(self) -> Bloom:
        """The whole filter; Unreadable."""
        return Bloom.from_bytes(self.data)

    def hashes(self) -> Hashes:
        """What came, uint64 [n]."""
        if len(self.data) != 8 * (self.seq - self.since):
            raise Unreadable(f"{len(self.data)} bytes for {self.seq - self.since} hashes")
        return np.frombuffer(self.data, "<u8").astype(np.uint64)


def pack(parts: Iterable[Part], bound: int) -> bytes:
    """As many parts as fit into ``bound`` bytes, one at least.

    >>> unpack(pack([Part(3, "N0,1", "a", 7, 0, 1, b"8 bytes."), Part(3, "N0", "b", 7, 0, 0, b"")], 1))
    [Part(shard=3, node='N0,1', made='a', offset=7, since=0, seq=1, data=b'8 bytes.')]
    """
    heads: list[list[object]] = []
    bodies: list[bytes] = []
    size = 0
    for part in parts:
        if bodies and size + len(part.data) > bound:
            break
        heads.append([*part[:-1], len(part.data), f"{checksum(part.data):x}"])
        bodies.append(part.data)
        size += len(part.data) + 128
        if size > bound:
            break
    head = orjson.dumps(heads)
    return b"".join([_LENGTH.pack(len(head)), head, *bodies])


def unpack(raw: bytes) -> list[Part]:
    """The parts; Unreadable where these are not the bytes of `pack`."""
    try:
        (length,) = _LENGTH.unpack_from(raw)
        at = _LENGTH.size + length
        found = []
        for *fields, size, sum_ in orjson.loads(raw[_LENGTH.size : at]):
            shard, node, made, offset, since, seq = fields
            data = raw[at : at + int(size)]
            if len(data) != size or f"{checksum(data):x}" != sum_:
                raise Unreadable(f"the filter of {node} is damaged")
            where = int(shard), str(node), str(made)
            found.append(Part(*where, int(offset), int(since), int(seq), data))
            at += size
        if at != len(raw):
            raise Unreadable("more bytes than the filters have")
    except (struct.error, ValueError, TypeError) as error:
        raise Unreadable(f"no filters: {error}") from None
    return found
