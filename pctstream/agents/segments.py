"""What of a shard's store its spatial index has: nodes, and the segments that their rows came in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pctstream.core.kernels import Int64
from pctstream.core.names import Path


class Segment(NamedTuple):
    """Rows that an index knows by ``first``, ``first`` + 1, ...: of a node, up to an offset."""

    first: int
    rows: int
    path: Path
    last: int


@dataclass(slots=True)
class Part:
    """What of one node is in the index."""

    purged: int
    last: int = -1
    left: int = -1
    """The last offset at which rows left."""
    rows: int = 0
    seen: tuple[int, int] | None = None
    whole: bool = False
    """All that was stored when it was first looked at is in."""
    left_out: bool = False
    """There is no room for its rows: they are read for each question (`agents.overflow`)."""
    unplaced: Counter[str] = field(default_factory=Counter)


def named(segments: list[Segment], keys: Int64) -> list[tuple[Segment, int]]:
    """Segment and row of each key.

    >>> named([Segment(0, 3, (0,), 8), Segment(3, 1, (0, 1), 9)], np.array([3, 1]))
    [(Segment(first=3, rows=1, path=(0, 1), last=9), 0), (Segment(first=0, rows=3, path=(0,), last=8), 1)]
    """
    firsts = np.array([segment.first for segment in segments], np.int64)
    numbers = np.searchsorted(firsts, keys, side="right") - 1
    return [
        (segments[number], key - segments[number].first)
        for number, key in zip(numbers.tolist(), keys.tolist(), strict=True)
    ]
