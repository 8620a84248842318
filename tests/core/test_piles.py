"""Blocks grouped by partition: nothing lost, nothing out of order, nothing too large."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core import given as rows_given
from pctstream.core import keys
from pctstream.core.block import ARROW, Source, matrix, read_batch
from pctstream.core.given import Row, gathered
from pctstream.core.ingest import decode
from pctstream.core.piles import ROW_BYTES, Piles, Sealed, check_sizes
from pctstream.core.unit import Message
from pctstream.errors import RowRefused


def numbered(ids: list[str] | None, first: int, count: int, width: int = 3) -> pa.RecordBatch:
    """Rows whose vector says which they are."""
    vectors = np.arange(first, first + count, dtype=np.float32)[:, None].repeat(width, 1)
    return rows_given.batch(vectors, None if ids is None else pa.array(ids, pa.string()))


def contents(blocks: Iterable[Sealed]) -> dict[int, list[tuple[str | None, float]]]:
    """(id, number) of the rows of each partition, in order."""
    out: dict[int, list[tuple[str | None, float]]] = {}
    for block in blocks:
        batch = read_batch(block.value)
        assert batch.num_rows == block.rows
        ids = batch["id"].to_pylist() if "id" in batch.schema.names else [None] * block.rows
        said = zip(ids, matrix(batch["vector"])[:, 0].tolist(), strict=True)
        out.setdefault(block.partition, []).extend(said)
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcdefghij"), max_size=30), max_size=6),
    st.integers(1, 5),
    st.integers(1, 12),
    st.integers(600, 3000),
)
def test_every_row_is_in_its_partition_in_order(
    pieces: list[list[str]], partitions: int, block_rows: int, block_bytes: int
) -> None:
    piles = Piles(partitions, block_rows, block_bytes)
    blocks: list[Sealed] = []
    wanted: dict[int, list[tuple[str, float]]] = {}
    number = 0
    for ids in pieces:
        blocks += piles.spread(numbered(ids, number, len(ids)), 0.0)
        for id in ids:
            at = int(keys.partitions(pa.array([id]), partitions)[0])
            wanted.setdefault(at, []).append((id, float(number)))
            number += 1
    blocks += piles.seal()
    assert contents(blocks) == wanted
    assert all(b.rows <= block_rows for b in blocks)
    assert all(len(b.value) <= block_bytes or b.rows == 1 for b in blocks)
    assert list(piles.seal()) == []


def test_blocks_are_full_before_they_go() -> None:
    piles = Piles(2, block_rows=100, block_bytes=10**6)
    ids = [str(i) for i in range(1000)]
    full = list(piles.spread(numbered(ids, 0, 1000), 0.0))
    assert {b.rows for b in full} == {100}
    rest = [b.rows for b in piles.seal()]
    assert sum(rest) + 100 * len(full) == 1000
    assert max(rest) < 100


def test_a_block_is_never_too_large_though_rows_differ_in_size() -> None:
    piles = Piles(1, block_rows=1000, block_bytes=4000)
    texts = pa.array(["x" * (3000 if i % 10 == 0 else 1) for i in range(40)])
    rows = rows_given.batch(np.zeros((40, 2), np.float32), numbers(40), payload={"text": texts})
    blocks = [*piles.spread(rows, 0.0), *piles.seal()]
    assert sum(b.rows for b in blocks) == 40
    assert max(len(b.value) for b in blocks) <= 4000
    assert len(blocks) < 20


def numbers(count: int) -> pa.Array:
    return pa.array([str(i) for i in range(count)])


def test_rows_without_ids_take_turns() -> None:
    piles = Piles(3, block_rows=10, block_bytes=10**6)
    blocks = [*piles.spread(numbered(None, 0, 4), 0.0), *piles.spread(numbered(None, 4, 3), 0.0)]
    found = contents([*blocks, *piles.seal()])
    assert {p: [n for _, n in rows] for p, rows in found.items()} == {
        0: [0.0, 3.0, 6.0],
        1: [1.0, 4.0],
        2: [2.0, 5.0],
    }


def test_what_waits_too_long_goes() -> None:
    piles = Piles(1, block_rows=10, block_bytes=10**6)
    assert list(piles.spread(numbered(["a"], 0, 1), 5.0)) == []
    # the first row of a pile tells its age
    assert list(piles.spread(numbered(["b"], 1, 1), 9.0)) == []
    assert list(piles.late(5.0)) == []
    assert [b.rows for b in piles.late(5.1)] == [2]


def test_other_columns_begin_another_block_and_order_stays() -> None:
    piles = Piles(1, block_rows=10, block_bytes=10**6)
    rows = [
        Row(np.full(2, i, np.float32), "a", {"n": i} if i % 2 else {"m": "x"}) for i in range(4)
    ]
    blocks: list[Sealed] = []
    for part in gathered(rows):
        assert not isinstance(part, Row)
        blocks += piles.spread(part, 0.0)
    blocks += piles.seal()
    assert contents(blocks) == {0: [("a", 0.0), ("a", 1.0), ("a", 2.0), ("a", 3.0)]}
    assert [read_batch(b.value).schema.names[2:] for b in blocks] == [["m"], ["n"]] * 2


PAYLOADS = st.one_of(
    st.none(),
    st.dictionaries(
        st.sampled_from(["n", "m", "id"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-(2**63), 2**64 - 1),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(max_size=5),
            st.lists(st.one_of(st.integers(0, 3), st.text(max_size=2)), max_size=3),
        ),
        max_size=3,
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.text(min_size=1, max_size=4)),
            PAYLOADS,
            st.one_of(st.none(), st.floats(0, 1e9)),
        ),
        max_size=12,
    )
)
def test_the_tree_reads_what_was_given(given_rows: list[Any]) -> None:
    """Through blocks, or as JSON where no block can hold it: the product's decoder sees the same."""
    rows = [
        Row(np.full(2, i, np.float32), id, payload, moment)
        for i, (id, payload, moment) in enumerate(given_rows)
    ]
    messages = []
    for offset, part in enumerate(gathered(rows)):
        if isinstance(part, Row):
            value, kind = rows_given.to_json(part), "application/json"
            key = None if part.id is None else part.id.encode()
        else:
            value, kind, key = rows_given.encode(part), ARROW, None
        messages.append(Message(offset, key, value, kind, time_ms=77_000))
    unit = decode(Source("t", 0), messages, -1, len(messages), 2, "euclidean")
    assert unit.dead == ()
    assert len(unit) == len(rows)
    if unit.rows is None:
        return
    none = [None] * len(rows)
    block = unit.rows
    assert block.vectors[:, 0].tolist() == [float(i) for i in range(len(rows))]
    assert (none if block.ids is None else block.ids.to_pylist()) == [r.id for r in rows]
    payloads = none if block.payloads is None else block.payloads.to_pylist()
    said = [None if p is None else orjson.loads(p) for p in payloads]
    assert said == [r.payload for r in rows]
    assert [list(map(type, (p or {}).values())) for p in said] == [
        list(map(type, (r.payload or {}).values())) for r in rows
    ]
    times = none if block.times is None else block.times.to_pylist()
    assert times == [77.0 if r.time is None else r.time for r in rows]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_json_keeps_every_bit_of_a_float32(values: list[float]) -> None:
    vector = np.array(values, np.float32)
    message = Message(0, None, rows_given.to_json(Row(vector, "a")), "application/json")
    unit = decode(Source("t", 0), [message], -1, 0, len(values), "euclidean")
    if unit.rows is not None:
        assert unit.rows.vectors.tobytes() == vector.tobytes()


def test_a_row_that_no_message_can_carry_is_refused_before_its_neighbours_go() -> None:
    texts = pa.array(["a", "x" * (ROW_BYTES + 1), "b"])
    rows = rows_given.batch(np.zeros((3, 2), np.float32), numbers(3), payload={"text": texts})
    with pytest.raises(RowRefused, match=r"row 1 \(1\)") as refused:
        check_sizes(rows)
    assert refused.value.code == "too-large"
    check_sizes(rows.slice(0, 1))
    many = ["x" * 1000] * 2000
    check_sizes(
        rows_given.batch(
            np.zeros((2000, 2), np.float32), numbers(2000), payload={"text": pa.array(many)}
        )
    )
