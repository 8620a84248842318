"""Streams written and read without a library, against pyarrow's."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from core.rows import plain
from core.test_block import blocks
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core import stream
from pctstream.core.block import Block, Source, decode, encode
from pctstream.errors import RowRefused


def columns_of(block: Block) -> tuple[stream.Kind, list[object]]:
    columns: dict[str, object] = {"offset": block.offset, "index": block.index}
    if len(block.sources) > 1:
        columns["source"] = block.source
    optional = {"id": block.ids, "time": block.times, "payload": block.payloads}
    columns |= {n: a for n, a in optional.items() if a is not None}
    return stream.Kind(block.sources, block.dimension, tuple(columns)), list(columns.values())


def whole(block: Block) -> Block:
    """The block without nulls."""
    fills = ((block.ids, ""), (block.times, 0.0), (block.payloads, b""))
    filled = (None if a is None else a.fill_null(f) for a, f in fills)
    return Block(block.sources, block.source, block.offset, block.index, block.vectors, *filled)


@given(blocks(), st.booleans(), st.data())
def test_the_bytes_are_pyarrows(block: Block, fill: bool, data: st.DataObject) -> None:
    block = whole(block) if fill else block
    start = data.draw(st.integers(0, len(block)))
    block = block.slice(start, data.draw(st.integers(start, len(block))))
    kind, columns = columns_of(block)
    # of a part of an array pyarrow may write more than that part
    fresh = [pa.array(c.to_pylist(), c.type) if isinstance(c, pa.Array) else c for c in columns]
    assert (
        encode(block) == stream.write(kind, block.vectors, fresh)
        or not len(block)
        or has_nulls(fresh)
    )
    assert plain(decode(encode(block))) == plain(block)


def has_nulls(columns: list[object]) -> bool:
    return any(isinstance(c, pa.Array) and c.null_count for c in columns)


@given(blocks())
def test_what_was_learnt_is_read_like_pyarrow_reads_it(block: Block) -> None:
    block = whole(block)
    data = encode(block)
    stream._known.clear()
    slowly = decode(data)
    assert (stream.decode(data) is None) == (not len(block))
    assert plain(decode(data)) == plain(slowly) == plain(block)


@given(blocks(), st.data())
def test_other_bytes_are_refused_or_read_as_pyarrow_does(block: Block, data: st.DataObject) -> None:
    block = whole(block)
    bad = bytearray(encode(block))
    decode(bytes(bad))
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    bad = bad[: data.draw(st.integers(0, len(bad)) | st.just(len(bad)))]
    read = plain_or_code(bytes(bad))
    stream._known.clear()
    assert read == plain_or_code(bytes(bad))


def plain_or_code(data: bytes) -> object:
    try:
        return repr(plain(decode(data)))  # NaN is not NaN
    except RowRefused as refused:
        return refused.code


def test_lengths_that_are_not_so_are_pyarrows_to_judge() -> None:
    none = np.zeros(1, np.int32)
    one = Block((), none[:0], np.zeros(0, np.int64), none[:0], np.zeros((0, 2), np.float32))
    assert not len(decode(encode(one)))
    block = Block((Source("t", 0),), none, np.zeros(1, np.int64), none, np.ones((1, 2), np.float32),
                  pa.array(["a"]))  # fmt: skip
    data = encode(block)
    decode(data)
    layout = stream._known[data[: 8 + int.from_bytes(data[4:8], "little")]]
    for word in (layout._rows, layout._body, *layout._texts):
        at = len(layout.schema) + 8 * word
        for length in (-1, 0, 2, 1 << 40, (1 << 63) - 1):
            told = data[:at] + length.to_bytes(8, "little", signed=True) + data[at + 8 :]
            stream._known[layout.schema] = layout
            quickly = plain_or_code(told)
            stream._known.clear()
            assert quickly == plain_or_code(told)
