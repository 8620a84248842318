"""The nearest rows of a question among many runs of cells: exactly, or among the nearest cells only.

Theory
------
1. Cells are taken the nearest centre first. Centres stand in groups of 32 with a hub, and a heap holds the
   groups by how near a centre of theirs can be. When one comes to the top its 32 squared distances are
   taken side by side, and from then on it stands by the least that is left. So most centres are never
   looked at, and nothing is sorted.
2. A group whose rows all lie beyond is dropped by its hub alone.
3. The codes of a cell's rows are compared with the distance of the k-th found so far (`codes`); those that
   may be as near are taken again in float64, strictly in order. These distances alone decide.
4. **Exact**: once k rows are found, every cell with d(q, c) - r beyond the k-th is ruled out, and the
   answer is proven when none is left. **Approximate**: the search ends after so many cells, or at the
   first centre farther than ``reach``; `recall` learns how many.
5. The k nearest by (distance, id): ids are compared by whoever knows them. If a row as far as the k-th
   was let go, ``lost`` says so, and the question is asked again with a larger k (`core.answers`).

Every bound gives away what rounding may cost: a float32 sum errs by less than h = (d + 4) 2^-24 of its
value, q is rounded for it, and the distance between q and its rounding is added.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pctstream.core.cells import GROUP
from pctstream.core.heaps import sift
from pctstream.core.lanes import LANES, compiled, inlined
from pctstream.core.near import fetch, float64_at, int64_at, sums_of_four
from pctstream.core.sweep import (
    AT_ONCE,
    CENTRES,
    CODES,
    FIRST_TILE,
    GRID,
    GROUPS,
    HUBS,
    LINE,
    MEMBERS,
    ORIGIN,
    RADIUS,
    SIZE,
    decide,
    scan_cell,
)

LARGEST = np.finfo(np.float32).max
FIRST = 2
"""Cells that are scanned before the others are ruled out by their balls."""


@inlined
def _least(squares: Any, least: Any, nearest: Any, g: int) -> None:
    """The nearest cell that is left of a group."""
    smallest, at = np.float32(np.inf), g * GROUP
    for i in range(g * GROUP, g * GROUP + GROUP):
        if squares[i] < smallest:
            smallest, at = squares[i], i
    least[g], nearest[g] = smallest, at


@compiled
def _rule_out(
    known: Any, run: Any, around: Any, squares: Any, least: Any, nearest: Any, group: Any,
    away: Any, most: float, h: float,
) -> Any:  # fmt: skip
    """What lies beyond is never looked at; the groups that are left, as a heap."""
    left = 0
    for g in range(len(group)):
        if away[g] >= 0.0:
            # its centres have not been looked at
            outer = most + around[1, g]
            if away[g] * away[g] > outer * outer * h:
                continue
        else:
            begin = (g - known[run[g], GROUPS]) * GROUP
            for i in range(GROUP):
                outer = most + float64_at(known[run[g], RADIUS], begin + i)
                if squares[g * GROUP + i] > outer * outer * h:
                    squares[g * GROUP + i] = np.inf
            _least(squares, least, nearest, g)
        if least[g] < np.inf:
            group[left] = g
            left += 1
    for at in range(left // 2 - 1, -1, -1):
        sift(group, least, at, left)
    return left


@compiled
def _measure(known: Any, rounded: Any, hubs: Any) -> None:
    """The squares of all hubs, side by side."""
    stride = rounded.shape[0] * GROUP * 4
    for begin in range(0, known[-1, GROUPS], GROUP):
        sums_of_four(rounded, known[-1, HUBS] + (begin // GROUP) * stride, hubs, begin)


@compiled
def _arrange(
    hubs: Any, around: Any, least: Any, group: Any, away: Any, off: float, h: float
) -> None:
    """By how far each group's hub is: how near a centre of it can be; the heap of groups."""
    inverse = 1.0 / h
    for g in range(len(group)):
        away[g] = math.sqrt(min(hubs[g], LARGEST))
        near = max(0.0, away[g] - around[0, g] - off)
        least[g], group[g] = np.float32(near * near * inverse), g
    for at in range(len(group) // 2 - 1, -1, -1):
        sift(group, least, at, len(group))


@compiled
def _open(
    known: Any, r: int, g: int, rounded: Any, squares: Any, most: float, h: float
) -> None:  # fmt: skip
    """The squares of the centres of one group, and the least of those whose rows may be near."""
    begin = (g - known[r, GROUPS]) * GROUP
    address = known[r, CENTRES] + begin * rounded.shape[0] * 4
    sums_of_four(rounded, address, squares, g * GROUP)
    for line in range(0, GROUP * 8, LINE):
        # what is told of these cells will be read when they are scanned
        fetch(known[r, SIZE] + begin * 8 + line)
        fetch(known[r, FIRST_TILE] + begin * 8 + line)
        fetch(known[r, GRID] + begin * 16 + 2 * line)
        fetch(known[r, GRID] + begin * 16 + 2 * line + LINE)
    members = int64_at(known[r, MEMBERS], g - known[r, GROUPS])
    squares[g * GROUP + members : (g + 1) * GROUP] = np.inf
    for i in range(members):
        # +inf says that there is no such cell, or that it was taken
        square = min(squares[g * GROUP + i], LARGEST)
        outer = most + float64_at(known[r, RADIUS], begin + i)
        squares[g * GROUP + i] = np.float32(np.inf) if square > outer * outer * h else square


@inlined
def _soon(
    known: Any, run: Any, group: Any, least: Any, nearest: Any, away: Any, left: int, wide: int
) -> Any:
    """Where the codes lie of the cell that is likely to be next; 0 where that is not known."""
    g = group[0]
    if left == 0 or away[g] >= 0.0 or least[g] == np.inf:
        return 0
    r = run[g]
    cell = nearest[g] - known[r, GROUPS] * GROUP
    for line in range(0, wide * 4, LINE):
        fetch(known[r, ORIGIN] + cell * wide * 4 + line)
    return known[r, CODES] + int64_at(known[r, FIRST_TILE], cell) * LANES * wide


@inlined
def _round(q: Any, rounded: Any) -> Any:
    """The question in float32; how far that is from it, at most."""
    off = 0.0
    for j in range(rounded.shape[0]):
        rounded[j] = np.float32(q[j])
        off += (q[j] - np.float64(rounded[j])) ** 2
    return math.sqrt(off) * 1.0000001


@compiled
def _ask(
    q: Any, known: Any, around: Any, k: int, most: float, probes: int, reach: float,
    largest: float, mask: Any, distance: Any, slot: Any, work: Any,
) -> Any:  # fmt: skip
    """One question; the k nearest as a heap."""
    rounded, squares, least, nearest, group, away, code, run, pending, hubs = work
    d = rounded.shape[0]
    off = _round(q, rounded)
    h = 1.0 + (d + 8) * 2.0**-22
    _measure(known, rounded, hubs)
    _arrange(hubs, around, least, group, away, off, h)
    # not literals: `scan_cell` would be compiled for them too
    count: Any = np.int64(0)
    waiting: Any = np.int64(0)
    lost, scanned, seen, taken, ruled = np.inf, 0, 0, 0, False
    left, last = len(group), 0.0
    while left > 0 and least[group[0]] < np.inf:
        if not ruled and taken >= FIRST and most < np.inf:
            ruled = True
            left = _rule_out(
                known, run, around, squares, least, nearest, group, away, most + off, h
            )
            continue
        if probes and taken >= probes and count == k:
            break
        g = group[0]
        r = run[g]
        if away[g] >= 0.0:
            away[g] = -1.0
            _open(known, r, g, rounded, squares, most + off, h)
            _least(squares, least, nearest, g)
            sift(group, least, 0, left)
            continue
        place, square = nearest[g], least[g]
        squares[place] = np.inf
        _least(squares, least, nearest, g)
        sift(group, least, 0, left)
        far = math.sqrt(square)
        if far * (1.0 - 2.0**-20) - off > reach:
            break
        cell = place - known[r, GROUPS] * GROUP
        outer = most + off + float64_at(known[r, RADIUS], cell)
        if square > outer * outer * h:
            continue
        taken, last = taken + 1, far
        ahead = _soon(known, run, group, least, nearest, away, left, q.shape[0])
        count, lost, most, waiting = scan_cell(
            q, d, code, known, r, cell, ahead, largest, mask, pending, waiting, k, most, distance,
            slot, count, lost,
        )  # fmt: skip
        if waiting and (count < k or taken <= FIRST or taken == probes):
            count, lost, most = decide(q, d, pending, waiting, k, most, distance, slot, count, lost)
            waiting = 0
        scanned += 1
        seen += int64_at(known[r, SIZE], cell)
    if waiting:
        count, lost, _ = decide(q, d, pending, waiting, k, most, distance, slot, count, lost)
    return count, scanned, seen, lost, last


@compiled
def _order(queries: Any, known: Any, rounded: Any, hubs: Any) -> Any:
    """Questions that are near each other, one after the other: what one has read the next finds in
    the cache."""
    home = np.zeros(queries.shape[0], np.int64)
    if len(home) > 1:
        for i in range(len(home)):
            _round(queries[i], rounded)
            _measure(known, rounded, hubs)
            for g in range(1, known[-1, GROUPS]):
                if hubs[g] < hubs[home[i]]:
                    home[i] = g
    return np.argsort(home)


@compiled
def search_all(
    queries: Any, d: int, known: Any, around: Any, k: int, within: Any, probes: int, reach: Any,
    largest: float, mask: Any, distance: Any, slot: Any, numbers: Any, edges: Any,
) -> None:  # fmt: skip
    """Every query f64[m, filled], of which d count; `Table.search` says what goes in and out."""
    groups = known[-1, GROUPS]
    work = (
        np.empty(d, np.float32),
        np.full(groups * GROUP, np.inf, np.float32),
        np.empty(groups, np.float32),
        np.empty(groups, np.int64),
        np.empty(groups, np.int64),
        np.empty(groups, np.float64),
        np.empty(queries.shape[1], np.int16),
        np.empty(groups, np.int64),
        np.empty((2, AT_ONCE), np.int64),
        np.empty(groups + GROUP, np.float32),
    )
    for r in range(known.shape[0] - 1):
        work[7][known[r, GROUPS] : known[r + 1, GROUPS]] = r
    for i in _order(queries, known, work[0], work[9]):
        count, scanned, seen, lost, last = _ask(
            queries[i], known, around, k, within[i], probes, reach[i], largest, mask, distance[i], slot[i],
            work,
        )  # fmt: skip
        order = np.argsort(distance[i, :count])
        distance[i, :count] = distance[i, :count][order]
        slot[i, :count] = slot[i, :count][order]
        numbers[0, i], numbers[1, i], numbers[2, i] = count, scanned, seen
        edges[0, i], edges[1, i] = lost, last
