"""What a unit brought to a node that stores rows, until its dead letters are acked."""

from __future__ import annotations

from typing import NamedTuple

from pctstream.core.block import Block
from pctstream.core.kernels import Int64
from pctstream.core.marks import Marks
from pctstream.core.subtree import NodeRecord
from pctstream.core.unit import Fence
from pctstream.core.walk import Int32


class Came(NamedTuple):
    """Rows to be stored, the leaf of each, (segment, row) of those that leave, how many by age."""

    rows: Block | None = None
    leaves: Int32 | None = None
    left: Int64 | None = None
    expired: int = 0

    @property
    def gone(self) -> int:
        """How many of those that leave were rows; the others are entries that never brought one."""
        bare = 0 if self.rows is None else len(self.rows) - self.rows.brought
        return 0 if self.left is None else len(self.left) - bare


class Arrived(NamedTuple):
    """What a unit brought, until its dead letters are acked."""

    last: int
    time: float
    came: Came
    marks: Marks
    nodes: tuple[NodeRecord, ...]
    dead: int
    fences: tuple[Fence, ...]
