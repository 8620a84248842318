"""The rows of one cell that are near a question: told by their codes, decided in float64.

Rows that their codes do not rule out wait until they are four: a distance is summed in order, and each
addition waits for the one before, so four distances take the time of one. Meanwhile their numbers, and the
codes of the cell that will be next, are on their way from memory.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pctstream.core.codes import LARGEST_SUM
from pctstream.core.grid import near_of_four, near_of_two, put_on_grid
from pctstream.core.heaps import keep
from pctstream.core.lanes import LANES, compiled, inlined
from pctstream.core.near import fetch, float32_at, float64_at, int64_at, lowest_bit

ROWS, CODES, ORIGIN, GRID, FIRST_TILE, SIZE, CENTRES, RADIUS, HUBS, REACH, MEMBERS = range(11)
GROUPS, SLOT = 11, 12
"""Columns of what a kernel knows of a run: eleven addresses, and where its groups and slots begin."""
ENDLESS = math.sqrt(LARGEST_SUM)
AT_ONCE = 4
"""Rows whose distances are summed side by side: each sum in order waits for its own additions."""
LINE = 64
"""Bytes that memory gives together."""


@inlined
def _limit(most: float, slack: float, inverse: float) -> Any:
    """What the sum of squares of a row's codes may be, if it is within ``most`` (see `codes`)."""
    far = (most + slack) * inverse * (1.0 + 1e-9) + 1e-6
    return np.int32(far * far) if far < ENDLESS else np.int32(LARGEST_SUM)


@compiled
def decide(
    q: Any, d: int, pending: Any, waiting: int, k: int, most: float, distance: Any, slot: Any,
    count: int, lost: float,
) -> Any:  # fmt: skip
    """The distances of the rows that wait, each summed in order, four side by side; which are kept."""
    for i in range(waiting, AT_ONCE):
        pending[1, i] = pending[1, 0]
    one, two, three, four = pending[1]
    a = b = c = e = 0.0
    for j in range(d):
        own = q[j]
        a += (own - np.float64(float32_at(one, j))) ** 2
        b += (own - np.float64(float32_at(two, j))) ** 2
        c += (own - np.float64(float32_at(three, j))) ** 2
        e += (own - np.float64(float32_at(four, j))) ** 2
    squares = (a, b, c, e)
    for i in range(waiting):
        away = math.sqrt(squares[i])
        if away > most or (count == k and away >= distance[0]):
            lost = min(lost, away)
            continue
        lost = min(lost, keep(distance, slot, count, k, away, pending[0, i]))
        if count < k:
            count += 1
        if count == k:
            most = min(most, distance[0])
    return count, lost, most


@compiled
def scan_cell(
    q: Any, d: int, code: Any, known: Any, r: int, cell: int, ahead: int, largest: float, mask: Any,
    pending: Any, waiting: int, k: int, most: float, distance: Any, slot: Any, count: int,
    lost: float,
) -> Any:  # fmt: skip
    """The rows of one cell: those that may be near wait until they are four; the codes of the cell that
    will be next lie at ``ahead``."""
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
    soon = ahead if ahead else tiles
    for begin in range(0, size, 32):
        left = size - begin
        if left > 16:
            bits = near_of_four(code, tiles + begin * wide, limit, soon + begin * wide)
        else:
            bits = near_of_two(code, tiles + begin * wide, limit, soon + begin * wide)
        if left < 32:
            bits = np.uint32(bits & ((np.uint32(1) << np.uint32(left)) - np.uint32(1)))
        while bits != 0:
            own = first + begin + lowest_bit(bits)
            bits = np.uint32(bits & (bits - np.uint32(1)))
            if mask.shape[0] and not mask[known[r, SLOT] + own]:
                continue
            address = known[r, ROWS] + own * d * 4
            for line in range(0, d * 4, LINE):
                fetch(address + line)
            pending[0, waiting], pending[1, waiting] = known[r, SLOT] + own, address
            waiting += 1
            if waiting == AT_ONCE:
                count, lost, most = decide(
                    q, d, pending, waiting, k, most, distance, slot, count, lost
                )
                limit, waiting = _limit(most, slack, inverse), 0
    return count, lost, most, waiting
