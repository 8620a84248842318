"""What a shard's database keeps for its spatial index, beside the rows: the places of each segment's
rows, written with them, and the nodes of the tree of regions. All of it can be made again from the
rows.
"""

from __future__ import annotations

from collections.abc import Mapping

from pctstream.core.names import Path
from pctstream.keyspace import PLACES, REGIONS, at_offset, of_kind
from pctstream.kv import KV

_REGIONS = of_kind(REGIONS)


class Chart:
    """Places and regions of one shard."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    def places(self, path: Path, offset: int) -> bytes | None:
        """The places of a segment's rows, where they were written."""
        return self._kv.get(at_offset(PLACES, path, offset))

    def place(self, path: Path, offset: int, places: bytes) -> None:
        """Places of rows that were stored without."""
        self._kv.write([(at_offset(PLACES, path, offset), places)])

    def regions(self) -> dict[bytes, bytes]:
        """The nodes of the tree of regions, as `Regions.changes` names them."""
        found = self._kv.scan(_REGIONS)
        return {b"r" + key[len(_REGIONS) :]: value for key, value in found}

    def set_regions(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Nodes of that tree, in one WriteBatch; None: it is gone."""
        self._kv.write([(_REGIONS + key[1:], value) for key, value in changes.items()])
