"""Sums over the centres of cells, and numbers behind an address: what a search does most.

The sums are taken in float32, eight centres at a time, four tiles side by side, with multiply and add
fused where the machine can: they err by less than (d + 4) 2^-24 of their value (see `nearest`), and
decide nothing by themselves.

Tiles are read where they lie, by address: a question goes over the rows of many runs, and a kernel that
took them as arrays would have to be called for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from pctstream.core.lanes import LANES, broadcast, vector_at

_WORD = ir.IntType(64)
_BITS = ir.IntType(32)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


def _sums(builder: Any, query: Any, tiles: list[Any], dimension: Any) -> list[Any]:
    """The loop over the dimension; the sums are in registers."""
    before, loop = builder.block, builder.append_basic_block("dimension")
    done = builder.append_basic_block("summed")
    builder.branch(loop)
    builder.position_at_end(loop)
    at = builder.phi(_WORD)
    at.add_incoming(_WORD(0), before)
    sums = [builder.phi(_VECTOR) for _ in tiles]
    number = broadcast(builder, builder.load(builder.gep(query, [at])))
    column = builder.mul(at, _WORD(LANES))
    totals = []
    for tile, total in zip(tiles, sums, strict=True):
        total.add_incoming(ir.Constant(_VECTOR, [0.0] * LANES), before)
        row = builder.load(vector_at(builder, tile, column), align=4)
        difference = builder.fsub(number, row)
        square = builder.fmul(difference, difference, flags=("contract",))
        totals.append(builder.fadd(total, square, flags=("contract",)))
        total.add_incoming(totals[-1], loop)
    following = builder.add(at, _WORD(1))
    at.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, dimension), loop, done)
    builder.position_at_end(done)
    return totals


def _pointers(builder: Any, address: Any, dimension: Any, count: int) -> list[Any]:
    data = builder.inttoptr(address, ir.FloatType().as_pointer())
    size = builder.mul(dimension, _WORD(LANES))
    return [builder.gep(data, [builder.mul(_WORD(t), size)]) for t in range(count)]


def query_of(context: Any, builder: Any, signature: Any, args: Any) -> tuple[Any, Any]:
    own = context.make_array(signature.args[0])(context, builder, args[0])
    return own.data, builder.extract_value(own.shape, 0)


def _to(typing: Any, query: Any, address: Any, out: Any, slot: Any) -> Any:
    """`f(query f32[d], address, out f32[n], slot)`: the 32 sums of four tiles to out[slot:]."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, dimension = query_of(context, builder, signature, args)
        result = context.make_array(signature.args[2])(context, builder, args[2])
        tiles = _pointers(builder, args[1], dimension, 4)
        target = builder.gep(result.data, [args[3]])
        for t, total in enumerate(_sums(builder, data, tiles, dimension)):
            builder.store(total, vector_at(builder, target, _WORD(t * LANES)), align=4)
        return context.get_dummy_value()

    return types.void(query, types.int64, out, types.int64), emit


sums_of_four: Callable[..., Any] = intrinsic(_to)


def _at(kind: Any, size: int) -> Callable[..., Any]:
    """An intrinsic `f(address, i)`: the i-th number of this kind behind an address."""

    def number(typing: Any, address: Any, i: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            place = builder.add(args[0], builder.mul(args[1], _WORD(size)))
            value_type = context.get_value_type(kind)
            return builder.load(builder.inttoptr(place, value_type.as_pointer()))

        return kind(types.int64, types.int64), emit

    wrapped: Callable[..., Any] = intrinsic(number)
    return wrapped


float32_at = _at(types.float32, 4)
float64_at = _at(types.float64, 8)
int64_at = _at(types.int64, 8)


def _cttz(typing: Any, bits: Any) -> Any:
    """`f(bits uint32) -> int64`: the number of the lowest bit set; there must be one."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.cttz(args[0], ir.IntType(1)(1)), _WORD)

    return types.int64(types.uint32), emit


lowest_bit: Callable[..., Any] = intrinsic(_cttz)


def to_cache(builder: Any, place: Any) -> None:
    """The memory at a pointer <i8*> will be read soon."""
    kinds = [place.type, _BITS, _BITS, _BITS]
    prefetch = builder.module.declare_intrinsic(
        "llvm.prefetch", [place.type], ir.FunctionType(ir.VoidType(), kinds)
    )
    builder.call(prefetch, [place, _BITS(0), _BITS(3), _BITS(1)])


def _fetch(typing: Any, address: Any) -> Any:
    """`f(address)`: the 64 bytes there will be read soon."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to_cache(builder, builder.inttoptr(args[0], ir.IntType(8).as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64), emit


fetch: Callable[..., Any] = intrinsic(_fetch)
