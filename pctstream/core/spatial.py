"""The spatial index of a shard: rows by position, in regions that are fine where rows crowd.

It joins the density map (`core.density_map`), the regions (`core.regions`), their rows (`core.membership`)
and what changes them (`core.adjust`). No clock: whoever adjusts says what time it is, in seconds that do
not fall. Not for two threads at once: the caller has a lock, which it can let go after every slice.
A row is known by its key, any int64 of the caller's; what is put in under a key that is there moves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pctstream.core.adjust import Adjusted, Work, adjust
from pctstream.core.box import HOW, SCANNED, collect, select
from pctstream.core.budget import Budget
from pctstream.core.closest import closest
from pctstream.core.density_map import DensityMap
from pctstream.core.geography import boxes_of, placed, point_of
from pctstream.core.granularity import Granularity
from pctstream.core.kernels import Float64, Int64
from pctstream.core.membership import Membership
from pctstream.core.pace import Pace
from pctstream.core.pages import PAGE
from pctstream.core.regions import Regions
from pctstream.errors import QueryRefused

_NO_COUNTS = np.zeros((0, 0), np.int64)
_NO_EDGES = np.zeros(2)
EVERY = 2**62
NEAREST = 1000
"""Rows that one question for the nearest may ask for."""


class Put(NamedTuple):
    """What became of rows: new, moved within the index, and without a position (why: how many)."""

    inserted: int
    moved: int
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Touched:
    """A region that a question touched. how: all, empty or scanned. box: x0, y0, x1, y1."""

    region: str
    box: tuple[float, ...]
    depth: int
    rows: int
    how: str
    sub_box: tuple[float, ...]
    """The part of the question's box in the region."""


@dataclass(frozen=True, slots=True)
class Found:
    """Rows: keys i64[n], x and y f64[n], and how they were found."""

    keys: Int64
    x: Float64
    y: Float64
    distances: Float64
    """Of the nearest, in order; empty for a box."""
    touched: tuple[Touched, ...]
    """Only if asked for."""
    scanned: int
    """Rows that were compared."""
    truncated: bool = False
    """Whether the box has more rows than were asked for."""


class SpatialIndex:
    """Rows by position. bounds, cells: those of the density map. globe: x and y are degrees.

    >>> index = SpatialIndex(Granularity(split_rows=2, merge_rows=0))
    >>> x = np.array([0.0, 0.1, 7.0, 7.5])
    >>> index.insert(np.arange(4), x, x)
    Put(inserted=4, moved=0, refused={})
    >>> index.adjust_now(0.0).splits, len(index.regions.leaves())
    (1, 4)
    >>> index.box((6.0, 0.0, 7.0, 9.0)).keys.tolist(), index.nearest((0.2, 0.0), 2).keys.tolist()
    ([2], [1, 0])
    >>> index.delete(np.array([1, 5])), len(index)
    (1, 3)
    """

    def __init__(
        self,
        config: Granularity | None = None,
        *,
        cells: tuple[int, int] = (64, 64),
        bounds: tuple[float, ...] = (),
        globe: bool = False,
        pace: Pace | None = None,
    ) -> None:
        self.config = config or Granularity()
        self.globe = globe
        self.density_map = DensityMap(cells, bounds)
        self.budget = Budget(self.config.cost, self.config.budget_per_min)
        self.pace = pace or Pace(10.0, 10_000)
        self.last = Adjusted()
        """The last adjustment."""
        self.most_bytes = EVERY
        """Regions are not changed where the index would take more."""
        self._members: Membership | None = None
        self._everywhere = True
        self._faded_s: float | None = None

    def __len__(self) -> int:
        return 0 if self._members is None else len(self._members)

    @property
    def members(self) -> Membership:
        """The rows in their regions; before the first row there is one region, anywhere."""
        if self._members is None:
            x0, y0, x1, y1 = self.density_map.bounds or (0.0, 0.0, 1.0, 1.0)
            if self.density_map.axes and self.density_map.axes[0].first is None:
                # what lies on the upper edge of given bounds belongs to them
                x1, y1 = float(np.nextafter(x1, np.inf)), float(np.nextafter(y1, np.inf))
            members = Membership(Regions((x0, y0, x1, y1)))
            if not self.density_map.bounds:
                return members
            self._members = members
        return self._members

    @property
    def regions(self) -> Regions:
        """The tree of regions."""
        return self.members.regions

    def bytes_with(self, rows: int) -> int:
        """What the index takes of memory, once there is room for so many more rows: all its arrays."""
        density = self.density_map
        return self.members.bytes_with(rows) + 2 * density.counts.nbytes

    def restore(self, entries: Mapping[bytes, bytes]) -> None:
        """Regions from the store (`Regions.changes`), before the first row is put in again."""
        if len(self):
            raise ValueError("regions are restored before rows are put in")
        self._members = Membership(Regions.from_entries(entries))

    def insert(self, keys: Int64, x: Float64, y: Float64) -> Put:
        """Puts rows i64[n], f64[n], f64[n] in, or moves them; the last of equal keys counts."""
        x, fine, why = placed(
            np.asarray(x, np.float64), np.asarray(y, np.float64), globe=self.globe
        )
        keys, x, y = np.asarray(keys, np.int64)[fine], x[fine], np.asarray(y, np.float64)[fine]
        if not len(keys):
            return Put(0, 0, why)
        self.density_map.add(x, y)
        low, high = (float(x.min()), float(y.min())), (float(x.max()), float(y.max()))
        members = self.members
        members.regions.reach(low, high)
        old = members.insert(keys, x, y)
        self.density_map.remove(old[0], old[1])
        moved = int(old.shape[1])
        self.pace.changed(len(keys))
        return Put(len(keys) - moved, moved, why)

    def delete(self, keys: Int64) -> int:
        """Takes rows out; how many of the keys were there."""
        if self._members is None:
            return 0
        old = self._members.delete(np.ascontiguousarray(keys, np.int64))
        self.density_map.remove(old[0], old[1])
        self.pace.changed(old.shape[1])
        return int(old.shape[1])

    def configure(self, config: Granularity) -> None:
        """Other settings, effective at the next adjustment."""
        self.config, self._everywhere = config, True
        self.budget.set(config.cost, config.budget_per_min)

    def adjust(self, now_s: float) -> Work:
        """One adjustment in slices (`core.adjust`); send each slice's seconds, or none."""
        self.pace.done(now_s)
        self.budget.refill(now_s)
        since = 0.0 if self._faded_s is None else max(0.0, now_s - self._faded_s)
        self._faded_s = now_s
        members = self.members
        members.most_bytes = self.most_bytes - 2 * self.density_map.counts.nbytes
        members.regions.fade(0.5 ** (since / self.config.query_half_life_s))
        everywhere, self._everywhere = self._everywhere, True
        work = adjust(self.density_map, members, self.config, self.budget, everywhere=everywhere)
        self.last = yield from work
        self._everywhere = self.last.again
        return self.last

    def adjust_now(self, now_s: float, clock: Callable[[], float] | None = None) -> Adjusted:
        """One adjustment in one go; a clock in seconds, if its time is to be charged."""
        work, took = self.adjust(now_s), None
        while True:
            began = clock() if clock else 0.0
            try:
                work.send(took)
            except StopIteration as end:
                adjusted: Adjusted = end.value
                return adjusted
            took = clock() - began if clock else None

    def box(
        self, box: tuple[float, ...], *, limit: int = EVERY, subdivide: bool = True,
        explain: bool = False,
    ) -> Found:  # fmt: skip
        """At most `limit` rows with x0 <= x <= x1 and y0 <= y <= y1, in no particular order.

        On the globe a box with x0 > x1 crosses the antimeridian. QueryRefused for what is no box.
        """
        parts: list[Found] = []
        for part in boxes_of(box, globe=self.globe):
            left = limit - sum(len(found.keys) for found in parts)
            parts.append(self._box(part, left, subdivide, explain))
        if len(parts) == 1:
            return parts[0]
        keys = np.concatenate([part.keys for part in parts])
        x, y = np.concatenate([p.x for p in parts]), np.concatenate([p.y for p in parts])
        touched = tuple(one for part in parts for one in part.touched)
        scanned, truncated = sum(p.scanned for p in parts), any(p.truncated for p in parts)
        return Found(keys, x, y, np.zeros(0), touched, scanned, truncated)

    def _box(self, part: tuple[float, ...], limit: int, subdivide: bool, explain: bool) -> Found:
        members, box = self.members, np.array(part)
        nodes, root = members.regions.nodes, members.regions.root
        counts, ex, ey = _NO_COUNTS, _NO_EDGES, _NO_EDGES
        if self.density_map.axes is not None:
            first, second = self.density_map.axes
            counts, ex, ey = self.density_map.counts, first.edges, second.edges
        found, how, rows = select(nodes, root, counts, ex, ey, box, subdivide)
        room = min(rows, limit + PAGE)
        keys, x, y, *told = collect(nodes, members.pages, found, how, room, limit, box)
        touched = self._touched(found, how, box) if explain else ()
        return Found(keys, x, y, np.zeros(0), touched, *told)

    def _touched(self, found: Int64, how: Any, box: Float64) -> tuple[Touched, ...]:
        nodes, regions, out = self.regions.nodes, self.regions, []
        for node, way in zip(found.tolist(), how.tolist(), strict=True):
            region = nodes.box[node]
            part = np.concatenate(
                [np.maximum(region[:2], box[:2]), np.minimum(region[2:], box[2:])]
            )
            depth = int(nodes.depth[node]) - int(nodes.depth[regions.root])
            out.append(Touched(regions.name(node), tuple(region.tolist()), depth,
                               int(nodes.rows[node]), HOW[way], tuple(part.tolist())))  # fmt: skip
        return tuple(out)

    def described(self) -> list[dict[str, Any]]:
        """The regions as the view has them: a region that is being cut is whole until that is done."""
        regions, nodes = self.regions, self.regions.nodes
        top = int(nodes.depth[regions.root])
        return [
            {"id": regions.name(node), "box": nodes.box[node].tolist(), "rows": rows,
             "depth": int(nodes.depth[node]) - top, "queries": float(nodes.queries[node])}
            for node, rows in regions.listed()
        ]  # fmt: skip

    def nearest(self, point: tuple[float, ...], k: int, *, explain: bool = False) -> Found:
        """The k rows nearest to a point, nearest first: distances in the unit of x and y, or metres."""
        if not 0 < k <= NEAREST:
            raise QueryRefused(f"k = {k} must be from 1 to {NEAREST}")
        x, y = point_of(point, globe=self.globe)
        members = self.members
        nodes, pages = members.regions.nodes, members.pages
        slots, away, seen = closest(nodes, pages, members.regions.root, x, y, k, self.globe)
        how = np.full(len(seen), SCANNED, np.int8)
        whole = np.array([-np.inf, -np.inf, np.inf, np.inf])
        touched = self._touched(seen, how, whole) if explain else ()
        away = away if self.globe else np.sqrt(away)
        columns = pages.key[slots], pages.x[slots], pages.y[slots]
        return Found(*columns, away, touched, int(nodes.rows[seen].sum()))


def warm() -> int:
    """Every kernel compiled, or read from the cache, before the first row: without it a turn may take 10 s.

    >>> warm()
    1
    """
    x = np.linspace(0.0, 1.0, 600)
    for globe in (False, True):
        index = SpatialIndex(Granularity(split_rows=400, merge_rows=150), globe=globe)
        index.insert(np.arange(600), x, x)
        index.adjust_now(0.0)
        index.box((0.2, 0.2, 0.7, 0.7))
        index.nearest((0.5, 0.5), 3)
        index.delete(np.arange(10, 600))
        for now_s in (1.0, 2.0):
            index.adjust_now(now_s)
    return len(index.regions.leaves())
