"""Rows in a box, from regions of whatever size there are.

Theory
------
**Selection.** The tree is walked from the root, only where the box reaches. What it meets is coarse where
rows are few and fine where they crowd; a node that lies wholly in the box is taken as it is, whatever
its depth.

**Subdivision.** So the box falls apart into sub-boxes, its parts in the regions it touches, and the first
things known of each, before any row is looked at, decide what happens to it:

- `all`: the region lies in the box; its rows are copied, none is compared;
- `empty`: the cells of the density map that the sub-box touches have no rows, so it has none;
- `scanned`: the region's rows are compared one by one. Only these count as a query of the region.

Without subdivision every region that the box touches is scanned; the answer is the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pctstream.core.axis import cell_of
from pctstream.core.lanes import compiled, inlined
from pctstream.core.pages import PAGE, SHIFT

ALL, EMPTY, SCANNED = 0, 1, 2
HOW = ("all", "empty", "scanned")
DEEPEST = 512
"""More than any tree is deep: a cut makes a node one deeper, a doubling of the whole the root."""
_CELLS = 4096
"""Cells of the map that are looked at for one sub-box."""


@inlined
def _no_rows(counts: Any, ex: Any, ey: Any, box: Any, region: Any) -> Any:
    """Whether the map says that nothing lies in a region's part of the box."""
    if counts.shape[0] == 0:
        return False
    x0, x1 = max(box[0], region[0]), min(box[2], region[2])
    y0, y1 = max(box[1], region[1]), min(box[3], region[3])
    if x0 < ex[0] or y0 < ey[0] or x1 > ex[ex.shape[0] - 1] or y1 > ey[ey.shape[0] - 1]:
        return False
    i0, i1, j0, j1 = cell_of(ex, x0), cell_of(ex, x1), cell_of(ey, y0), cell_of(ey, y1)
    if (i1 - i0 + 1) * (j1 - j0 + 1) > _CELLS:
        return False
    for i in range(i0, i1 + 1):
        for j in range(j0, j1 + 1):
            if counts[i, j] > 0:
                return False
    return True


@compiled
def select(nodes: Any, root: int, counts: Any, ex: Any, ey: Any, box: Any, subdivide: bool) -> Any:
    """The nodes with rows that the box touches, what is to be done with each, and all their rows."""
    found = np.empty(nodes.at.shape[0], np.int64)
    how = np.empty(nodes.at.shape[0], np.int8)
    stack, whole = np.empty(DEEPEST, np.int64), np.empty(DEEPEST, np.bool_)
    x0, y0, x1, y1 = box
    n, rows, top = 0, 0, 1
    stack[0], whole[0] = root, False
    while top > 0:
        top -= 1
        node, inside, region = stack[top], whole[top], nodes.box[stack[top]]
        if subdivide and not inside:
            inside = x0 <= region[0] and y0 <= region[1] and region[2] <= x1 and region[3] <= y1
        if nodes.rows[node] > 0:
            rows += nodes.rows[node]
            found[n], how[n] = node, SCANNED
            if inside:
                how[n] = ALL
            elif subdivide and _no_rows(counts, ex, ey, box, region):
                how[n] = EMPTY
            else:
                nodes.queries[node] += 1.0
            n += 1
        axis = nodes.axis[node]
        if axis >= 0:
            if inside or box[axis] < nodes.at[node]:
                stack[top], whole[top] = nodes.child[node, 0], inside
                top += 1
            if inside or box[axis + 2] >= nodes.at[node]:
                stack[top], whole[top] = nodes.child[node, 1], inside
                top += 1
    return found[:n], how[:n], rows


@compiled
def collect(nodes: Any, pages: Any, found: Any, how: Any, room: int, limit: int, box: Any) -> Any:
    """Keys and positions of rows in the box, of nodes and ways that `select` found; at most `limit`.

    room: for all rows of these nodes, or for limit + PAGE. Last: the rows compared, and whether there are
    more in the box.
    """
    keys, x, y = np.empty(room, np.int64), np.empty(room), np.empty(room)
    scanned = 0
    x0, y0, x1, y1 = box
    n = 0
    for f in range(found.shape[0]):
        if how[f] == EMPTY:
            continue
        page, left = nodes.head[found[f]], nodes.rows[found[f]]
        fill = left & (PAGE - 1)
        fill = PAGE if fill == 0 else fill
        while left > 0:
            if n > limit:
                return keys[:limit], x[:limit], y[:limit], scanned, True
            start = page << SHIFT
            if how[f] == ALL:
                for i in range(fill):
                    keys[n + i] = pages.key[start + i]
                    x[n + i], y[n + i] = pages.x[start + i], pages.y[start + i]
                n += fill
            else:
                for slot in range(start, start + fill):
                    u, v = pages.x[slot], pages.y[slot]
                    # stored in any case, kept if it lies in the box: no branch to be guessed wrong
                    keys[n], x[n], y[n] = pages.key[slot], u, v
                    n += (x0 <= u) & (u <= x1) & (y0 <= v) & (v <= y1)
                scanned += fill
            left -= fill
            page, fill = pages.following[page], PAGE
    end = min(n, limit)
    return keys[:end], x[:end], y[:end], scanned, n > limit
