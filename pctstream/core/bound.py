"""No plan can do better than this: lower bounds of the maximum relative load.

Two bounds, both without a solver. The first is the optimum of the linear relaxation: were portions
divisible, they would fill the shards like water. With what must stay at the bottom, a shard has room
for limit * share - what stays; one that takes nothing keeps at most its own. The least limit for
which all fits is found by halving, since room grows with the limit.

The second is that of pigeons: the j largest portions are all at least as large as the j-th, and a
shard has room for floor(room / that size) such. For j = 1 it is the place of the largest portion,
for j one more than there are shards it is two of them together.
"""

from __future__ import annotations

import numpy as np

from pctstream.core.layout import Float64, Layout

HALVINGS = 60


def lower_bound(layout: Layout) -> float:
    """A relative load that no assignment goes below.

    >>> from pctstream.core.layout import PortionLoad, ShardRoom
    >>> parts = [PortionLoad((0, i), 0, 10.0, 10.0) for i in range(3)]
    >>> round(lower_bound(Layout.of(parts, [ShardRoom(0), ShardRoom(1)])), 6)
    1.333333
    """
    movable = layout.movable
    stays = np.bincount(
        layout.owner[~movable], layout.load[~movable], minlength=len(layout.shards)
    ).astype(np.float64)
    low = float((stays / layout.share).max(initial=0.0))
    if not movable.any():
        return low
    # what a shard may have to take at all bounds every search from above
    high = float(((stays + layout.load.sum()) / layout.share).max())
    return max(low, _water(layout, stays, low, high), _pigeons(layout, stays, high))


def _water(layout: Layout, stays: Float64, low: float, high: float) -> float:
    movable = layout.movable
    own = np.bincount(
        layout.owner[movable], layout.load[movable], minlength=len(layout.shards)
    ).astype(np.float64)
    takes = np.array([s.state in ("active", "new") for s in layout.shards])
    keeps = np.array([s.state == "excluded" for s in layout.shards])
    most = np.where(takes, np.inf, np.where(keeps, own, 0.0))
    total = float(own.sum()) * (1.0 - 1e-12)
    if np.minimum(np.maximum(low * layout.share - stays, 0.0), most).sum() >= total:
        return low
    for _ in range(HALVINGS):
        limit = (low + high) / 2.0
        room = np.minimum(np.maximum(limit * layout.share - stays, 0.0), most).sum()
        low, high = (low, limit) if room >= total else (limit, high)
    return low


def _pigeons(layout: Layout, stays: Float64, most: float) -> float:
    sizes = -np.sort(-layout.load[layout.movable])
    sizes = sizes[: 4 * len(layout.shards) + 1]
    sizes = sizes[sizes > 0.0]
    if not sizes.size:
        return 0.0
    rank = np.arange(1, len(sizes) + 1)
    open_ = np.array([s.state != "drained" for s in layout.shards])
    share, fixed = layout.share[open_], stays[open_]
    low, high = np.zeros(len(sizes)), np.full(len(sizes), most)
    for _ in range(HALVINGS):
        limit = (low + high) / 2.0
        room = np.maximum(limit[:, None] * share - fixed, 0.0) / sizes[:, None]
        fits = np.floor(room * (1.0 + 1e-12)).sum(axis=1) >= rank
        low, high = np.where(fits, low, limit), np.where(fits, limit, high)
    return float(low.max())
