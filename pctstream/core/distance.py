"""Distances that are kept: float64 sums, each taken strictly in order, of four rows side by side.

A sum in order must wait 3-4 cycles for each addition, whatever else the machine could do meanwhile.
So four rows go together, each against its own centroid: their squares are computed four numbers at a
time (rounding each alone has no order), a transposition of 4 x 4 puts the j-th squares of the four rows
side by side, and one addition serves four sums. Each lane adds in the order of the dimension: the same
bits as one row alone (R10).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from pctstream.core.lanes import inlined

FOUR = 4

_WORD = ir.IntType(64)
_SINGLES = ir.VectorType(ir.FloatType(), FOUR)
_DOUBLES = ir.VectorType(ir.DoubleType(), FOUR)


def _shuffled(builder: Any, a: Any, b: Any, *lanes: int) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), 4), lanes))


def _transposed(builder: Any, a: Any, b: Any, c: Any, d: Any) -> list[Any]:
    """Four vectors of lane 0, 1, 2 and 3 of these four."""
    low, high = _shuffled(builder, a, b, 0, 4, 2, 6), _shuffled(builder, c, d, 0, 4, 2, 6)
    odd, last = _shuffled(builder, a, b, 1, 5, 3, 7), _shuffled(builder, c, d, 1, 5, 3, 7)
    return [
        _shuffled(builder, low, high, 0, 1, 4, 5),
        _shuffled(builder, odd, last, 0, 1, 4, 5),
        _shuffled(builder, low, high, 2, 3, 6, 7),
        _shuffled(builder, odd, last, 2, 3, 6, 7),
    ]


def _squares(builder: Any, row: Any, centroid: Any, at: Any) -> Any:
    """The squares of four differences, in float64."""
    wide = [
        builder.fpext(
            builder.load(builder.bitcast(builder.gep(p, [at]), _SINGLES.as_pointer()), align=4),
            _DOUBLES,
        )
        for p in (row, centroid)
    ]
    difference = builder.fsub(*wide)
    return builder.fmul(difference, difference)


def _sums(
    typing: Any, rows: Any, order: Any, at: Any, centroids: Any, places: Any, whole: Any, out: Any
) -> Any:
    """Sums of squares over the first ``whole`` numbers (a multiple of 4, at least 4) of the rows
    order[at : at + 4] to the centroids places[:4], to out f64[4]; no bounds are checked."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        own, order_, table, which, result = (
            context.make_array(signature.args[i])(context, builder, args[i])
            for i in (0, 1, 3, 4, 6)
        )
        dimension = builder.extract_value(own.shape, 1)
        pairs = []
        for r in range(FOUR):
            number = builder.load(builder.gep(order_.data, [builder.add(args[2], _WORD(r))]))
            place = builder.load(builder.gep(which.data, [_WORD(r)]))
            pairs.append((builder.gep(own.data, [builder.mul(number, dimension)]),
                          builder.gep(table.data, [builder.mul(place, dimension)])))  # fmt: skip
        before, loop = builder.block, builder.append_basic_block("four")
        done = builder.append_basic_block("added")
        builder.branch(loop)
        builder.position_at_end(loop)
        j, total = builder.phi(_WORD), builder.phi(_DOUBLES)
        j.add_incoming(_WORD(0), before)
        total.add_incoming(ir.Constant(_DOUBLES, [0.0] * FOUR), before)
        added = total
        squares = [_squares(builder, row, centroid, j) for row, centroid in pairs]
        for column in _transposed(builder, *squares):
            added = builder.fadd(added, column)
        following = builder.add(j, _WORD(FOUR))
        j.add_incoming(following, loop)
        total.add_incoming(added, loop)
        builder.cbranch(builder.icmp_signed("<", following, args[5]), loop, done)
        builder.position_at_end(done)
        builder.store(added, builder.bitcast(result.data, _DOUBLES.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(rows, order, types.intp, centroids, places, types.intp, out), emit


_four: Callable[..., Any] = intrinsic(_sums)


@inlined
def _onward(rows: Any, i: int, centroids: Any, place: int, j: int, total: float) -> Any:
    """The sum of row i to the centroid at ``place`` goes on from number j to the last."""
    # by number, not as rows of their own: those would be counted references
    while j < rows.shape[1]:
        difference = np.float64(rows[i, j]) - np.float64(centroids[place, j])
        total += difference * difference
        j += 1
    return math.sqrt(total)


@inlined
def distances_of(
    rows: Any, order: Any, at: int, taken: int, centroids: Any, places: Any, out: Any
) -> None:
    """The distance of each of rows[order[at : at + taken]] (FOUR or 1) to its centroid, to out[:taken]."""
    whole = rows.shape[1] - rows.shape[1] % FOUR if taken == FOUR else 0
    if whole:
        _four(rows, order, at, centroids, places, whole, out)
    for r in range(taken):
        total = out[r] if whole else 0.0
        out[r] = _onward(rows, order[at + r], centroids, places[r], whole, total)


@inlined
def distance(rows: Any, i: int, centroids: Any, place: int) -> Any:
    """The distance of row i to the centroid at ``place``."""
    return _onward(rows, i, centroids, place, 0, 0.0)
