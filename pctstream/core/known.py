"""What N0 had routed before its store was lost (R11).

Where a row goes does not depend on the store, but which child has an id does. So a lost store of rows
with ids is made again from the ingest log's start: each row is routed again, which tells where its id
is, and what lies at or below the commit is not sent again. The alternative, to ask the shards for the
ids of a partition, needs them all to be there and to have read their pipes to the end; the log is
always there, and gives exactly the directory that was lost. New rows wait for it meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pctstream.core.block import Block, Source
from pctstream.core.marks import Marks
from pctstream.core.unit import DeadLetter


class Done(NamedTuple):
    """What N0 has routed: up to this offset, of bridged rows up to these marks, some of them with ids."""

    routed: int
    marks: Marks
    ids: bool


class Known(NamedTuple):
    """Up to this offset all was routed, and of bridged rows up to these marks."""

    routed: int
    marks: Marks

    def beyond(self, source: Source, rows: Block) -> npt.NDArray[np.bool_]:
        """bool[n]: which entries were not routed yet; ``source`` is the ingest partition.

        >>> rows = Block((Source("t", 0),), *(np.array(a) for a in ([0, 0], [5, 6], [0, 0])),
        ...              np.zeros((2, 1), np.float32))
        >>> Known(5, Marks()).beyond(Source("t", 0), rows).tolist()
        [False, True]
        """
        none = (self.routed, np.iinfo(np.int32).max)
        marks = [none if s == source else self.marks.of(s) for s in rows.sources]
        offset, index = np.array(marks, np.int64).reshape(-1, 2)[rows.source].T
        new: npt.NDArray[np.bool_] = rows.offset > offset
        new |= (rows.offset == offset) & (rows.index > index)
        return new

    def unsaid(self, source: Source, dead: tuple[DeadLetter, ...]) -> tuple[DeadLetter, ...]:
        """The dead letters that were not sent yet."""
        return tuple(d for d in dead if not self._said(source, d))

    def _said(self, source: Source, letter: DeadLetter) -> bool:
        origin = letter.origin
        home = Source(origin.topic, origin.partition)
        if home == source:
            return origin.offset <= self.routed
        return self.marks.reached(home, (origin.offset, origin.index))

    def to_json(self) -> dict[str, Any]:
        return {"routed": self.routed, "marks": self.marks.to_json()}

    @classmethod
    def from_json(cls, said: Mapping[str, Any] | None) -> Known | None:
        return None if not said else cls(int(said["routed"]), Marks.from_json(said["marks"]))
