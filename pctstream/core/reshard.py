"""The seed's loop: each portion above the threshold goes to the best shard, one after the other.

    for each portion, the highest drift score first:
        if its score > threshold:
            best = the shard whose relative load at the horizon would be least with it there,
                   of equal ones its own, then the one with likelier rows, then the lower number
            if best is another than its owner: it moves, and the loop goes on from there

It is what "Dynamic Cover Tree Sharding with Predictive Node Allocation" describes, and can be used
as it is. `plan` looks at all portions together instead; it is never worse, by the maximum load first
and by the bytes at that load.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from pctstream.core.dissimilarity import dissimilarity
from pctstream.core.layout import Float64, Int64, Layout, PortionLoad, ShardRoom
from pctstream.core.names import Path


def reshard(
    tree: Sequence[PortionLoad],
    shards: Sequence[ShardRoom],
    threshold: float,
    held: Collection[Path] = (),
) -> dict[Path, int]:
    """The new shard of each portion that moves; `threshold` in units of noise, `held` ones stay.

    >>> hot = PortionLoad((0, 0), 0, 5.0, 9.0, score=4.0)
    >>> calm = PortionLoad((0, 1), 0, 5.0, 5.0, score=0.5)
    >>> reshard([hot, calm], [ShardRoom(0), ShardRoom(1)], 3.0)
    {(0, 0): 1}
    """
    layout = Layout.of(tree, shards, held)
    places = resharded(layout, dissimilarity(layout), threshold)
    return {layout.portions[p].path: layout.shards[places[p]].shard
            for p in np.flatnonzero(places != layout.owner)}  # fmt: skip


def resharded(layout: Layout, unlike: Float64, threshold: float) -> Int64:
    """The same over arrays: the assignment i64[P] that the loop ends with."""
    places = layout.owner.copy()
    loads = layout.loads(places)
    scores = np.array([p.score for p in layout.portions])
    for p in np.argsort(-scores, kind="stable"):
        if not scores[p] > threshold:
            break
        loads[places[p]] -= layout.load[p]
        there = (loads + layout.load[p]) / layout.share
        there[~layout.allowed[p]] = np.inf
        if np.isfinite(there).any():
            nearly = np.flatnonzero(there <= there.min() * (1.0 + 1e-9))
            places[p] = nearly[np.argmin(unlike[p, nearly])]
        loads[places[p]] += layout.load[p]
    return places
