"""Every kind of bad row or message, in each format that can have it.

A kind is a name, the code it must get, and either a whole message or what it does to one row of an
Arrow block. Good rows have DIMENSION numbers, ids and times; those here are told apart by nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

DIMENSION = 4
ROW_BYTES = 20_000
X = [0.5, -1.25, 3.0, -0.0]
ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
FLOAT32 = "application/octet-stream"


class Sent(NamedTuple):
    """What a producer gives: the parts of a message that it decides."""

    value: bytes | None
    content_type: str | None = None
    key: bytes | None = None


class Kind(NamedTuple):
    name: str
    code: str
    sent: Sent


class RowKind(NamedTuple):
    """Spoils one row of the columns of a block, given as lists."""

    name: str
    code: str
    spoil: Callable[[dict[str, list[Any]], int], None]


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def said(**fields: Any) -> bytes:
    return orjson.dumps({"vector": X, **fields})


def stream(columns: dict[str, Any], compression: str | None = None, twice: bool = False) -> bytes:
    """Columns as an Arrow stream; a list of lists under ``vector`` is list<float>."""
    arrays = {n: c if isinstance(c, pa.Array) else pa.array(c) for n, c in columns.items()}
    if isinstance(columns.get("vector"), list):
        arrays["vector"] = pa.array(columns["vector"], pa.list_(pa.float32()))
    batch = pa.RecordBatch.from_pydict(arrays)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        for _ in range(2 if twice else 1):
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def fixed(values: Any, width: int = DIMENSION, kind: Any = None) -> pa.Array:
    return pa.array(values, pa.list_(kind or pa.float32(), width))


def _arrow_file() -> bytes:
    batch = pa.RecordBatch.from_pydict({"vector": fixed([X])})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def bomb() -> bytes:
    """A few thousand bytes that decompress to 40 MB."""
    return stream({"vector": fixed([X]), "note": ["a" * 40_000_000]}, "zstd")


def words_bomb() -> bytes:
    """One long word, told by a thousand rows in a byte each: 50 MB."""
    words = pa.DictionaryArray.from_arrays(
        pa.array([0] * 1000, pa.int8()), pa.array(["a" * 50_000])
    )
    return stream({"vector": fixed([X] * 1000), "note": words})


GOOD_BLOCK = stream({"vector": fixed([X])})
HUGE = [1e20] * DIMENSION

JSON_KINDS = [
    Kind("cut", "truncated", Sent(said()[:-3])),
    Kind("cut, said", "truncated", Sent(said()[:-3], JSON)),
    Kind("no JSON", "decode", Sent(b"{]")),
    Kind("not UTF-8", "decode", Sent(b'{"id": "\xff", "vector": [1, 2, 3, 4]}')),
    Kind("a list", "decode", Sent(b"[1, 2, 3, 4]", JSON)),
    Kind("a block said to be JSON", "decode", Sent(GOOD_BLOCK, JSON)),
    Kind("another type", "decode", Sent(said(), "text/plain")),
    Kind("nested without end", "decode", Sent(b'{"vector":' + b"[" * 100_000)),
    Kind("a NaN", "not-finite", Sent(b'{"vector": [1, 2, NaN, 4]}')),
    Kind("an infinity", "not-finite", Sent(b'{"vector": [1, 2, -Infinity, 4]}')),
    Kind("beyond float64", "not-finite", Sent(b'{"vector": [1, 2, 1e400, 4]}')),
    Kind("beyond float32", "not-finite", Sent(said(vector=[1, 2, 1e39, 4]))),
    Kind("huge", "norm", Sent(said(vector=HUGE))),
    Kind("huge integers", "norm", Sent(b'{"vector": [1, 2, 123456789012345678901234567890, 4]}')),
    Kind("too short", "dimension", Sent(said(vector=X[1:]))),
    Kind("too long", "dimension", Sent(said(vector=[*X, 1]))),
    Kind("no number", "dimension", Sent(said(vector=[]))),
    Kind("no vector", "schema", Sent(b'{"id": "x"}')),
    Kind("a vector of text", "schema", Sent(said(vector="1, 2, 3, 4"))),
    Kind("texts", "schema", Sent(said(vector=["1", "2", "3", "4"]))),
    Kind("a truth", "schema", Sent(said(vector=[True, 2, 3, 4]))),
    Kind("a null", "schema", Sent(said(vector=[None, 2, 3, 4]))),
    Kind("lists in it", "schema", Sent(said(vector=[[1], [2], [3], [4]]))),
    Kind("payload a list", "schema", Sent(said(payload=[1]))),
    Kind("payload too deep", "schema",
         Sent(b'{"vector":[1,2,3,4],"payload":{"a":' + b"[" * 500 + b"]" * 500 + b"}}")),
    Kind("time a list", "schema", Sent(said(time=[1]))),
    Kind("time no ISO", "schema", Sent(said(time="y" * 5000))),
    Kind("a delete of nothing", "id", Sent(said(deleted=True))),
    Kind("deleted a text", "schema", Sent(said(id="x", deleted="yes"))),
    Kind("a null value without a key", "id", Sent(None, None)),
    Kind("id a list", "id", Sent(said(id=["i" * 5000]))),
    Kind("id a real", "id", Sent(said(id=1.5))),
    Kind("id empty", "id", Sent(said(id=""))),
    Kind("id too long", "id", Sent(said(id="i" * 5000))),
    Kind("key no text", "id", Sent(said(), None, b"\xff")),
    Kind("too large", "too-large", Sent(said(payload={"note": "n" * ROW_BYTES}))),
]  # fmt: skip

FLOAT32_KINDS = [
    Kind("cut, said", "truncated", Sent(floats(*X)[:-1], FLOAT32)),
    Kind("cut", "decode", Sent(floats(*X)[:-1])),
    Kind("a number too few, said", "dimension", Sent(floats(*X[1:]), FLOAT32)),
    Kind("a number too many, said", "dimension", Sent(floats(*X, 1), FLOAT32)),
    Kind("a number too many", "decode", Sent(floats(*X, 1))),
    Kind("nothing", "decode", Sent(b"")),
    Kind("nothing, said", "dimension", Sent(b"", FLOAT32)),
    Kind("another type", "decode", Sent(floats(*X), "image/png")),
    Kind("said to be a block", "decode", Sent(floats(*X), ARROW)),
    Kind("said to be JSON", "decode", Sent(floats(1.1, -2.2, 3.3, 4.4), JSON)),
    Kind("a NaN", "not-finite", Sent(floats(1, float("nan"), 3, 4))),
    Kind("an infinity", "not-finite", Sent(floats(1, 2, 3, float("-inf")))),
    Kind("the magic of a block", "not-finite", Sent(b"\xff\xff\xff\xff" + floats(*X[1:]))),
    Kind("huge", "norm", Sent(floats(*HUGE))),
    Kind("key no text", "id", Sent(floats(*X), None, b"a\xff")),
    Kind("key too long", "id", Sent(floats(*X), FLOAT32, b"k" * 5000)),
    Kind("a null value without a key", "id", Sent(None, FLOAT32)),
]

ARROW_KINDS = [
    Kind("cut", "truncated", Sent(GOOD_BLOCK[: len(GOOD_BLOCK) // 2])),
    Kind("cut in its end", "truncated", Sent(GOOD_BLOCK[:-1], ARROW)),
    Kind("cut after the schema", "truncated", Sent(GOOD_BLOCK[:16], ARROW)),
    Kind("the magic only", "decode", Sent(b"\xff\xff\xff\xff" * 9)),
    Kind("not one, said", "decode", Sent(said(), ARROW)),
    Kind("a file", "decode", Sent(_arrow_file())),
    Kind("two in one", "decode", Sent(GOOD_BLOCK * 2)),
    Kind("bytes behind it", "decode", Sent(GOOD_BLOCK + b"junk")),
    Kind("wide", "dimension", Sent(stream({"vector": fixed([[*X, 1]], 5)}))),
    Kind("no vector", "schema", Sent(stream({"id": ["a"]}))),
    Kind("a vector of texts", "schema", Sent(stream({"vector": pa.array([["1", "2", "3", "4"]])}))),
    Kind("numbers, not lists", "schema", Sent(stream({"vector": pa.array([1.0])}))),
    Kind("payload of bytes", "schema", Sent(stream({"vector": fixed([X]), "b": [b"\x00"]}))),
    Kind("time a truth", "schema", Sent(stream({"vector": fixed([X]), "time": [True]}))),
    Kind("deleted a text", "schema", Sent(stream({"vector": fixed([X]), "deleted": ["no"]}))),
    Kind("id a real", "id", Sent(stream({"vector": fixed([X]), "id": [1.5]}))),
    Kind("too large inside", "too-large", Sent(bomb())),
    Kind("too large without its dictionary", "too-large", Sent(words_bomb())),
    Kind("another type", "decode", Sent(GOOD_BLOCK, "application/parquet")),
    Kind("a null value without a key", "id", Sent(None, ARROW)),
]


def _put(column: str, value: Any) -> Callable[[dict[str, list[Any]], int], None]:
    def spoil(columns: dict[str, list[Any]], row: int) -> None:
        columns.setdefault(column, [None] * len(columns["vector"]))[row] = value

    return spoil


def _texts_of_time(columns: dict[str, list[Any]], row: int) -> None:
    columns["time"] = ["1970-01-01T00:00:01Z"] * len(columns["time"])
    columns["time"][row] = "yesterday"


def _delete_of_nothing(columns: dict[str, list[Any]], row: int) -> None:
    _put("deleted", True)(columns, row)
    _put("id", None)(columns, row)


ROW_KINDS = [
    RowKind("a NaN", "not-finite", _put("vector", [1, float("nan"), 3, 4])),
    RowKind("an infinity", "not-finite", _put("vector", [1, float("inf"), 3, 4])),
    RowKind("huge", "norm", _put("vector", HUGE)),
    RowKind("no vector", "schema", _put("vector", None)),
    RowKind("a null in it", "schema", _put("vector", [1, None, 3, 4])),
    RowKind("too short", "dimension", _put("vector", [1, 2, 3])),
    RowKind("too long", "dimension", _put("vector", [1, 2, 3, 4, 5])),
    RowKind("id empty", "id", _put("id", "")),
    RowKind("id too long", "id", _put("id", "i" * 5000)),
    RowKind("an infinite time", "schema", _put("time", float("-inf"))),
    RowKind("time no ISO", "schema", _texts_of_time),
    RowKind("a delete of nothing", "id", _delete_of_nothing),
    RowKind("too large", "too-large", _put("note", "n" * ROW_BYTES)),
]
