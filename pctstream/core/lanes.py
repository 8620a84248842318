"""Squared distances of a few rows to eight centroids at once: the strict inner loop of the product.

Theory
------
R10 wants the same bits on any CPU, so each sum of squares is taken strictly over the dimension in
order, in float32, with no fused multiply-add. A compiler may not vectorise such a sum, since that
would change its order. So the lanes run *across* the centroids: eight sums stand side by side in
one vector, each of them strictly in order. Each lane rounds by IEEE 754 alone, so the width of the
machine's registers (SSE, AVX, AVX-512, NEON) cannot show in the result.

- The **table** holds the centroids as tiles of `LANES` columns, `[tile, dimension, lane]`: the walk
  over a tile is one straight read. Missing columns are +inf; their distance is +inf (or NaN when a
  row is not finite), which never wins by `<`.
- A sum must wait for its last addition (3-4 cycles), and a centroid vector once loaded serves any
  number of rows. So `ROWS` rows go through a tile together: six sums are in flight, and they fit
  the sixteen registers of AVX2 with room for the operands.

LLVM is told this in so many words (an intrinsic) because its loop vectoriser, given the same loops
in Python, keeps the sums in memory and reaches a third of the speed. Measured (AMD Zen 4 with AVX2,
one core, 48 centroids of 128 dimensions, rows/s): 8 x 4 2.05 M, **8 x 6 2.44 M**, 8 x 8 1.96 M,
16 x 2 2.91 M, 16 x 4 1.98 M; for 22 of 784: 928 k, **975 k**, 869 k, 693 k, 551 k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

LANES = 8
ROWS = 6

Float32 = npt.NDArray[np.float32]

AnyArray = TypeVar("AnyArray", bound=npt.NDArray[Any])
Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_WORD = ir.IntType(64)
_LANES = ir.VectorType(ir.FloatType(), LANES)


def compiled(function: Kernel) -> Kernel:
    """How every kernel is compiled: strict arithmetic, no GIL, machine code kept beside the source.

    The cache of a kernel sees only its own file change: after an edit of this file, of nearest.py or
    distance.py, remove the cache of the files that use them (`__pycache__/*.nb*`).
    """
    return cast(Kernel, njit(cache=True, nogil=True, error_model="numpy")(function))


def read_only(array: AnyArray) -> AnyArray:
    """The array, as kernels take what they only read.

    numba compiles a kernel twice where it is given arrays that may be written and others. Rows come
    both ways (decoded, picked), and a second compilation would fall into a turn.

    >>> read_only(np.zeros(2)).flags.writeable
    False
    """
    if not array.flags.writeable:
        return array
    view = cast(AnyArray, array[...])
    view.flags.writeable = False
    return view


def inlined(function: Kernel) -> Kernel:
    """A part of a kernel, compiled into whoever calls it: an array is seven arguments to a call."""
    return cast(
        Kernel, njit(cache=True, nogil=True, error_model="numpy", forceinline=True)(function)
    )


def broadcast(builder: Any, number: Any, kind: Any = _LANES) -> Any:
    """One number in every lane of a vector of this kind."""
    empty, place = ir.Constant(kind, ir.Undefined), ir.IntType(32)
    first = builder.insert_element(empty, number, place(0))
    lanes = ir.Constant(ir.VectorType(place, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, empty, lanes)


def vector_at(builder: Any, data: Any, offset: Any) -> Any:
    """A pointer to the lanes that begin so many numbers behind ``data``."""
    return builder.bitcast(builder.gep(data, [offset]), _LANES.as_pointer())


def _emit(builder: Any, rows: Any, table: Any, out: Any, dimension: Any, count: int) -> None:
    """The loop over the dimension; the sums live in phi nodes, that is in registers."""
    starts = [builder.gep(rows, [builder.mul(dimension, _WORD(r))]) for r in range(count)]
    before, loop = builder.block, builder.append_basic_block("dimension")
    done = builder.append_basic_block("summed")
    builder.branch(loop)
    builder.position_at_end(loop)
    at = builder.phi(_WORD)
    at.add_incoming(_WORD(0), before)
    sums = [builder.phi(_LANES) for _ in starts]
    centroids = builder.load(vector_at(builder, table, builder.mul(at, _WORD(LANES))), align=4)
    totals = []
    for total, start in zip(sums, starts, strict=True):
        total.add_incoming(ir.Constant(_LANES, [0.0] * LANES), before)
        number = builder.load(builder.gep(start, [at]))
        difference = builder.fsub(broadcast(builder, number), centroids)
        totals.append(builder.fadd(total, builder.fmul(difference, difference)))
        total.add_incoming(totals[-1], loop)
    following = builder.add(at, _WORD(1))
    at.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, dimension), loop, done)
    builder.position_at_end(done)
    for r, total in enumerate(totals):
        builder.store(total, vector_at(builder, out, _WORD(r * LANES)), align=4)


def _squared(count: int) -> Callable[..., Any]:
    """An intrinsic `f(rows f32[n,d], first, table, tile, out f32[count,LANES])`.

    It writes the squared distances of rows[first : first + count] to the centroids of one tile.
    It checks no bounds; d must be at least 1, all arrays C-contiguous float32.
    """

    def squared(typing: Any, rows: Any, first: Any, table: Any, tile: Any, out: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            arrays = [
                context.make_array(signature.args[i])(context, builder, args[i]) for i in (0, 2, 4)
            ]
            dimension = builder.extract_value(arrays[0].shape, 1)
            row = builder.gep(arrays[0].data, [builder.mul(args[1], dimension)])
            size = builder.mul(dimension, _WORD(LANES))
            column = builder.gep(arrays[1].data, [builder.mul(args[3], size)])
            _emit(builder, row, column, arrays[2].data, dimension, count)
            return context.get_dummy_value()

        return types.void(rows, types.intp, table, types.intp, out), emit

    wrapped: Callable[..., Any] = intrinsic(squared)
    return wrapped


squared_of_many = _squared(ROWS)
squared_of_one = _squared(1)


def empty_table(columns: int, dimension: int) -> Float32:
    """A table without centroids: f32[tiles, dimension, LANES] of +inf for at least `columns`."""
    return np.full((-(-columns // LANES), dimension, LANES), np.inf, np.float32)


def transpose(centroids: Float32) -> Float32:
    """The table of centroids f32[k, d] that the kernels read: f32[tiles, d, LANES].

    >>> table = transpose(np.array([[1, 2], [3, 4]], np.float32))
    >>> table.shape, table[0, 1, :3].tolist()
    ((1, 2, 8), [2.0, 4.0, inf])
    """
    k, dimension = centroids.shape
    table = empty_table(k, dimension)
    for j in range(k):
        table[j // LANES, :, j % LANES] = centroids[j]
    return table


def expect_rows(rows: Float32, dimension: int) -> None:
    """A ValueError unless rows is C-contiguous float32 [n, dimension]: kernels check no bounds."""
    if rows.ndim != 2 or rows.shape[1] != dimension or dimension == 0:
        raise ValueError(f"rows of shape {rows.shape} do not have the dimension {dimension}")
    if rows.dtype != np.float32 or not rows.flags.c_contiguous:
        raise ValueError(f"rows must be C-contiguous float32, not {rows.dtype}")
