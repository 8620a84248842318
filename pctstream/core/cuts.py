"""Where a region that is too dense is cut, and into what: the whole subtree at once.

All cuts are found on a copy of the positions before a row is moved, so that each row is then moved once,
to the region where it ends, however deep that is. Of many rows every k-th stands for k.

- quadtree: in the middle, both ways; only across the longer side where a region is longer than high by
  a half or more (measured against the whole's aspect), which is what joining two quarters leaves.
- kdtree: at the median of the coordinate in which the rows spread more.

A region is left as it is when no cut helps; `why` says which limit it was: `identical` (all rows at one
place), `min_size`, `depth`, `regions`. So equal points never recurse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pctstream.core.granularity import Granularity
from pctstream.core.kernels import Float64
from pctstream.core.regions import Cut

SAMPLE = 32_768
"""Rows that a subtree is planned on."""


class Cutter:
    """Plans the cuts of one region; `made` regions come of it, `why` holds what stopped it where.

    counts: how much each row given counts. room: regions that may still be made.

    >>> x = np.array([0.1, 0.2, 0.3, 3.0])
    >>> cutter = Cutter(Granularity(split_rows=3, merge_rows=1), 1.0, room=9)
    >>> cutter.cut([0.0, 0.0, 4.0, 4.0], 0, x, x)
    (0, 2.0, (1, 2.0, None, None), (1, 2.0, None, None))
    >>> cutter.cut([0.0, 0.0, 4.0, 4.0], 0, np.full(9, 0.1), np.full(9, 0.1)), cutter.why
    (None, ['identical'])
    """

    def __init__(
        self, limits: Granularity, counts: float, *, room: int, aspect: float = 1.0
    ) -> None:
        self.limits, self._counts, self._room, self._aspect = limits, counts, room, aspect
        self.made, self.why = 0, list[str]()

    def cut(self, box: Sequence[float], depth: int, x: Float64, y: Float64) -> Cut | None:
        """The cuts below a region at this depth with these rows (f64[n], at most SAMPLE), if any."""
        limits, sides = self.limits, (box[2] - box[0], box[3] - box[1])
        dense = len(x) * self._counts > limits.split_rows
        if not dense and not 0.0 < limits.max_size < max(sides):
            return None
        places = self._places(box, depth, x, y, dense)
        made = 2 ** len(places) - 1
        if places and self.made + made > self._room:
            places = self._stop("regions")
        if not places:
            return None
        self.made += made
        return self._apply(list(places), box, depth, x, y)

    def _apply(
        self, places: list[tuple[int, float]], box: Sequence[float], depth: int, x: Any, y: Any
    ) -> Cut | None:
        if not places:
            return self.cut(box, depth, x, y)
        axis, at = places[0]
        parts: list[Cut | None] = []
        high = (x if axis == 0 else y) >= at
        for side in (0, 1):
            half, mine = list(box), high if side else ~high
            half[axis if side else axis + 2] = at
            parts.append(self._apply(places[1:], half, depth + 1, x[mine], y[mine]))
        return axis, at, parts[0], parts[1]

    def _stop(self, why: str) -> list[tuple[int, float]]:
        self.why.append(why)
        return []

    def _places(
        self, box: Sequence[float], depth: int, x: Float64, y: Float64, dense: bool
    ) -> list[tuple[int, float]]:
        """Axis and place of the next cut, or of the next two; none, having said why."""
        same = [not len(v) or float(v.min()) == float(v.max()) for v in (x, y)]
        if dense and all(same):
            return self._stop("identical")
        if self.limits.pattern == "quadtree" or not dense:
            wanted = self._middles(box, self._sides(box, dense))
            if dense and not any(self._large_enough(box, *one) for one in wanted):
                wanted = self._middles(box, [0, 1])
        else:
            spread = [
                math.inf if s else -float(np.ptp(v)) for v, s in zip((x, y), same, strict=True)
            ]
            spread[0] *= self._aspect
            order = [axis for axis in np.argsort(spread).tolist() if not same[axis]]
            places = [(axis, self._median(box, axis, (x, y)[axis])) for axis in order]
            wanted = [(axis, at) for axis, at in places if at is not None][:1]
        room = [axis_at for axis_at in wanted if self._large_enough(box, *axis_at)]
        if not room:
            return self._stop("min_size")
        if depth + len(room) > self.limits.max_depth:
            return self._stop("depth")
        return room

    def _middles(self, box: Sequence[float], sides: list[int]) -> list[tuple[int, float]]:
        return [(axis, (box[axis] + box[axis + 2]) / 2) for axis in sides]

    def _sides(self, box: Sequence[float], dense: bool) -> list[int]:
        """Across which sides to cut in the middle."""
        width, height = (box[2] - box[0]) * self._aspect, box[3] - box[1]
        if not dense:
            return [axis for axis in (0, 1) if box[axis + 2] - box[axis] > self.limits.max_size]
        return [0] if width > 1.5 * height else [1] if height > 1.5 * width else [0, 1]

    def _large_enough(self, box: Sequence[float], axis: int, at: float) -> bool:
        low, high = at - box[axis], box[axis + 2] - at
        return min(low, high) >= self.limits.min_size and min(low, high) > 0.0

    def _median(self, box: Sequence[float], axis: int, v: Float64) -> float | None:
        """Where about half the values are below: above the least, so that both halves have some."""
        low, high = box[axis] + self.limits.min_size, box[axis + 2] - self.limits.min_size
        at = float(np.partition(v, len(v) // 2)[len(v) // 2])
        least = float(v.min())
        if at <= least:
            at = float(v[v > least].min())
        at = min(max(at, low), high)
        return at if least < at <= float(v.max()) else None
