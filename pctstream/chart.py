"""What a shard's database keeps for its spatial index, beside the rows.

    p/<node>/<offset>    the places of a segment's rows (`core.places`), written with them
    g/<serial>           a node of the tree of regions (`core.regions`)

All of it can be made again from the rows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

_OFFSET = struct.Struct(">q")


class Pairs(Protocol):
    """What is needed of a database (`store.KV`)."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]: ...

    def write(self, changes: Sequence[tuple[bytes, bytes | None]]) -> None: ...


class Chart:
    """Places and regions of one shard."""

    def __init__(self, kv: Pairs) -> None:
        self._kv = kv

    def places(self, node: str, offset: int) -> bytes | None:
        """The places of a segment's rows, where they were written."""
        return self._kv.get(place_key(node, offset))

    def place(self, node: str, offset: int, places: bytes) -> None:
        """Places of rows that were stored without."""
        self._kv.write([(place_key(node, offset), places)])

    def regions(self) -> dict[bytes, bytes]:
        """The nodes of the tree of regions, as `Regions.changes` names them."""
        return {b"r" + key[2:]: value for key, value in self._kv.scan(b"g/")}

    def set_regions(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Nodes of that tree, in one WriteBatch; None: it is gone."""
        self._kv.write([(b"g/" + key[1:], value) for key, value in changes.items()])


def places_prefix(node: str) -> bytes:
    """Of the keys of a node's places."""
    return f"p/{node}/".encode()


def place_key(node: str, offset: int) -> bytes:
    """Of the places of the segment that ends at this offset."""
    return places_prefix(node) + _OFFSET.pack(offset)
