"""What N0 keeps of a unit until all that was made of it is acked; what rows routed say of a cover."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pctstream.core.block import Block
from pctstream.core.coverage import WINDOW, Coverage
from pctstream.core.kernels import Int64
from pctstream.core.marks import Marks
from pctstream.core.router import Bools

NO_ROWS: Bools = np.zeros(0, np.bool_)
RECENT = 3
"""Windows of rows that are told beside the open one: from there a cover is re-opened."""


class Taken(NamedTuple):
    """A unit that ends at ``last``: its rows if they are to be stored; else None, how many of them are
    new, and which of them all lie ``beyond`` epsilon. ``epoch``: by which it is routed."""

    last: int
    rows: Block | None
    new: int
    beyond: Bools
    dead: int
    marks: Marks | None
    left: Int64 | None
    epoch: int
    stored: bool = False


@dataclass(slots=True)
class Witness:
    """What the rows that a node above the cut routes say of the cover in force; of a new one nothing yet.

    >>> witness = Witness()
    >>> witness.take(np.array([True] * 1000 + [False] * 100), 41), witness.take(NO_ROWS, 77)
    (1000, 0)
    >>> witness.coverage.windows, witness.recent
    (1, [41])
    """

    coverage: Coverage = field(default_factory=Coverage)
    recent: list[int] = field(default_factory=list)
    """The offsets behind which the last windows of these rows began, oldest first."""

    def take(self, beyond: Bools, before: int) -> int:
        """The rows of a unit behind the offset ``before``, bool[n]; how many lie beyond."""
        windows = self.coverage.windows
        self.coverage.take(beyond, WINDOW)
        if self.coverage.windows > windows or not self.recent:
            self.recent = [*self.recent[-RECENT:], before]
        return int(np.count_nonzero(beyond))

    def to_json(self) -> list[Any]:
        return [self.coverage.to_json(), self.recent]

    @classmethod
    def from_json(cls, said: Iterable[Any] | None) -> Witness:
        if said is None:
            return cls()
        coverage, recent = said
        return cls(Coverage.from_json(coverage), [int(offset) for offset in recent])
