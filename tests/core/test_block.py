"""Blocks against lists of plain rows, and bytes that nobody of ours wrote."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from core.rows import T0, block_of, numbered, plain
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core.block import Block, Source, concat, decode, empty, encode
from pctstream.errors import RowRefused

SOURCES = [Source("a", 0), Source("a", 1), Source("b.c", 7)]


@st.composite
def blocks(draw: st.DrawFn, most: int = 12, dimension: int = 3) -> Block:
    rows = draw(st.integers(0, most))
    places = [
        (draw(st.sampled_from(SOURCES)), draw(st.integers(0, 2**40)), draw(st.integers(0, 9)))
        for _ in range(rows)
    ]
    floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
    vectors = [[draw(floats) for _ in range(dimension)] for _ in range(rows)]
    block = block_of(places, vectors) if rows else empty(dimension)
    optional = [
        draw(st.none() | st.lists(st.none() | values, min_size=rows, max_size=rows).map(
            lambda v, kind=kind: pa.array(v, kind)))
        for values, kind in (
            (st.text(max_size=5), pa.string()),
            (st.floats(allow_nan=False), pa.float64()),
            (st.binary(max_size=5), pa.binary()),
        )
    ]  # fmt: skip
    return Block(block.sources, block.source, block.offset, block.index, block.vectors, *optional)


@given(blocks())
def test_what_is_encoded_is_decoded(block: Block) -> None:
    assert plain(decode(encode(block))) == plain(block)
    assert decode(encode(block)).dimension == block.dimension


@given(blocks(), st.data())
def test_slices_take_and_concat_are_those_of_lists(block: Block, data: st.DataObject) -> None:
    rows = plain(block)
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    cut = block.slice(start, stop)
    assert plain(cut) == rows[start:stop]
    assert plain(decode(encode(cut))) == rows[start:stop]
    order = data.draw(st.lists(st.integers(0, max(0, len(rows) - 1)), max_size=20 * bool(rows)))
    assert plain(block.take(np.array(order, np.int64))) == [rows[i] for i in order]
    other = data.draw(blocks())
    both = concat([cut, other, block])
    assert plain(both) == rows[start:stop] + plain(other) + rows
    assert len(set(both.sources)) == len(both.sources)


@given(blocks(), st.lists(st.integers(0, 12), max_size=5))
def test_content_bytes_do_not_depend_on_the_grouping(block: Block, cuts: list[int]) -> None:
    edges = sorted({0, len(block), *(c for c in cuts if c < len(block))})
    parts = [block.slice(a, b) for a, b in pairwise(edges)]
    assert sum(p.content_bytes for p in parts) == block.content_bytes
    if parts:
        assert concat(parts).content_bytes == block.content_bytes
        assert decode(encode(block)).content_bytes == block.content_bytes


@given(blocks(), st.integers(1, 5), st.integers(1, 400))
def test_pieces_are_the_rows_in_order_and_not_too_many(block: Block, rows: int, size: int) -> None:
    pieces = block.pieces(rows, size)
    assert [r for p in pieces for r in plain(p)] == plain(block)
    assert all(1 <= len(p) <= rows for p in pieces)


def test_keep_answers_the_block_itself_when_nothing_goes() -> None:
    block = numbered(range(3))
    assert block.keep(np.ones(3, np.bool_)) is block
    assert plain(block.keep(np.array([True, False, True]))) == plain(numbered([0, 2]))


@settings(max_examples=300)
@given(blocks(most=4), st.data())
def test_broken_bytes_are_refused_or_read_and_nothing_else(
    block: Block, data: st.DataObject
) -> None:
    value = bytearray(encode(block))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    short = data.draw(st.integers(0, len(value)))
    try:
        read = decode(bytes(value[:short] if data.draw(st.booleans()) else value))
    except RowRefused as refused:
        assert refused.code in ("decode", "schema")
    else:
        assert read.vectors.dtype == np.float32
        assert read.offset.dtype == np.int64
        assert len(read.source) == len(read.offset) == len(read.index) == len(read)


def stream(columns: dict[str, pa.Array], metadata: dict[str, str] | None) -> bytes:
    schema = pa.schema([(n, a.type) for n, a in columns.items()], metadata=metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(list(columns.values()), schema=schema))
    return bytes(sink.getvalue())


GOOD = {
    "vector": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)),
    "offset": pa.array([3], pa.int64()),
    "index": pa.array([0], pa.int32()),
}
OURS = {"pct": '[["t",0]]'}


def test_the_columns_by_hand_are_a_block() -> None:
    assert plain(decode(stream(GOOD, OURS))) == plain(block_of([(T0, 3, 0)], [[1, 2]]))


@pytest.mark.parametrize(
    ("change", "metadata"),
    [
        ({}, None),
        ({}, {"pct": "7"}),
        ({}, {"pct": "[[1]]"}),
        ({}, {"pct": "{"}),
        ({"vector": pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2))}, OURS),
        ({"vector": pa.array([[1.0, 2.0]])}, OURS),
        ({"vector": pa.array([[1.0, None]], pa.list_(pa.float32(), 2))}, OURS),
        ({"offset": pa.array([3], pa.int32())}, OURS),
        ({"offset": pa.array([None], pa.int64())}, OURS),
        ({"index": pa.array(["x"])}, OURS),
        ({"source": pa.array([1], pa.int32())}, OURS),
        ({"source": pa.array([-1], pa.int32())}, OURS),
    ],
)
def test_other_peoples_columns_are_refused(change: dict, metadata: dict | None) -> None:
    with pytest.raises(RowRefused) as refused:
        decode(stream(GOOD | change, metadata))
    assert refused.value.code == "schema"
