"""Which rows each region has: their keys and positions, in pages, and where each key is.

Theory
------
**Pages.** Columns x, y and key are one large array each, dealt out in pages of `PAGE` rows. A region has a
list of pages of which only the first (`head`) may be partly filled, so that a scan reads straight
through memory, a row that comes is appended, and for one that goes the region's last row takes its
place. A page says whose it is, so a row's region is known from its slot alone.

**Slots.** A row's slot is its place in the columns. A table of (key, slot), open addressing with linear
probing, says where a key is; the key is the caller's: any int64. Whoever takes out an entry closes the
gap, so the table has no tombstones.

**Handing down.** A node that was just cut still has its rows. They are handed down in slices of as many
rows as the caller likes: each is taken from the end and appended to the region below in which it lies.
In between a row is in exactly one place, and whoever searches looks at nodes that still have rows, too:
the answer is the same at any moment. New rows go below at once.

**Handing up.** When two regions become one, their full pages change owner as they are; only the rows of the
partly filled ones are moved.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pctstream.core.kernels import Float64, Int64
from pctstream.core.lanes import compiled, inlined
from pctstream.core.regions import NONE, Regions, locate

SHIFT = 8
PAGE = 1 << SHIFT
_ABSENT = -1
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


class Pages(NamedTuple):
    """The columns, whose each page is and which follows; `free` is a stack of pages, `top` its height."""

    x: Any
    y: Any
    key: Any
    owner: Any
    following: Any
    free: Any
    top: Any


@inlined
def _home(table: Any, key: int) -> Any:
    """Where the search for a key begins: the high bits of a product, as many as the table has."""
    return np.int64((np.uint64(key) * _SPREAD) >> np.uint64(32)) & (table.shape[0] - 1)


@inlined
def _entry(table: Any, key: int) -> Any:
    """The key's entry, or the empty one in which it would be."""
    mask = table.shape[0] - 1
    e = _home(table, key)
    while table[e, 1] != _ABSENT and table[e, 0] != key:
        e = (e + 1) & mask
    return e


@inlined
def _forget(table: Any, e: int) -> None:
    """Takes an entry out; later ones of the same run move up."""
    mask = table.shape[0] - 1
    gap, e = e, (e + 1) & mask
    while table[e, 1] != _ABSENT:
        if ((e - _home(table, table[e, 0])) & mask) >= ((e - gap) & mask):
            table[gap, 0], table[gap, 1] = table[e, 0], table[e, 1]
            gap = e
        e = (e + 1) & mask
    table[gap, 1] = _ABSENT


@inlined
def _append(nodes: Any, pages: Any, node: int, x: float, y: float, key: int) -> Any:
    """Puts a row at the end of a region; its slot."""
    rows = nodes.rows[node]
    if rows & (PAGE - 1) == 0:
        pages.top[0] -= 1
        page = pages.free[pages.top[0]]
        pages.owner[page] = node
        pages.following[page] = nodes.head[node]
        nodes.head[node] = page
    slot = (nodes.head[node] << SHIFT) | (rows & (PAGE - 1))
    pages.x[slot], pages.y[slot], pages.key[slot] = x, y, key
    nodes.rows[node] = rows + 1
    return slot


@inlined
def _pop(nodes: Any, pages: Any, node: int) -> Any:
    """Takes the region's last row off; the slot in which it still can be read."""
    rows = nodes.rows[node] - 1
    nodes.rows[node] = rows
    page = nodes.head[node]
    if rows & (PAGE - 1) == 0:
        nodes.head[node] = pages.following[page]
        pages.free[pages.top[0]] = page
        pages.top[0] += 1
    return (page << SHIFT) | (rows & (PAGE - 1))


@inlined
def _take(nodes: Any, pages: Any, table: Any, slot: int) -> None:
    """Takes any row out: the last of its region comes into its place."""
    last = _pop(nodes, pages, pages.owner[slot >> SHIFT])
    if last != slot:
        pages.x[slot], pages.y[slot] = pages.x[last], pages.y[last]
        pages.key[slot] = pages.key[last]
        table[_entry(table, pages.key[slot]), 1] = slot


@compiled
def _insert(
    nodes: Any, pages: Any, table: Any, root: int, keys: Any, x: Any, y: Any, old: Any
) -> Any:
    """Appends rows; the positions of those that were there under the same key go to `old`: how many."""
    moved = 0
    for r in range(keys.shape[0]):
        e = _entry(table, keys[r])
        if table[e, 1] != _ABSENT:
            slot = table[e, 1]
            old[0, moved], old[1, moved] = pages.x[slot], pages.y[slot]
            moved += 1
            _take(nodes, pages, table, slot)
        node = locate(nodes, root, x[r], y[r])
        table[e, 0], table[e, 1] = keys[r], _append(nodes, pages, node, x[r], y[r], keys[r])
    return moved


@compiled
def _delete(nodes: Any, pages: Any, table: Any, keys: Any, old: Any) -> Any:
    gone = 0
    for r in range(keys.shape[0]):
        e = _entry(table, keys[r])
        if table[e, 1] == _ABSENT:
            continue
        slot = table[e, 1]
        old[0, gone], old[1, gone] = pages.x[slot], pages.y[slot]
        gone += 1
        _take(nodes, pages, table, slot)
        _forget(table, _entry(table, keys[r]))
    return gone


@compiled
def _hand_down(nodes: Any, pages: Any, table: Any, node: int, most: int) -> Any:
    moved = min(most, nodes.rows[node])
    for _ in range(moved):
        slot = _pop(nodes, pages, node)
        x, y, key = pages.x[slot], pages.y[slot], pages.key[slot]
        below = locate(nodes, node, x, y)
        table[_entry(table, key), 1] = _append(nodes, pages, below, x, y, key)
    return moved


@compiled
def _hand_up(nodes: Any, pages: Any, table: Any, child: int, parent: int) -> None:
    while nodes.rows[child] & (PAGE - 1) != 0:
        slot = _pop(nodes, pages, child)
        x, y, key = pages.x[slot], pages.y[slot], pages.key[slot]
        table[_entry(table, key), 1] = _append(nodes, pages, parent, x, y, key)
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
def _rehash(old: Any, table: Any) -> None:
    for e in range(old.shape[0]):
        if old[e, 1] != _ABSENT:
            at = _entry(table, old[e, 0])
            table[at, 0], table[at, 1] = old[e, 0], old[e, 1]


@compiled
def _members(nodes: Any, pages: Any, node: int, slots: Any) -> None:
    n, page, fill = 0, nodes.head[node], nodes.rows[node] & (PAGE - 1)
    fill = PAGE if fill == 0 else fill
    while n < nodes.rows[node]:
        for i in range(fill):
            slots[n] = (page << SHIFT) | i
            n += 1
        page, fill = pages.following[page], PAGE


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
        self.pages = Pages(
            np.zeros(0), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64),
            np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(1, np.int64),
        )  # fmt: skip
        self._table: Int64 = np.full((1024, 2), _ABSENT, np.int64)
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def _make_room(self, rows: int) -> None:
        """Free pages and entries for so many more rows, wherever they fall."""
        pages, free = self.pages, int(self.pages.top[0])
        if (needed := rows // PAGE + min(rows, len(self.regions)) + 1) > free:
            n = len(pages.owner)
            more = max(needed, n)
            x, y, key = (np.concatenate([a, np.zeros(more << SHIFT, a.dtype)]) for a in pages[:3])
            owner, following, stack = (
                np.concatenate([a, np.full(more, NONE, np.int64)]) for a in pages[3:6]
            )
            stack[free : free + more] = np.arange(n + more - 1, n - 1, -1)
            top = np.array([free + more], np.int64)
            self.pages = Pages(x, y, key, owner, following, stack, top)
        size = len(self._table)
        while (self._rows + rows) * 2 > size:
            size *= 2
        if size > len(self._table):
            table = np.full((size, 2), _ABSENT, np.int64)
            _rehash(self._table, table)
            self._table = table

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
