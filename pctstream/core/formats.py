"""The formats of other people's messages: which one a message has, and the block it says.

The header ``content-type`` decides. Without it: ``{`` that parses as a JSON object is JSON,
the magic of an Arrow stream a block, exactly 4 x dimension bytes a float32 row; anything else is
refused with the code ``decode``. Detection asks the strict formats first: a float32 row may begin
with the byte of ``{``: it is JSON only if it parses as JSON.

A decoder takes one message and answers a block or raises RowRefused, whatever the bytes.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pctstream.core.block import ARROW, Block, Source, Vectors, matrix, read_batch
from pctstream.core.unit import Message
from pctstream.errors import RowRefused

JSON = "application/json"
FLOAT32 = "application/octet-stream"
ARROW_MAGIC = b"\xff\xff\xff\xff"
SHORT = {"json": JSON, "float32": FLOAT32, "arrow": ARROW}
COLUMNS = ("vector", "id", "time", "deleted")


def sniff(message: Message, dimension: int) -> str:
    """The content type of a message; ``RowRefused("decode")`` when nothing fits.

    >>> sniff(Message(0, None, b'{"vector": [1]}'), 2), sniff(Message(0, None, b"{234abcd"), 2)
    ('application/json', 'application/octet-stream')
    """
    value = message.value or b""
    if message.content_type in SHORT.values():
        return str(message.content_type)
    if message.content_type is not None:
        raise RowRefused("decode", f"content-type {message.content_type!r} is not one of ours")
    if value[:1] == b"{" and _is_json_object(value):
        return JSON
    if value[:4] == ARROW_MAGIC and len(value) != 4 * dimension:
        return ARROW
    if len(value) == 4 * dimension or (dimension == 0 and value and len(value) % 4 == 0):
        return FLOAT32
    raise RowRefused(
        "decode", f"{len(value)} bytes are no JSON object, no Arrow stream, no {dimension} float32"
    )


def _is_json_object(value: bytes) -> bool:
    try:
        return isinstance(orjson.loads(value), dict)
    except orjson.JSONDecodeError:
        return False


def read(kind: str, source: Source, message: Message, dimension: int) -> Block:
    """The rows of one message of this kind; RowRefused whatever is wrong with it."""
    try:
        return _DECODERS[kind](source, message, dimension)
    except (pa.ArrowException, KeyError, ValueError, OverflowError) as error:
        raise RowRefused("schema", f"the columns cannot be read as rows: {error}") from None


def float32_rows(
    source: Source, named: Sequence[tuple[Message, str | None]], dimension: int
) -> Block:
    """Messages of 4 x dimension bytes each, with their names, as one block."""
    messages = [m for m, _ in named]
    flat = np.frombuffer(b"".join(m.value or b"" for m in messages), "<f4")
    rows = len(messages)
    return Block(
        (source,),
        np.zeros(rows, np.int32),
        np.array([m.offset for m in messages], np.int64),
        np.zeros(rows, np.int32),
        flat.reshape(rows, dimension),
        _strings([name for _, name in named]),
        pa.array([m.time_ms / 1000.0 for m in messages], pa.float64()),
    )


def _float32(source: Source, message: Message, dimension: int) -> Block:
    raise RowRefused(
        "dimension",
        f"{len(message.value or b'')} bytes are not {dimension} float32 values: produce rows of "
        f"dimension {dimension}",
    )


def _json(source: Source, message: Message, dimension: int) -> Block:
    try:
        fields = orjson.loads(message.value or b"")
    except orjson.JSONDecodeError as error:
        raise RowRefused("decode", f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise RowRefused("decode", "the JSON value is not an object")
    if fields.get("deleted"):
        raise RowRefused("schema", "deletes are not taken yet")
    vector = next((fields[k] for k in ("vector", "embedding", "values") if k in fields), None)
    if not isinstance(vector, list):
        raise RowRefused("schema", 'the object has no list under "vector"')
    row = _numbers(vector)
    if row.shape != (dimension,):
        raise RowRefused("dimension", f"the vector has shape {row.shape}, the tree ({dimension},)")
    payload = fields.get("payload")
    if payload is not None and not isinstance(payload, dict):
        raise RowRefused("schema", '"payload" must be an object')
    with np.errstate(over="ignore"):
        vectors = row.astype(np.float32).reshape(1, dimension)
    return _single(
        source,
        message,
        vectors,
        _json_id(fields.get("id")) if "id" in fields else text(message.key),
        _seconds(fields["time"]) if "time" in fields else message.time_ms / 1000.0,
        None if payload is None else orjson.dumps(payload),
    )


def _numbers(vector: list[Any]) -> Any:
    try:
        row = np.array(vector)
    except ValueError:
        row = np.array(None)
    if row.dtype.kind not in "iuf":
        raise RowRefused("schema", '"vector" must be a flat list of numbers')
    return row


def _single(
    source: Source,
    message: Message,
    vectors: Vectors,
    name: str | None,
    time: float,
    payload: bytes | None,
) -> Block:
    return Block(
        (source,),
        np.zeros(1, np.int32),
        np.array([message.offset], np.int64),
        np.zeros(1, np.int32),
        vectors,
        _strings([name]),
        pa.array([time], pa.float64()),
        None if payload is None else pa.array([payload], pa.binary()),
    )


def _json_id(value: Any) -> str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise RowRefused("id", f"the id must be a non-empty string or an integer, not {value!r}")


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise RowRefused("schema", '"time" must be seconds or an ISO 8601 text')
    if not isinstance(value, str):
        return float(value)
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError:
        raise RowRefused("schema", f"{value!r} is no ISO 8601 time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()


def _arrow(source: Source, message: Message, dimension: int) -> Block:
    batch = read_batch(message.value or b"")
    names = set(batch.schema.names)
    if "vector" not in names:
        raise RowRefused("schema", 'the block has no column "vector"')
    column = batch["vector"]
    if not pa.types.is_fixed_size_list(column.type) or column.type.value_type != pa.float32():
        raise RowRefused("schema", f'"vector" must be fixed_size_list<float32>, not {column.type}')
    if column.type.list_size != dimension:
        raise RowRefused(
            "dimension", f"the block has dimension {column.type.list_size}, the tree {dimension}"
        )
    if column.null_count or column.values.null_count:
        raise RowRefused("schema", '"vector" has nulls')
    if "deleted" in names and pc.any(batch["deleted"]).as_py():
        raise RowRefused("schema", "deletes are not taken yet")
    rows = batch.num_rows
    return Block(
        (source,),
        np.zeros(rows, np.int32),
        np.full(rows, message.offset, np.int64),
        np.arange(rows, dtype=np.int32),
        matrix(column),
        _arrow_ids(batch["id"]) if "id" in names else None,
        _arrow_times(batch["time"]) if "time" in names else _broadcast(message, rows),
        _payloads(batch, sorted(names.difference(COLUMNS), key=batch.schema.names.index)),
    )


def _broadcast(message: Message, rows: int) -> pa.Array:
    return pa.array(np.full(rows, message.time_ms / 1000.0))


def _arrow_ids(column: pa.Array) -> pa.Array:
    if not (pa.types.is_integer(column.type) or pa.types.is_string(column.type)):
        raise RowRefused("id", f'"id" must be string or int64, not {column.type}')
    return column.cast(pa.string())


def _arrow_times(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return pc.divide(column.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64()), 1e6)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise RowRefused("schema", f'"time" must be float64 seconds or a timestamp: {column.type}')
    return column.cast(pa.float64())


def _payloads(batch: pa.RecordBatch, names: Sequence[str]) -> pa.Array | None:
    if not names:
        return None
    rows = zip(*(batch[n].to_pylist() for n in names), strict=True)
    try:
        texts = [orjson.dumps(dict(zip(names, row, strict=True))) for row in rows]
        return pa.array(texts, pa.binary())
    except (TypeError, orjson.JSONEncodeError) as error:
        raise RowRefused("schema", f"a payload column has no JSON form: {error}") from None


def text(key: bytes | None) -> str | None:
    """A message key as an id; RowRefused("id") where it cannot be one."""
    if not key:
        return None
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise RowRefused("id", "the key is not UTF-8: it cannot be an id") from None


def _strings(values: Iterable[str | None]) -> pa.Array | None:
    array = pa.array(list(values), pa.string())
    return None if array.null_count == len(array) else array


_DECODERS: dict[str, Callable[[Source, Message, int], Block]] = {
    JSON: _json,
    FLOAT32: _float32,
    ARROW: _arrow,
}
