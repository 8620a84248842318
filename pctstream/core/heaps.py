"""Two heaps in arrays, for kernels: the nearest group on top; the k nearest, the farthest on top."""

from __future__ import annotations

from typing import Any

import numpy as np

from pctstream.core.lanes import inlined


@inlined
def sift(group: Any, least: Any, at: int, size: int) -> None:
    """The heap's entry at ``at`` sinks to its place; the least is on top."""
    own = group[at]
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and least[group[below + 1]] < least[group[below]]:
            below += 1
        if least[group[below]] >= least[own]:
            break
        group[at] = group[below]
        at = below
    group[at] = own


@inlined
def keep(distance: Any, slot: Any, count: int, k: int, away: float, own: int) -> Any:
    """Into the k nearest, the farthest on top; the distance that was let go, or inf."""
    if count < k:
        at = count
        while at > 0 and distance[(at - 1) // 2] < away:
            distance[at], slot[at] = distance[(at - 1) // 2], slot[(at - 1) // 2]
            at = (at - 1) // 2
        distance[at], slot[at] = away, own
        return np.inf
    gone = distance[0]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= k:
            break
        if below + 1 < k and distance[below + 1] > distance[below]:
            below += 1
        if distance[below] <= away:
            break
        distance[at], slot[at] = distance[below], slot[below]
        at = below
    distance[at], slot[at] = away, own
    return gone
