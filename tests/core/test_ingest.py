"""Ingest: every way to send a row, every way to send a bad one, and pipes."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from core.rows import T0, json_message, numbered, plain
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core.block import encode
from pctstream.core.ingest import decode, decode_pipe
from pctstream.core.unit import Message, Unit
from pctstream.core.widths import majority, widths
from pctstream.errors import DEAD_LETTER_CODES

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
FLOAT32 = "application/octet-stream"


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def arrow(**columns: Any) -> bytes:
    arrays = {n: c if isinstance(c, pa.Array) else pa.array(c) for n, c in columns.items()}
    if "vector" in columns and not isinstance(columns["vector"], pa.Array):
        width = len(columns["vector"][0])
        arrays["vector"] = pa.array(columns["vector"], pa.list_(pa.float32(), width))
    batch = pa.RecordBatch.from_pydict(arrays)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def unit_of(*values: Any, dimension: int = 2, metric: str = "euclidean", **more: Any) -> Unit:
    """A unit of messages at the offsets 0, 1, ...: bytes, or Message fields but the offset."""
    messages = [
        Message(i, None, v, time_ms=2000) if isinstance(v, bytes) else Message(i, **v)
        for i, v in enumerate(values)
    ]
    return decode(T0, messages, -1, len(values) - 1, dimension, metric, **more)


def vectors(unit: Unit) -> list[list[float]]:
    return [] if unit.rows is None else unit.rows.vectors.tolist()


def refused(unit: Unit) -> list[tuple[int, int, str]]:
    return [(d.origin.offset, d.origin.index, d.code) for d in unit.dead]


def test_formats_mixed_in_one_unit_keep_their_order_and_what_they_say() -> None:
    unit = unit_of(
        {"key": b"a", "value": floats(1, 1), "time_ms": 1500},
        json_message(id=7, vector=[2, 2], payload={"x": 1}, time=3.5),
        arrow(vector=[[3, 3], [4, 4]], id=["p", None], time=[1.0, None], place=["here", "there"]),
        {"key": b"k", "value": json_message(embedding=[5, 5], time="1970-01-01T00:00:09Z")},
        floats(6, 6),
        {"key": None, "value": json_message(values=[7, 7]), "content_type": JSON},
        {"key": b"z", "value": floats(8, 8), "content_type": FLOAT32},
        {"key": None, "value": arrow(vector=[[9, 9]], id=[41]), "content_type": ARROW},
    )
    assert unit.dead == ()
    assert vectors(unit) == [[n, n] for n in (1, 2, 3, 4, 5, 6, 7, 8, 9)]
    rows = plain(unit.rows)
    assert [r[0] for r in rows] == [
        "t/0/0/0", "t/0/1/0", "t/0/2/0", "t/0/2/1", "t/0/3/0", "t/0/4/0", "t/0/5/0", "t/0/6/0",
        "t/0/7/0",
    ]  # fmt: skip
    assert [r[2] for r in rows] == ["a", "7", "p", None, "k", None, None, "z", "41"]
    assert [r[3] for r in rows] == [1.5, 3.5, 1.0, None, 9.0, 2.0, 0.0, 0.0, 0.0]
    assert [r[4] for r in rows][1:4] == [b'{"x":1}', b'{"place":"here"}', b'{"place":"there"}']


def test_float32_rows_that_begin_with_a_brace_are_all_float32() -> None:
    brace = struct.unpack("<f", b"{ab?")[0]
    rows = [floats(brace, n) for n in range(5)] + [b'{"a":1,]', b"{" * 3 + bytes(5)]
    unit = unit_of(*rows)
    assert unit.dead == ()
    assert unit.rows is not None
    assert [v.tobytes() for v in unit.rows.vectors] == rows


def test_a_float32_row_whose_bytes_are_the_arrow_magic_is_not_finite() -> None:
    assert refused(unit_of(b"\xff\xff\xff\xff" + floats(1), floats(1, 2))) == [(0, 0, "not-finite")]


GOOD = floats(1, 2)
BAD: list[tuple[str, Any, str]] = [
    ("garbage", b"abc", "decode"),
    ("empty", b"", "decode"),
    ("a float too many", floats(1, 2, 3), "decode"),
    ("a float too many, said", {"key": None, "value": floats(1, 2, 3), "content_type": FLOAT32},
     "dimension"),
    ("unknown type", {"key": None, "value": GOOD, "content_type": "text/plain"}, "decode"),
    ("not JSON, said", {"key": None, "value": b"{]", "content_type": JSON}, "decode"),
    ("a JSON list, said", {"key": None, "value": b"[1,2]", "content_type": JSON}, "decode"),
    ("not Arrow, said", {"key": None, "value": GOOD, "content_type": ARROW}, "decode"),
    ("magic only", b"\xff\xff\xff\xff" * 9, "decode"),
    ("no vector", json_message(id="x"), "schema"),
    ("vector no list", json_message(vector="12"), "schema"),
    ("texts", json_message(vector=["1", "2"]), "schema"),
    ("truths", json_message(vector=[True, False]), "schema"),
    ("null in it", json_message(vector=[None, 1.0]), "schema"),
    ("ragged", json_message(vector=[[1], [2, 3]]), "schema"),
    ("nested", json_message(vector=[[1, 2]]), "schema"),
    ("three", json_message(vector=[1, 2, 3]), "dimension"),
    ("payload a list", json_message(vector=[1, 2], payload=[1]), "schema"),
    ("time a list", json_message(vector=[1, 2], time=[1]), "schema"),
    ("time no ISO", json_message(vector=[1, 2], time="yesterday"), "schema"),
    ("deleted, which", json_message(vector=[1, 2], deleted=True), "id"),
    ("deleted a number", json_message(id="x", vector=[1, 2], deleted=2), "schema"),
    ("null value", {"key": None, "value": None}, "id"),
    ("id a list", json_message(vector=[1, 2], id=[]), "id"),
    ("id empty", json_message(vector=[1, 2], id=""), "id"),
    ("key no text", {"key": b"\xff", "value": GOOD}, "id"),
    ("too large for float32", json_message(vector=[1e300, 0]), "not-finite"),
    ("NaN", floats(float("nan"), 0), "not-finite"),
    ("infinity", floats(0, float("-inf")), "not-finite"),
    ("norm", floats(3e38, 3e38), "norm"),
    ("arrow wide", arrow(vector=[[1, 2, 3]]), "dimension"),
    ("arrow no vector", arrow(id=["a"]), "schema"),
    ("arrow null row", arrow(vector=pa.array([None], pa.list_(pa.float32(), 2))), "schema"),
    ("arrow null number", arrow(vector=pa.array([[1, None]], pa.list_(pa.float32(), 2))), "schema"),
    ("arrow id real", arrow(vector=[[1, 2]], id=[1.5]), "id"),
    ("arrow time text", arrow(vector=[[1, 2]], time=["x"]), "schema"),
    ("arrow deleted", arrow(vector=[[1, 2]], deleted=[True]), "id"),
    ("arrow deleted text", arrow(vector=[[1, 2]], deleted=["x"]), "schema"),
    ("arrow payload bytes", arrow(vector=[[1, 2]], blob=[b"\x00"]), "schema"),
]  # fmt: skip


DELETES: list[Any] = [
    {"key": b"x", "value": None},
    json_message(id="x", deleted=True),
    {"key": b"x", "value": json_message(deleted=True)},
    arrow(vector=[[1, 2]], id=["x"], deleted=[True]),
    arrow(vector=pa.array([None], pa.list_(pa.float32(), 2)), id=["x"], deleted=[True]),
]


@pytest.mark.parametrize("value", DELETES)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_delete_is_an_entry_without_a_row_in_its_place(value: Any, metric: str) -> None:
    unit = unit_of(GOOD, value, json_message(id="y", vector=[3, 4]), metric=metric)
    assert unit.dead == ()
    assert unit.rows is not None
    assert unit.rows.changes is not None
    assert unit.rows.changes.brings.tolist() == [True, False, True]
    assert not unit.rows.changes.leaves.any()
    assert unit.rows.ids is not None
    assert unit.rows.ids.to_pylist() == [None, "x", "y"]
    assert unit.rows.vectors[1].tolist() == [0, 0]
    assert [str(o) for o in unit.rows.plain.origins()] == ["t/0/0/0", "t/0/2/0"]


def test_rows_and_deletes_in_one_block_and_false_is_none() -> None:
    block = arrow(vector=[[1, 2], [3, 4], [5, 6]], id=["a", "b", "c"], deleted=[False, True, None])
    unit = unit_of(block)
    assert unit.rows is not None
    assert unit.rows.changes is not None
    assert unit.rows.changes.bare.tolist() == [0, 1, 0]
    assert unit_of(json_message(vector=[1, 2], deleted=False)).rows is not None


BAD_BYTES = [value for _, value, _ in BAD if isinstance(value, bytes)]


@pytest.mark.parametrize(("value", "code"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_bad_message_is_refused_and_its_neighbours_go_on(value: Any, code: str) -> None:
    unit = unit_of(GOOD, value, json_message(vector=[3, 4]), floats(5, 6))
    assert refused(unit) == [(1, 0, code)]
    assert vectors(unit) == [[1, 2], [3, 4], [5, 6]]
    assert code in DEAD_LETTER_CODES


def test_all_bad_messages_at_once_leave_the_good_ones() -> None:
    values: list[Any] = [GOOD]
    for _, bad, _ in BAD:
        values += [bad, GOOD]
    unit = unit_of(*values)
    assert sorted(refused(unit)) == [(2 * i + 1, 0, b[2]) for i, b in enumerate(BAD)]
    assert vectors(unit) == [[1, 2]] * (len(BAD) + 1)


def test_a_bad_row_of_a_block_goes_alone() -> None:
    nan = float("nan")
    block = arrow(vector=[[1, 1], [nan, 0], [2, 2], [3e38, 3e38], [3, 3]], id=[1, 2, 3, 4, 5])
    unit = unit_of({"key": b"key", "value": block})
    assert refused(unit) == [(0, 1, "not-finite"), (0, 3, "norm")]
    assert [r[2] for r in plain(unit.rows)] == ["1", "3", "5"]
    assert {d.key for d in unit.dead} == {b"key"}
    again = [pa.ipc.open_stream(d.value).read_all().to_pylist() for d in unit.dead]
    assert [row["id"] for (row,) in again] == [2, 4], "a dead letter is the row as it came"
    assert again[1][0]["vector"] == block_row(3e38, 3e38)


def block_row(*values: float) -> list[float]:
    return [float(np.float32(v)) for v in values]


def test_cosine_normalises_and_refuses_the_zero_vector() -> None:
    unit = unit_of(floats(3, 4), floats(0, 0), floats(0, -1e-40), metric="cosine")
    assert refused(unit) == [(1, 0, "zero-vector")]
    np.testing.assert_allclose(vectors(unit), [[0.6, 0.8], [0, -1]], rtol=1e-6)
    assert refused(unit_of(floats(0, 0))) == [], "without a direction only cosine cannot do"


def test_an_assumed_format_holds_where_the_message_does_not_say() -> None:
    brace = struct.pack("<2f", 1.0, 2.0)
    unit = unit_of(b'{"v":12}', json_message(vector=[1, 2]), assumed="json")
    assert refused(unit) == [(0, 0, "schema")]
    said = {"key": None, "value": json_message(vector=[1, 2]), "content_type": JSON}
    assert vectors(unit_of(brace, said, assumed="float32")) == [[1, 2], [1, 2]]


def test_markers_are_no_rows_and_an_empty_unit_still_moves_on() -> None:
    marker = Message(4, None, b"anything", pct_type="marker")
    unit = decode(T0, [marker], 3, 9, 2, "euclidean")
    assert (unit.rows, unit.dead, unit.prev, unit.last) == (None, (), 3, 9)
    assert decode_pipe(T0, [marker], 3, 9) == unit
    assert decode(T0, [], 3, 9, 2, "euclidean").last == 9
    assert unit_of(arrow(vector=pa.array([], pa.list_(pa.float32(), 2)))).rows is None


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=40) | st.sampled_from(BAD_BYTES)),
       st.randoms(use_true_random=False))  # fmt: skip
def test_no_bytes_whatsoever_raise(values: list[bytes], random: Any) -> None:
    broken = []
    for value in values:
        change = bytearray(value)
        if change:
            change[random.randrange(len(change))] ^= 1 << random.randrange(8)
        broken.append(bytes(change))
    unit = unit_of(*broken)
    seen = {(d.origin.offset) for d in unit.dead}
    if unit.rows is not None:
        seen |= set(unit.rows.offset.tolist())
        assert np.isfinite(unit.rows.vectors).all()
    empty = {i for i, v in enumerate(broken) if v[:4] == b"\xff\xff\xff\xff"}
    assert seen | empty >= set(range(len(broken)))


@pytest.mark.parametrize(
    ("values", "width"),
    [
        ([floats(1, 2, 3), json_message(vector=[1, 2])], 3),
        ([json_message(vector=[1, 2]), floats(1, 2, 3), arrow(vector=[[1, 2], [3, 4]])], 2),
        ([b"?", b"", b"{"], 0),
        ([arrow(vector=[[1.0] * 4] * 3), *[json_message(vector=[1, 2])] * 2], 4),
        ([arrow(vector=[[1.0] * 4] * 200), *[json_message(vector=[1, 2])] * 300], 4),
        ([], 0),
    ],
)
def test_the_majority_of_the_first_rows_fixes_the_dimension(
    values: list[bytes], width: int
) -> None:
    shown = [w for i, v in enumerate(values) for w in widths(Message(i, None, v))]
    assert majority(shown[:100]) == width


def test_a_pipe_gives_the_blocks_in_order_and_names_what_cannot_be_read() -> None:
    blocks = [numbered([1, 2]), numbered([5]), numbered([7, 8])]
    values = [encode(blocks[0]), b"broken", encode(blocks[1]), encode(numbered([6], 3)),
              encode(blocks[2])]  # fmt: skip
    messages = [Message(10 + i, None, v) for i, v in enumerate(values)]
    unit = decode_pipe(T0, messages, 9, 14)
    assert plain(unit.rows) == [r for b in blocks for r in plain(b)]
    assert [(d.origin.offset, d.code, d.stage) for d in unit.dead] == [
        (11, "decode", "pipe"), (13, "decode", "pipe"),
    ]  # fmt: skip
    assert (unit.source, unit.prev, unit.last) == (T0, 9, 14)
    assert [d.origin.offset for d in decode_pipe(T0, messages, 9, 14, 3).dead] == [10, 11, 12, 14]


def test_a_row_that_no_pipe_could_carry_is_a_dead_letter() -> None:
    """Its neighbours go on; the letter names it by its origin and has no value."""
    payloads = ["a" * 10, "b" * 5000, "c" * 10]
    messages = [
        Message(i, None, orjson.dumps({"vector": [0.5, i], "payload": {"p": p}}))
        for i, p in enumerate(payloads)
    ]
    unit = decode(T0, messages, -1, 2, 2, "euclidean", row_bytes=4000)
    assert unit.rows is not None
    assert unit.rows.offset.tolist() == [0, 2]
    assert [(d.code, d.origin.offset, d.value) for d in unit.dead] == [("too-large", 1, None)]
    assert unit.rows.row_sizes().sum() == unit.rows.content_bytes
