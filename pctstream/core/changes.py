"""Changes: what the entries of a block do beside bringing a row (R11).

A block in a pipe is a sequence of entries. Most bring a row and nothing else. One whose id was there
before also names the row that leaves because of it, by that row's origin. One that only says that a
row leaves is *bare*: its vector is zeros and means nothing. On the ingest topic a bare entry is a
delete, which names an id; which row that is, is found out at N0 (`ids`).

A bare entry that is an *expiry* names no row but a place in a source: whatever came before it from
there, and is still here, leaves (`expiry`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

NONE = -1
"""In ``offset``: no row leaves."""
BARE, EXPIRY = 1, 2
"""In ``bare``: says that one row leaves, or an id; says that all of a source before a place leave."""
COLUMNS = ("bare", "old_source", "old_offset", "old_index")
_KINDS = [np.dtype(kind) for kind in ("int8", "int32", "int64", "int32")]


@dataclass(frozen=True, slots=True)
class Changes:
    """Of each of n entries: ``bare`` int8 (not 0: it brings no row), and the origin of the row that
    leaves, or below which all do, ``source`` int32 (in the block's sources), ``offset`` int64 (-1: none
    leaves), ``index`` int32."""

    bare: npt.NDArray[np.int8]
    source: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    index: npt.NDArray[np.int32]

    @classmethod
    def none(cls, count: int) -> Changes:
        """All bring rows, and none leaves.

        >>> Changes.none(2).brings.tolist(), Changes.none(2).leaves.tolist()
        ([True, True], [False, False])
        """
        zeros = np.zeros(count, np.int32)
        return cls(np.zeros(count, np.int8), zeros, np.full(count, NONE, np.int64), zeros)

    @classmethod
    def deletes(cls, bare: npt.NDArray[np.bool_]) -> Changes | None:
        """Entries of the ingest topic; None where all bring rows."""
        if not bare.any():
            return None
        rest = cls.none(len(bare))
        return cls(bare.astype(np.int8), rest.source, rest.offset, rest.index)

    @property
    def brings(self) -> npt.NDArray[np.bool_]:
        """bool[n]: which bring a row."""
        found: npt.NDArray[np.bool_] = self.bare == 0
        return found

    @property
    def leaves(self) -> npt.NDArray[np.bool_]:
        """bool[n]: which say that a row leaves, or many."""
        found: npt.NDArray[np.bool_] = self.offset >= 0
        return found

    @property
    def expires(self) -> npt.NDArray[np.bool_]:
        """bool[n]: which say that all rows of a source before a place leave."""
        found: npt.NDArray[np.bool_] = self.bare == EXPIRY
        return found

    @property
    def names(self) -> npt.NDArray[np.bool_]:
        """bool[n]: which name one row that leaves."""
        found: npt.NDArray[np.bool_] = self.leaves & ~self.expires
        return found

    def at(self, rows: Any) -> Changes:
        """Those of some entries: numbers, a mask or a slice."""
        return Changes(self.bare[rows], self.source[rows], self.offset[rows], self.index[rows])

    def columns(self) -> dict[str, Any]:
        """As columns of a message."""
        values = (self.bare, self.source, self.offset, self.index)
        return dict(zip(COLUMNS, values, strict=True))

    @classmethod
    def of_columns(cls, columns: Any, sources: int) -> Changes | None:
        """From columns of a message; ValueError where one points beyond the sources."""
        if COLUMNS[0] not in columns:
            return None
        found = cls(*(np.asarray(columns[name]) for name in COLUMNS))
        kinds = [a.dtype for a in (found.bare, found.source, found.offset, found.index)]
        if kinds != _KINDS:
            raise ValueError(f"columns of the types {list(map(str, kinds))}")
        named = found.source[found.leaves]
        if len(named) and (named.min() < 0 or named.max() >= sources):
            raise ValueError("a row leaves whose source the block does not list")
        return found


def joined(
    parts: Sequence[Changes | None], places: Sequence[npt.NDArray[np.int32]], lengths: Sequence[int]
) -> Changes | None:
    """Of blocks put together; ``places`` says what number each one's sources have now."""
    if all(part is None for part in parts):
        return None
    whole = [
        Changes.none(n) if part is None else part for part, n in zip(parts, lengths, strict=True)
    ]
    sources = [
        place[part.source] if len(place) else part.source
        for part, place in zip(whole, places, strict=True)
    ]
    return stacked([replace(p, source=source) for p, source in zip(whole, sources, strict=True)])


def stacked(parts: Sequence[Changes]) -> Changes:
    """One behind the other, of blocks with the same sources."""
    return Changes(
        np.concatenate([part.bare for part in parts]),
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.index for part in parts]),
    )
