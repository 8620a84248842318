"""How many rows a box has, as far as regions alone can tell: for parts of the index that do not answer.

A region that lies in the box has all its rows there, one that does not touch it none; of the others
somewhere between none and all, and by area if rows were spread evenly. Coarser regions (the parents, or
those that were last told) only make the bounds wider, never wrong.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np

from pctstream.core.kernels import Float64, Int64
from pctstream.core.regions import FREE, NONE, Regions


class Estimate(NamedTuple):
    """Rows in a box: at least, about, at most."""

    least: int
    about: float
    most: int


def estimated(boxes: Float64, rows: Int64, box: tuple[float, ...]) -> Estimate:
    """The estimate from regions f64[n, 4] with rows i64[n], which are disjoint.

    >>> boxes = np.array([[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 2.0, 1.0], [2.0, 0.0, 4.0, 1.0]])
    >>> estimated(boxes, np.array([10, 20, 40]), (0.0, 0.0, 1.5, 1.0))
    Estimate(least=10, about=20.0, most=30)
    """
    asked = np.array(box)
    low, high = np.maximum(boxes[:, :2], asked[:2]), np.minimum(boxes[:, 2:], asked[2:])
    # regions do not have their upper edges
    touched = (low <= high).all(axis=1) & (asked[:2] < boxes[:, 2:]).all(axis=1)
    inside = (asked[:2] <= boxes[:, :2]).all(axis=1) & (boxes[:, 2:] <= asked[2:]).all(axis=1)
    share = (np.maximum(high - low, 0.0) / (boxes[:, 2:] - boxes[:, :2])).prod(axis=1)
    about = float((rows * np.where(inside, 1.0, share))[touched].sum())
    return Estimate(int(rows[inside].sum()), about, int(rows[touched].sum()))


def coarsest(regions: Regions, most: int) -> list[tuple[int, int]]:
    """At most so many disjoint nodes that share out the whole, and their rows: finest where rows crowd.

    >>> regions = Regions((0.0, 0.0, 4.0, 2.0))
    >>> regions.cut(regions.root, (0, 2.0, (1, 1.0, None, None), (1, 1.0, None, None)))
    >>> regions.nodes.rows[[3, 4, 5, 6]] = [1, 2, 30, 40]
    >>> coarsest(regions, 3), coarsest(regions, 1)
    ([(1, 3), (5, 30), (6, 40)], [(0, 73)])
    """
    nodes = regions.nodes
    rows = nodes.rows.copy()
    used = np.flatnonzero(nodes.axis != FREE)
    for node in used[np.argsort(-nodes.depth[used], kind="stable")].tolist():
        if nodes.parent[node] != NONE:
            rows[nodes.parent[node]] += rows[node]
    waiting = [(-int(rows[regions.root]), regions.root)]
    found: list[tuple[int, int]] = []
    while waiting:
        count, node = heapq.heappop(waiting)
        if nodes.axis[node] >= 0 and len(found) + len(waiting) + 2 <= most:
            for child in nodes.child[node].tolist():
                heapq.heappush(waiting, (-int(rows[child]), child))
        else:
            found.append((node, -count))
    return sorted(found)
