"""Rows of nodes for which a shard's spatial index has no room: read from the store for each question.

So many rows at a time are put into an index of their own that is asked and forgotten. It takes longer, and
what is answered is the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pctstream.agents.segments import Segment
from pctstream.core.kernels import Float64
from pctstream.core.names import Path, node_name
from pctstream.core.spatial import SpatialIndex
from pctstream.errors import NotReady

if TYPE_CHECKING:
    from pctstream.agents.spatial import ShardIndex

SLICE_ROWS = 65_536
"""Put into an index together."""


class Slice(NamedTuple):
    """Some rows of a node; their keys are those of `segments`."""

    rows: SpatialIndex
    segments: list[Segment]


def overflow(index: ShardIndex, path: Path, deadline: float) -> Iterator[Slice]:
    """All rows of a node; NotReady if the time (monotonic seconds) is over before, or they went."""
    store = index.shard.store
    purges = store.version(path)[1]
    offsets = list(store.offsets(path))
    gone = store.gone(path)
    some: list[tuple[int, Float64]] = []
    for last in offsets:
        places = index.read(path, last)
        if places is None or time.monotonic() > deadline:
            raise NotReady(f"rows of {node_name(path)} were not read in time: ask again")
        if last in gone:
            places = places.copy()
            left = gone[last]
            places[:, left[left < places.shape[1]]] = np.nan
        some.append((last, places))
        if last != offsets[-1] and sum(p.shape[1] for _, p in some) < SLICE_ROWS:
            continue
        if not store.numbered_as(path, purges):
            raise NotReady(f"{node_name(path)} let go of rows meanwhile: ask again")
        yield _sliced(index.another(), path, some)
        some = []


def _sliced(index: SpatialIndex, path: Path, some: list[tuple[int, Float64]]) -> Slice:
    segments, first = [], 0
    for last, places in some:
        segments.append(Segment(first, places.shape[1], path, last))
        first += places.shape[1]
    x, y = np.concatenate([places for _, places in some], axis=1)
    there = np.flatnonzero(~(np.isnan(x) | np.isnan(y)))
    index.insert(there, x[there], y[there])
    return Slice(index, segments)
