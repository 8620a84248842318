"""Rows from JSON objects, one a message: ``{"id": .., "vector": [..], "payload": {..}, "time": ..}``.

Numbers are float64, as everywhere in JSON, and then rounded to float32. A field that is null is as if
it were not there: many libraries write every field they know of. Of a field given twice the last
counts. Fields of other names are not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from pctstream.core import given
from pctstream.core.batches import VECTORS
from pctstream.core.block import Block, Source
from pctstream.core.changes import Changes
from pctstream.core.unit import Message
from pctstream.errors import RowRefused

_NUMBERS = {int, float}
_NO_NUMBERS = ("NaN", "Infinity", "-Infinity", "nan", "inf")


class ObjectRow(NamedTuple):
    """What one object says; ``vector`` is a list of ``dimension`` numbers."""

    vector: list[Any]
    id: str | None
    time: float
    payload: bytes | None
    deleted: bool = False
    """It deletes the id; its vector is zeros."""


def parse(value: bytes) -> dict[str, Any]:
    """The object of a message; RowRefused says what else it is.

    >>> parse(b'{"vector": [1, 2')
    Traceback (most recent call last):
    pctstream.errors.RowRefused: the JSON is cut: it ends at byte 16
    """
    try:
        fields = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise _broken(value, error) from None
    if not isinstance(fields, dict):
        raise RowRefused("decode", "the JSON value is not an object")
    return fields


def _broken(value: bytes, error: orjson.JSONDecodeError) -> RowRefused:
    if error.msg.startswith("unexpected end of data"):
        return RowRefused("truncated", f"the JSON is cut: it ends at byte {len(value)}")
    at = error.doc[error.pos : error.pos + 9].lstrip("-")
    if at.startswith(_NO_NUMBERS) or "infinity" in error.msg:
        return RowRefused(
            "not-finite", "JSON has no NaN and no infinity, nor has float64 beyond 1e308"
        )
    return RowRefused("decode", f"not JSON: {error}")


def read(fields: dict[str, Any], message: Message, dimension: int) -> ObjectRow:
    """The row that an object says; the message's key is its id where it names none itself."""
    deleted = fields.get("deleted")
    if deleted not in (None, True, False):
        raise RowRefused("schema", '"deleted" must be true or false')
    if deleted:
        name = fields.get("id")
        return delete(message.name if name is None else _id(name), message, dimension)
    vector = vector_of(fields)
    if vector is None:
        raise RowRefused("schema", 'the object has no list under "vector"')
    if not _NUMBERS.issuperset(map(type, vector)):
        raise RowRefused("schema", '"vector" must be a flat list of numbers')
    if len(vector) != dimension:
        raise RowRefused("dimension", f"the vector has {len(vector)} numbers, the tree {dimension}")
    name, time, payload = fields.get("id"), fields.get("time"), fields.get("payload")
    return ObjectRow(
        vector,
        message.name if name is None else _id(name),
        message.time_ms / 1000.0 if time is None else _seconds(time),
        None if payload is None else _payload(payload),
    )


def delete(name: str | None, message: Message, dimension: int) -> ObjectRow:
    """What deletes an id; without one it is refused."""
    if name is None:
        raise RowRefused("id", "a delete names no id: it has none, and the message has no key")
    return ObjectRow([0.0] * dimension, name, message.time_ms / 1000.0, None, True)


def vector_of(fields: dict[str, Any]) -> list[Any] | None:
    """The list under the first name of a vector that is not null; None if there is no list."""
    for name in VECTORS:
        found = fields.get(name)
        if found is not None:
            return found if isinstance(found, list) else None
    return None


def _id(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise RowRefused("id", f"the id must be a string or an integer of 64 bits, not {value!r:.100}")


def _seconds(value: Any) -> float:
    try:
        return given.seconds(value)
    except ValueError as error:
        raise RowRefused("schema", f"the time: {error}") from None


def _payload(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise RowRefused("schema", '"payload" must be an object')
    try:
        return orjson.dumps(value)
    except TypeError as error:
        # what it parses it can write, but not as deep
        raise RowRefused("schema", f"the payload cannot be kept: {error}") from None


def block(source: Source, rows: Sequence[tuple[Message, ObjectRow]]) -> Block:
    """Rows of one dimension as a block."""
    count = len(rows)
    said = [row for _, row in rows]
    with np.errstate(over="ignore"):
        vectors = np.array([row.vector for row in said], np.float64).astype(np.float32)
    names, payloads = [row.id for row in said], [row.payload for row in said]
    return Block(
        (source,),
        np.zeros(count, np.int32),
        np.array([m.offset for m, _ in rows], np.int64),
        np.zeros(count, np.int32),
        vectors,
        None if names.count(None) == count else pa.array(names, pa.string()),
        pa.array([row.time for row in said], pa.float64()),
        None if payloads.count(None) == count else pa.array(payloads, pa.binary()),
        Changes.deletes(np.array([row.deleted for row in said], np.bool_)),
    )
