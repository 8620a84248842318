"""Blocks as other libraries write them by default, and blocks that would become very large."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from core.kinds import fixed, stream
from core.rows import T0

from pctstream.core.ingest import decode
from pctstream.core.unit import Message, Unit
from pctstream.core.widths import widths

VALUES = [[1.5, 2.0], [3.0, 4.25]]
V = fixed(VALUES, 2)


def unit_of(*values: bytes) -> Unit:
    messages = [Message(i, None, v, time_ms=1000) for i, v in enumerate(values)]
    return decode(T0, messages, -1, len(values) - 1, 2, "euclidean")


def rows_of(value: bytes) -> Any:
    unit = unit_of(value)
    assert unit.dead == ()
    assert unit.rows is not None
    return unit.rows


def refused(value: bytes) -> list[tuple[int, str]]:
    return [(d.origin.index, d.code) for d in unit_of(value).dead]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()), pa.list_(pa.float64()), pa.large_list(pa.float32()),
        pa.large_list(pa.float64()), pa.list_(pa.float16(), 2), pa.list_(pa.float64(), 2),
        pa.large_list(pa.float16()), pa.list_(pa.int32(), 2), pa.list_(pa.uint8()),
    ],
    ids=str,
)  # fmt: skip
def test_lists_of_any_number_type_are_vectors(kind: Any) -> None:
    whole = pa.types.is_integer(kind.value_type)
    values = [[1, 2], [3, 4]] if whole else VALUES
    value = stream({"vector": pa.array(values, kind)})
    assert rows_of(value).vectors.tolist() == values
    assert widths(Message(0, None, value)) == [2, 2]
    middle = pa.array([values[1], *values, values[0]], kind).slice(1, 2)
    assert rows_of(stream({"vector": middle})).vectors.tolist() == values


def test_float64_is_rounded_as_numpy_does_and_what_does_not_fit_is_not_finite() -> None:
    values = np.random.default_rng(1).normal(0, 1e3, (50, 2))
    rows = rows_of(stream({"vector": pa.array(values.tolist())}))
    assert rows.vectors.tobytes() == values.astype(np.float32).tobytes()
    values[7, 0] = 1e200
    assert refused(stream({"vector": pa.array(values.tolist())})) == [(7, "not-finite")]


def test_a_tensor_column_and_other_names_of_a_vector_are_taken() -> None:
    tensor = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [2]), V)
    assert rows_of(stream({"vector": tensor})).vectors.tolist() == VALUES
    assert rows_of(stream({"embedding": V})).vectors.tolist() == VALUES
    both = rows_of(stream({"values": fixed([[9, 9]] * 2, 2), "vector": V}))
    assert both.vectors.tolist() == VALUES
    assert orjson.loads(both.payloads[0].as_py()) == {"values": [9, 9]}


@pytest.mark.parametrize(
    ("column", "ids"),
    [
        (pa.array(["a", None]), ["a", None]),
        (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
        (pa.array(["a", "b" * 40], pa.string_view()), ["a", "b" * 40]),
        (pa.array(["x", "a", None, "b"], pa.string_view()).slice(1, 2), ["a", None]),
        (pa.array(["a", "a"]).dictionary_encode(), ["a", "a"]),
        (pa.array([7, None]), ["7", None]),
        (pa.array([2**64 - 1, 0], pa.uint64()), [str(2**64 - 1), "0"]),
        (pa.array([5, 5]).dictionary_encode(), ["5", "5"]),
        (pa.nulls(2), None),
    ],
)
def test_ids_in_any_kind_of_string_or_integer(column: Any, ids: list[str | None] | None) -> None:
    found = rows_of(stream({"vector": V, "id": column})).ids
    assert (found if found is None else found.to_pylist()) == ids


@pytest.mark.parametrize(
    ("column", "seconds"),
    [
        *[(pa.array([3 * 10**d, None], pa.timestamp(u, z)), [3.0, None])
          for u, d in (("s", 0), ("ms", 3), ("us", 6), ("ns", 9))
          for z in (None, "UTC", "Europe/Berlin", "No/Such")],
        (pa.array([1_700_000_000_123_456_789, 0], pa.timestamp("ns")), [1_700_000_000.1234567, 0]),
        (pa.array([1.5, float("nan")]), [1.5, None]),
        (pa.array([2, 3], pa.int32()), [2, 3]),
        (pa.array([1, 2], pa.date32()), [86400, 172_800]),
        (pa.array(["1970-01-01T01:00:00+01:00", "1970-01-02"]), [0, 86400]),
        (pa.array([4.0, 4.0]).dictionary_encode(), [4, 4]),
        (pa.nulls(2), [None, None]),
    ],
)  # fmt: skip
def test_times_of_any_unit_and_zone(column: Any, seconds: list[float | None]) -> None:
    found = rows_of(stream({"vector": V, "time": column})).times.to_pylist()
    assert found == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array([1001, None], pa.timestamp("ns")), ["1970-01-01T00:00:00.000001", None]),
        (pa.array([0, 1], pa.timestamp("s", "No/Such")),
         ["1970-01-01T00:00:00+00:00", "1970-01-01T00:00:01+00:00"]),
        (pa.array([{"a": [1]}, None]), [{"a": [1]}, None]),
        (pa.array([15, 25], pa.decimal128(5, 1)), [15.0, 25.0]),
        (pa.nulls(2), [None, None]),
    ],
)  # fmt: skip
def test_payload_columns_become_json(column: Any, said: list[Any]) -> None:
    found = rows_of(stream({"vector": V, "c": column})).payloads.to_pylist()
    assert [orjson.loads(f)["c"] for f in found] == said


def test_rows_are_counted_on_through_the_batches_of_a_stream() -> None:
    columns = {"vector": V, "id": pa.array(["a", ""])}
    unit = unit_of(stream(columns, twice=True), stream(columns))
    assert unit.rows is not None
    assert [str(o) for o in unit.rows.origins()] == ["t/0/0/0", "t/0/0/2", "t/0/1/0"]
    assert [str(d.origin) for d in unit.dead] == ["t/0/0/1", "t/0/0/3", "t/0/1/1"]
    assert widths(Message(0, None, stream(columns, twice=True))) == [2] * 4


def test_a_stream_without_rows_is_nothing() -> None:
    for compression in (None, "zstd"):
        unit = unit_of(stream({"vector": V.slice(0, 0)}, compression))
        assert (unit.rows, unit.dead) == (None, ())
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, pa.schema([("vector", V.type)])).close()
    assert unit_of(bytes(sink.getvalue())) == unit_of(stream({"vector": V.slice(0, 0)}))


@pytest.mark.parametrize(
    "value",
    [
        stream({"vector": fixed([[1, 2]] * 20_000, 2), "n" * 5000: [1] * 20_000}),
        stream({"vector": fixed([[1, 2]] * 20_000, 2), **{f"n{i}": pa.nulls(20_000) for i in range(500)}}),
        stream({"vector": fixed([[1, 2]] * 1000, 2),
                "id": pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int8()), ["a" * 50_000])}),
    ],
    ids=["a long name", "many nulls", "a long word"],
)  # fmt: skip
def test_what_would_become_very_large_is_refused_whole(value: bytes) -> None:
    assert len(value) < 1_000_000
    assert refused(value) == [(0, "too-large")]


def test_payload_columns_whose_values_take_no_bytes_are_refused() -> None:
    """A list of a billion nulls is a few bytes."""
    endless = pa.ListArray.from_arrays(pa.array([0, 10**9, 10**9], pa.int32()), pa.nulls(10**9))
    empty = pa.array([[{}], []], pa.list_(pa.struct([])))
    for column in (endless, empty):
        assert refused(stream({"vector": V, "c": column})) == [(0, "schema")]


def test_the_dead_letters_of_a_block_are_not_much_larger_than_it() -> None:
    """Each row as a stream of its own would carry the whole dictionary."""
    count = 2000
    words = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int16()), ["a", "b" * 500_000])
    unit = unit_of(stream({"vector": fixed([[np.nan, 1]] * count, 2), "note": words}))
    assert len(unit.dead) == count
    assert unit.dead[0].value is not None
    assert sum(len(d.value or b"") for d in unit.dead) < 20_000_000


def test_deletes_need_no_vector() -> None:
    ids, gone = pa.array(["a", "b", None]), pa.array([True, False, True])
    unit = unit_of(stream({"id": ids, "deleted": gone}))
    assert unit.rows is not None
    assert unit.rows.changes is not None
    assert (unit.rows.ids.to_pylist(), unit.rows.changes.bare.tolist()) == (["a"], [1])
    assert [(d.origin.index, d.code) for d in unit.dead] == [(1, "schema"), (2, "id")]
    assert unit.rows.vectors.tolist() == [[0.0, 0.0]]
    assert refused(stream({"id": ids})) == [(0, "schema")]
    assert widths(Message(0, None, stream({"id": ids, "deleted": gone}))) == []
