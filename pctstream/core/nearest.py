"""The nearest centroid of each row: found by fast sums, decided by the strict one.

Theory
------
By definition (R10) the nearest centroid is the one with the least strict sum: float32, in the order of
the dimension, nothing fused (`lanes`); ties go to the lowest. A strict sum costs three operations for
each number. Two are enough where multiply and add may be fused, which some machines can and others
not, so those sums decide nothing by themselves:

Any float32 sum of d squares of differences, fused or not, errs by less than h = (d + 4) 2^-24 of its
value (Higham, Accuracy and Stability of Numerical Algorithms, 2002, ch. 3). If the fast sums of all
other centroids exceed that of the best, a, by more than a factor of ((1 + h) / (1 - h))^2 < 1 + 5 h, the
strict sums are in the same order, so its strict sum is the least. Otherwise, and where the underflow
of a square could matter or something is not finite, the strict sums are taken. So the answer is the
defining one, whatever the machine fuses.

Two tiles (16 centroids) go against `MANY` rows together: eight sums in flight, and a number of a row
once loaded serves both. A row alone takes `WIDE` tiles at a time for the same reason. Rows are taken
where they lie: no gather. Measured in benchmarks/RESULTS.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from pctstream.core.lanes import LANES, broadcast, compiled, inlined, squared_of_one, vector_at

MANY = 4
WIDE = 4

_WORD = ir.IntType(64)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_INDICES = ir.VectorType(ir.IntType(32), LANES)
_TINY = np.float32(2.0**-90)
"""Above this the underflow of up to 2^16 squares is far below h."""


def _emit(builder: Any, rows: list[Any], tiles: list[Any], out: Any, dimension: Any) -> None:
    """The loop over the dimension: every row against every tile; the sums are in registers."""
    before, loop = builder.block, builder.append_basic_block("dimension")
    done = builder.append_basic_block("summed")
    builder.branch(loop)
    builder.position_at_end(loop)
    at = builder.phi(_WORD)
    at.add_incoming(_WORD(0), before)
    sums = [[builder.phi(_VECTOR) for _ in tiles] for _ in rows]
    column = builder.mul(at, _WORD(LANES))
    centroids = [builder.load(vector_at(builder, tile, column), align=4) for tile in tiles]
    totals = []
    for row, own in zip(rows, sums, strict=True):
        number = broadcast(builder, builder.load(builder.gep(row, [at])))
        for total, centroid in zip(own, centroids, strict=True):
            difference = builder.fsub(number, centroid)
            total.add_incoming(ir.Constant(_VECTOR, [0.0] * LANES), before)
            square = builder.fmul(difference, difference, flags=("contract",))
            totals.append(builder.fadd(total, square, flags=("contract",)))
            total.add_incoming(totals[-1], loop)
    following = builder.add(at, _WORD(1))
    at.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, dimension), loop, done)
    builder.position_at_end(done)
    for i, total in enumerate(totals):
        row, tile = divmod(i, len(tiles))
        place = _WORD((tile * MANY + row) * LANES)
        builder.store(total, vector_at(builder, out, place), align=4)


def _array(context: Any, builder: Any, signature: Any, args: Any, i: int) -> Any:
    return context.make_array(signature.args[i])(context, builder, args[i])


def _fast(count: int, tiles: int) -> Callable[..., Any]:
    """An intrinsic `f(rows f32[n, d], order i64[n], at, table, tile, out f32[t, MANY, LANES], slot)`.

    It writes fast sums of squares of rows[order[at : at + count]] to the centroids of so many tiles
    from ``tile`` on to out[slot : slot + tiles, :count]. It checks no bounds; d must be at least 1,
    all arrays C-contiguous.
    """

    def sums(
        typing: Any, rows: Any, order: Any, at: Any, table: Any, tile: Any, out: Any, slot: Any
    ) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            own, places, columns, result = (
                _array(context, builder, signature, args, i) for i in (0, 1, 3, 5)
            )
            dimension = builder.extract_value(own.shape, 1)
            starts = []
            for r in range(count):
                place = builder.gep(places.data, [builder.add(args[2], _WORD(r))])
                offset = builder.mul(builder.load(place), dimension)
                starts.append(builder.gep(own.data, [offset]))
            size = builder.mul(dimension, _WORD(LANES))
            first = builder.gep(columns.data, [builder.mul(args[4], size)])
            tables = [builder.gep(first, [builder.mul(_WORD(t), size)]) for t in range(tiles)]
            target = builder.gep(result.data, [builder.mul(args[6], _WORD(MANY * LANES))])
            _emit(builder, starts, tables, target, dimension)
            return context.get_dummy_value()

        return types.void(rows, order, types.intp, table, types.intp, out, types.intp), emit

    wrapped: Callable[..., Any] = intrinsic(sums)
    return wrapped


_many_two = _fast(MANY, 2)
_many_one = _fast(MANY, 1)
_one_wide = _fast(1, WIDE)
_one_one = _fast(1, 1)


def _least(builder: Any, vector: Any) -> Any:
    """The least of the lanes, in every lane."""
    empty = ir.Constant(_VECTOR, ir.Undefined)
    for step in (4, 2, 1):
        mask = ir.Constant(_INDICES, [lane ^ step for lane in range(LANES)])
        other = builder.shuffle_vector(vector, empty, mask)
        vector = builder.select(builder.fcmp_ordered("<", other, vector), other, vector)
    return vector


def _race(builder: Any, sums: Any, tiles: Any) -> tuple[Any, Any, Any]:
    """Over the tiles, in each lane: the least sum, its tile, and the least of the others."""
    before, loop = builder.block, builder.append_basic_block("tiles")
    done = builder.append_basic_block("raced")
    builder.branch(loop)
    builder.position_at_end(loop)
    t = builder.phi(_WORD)
    best, second, where = builder.phi(_VECTOR), builder.phi(_VECTOR), builder.phi(_INDICES)
    endless = ir.Constant(_VECTOR, [float("inf")] * LANES)
    for one, first in ((t, _WORD(0)), (best, endless), (second, endless),
                       (where, ir.Constant(_INDICES, [0] * LANES))):  # fmt: skip
        one.add_incoming(first, before)
    place = builder.mul(t, _WORD(MANY * LANES))
    own = builder.load(vector_at(builder, sums, place), align=4)
    wins = builder.fcmp_ordered("<", own, best)
    follows = builder.select(builder.fcmp_ordered("<", own, second), own, second)
    here = broadcast(builder, builder.trunc(t, ir.IntType(32)), _INDICES)
    second_now = builder.select(wins, best, follows)
    best_now, where_now = builder.select(wins, own, best), builder.select(wins, here, where)
    following = builder.add(t, _WORD(1))
    for one, now in ((t, following), (best, best_now), (second, second_now), (where, where_now)):
        one.add_incoming(now, loop)
    builder.cbranch(builder.icmp_signed("<", following, tiles), loop, done)
    builder.position_at_end(done)
    return best_now, where_now, second_now


def _of_sums(typing: Any, sums: Any, row: Any, tiles: Any, near: Any) -> Any:
    """Of sums f32[t, MANY, LANES] the column of a row's least, int32; it and the next to near[:2]."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        own, out = (_array(context, builder, signature, args, i) for i in (0, 3))
        start = builder.gep(own.data, [builder.mul(args[1], _WORD(LANES))])
        best, where, second = _race(builder, start, args[2])
        least = _least(builder, best)
        wins = builder.bitcast(builder.fcmp_ordered("==", best, least), ir.IntType(8))
        # one lane at least has the least, so the count is defined
        lane = builder.zext(builder.cttz(wins, ir.IntType(1)(1)), ir.IntType(32))
        its = broadcast(builder, lane, _INDICES)
        lanes = ir.Constant(_INDICES, list(range(LANES)))
        rest = builder.select(builder.icmp_signed("==", lanes, its), second, best)
        zero = ir.IntType(32)(0)
        builder.store(builder.extract_element(least, zero), builder.gep(out.data, [_WORD(0)]))
        following = builder.extract_element(_least(builder, rest), zero)
        builder.store(following, builder.gep(out.data, [_WORD(1)]))
        tile = builder.extract_element(where, lane)
        return builder.add(builder.mul(tile, ir.IntType(32)(LANES)), lane)

    return types.int32(sums, types.intp, types.intp, near), emit


_winner: Callable[..., Any] = intrinsic(_of_sums)


@compiled
def _strictly(rows: Any, i: int, table: Any, low: int, high: int, tile: Any) -> Any:
    """The defining answer for row i, a column counted from low."""
    least, best = np.float32(np.inf), np.int32(0)
    for t in range(low, high):
        squared_of_one(rows, i, table, t, tile)
        for lane in range(LANES):
            if tile[0, lane] < least:
                least, best = tile[0, lane], np.int32((t - low) * LANES + lane)
    return best


@compiled
def room(tiles: int) -> Any:
    """What `nearest_of` works in, for nodes of at most so many tiles."""
    return (
        np.empty((tiles, MANY, LANES), np.float32),
        np.empty((1, LANES), np.float32),
        np.empty(2, np.float32),
    )


@inlined
def nearest_of(
    rows: Any, order: Any, at: int, taken: int, table: Any, low: int, high: int, work: Any,
    index: Any,
) -> None:  # fmt: skip
    """Of rows[order[at : at + taken]] (MANY or 1) the nearest column of the tiles [low, high), counted
    from low, to index[:taken]."""
    sums, tile, near = work
    t = low
    if taken == MANY:
        while t + 2 <= high:
            _many_two(rows, order, at, table, t, sums, t - low)
            t += 2
        if t < high:
            _many_one(rows, order, at, table, t, sums, t - low)
    else:
        while t + WIDE <= high:
            _one_wide(rows, order, at, table, t, sums, t - low)
            t += WIDE
        while t < high:
            _one_one(rows, order, at, table, t, sums, t - low)
            t += 1
    sure = np.float32(1.0 + 5.0 * (rows.shape[1] + 4) * 2.0**-24)
    for r in range(taken):
        index[r] = _winner(sums, r, high - low, near)
        # true for NaN too
        if not (near[0] > _TINY and near[0] * sure < near[1]):
            index[r] = _strictly(rows, order[at + r], table, low, high, tile)
