"""Which rows each region has: they come, go, move, and change their region.

Theory
------
How they are kept is in `core.pages`.

**Handing down.** A node that was just cut still has its rows. They are handed down in slices of as many
rows as the caller likes: each is taken from the end and appended to the region below in which it lies.
In between a row is in exactly one place, and whoever searches looks at nodes that still have rows, too:
the answer is the same at any moment. New rows go below at once.

**Handing up.** When two regions become one, their full pages change owner as they are; only the rows of the
partly filled ones are moved.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pctstream.core.kernels import Float64, Int64
from pctstream.core.lanes import compiled, inlined
from pctstream.core.pages import EMPTY, PAGE, PAGE_BYTES, SHIFT, Pages, append, entry, forget, pop
from pctstream.core.regions import Regions, locate


@inlined
def _take(nodes: Any, pages: Any, table: Any, slot: int) -> None:
    """Takes any row out: the last of its region comes into its place. Its entry is the caller's."""
    last = pop(nodes, pages, pages.owner[slot >> SHIFT])
    if last != slot:
        # looked up first: an entry is told by the key that its slot has
        e = entry(table, pages, pages.key[last])
        pages.x[slot], pages.y[slot] = pages.x[last], pages.y[last]
        pages.key[slot] = pages.key[last]
        table[e] = slot + 1


@inlined
def _shift(nodes: Any, pages: Any, table: Any, node: int, target: int, down: bool) -> None:
    """The node's last row goes to another, or to the region below it in which it lies."""
    slot = pop(nodes, pages, node)
    x, y, key = pages.x[slot], pages.y[slot], pages.key[slot]
    e = entry(table, pages, key)
    if down:
        target = locate(nodes, node, x, y)
    table[e] = append(nodes, pages, target, x, y, key) + 1


@compiled
def _insert(
    nodes: Any, pages: Any, table: Any, root: int, keys: Any, x: Any, y: Any, old: Any
) -> Any:
    """Appends rows; the positions of those that were there under the same key go to `old`: how many."""
    moved = 0
    for r in range(keys.shape[0]):
        e = entry(table, pages, keys[r])
        if table[e] != EMPTY:
            slot = table[e] - 1
            old[0, moved], old[1, moved] = pages.x[slot], pages.y[slot]
            moved += 1
            _take(nodes, pages, table, slot)
        node = locate(nodes, root, x[r], y[r])
        table[e] = append(nodes, pages, node, x[r], y[r], keys[r]) + 1
    return moved


@compiled
def _delete(nodes: Any, pages: Any, table: Any, keys: Any, old: Any) -> Any:
    gone = 0
    for r in range(keys.shape[0]):
        e = entry(table, pages, keys[r])
        if table[e] == EMPTY:
            continue
        slot = table[e] - 1
        old[0, gone], old[1, gone] = pages.x[slot], pages.y[slot]
        gone += 1
        forget(table, pages, e)
        _take(nodes, pages, table, slot)
    return gone


@compiled
def _hand_down(nodes: Any, pages: Any, table: Any, node: int, most: int) -> Any:
    moved = min(most, nodes.rows[node])
    for _ in range(moved):
        _shift(nodes, pages, table, node, node, True)
    return moved


@compiled
def _hand_up(nodes: Any, pages: Any, table: Any, child: int, parent: int) -> None:
    while nodes.rows[child] & (PAGE - 1) != 0:
        _shift(nodes, pages, table, child, parent, False)
    while nodes.rows[child] > 0:
        page, head = nodes.head[child], nodes.head[parent]
        nodes.head[child] = pages.following[page]
        nodes.rows[child] -= PAGE
        pages.owner[page] = parent
        if nodes.rows[parent] & (PAGE - 1) == 0:
            pages.following[page], nodes.head[parent] = head, page
        else:
            pages.following[page], pages.following[head] = pages.following[head], page
        nodes.rows[parent] += PAGE


@compiled
def _fill(nodes: Any, pages: Any, table: Any) -> None:
    """Enters all rows into an empty table, page by page: the keys are read in order."""
    for node in range(nodes.rows.shape[0]):
        page, left = nodes.head[node], nodes.rows[node]
        fill = left & (PAGE - 1)
        fill = PAGE if fill == 0 else fill
        while left > 0:
            for slot in range(page << SHIFT, (page << SHIFT) + fill):
                table[entry(table, pages, pages.key[slot])] = slot + 1
            left -= fill
            page, fill = pages.following[page], PAGE


@compiled
def _members(nodes: Any, pages: Any, node: int, slots: Any) -> None:
    n, page, fill = 0, nodes.head[node], nodes.rows[node] & (PAGE - 1)
    fill = PAGE if fill == 0 else fill
    while n < nodes.rows[node]:
        for i in range(fill):
            slots[n] = (page << SHIFT) | i
            n += 1
        page, fill = pages.following[page], PAGE


def _longer(column: Any, more: int) -> Any:
    """A copy with room at the end that the system need not yet provide."""
    longer = np.empty(len(column) + more, column.dtype)
    longer[: len(column)] = column
    return longer


class Membership:
    """The rows of regions. A caller sees to it that positions lie inside the root's box.

    >>> rows = Membership(Regions((0.0, 0.0, 2.0, 2.0)))
    >>> rows.insert(np.array([7, 8]), np.array([0.5, 1.5]), np.array([0.5, 0.5]))[0].tolist()
    []
    >>> rows.regions.cut(rows.regions.root, (0, 1.0, None, None))
    >>> rows.hand_down(rows.regions.root, 100), rows.regions.nodes.rows[:3].tolist()
    (2, [0, 1, 1])
    >>> rows.insert(np.array([7]), np.array([1.9]), np.array([1.9]))[0].tolist(), len(rows)
    ([0.5], 2)
    >>> rows.delete(np.array([7, 9]))[0].tolist(), len(rows)
    ([1.9], 1)
    """

    def __init__(self, regions: Regions) -> None:
        self.regions = regions
        self.most_bytes = 2**62
        """Regions are not changed where the arrays would take more (`core.adjust`)."""
        self._rows = 0
        self._let_go()

    def _let_go(self) -> None:
        """The memory of rows that are all gone."""
        none = np.zeros(0, np.int64)
        self.pages = Pages(np.zeros(0), np.zeros(0), none, none, none, none, np.zeros(1, np.int64))
        self._table = np.zeros(1024, np.int32)

    def __len__(self) -> int:
        return self._rows

    def _growth(self, rows: int) -> tuple[int, int]:
        """Pages that so many more rows need beyond those there are, and the table's size with them."""
        free, n = int(self.pages.top[0]), len(self.pages.owner)
        needed = rows // PAGE + min(rows, len(self.regions)) + (rows > 0)
        size = len(self._table)
        while (self._rows + rows) * 2 > size:
            size *= 2
        return max(needed, n) if needed > free else 0, size

    def bytes_with(self, rows: int) -> int:
        """What the arrays take, once there is room for so many more rows."""
        pages, size = self._growth(rows)
        columns = sum(column.nbytes for column in self.pages)
        nodes = sum(column.nbytes for column in self.regions.nodes)
        return int(columns + nodes + pages * PAGE_BYTES + size * self._table.itemsize)

    def _make_room(self, rows: int) -> None:
        """Free pages and entries for so many more rows, wherever they fall."""
        pages, free, n = self.pages, int(self.pages.top[0]), len(self.pages.owner)
        more, size = self._growth(rows)
        if more:
            x, y, key = (_longer(column, more << SHIFT) for column in pages[:3])
            owner, following, stack = (_longer(links, more) for links in pages[3:6])
            stack[free : free + more] = np.arange(n + more - 1, n - 1, -1)
            top = np.array([free + more], np.int64)
            self.pages = Pages(x, y, key, owner, following, stack, top)
        if size > len(self._table):
            self._table = np.zeros(size, np.int32)
            _fill(self.regions.nodes, self.pages, self._table)

    def insert(self, keys: Int64, x: Float64, y: Float64) -> Float64:
        """Puts rows in; the former positions f64[2, m] of those that moved: their key was there."""
        self._make_room(len(keys))
        old = np.empty((2, len(keys)))
        moved = _insert(
            self.regions.nodes, self.pages, self._table, self.regions.root, keys, x, y, old
        )
        self._rows += len(keys) - moved
        return old[:, :moved]

    def delete(self, keys: Int64) -> Float64:
        """Takes rows out; the positions f64[2, m] of those that were there."""
        old = np.empty((2, len(keys)))
        gone = _delete(self.regions.nodes, self.pages, self._table, keys, old)
        self._rows -= gone
        if gone and not self._rows:
            self._let_go()
        return old[:, :gone]

    def hand_down(self, node: int, most: int) -> int:
        """Moves at most so many rows of a node that was cut to the regions below; how many."""
        self._make_room(min(most, int(self.regions.nodes.rows[node])))
        return int(_hand_down(self.regions.nodes, self.pages, self._table, node, most))

    def join(self, a: int, b: int) -> int:
        """Makes one region of two partners, with the rows of both."""
        rows, heads = (
            col[[a, b]].copy() for col in (self.regions.nodes.rows, self.regions.nodes.head)
        )
        self._make_room(2 * PAGE)
        above = self.regions.join(a, b)
        nodes = self.regions.nodes
        nodes.rows[[a, b]], nodes.head[[a, b]] = rows, heads
        for part in (a, b):
            _hand_up(nodes, self.pages, self._table, part, above)
        return above

    def members(self, node: int) -> Int64:
        """The slots of a node's own rows, in no particular order."""
        slots = np.empty(int(self.regions.nodes.rows[node]), np.int64)
        _members(self.regions.nodes, self.pages, node, slots)
        return slots
