"""Which rows of a cell may be near, by their codes; and a question put on a cell's grid (`codes`).

Four tiles go side by side: the sums of squares of 32 rows are in registers, and 32 bits tell which of them
are small enough. All of it is sums of whole numbers, so it is the same on any machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from pctstream.core.lanes import LANES, broadcast
from pctstream.core.near import query_of, to_cache

_WORD = ir.IntType(64)
_BITS = ir.IntType(32)
_CODES = ir.VectorType(ir.IntType(8), 2 * LANES)
_SHORTS = ir.VectorType(ir.IntType(16), 2 * LANES)
_WIDE = ir.VectorType(_BITS, 2 * LANES)
_INTEGERS = ir.VectorType(_BITS, LANES)
_DOUBLES = ir.VectorType(ir.DoubleType(), 4)


def _apart(builder: Any, own: Any, tile: Any, at: Any) -> Any:
    """Of one pair of dimensions: the squares of eight rows, added two by two, <8 x i32>."""
    place = builder.gep(tile, [builder.mul(at, _WORD(2 * LANES))])
    codes = builder.load(builder.bitcast(place, _CODES.as_pointer()), align=1)
    apart = builder.sext(builder.sub(own, builder.sext(codes, _SHORTS)), _WIDE)
    square = builder.mul(apart, apart)
    even, odd = (
        builder.shuffle_vector(square, square, ir.Constant(_INTEGERS, list(range(i, 16, 2))))
        for i in (0, 1)
    )
    return builder.add(even, odd)


def _code_sums(builder: Any, query: Any, tiles: list[Any], pairs: Any, ahead: Any) -> list[Any]:
    """The loop over the pairs of dimensions; the sums are in registers. As many bytes as are read here
    are asked for ahead."""
    before, loop = builder.block, builder.append_basic_block("pair")
    done = builder.append_basic_block("summed")
    builder.branch(loop)
    builder.position_at_end(loop)
    at = builder.phi(_WORD)
    at.add_incoming(_WORD(0), before)
    sums = [builder.phi(_INTEGERS) for _ in tiles]
    both = builder.load(builder.gep(builder.bitcast(query, _BITS.as_pointer()), [at]), align=2)
    own, totals = builder.bitcast(broadcast(builder, both, _INTEGERS), _SHORTS), []
    for tile, total in zip(tiles, sums, strict=True):
        total.add_incoming(ir.Constant(_INTEGERS, [0] * LANES), before)
        totals.append(builder.add(total, _apart(builder, own, tile, at)))
        total.add_incoming(totals[-1], loop)
    to_cache(builder, builder.gep(ahead, [builder.mul(at, _WORD(2 * LANES * len(tiles)))]))
    following = builder.add(at, _WORD(1))
    at.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, pairs), loop, done)
    builder.position_at_end(done)
    return totals


def _near(count: int) -> Callable[..., Any]:
    """An intrinsic `f(query i16[n], address, limit i32, ahead) -> uint32`: bit t * 8 + lane is set where
    the sum of squares of that row of the ``count`` tiles of codes at ``address`` is at most ``limit``.
    So many tiles at ``ahead`` will be read soon."""

    def near(typing: Any, query: Any, address: Any, limit: Any, ahead: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data, wide = query_of(context, builder, signature, args)
            start, soon = (builder.inttoptr(args[i], ir.IntType(8).as_pointer()) for i in (1, 3))
            size = builder.mul(wide, _WORD(LANES))
            tiles = [builder.gep(start, [builder.mul(_WORD(t), size)]) for t in range(count)]
            most = broadcast(builder, args[2], _INTEGERS)
            bits: Any = _BITS(0)
            pairs = builder.lshr(wide, _WORD(1))
            for t, total in enumerate(_code_sums(builder, data, tiles, pairs, soon)):
                near = builder.bitcast(builder.icmp_signed("<=", total, most), ir.IntType(LANES))
                bits = builder.or_(bits, builder.shl(builder.zext(near, _BITS), _BITS(t * LANES)))
            return bits

        return types.uint32(query, types.int64, types.int32, types.int64), emit

    wrapped: Callable[..., Any] = intrinsic(near)
    return wrapped


near_of_four = _near(4)
near_of_two = _near(2)


def _put(
    typing: Any, query: Any, address: Any, step: Any, inverse: Any, most: Any, out: Any
) -> Any:
    """`f(query f64[n], address, step, 1 / step, most, out i16[n]) -> f64`: the query on the grid whose
    origin f32[n] is at ``address``, to ``out``; the square of how far it is from there. n is a multiple
    of 4, and ``most`` the largest code."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, wide = query_of(context, builder, signature, args)
        result = context.make_array(signature.args[5])(context, builder, args[5])
        origin = builder.inttoptr(args[1], ir.FloatType().as_pointer())
        scales = [broadcast(builder, args[i], _DOUBLES) for i in (2, 3, 4)]
        before, loop = builder.block, builder.append_basic_block("four")
        done = builder.append_basic_block("put")
        builder.branch(loop)
        builder.position_at_end(loop)
        at, total = builder.phi(_WORD), builder.phi(_DOUBLES)
        at.add_incoming(_WORD(0), before)
        total.add_incoming(ir.Constant(_DOUBLES, [0.0] * 4), before)
        code, missed = _on_grid(builder, *(builder.gep(p, [at]) for p in (data, origin)), *scales)
        target = builder.bitcast(builder.gep(result.data, [at]), code.type.as_pointer())
        builder.store(code, target, align=2)
        added = builder.fadd(total, builder.fmul(missed, missed))
        following = builder.add(at, _WORD(4))
        at.add_incoming(following, loop)
        total.add_incoming(added, loop)
        builder.cbranch(builder.icmp_signed("<", following, wide), loop, done)
        builder.position_at_end(done)
        parts = [builder.extract_element(added, _BITS(i)) for i in range(4)]
        return builder.fadd(builder.fadd(*parts[:2]), builder.fadd(*parts[2:]))

    return types.float64(query, types.int64, step, inverse, most, out), emit


def _on_grid(
    builder: Any, query: Any, origin: Any, step: Any, inverse: Any, most: Any
) -> tuple[Any, Any]:
    """Codes <4 x i16> of four numbers, and by how much they miss."""
    own = builder.load(builder.bitcast(query, _DOUBLES.as_pointer()), align=8)
    singles = ir.VectorType(ir.FloatType(), 4)
    centre = builder.load(builder.bitcast(origin, singles.as_pointer()), align=4)
    apart = builder.fsub(own, builder.fpext(centre, _DOUBLES))
    near = builder.fmul(apart, inverse)
    least = builder.fsub(ir.Constant(_DOUBLES, [-0.0] * 4), most)
    near = builder.select(builder.fcmp_ordered("<", near, most), near, most)
    near = builder.select(builder.fcmp_ordered(">", near, least), near, least)
    # so large that the sum has no room for what is behind the point: rounded to the nearest, to even
    large = ir.Constant(_DOUBLES, [1.5 * 2.0**52] * 4)
    whole = builder.fsub(builder.fadd(near, large), large)
    code = builder.trunc(
        builder.fptosi(whole, ir.VectorType(_BITS, 4)), ir.VectorType(ir.IntType(16), 4)
    )
    return code, builder.fsub(apart, builder.fmul(step, whole))


put_on_grid: Callable[..., Any] = intrinsic(_put)
