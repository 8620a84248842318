"""Rows in pages, and the table that says where each key is.

Theory
------
**Pages.** Columns x, y and key are one large array each, dealt out in pages of `PAGE` rows. A region has a
list of pages of which only the first (`head`) may be partly filled, so that a scan reads straight
through memory, a row that comes is appended, and for one that goes the region's last row takes its
place. A page says whose it is, so a row's region is known from its slot alone.

**Slots.** A row's slot is its place in the columns. A table of slots, open addressing with linear probing,
says where a key is: an entry's key is the one that its slot has. The key is the caller's, any int64.
Whoever takes out an entry closes the gap, so the table has no tombstones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pctstream.core.lanes import inlined

SHIFT = 8
PAGE = 1 << SHIFT
PAGE_BYTES = 8 * (3 * PAGE + 3)
"""Three columns of rows, and three links."""
EMPTY = 0
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


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
    """Where the search for a key begins: as if drawn at random, whatever pattern keys have (splitmix64)."""
    z = np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return np.int64(z ^ (z >> np.uint64(31))) & (table.shape[0] - 1)


@inlined
def entry(table: Any, pages: Any, key: int) -> Any:
    """The key's entry, or the empty one in which it would be."""
    mask = table.shape[0] - 1
    e = _home(table, key)
    while table[e] != EMPTY and pages.key[table[e] - 1] != key:
        e = (e + 1) & mask
    return e


@inlined
def forget(table: Any, pages: Any, e: int) -> None:
    """Takes an entry out; later ones of the same run move up."""
    mask = table.shape[0] - 1
    gap, e = e, (e + 1) & mask
    while table[e] != EMPTY:
        if ((e - _home(table, pages.key[table[e] - 1])) & mask) >= ((e - gap) & mask):
            table[gap] = table[e]
            gap = e
        e = (e + 1) & mask
    table[gap] = EMPTY


@inlined
def append(nodes: Any, pages: Any, node: int, x: float, y: float, key: int) -> Any:
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
def pop(nodes: Any, pages: Any, node: int) -> Any:
    """Takes the region's last row off; the slot in which it still can be read."""
    rows = nodes.rows[node] - 1
    nodes.rows[node] = rows
    page = nodes.head[node]
    if rows & (PAGE - 1) == 0:
        nodes.head[node] = pages.following[page]
        pages.free[pages.top[0]] = page
        pages.top[0] += 1
    return (page << SHIFT) | (rows & (PAGE - 1))
