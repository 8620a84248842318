"""The k rows nearest to a point: regions by how near they can be, nearer ones first.

A node can have nothing nearer than its box is; once k rows are known, nodes whose box is farther than the
k-th are passed over. On a plane the comparison is of squared distances, summed as they are for the box,
so rounding cannot rule out what would count; on the globe the bound gives a metre away. Of rows equally
far the lower key comes first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pctstream.core.box import DEEPEST
from pctstream.core.geography import metres, metres_to_box
from pctstream.core.lanes import compiled, inlined
from pctstream.core.pages import PAGE, SHIFT


@inlined
def _bound(x: float, y: float, box: Any, globe: bool) -> Any:
    if globe:
        return metres_to_box(x, y, box)
    dx = max(0.0, box[0] - x, x - box[2])
    dy = max(0.0, box[1] - y, y - box[3])
    return dx * dx + dy * dy


@compiled
def closest(nodes: Any, pages: Any, root: int, x: float, y: float, k: int, globe: bool) -> Any:
    """Slots and distances (squared on a plane) of the k nearest, then the nodes looked at."""
    slots, away = np.empty(k, np.int64), np.full(k, np.inf)
    seen = np.empty(nodes.at.shape[0], np.int64)
    stack, near = np.empty(DEEPEST, np.int64), np.empty(DEEPEST)
    stack[0], near[0], top, n, looked = root, 0.0, 1, 0, 0
    while top > 0:
        top -= 1
        node = stack[top]
        if near[top] > away[k - 1]:
            continue
        page, left = nodes.head[node], nodes.rows[node]
        if left > 0:
            seen[looked] = node
            looked += 1
            nodes.queries[node] += 1.0
        fill = left & (PAGE - 1)
        fill = PAGE if fill == 0 else fill
        while left > 0:
            for slot in range(page << SHIFT, (page << SHIFT) + fill):
                if globe:
                    d = metres(x, y, pages.x[slot], pages.y[slot])
                else:
                    dx, dy = pages.x[slot] - x, pages.y[slot] - y
                    d = dx * dx + dy * dy
                if d > away[k - 1]:
                    continue
                if n == k and d == away[k - 1] and pages.key[slot] > pages.key[slots[k - 1]]:
                    continue
                i = min(n, k - 1)
                while i > 0 and (
                    d < away[i - 1]
                    or (d == away[i - 1] and pages.key[slot] < pages.key[slots[i - 1]])
                ):
                    away[i], slots[i] = away[i - 1], slots[i - 1]
                    i -= 1
                away[i], slots[i] = d, slot
                n = min(n + 1, k)
            left -= fill
            page, fill = pages.following[page], PAGE
        if nodes.axis[node] >= 0:
            low, high = nodes.child[node, 0], nodes.child[node, 1]
            to_low = _bound(x, y, nodes.box[low], globe)
            to_high = _bound(x, y, nodes.box[high], globe)
            first, second = (low, high) if to_low <= to_high else (high, low)
            stack[top], near[top] = second, max(to_low, to_high)
            stack[top + 1], near[top + 1] = first, min(to_low, to_high)
            top += 2
    return slots[:n], away[:n], seen[:looked]
