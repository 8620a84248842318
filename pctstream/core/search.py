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
from pctstream.core.codes import LARGEST_SUM
from pctstream.core.grid import near_of_four, near_of_two, put_on_grid
from pctstream.core.heaps import keep, sift
from pctstream.core.lanes import LANES, compiled, inlined
from pctstream.core.near import (
    float32_at,
    float64_at,
    int64_at,
    lowest_bit,
    sums_of_four,
    sums_of_one,
)

LARGEST = np.finfo(np.float32).max
FIRST = 2
"""Cells that are scanned before the others are ruled out by their balls."""
ROWS, CODES, ORIGIN, GRID, FIRST_TILE, SIZE, CENTRES, RADIUS, HUBS, REACH, MEMBERS = range(11)
GROUPS, SLOT = 11, 12
"""Columns of what a kernel knows of a run: eleven addresses, and where its groups and slots begin."""
ENDLESS = math.sqrt(LARGEST_SUM)


@inlined
def _limit(most: float, slack: float, inverse: float) -> Any:
    """What the sum of squares of a row's codes may be, if it is within ``most`` (see `codes`)."""
    far = (most + slack) * inverse * (1.0 + 1e-9) + 1e-6
    return np.int32(far * far) if far < ENDLESS else np.int32(LARGEST_SUM)


@inlined
def _away(q: Any, d: int, address: int) -> Any:
    """The distance of the row at an address, summed in order."""
    total = 0.0
    for j in range(d):
        difference = q[j] - np.float64(float32_at(address, j))
        total += difference * difference
    return math.sqrt(total)


@compiled
def _scan(
    q: Any, d: int, code: Any, known: Any, r: int, cell: int, largest: float, mask: Any,
    k: int, most: float, distance: Any, slot: Any, count: int, lost: float,
) -> Any:  # fmt: skip
    """The rows of one cell."""
    wide = q.shape[0]
    step = float64_at(known[r, GRID], 2 * cell)
    inverse = 1.0 / step
    origin = known[r, ORIGIN] + cell * wide * 4
    missed = math.sqrt(put_on_grid(q, origin, step, inverse, largest, code))
    slack = missed + float64_at(known[r, GRID], 2 * cell + 1)
    limit = _limit(most, slack, inverse)
    first = int64_at(known[r, FIRST_TILE], cell) * LANES
    size = int64_at(known[r, SIZE], cell)
    tiles = known[r, CODES] + first * wide
    for begin in range(0, size, 32):
        left = size - begin
        if left > 16:
            bits = near_of_four(code, tiles + begin * wide, limit)
        else:
            bits = near_of_two(code, tiles + begin * wide, limit)
        if left < 32:
            bits = np.uint32(bits & ((np.uint32(1) << np.uint32(left)) - np.uint32(1)))
        while bits != 0:
            own = first + begin + lowest_bit(bits)
            bits = np.uint32(bits & (bits - np.uint32(1)))
            if mask.shape[0] and not mask[known[r, SLOT] + own]:
                continue
            away = _away(q, d, known[r, ROWS] + own * d * 4)
            if away > most or (count == k and away >= distance[0]):
                lost = min(lost, away)
                continue
            lost = min(lost, keep(distance, slot, count, k, away, known[r, SLOT] + own))
            if count < k:
                count += 1
            if count == k:
                most = min(most, distance[0])
                limit = _limit(most, slack, inverse)
    return count, lost, most


@compiled
def _rule_out(
    known: Any, squares: Any, least: Any, group: Any, away: Any, most: float, h: float
) -> Any:
    """What lies beyond is never looked at; the groups that are left, as a heap."""
    left = 0
    for r in range(known.shape[0] - 1):
        groups = known[r + 1, GROUPS] - known[r, GROUPS]
        for own in range(groups):
            g = known[r, GROUPS] + own
            if away[g] >= 0.0:
                # its centres have not been looked at
                outer = most + float64_at(known[r, REACH], groups + own)
                if away[g] * away[g] > outer * outer * h:
                    least[g] = np.inf
            else:
                least[g] = np.inf
                for cell in range(own * GROUP, own * GROUP + GROUP):
                    at = known[r, GROUPS] * GROUP + cell
                    if squares[at] < np.inf:
                        outer = most + float64_at(known[r, RADIUS], cell)
                        if squares[at] > outer * outer * h:
                            squares[at] = np.inf
                        else:
                            least[g] = min(least[g], squares[at])
            if least[g] < np.inf:
                group[left] = g
                left += 1
    for at in range(left // 2 - 1, -1, -1):
        sift(group, least, at, left)
    return left


@compiled
def _measure(
    known: Any, rounded: Any, squares: Any, least: Any, group: Any, away: Any, off: float, h: float
) -> None:
    """How far each group's hub is, and by that how near a centre of it can be; the heap of groups."""
    stride = rounded.shape[0] * GROUP * 4
    for r in range(known.shape[0] - 1):
        groups = known[r + 1, GROUPS] - known[r, GROUPS]
        for begin in range(0, groups, GROUP):
            # the squares of 32 hubs, for a moment where those of the first group's cells will stand
            at = (known[r, GROUPS] + begin) * GROUP
            if groups - begin > LANES:
                sums_of_four(rounded, known[r, HUBS] + (begin // GROUP) * stride, squares, at)
            else:
                sums_of_one(rounded, known[r, HUBS] + (begin // GROUP) * stride, squares, at)
            for own in range(begin, min(begin + GROUP, groups)):
                g = known[r, GROUPS] + own
                away[g] = math.sqrt(min(squares[at + own - begin], LARGEST))
                near = max(0.0, away[g] - float64_at(known[r, REACH], own) - off)
                least[g], group[g] = np.float32(near * near / h), g
    for at in range(len(group) // 2 - 1, -1, -1):
        sift(group, least, at, len(group))


@compiled
def _open(
    known: Any, r: int, g: int, rounded: Any, squares: Any, least: Any, most: float, h: float
) -> None:  # fmt: skip
    """The squares of the centres of one group, and the least of those whose rows may be near."""
    begin = (g - known[r, GROUPS]) * GROUP
    address = known[r, CENTRES] + begin * rounded.shape[0] * 4
    sums_of_four(rounded, address, squares, g * GROUP)
    smallest = np.float32(np.inf)
    members = int64_at(known[r, MEMBERS], g - known[r, GROUPS])
    squares[g * GROUP + members : (g + 1) * GROUP] = np.inf
    for i in range(members):
        # +inf says that there is no such cell, or that it was taken
        square = min(squares[g * GROUP + i], LARGEST)
        outer = most + float64_at(known[r, RADIUS], begin + i)
        squares[g * GROUP + i] = np.float32(np.inf) if square > outer * outer * h else square
        smallest = min(smallest, squares[g * GROUP + i])
    least[g] = smallest


@inlined
def _pop(group: Any, squares: Any, least: Any, left: int) -> Any:
    """The nearest cell left, as its place among the squares, and its square; it is taken out."""
    top = group[0]
    place = top * GROUP
    for i in range(1, GROUP):
        if squares[top * GROUP + i] < squares[place]:
            place = top * GROUP + i
    square = squares[place]
    squares[place] = np.inf
    smallest = np.float32(np.inf)
    for i in range(GROUP):
        smallest = min(smallest, squares[top * GROUP + i])
    least[top] = smallest
    sift(group, least, 0, left)
    return place, square


@compiled
def _ask(
    q: Any, known: Any, k: int, most: float, probes: int, reach: float, largest: float, mask: Any,
    distance: Any, slot: Any, work: Any,
) -> Any:  # fmt: skip
    """One question; the k nearest as a heap."""
    rounded, squares, least, group, away, code, run = work
    d = rounded.shape[0]
    off = 0.0
    for j in range(d):
        rounded[j] = np.float32(q[j])
        off += (q[j] - np.float64(rounded[j])) ** 2
    off = math.sqrt(off) * 1.0000001
    h = 1.0 + (d + 8) * 2.0**-22
    _measure(known, rounded, squares, least, group, away, off, h)
    count, lost, scanned, seen, taken, ruled = 0, np.inf, 0, 0, 0, False
    left, last = len(group), 0.0
    while left > 0 and least[group[0]] < np.inf:
        if not ruled and taken >= FIRST and most < np.inf:
            ruled = True
            left = _rule_out(known, squares, least, group, away, most + off, h)
            continue
        if probes and taken >= probes and count == k:
            break
        g = group[0]
        r = run[g]
        if away[g] >= 0.0:
            away[g] = -1.0
            _open(known, r, g, rounded, squares, least, most + off, h)
            sift(group, least, 0, left)
            continue
        place, square = _pop(group, squares, least, left)
        far = math.sqrt(square)
        if far * (1.0 - 2.0**-20) - off > reach:
            break
        cell = place - known[r, GROUPS] * GROUP
        outer = most + off + float64_at(known[r, RADIUS], cell)
        if square > outer * outer * h:
            continue
        taken, last = taken + 1, far
        count, lost, most = _scan(
            q, d, code, known, r, cell, largest, mask, k, most, distance, slot, count, lost
        )
        scanned += 1
        seen += int64_at(known[r, SIZE], cell)
    return count, scanned, seen, lost, last


@compiled
def search_all(
    queries: Any, d: int, known: Any, k: int, within: Any, probes: int, reach: Any,
    largest: float, mask: Any, distance: Any, slot: Any, numbers: Any, edges: Any,
) -> None:  # fmt: skip
    """Every query f64[m, filled], of which d count; `Table.search` says what goes in and out."""
    groups = known[-1, GROUPS]
    work = (
        np.empty(d, np.float32),
        np.full(groups * GROUP, np.inf, np.float32),
        np.empty(groups, np.float32),
        np.empty(groups, np.int64),
        np.empty(groups, np.float64),
        np.empty(queries.shape[1], np.int16),
        np.empty(groups, np.int64),
    )
    for r in range(known.shape[0] - 1):
        work[-1][known[r, GROUPS] : known[r + 1, GROUPS]] = r
    for i in range(queries.shape[0]):
        count, scanned, seen, lost, last = _ask(
            queries[i], known, k, within[i], probes, reach[i], largest, mask, distance[i], slot[i],
            work,
        )  # fmt: skip
        order = np.argsort(distance[i, :count])
        distance[i, :count] = distance[i, :count][order]
        slot[i, :count] = slot[i, :count][order]
        numbers[0, i], numbers[1, i], numbers[2, i] = count, scanned, seen
        edges[0, i], edges[1, i] = lost, last
