"""Where rows lie: two numbers of each, from its payload or its vector, and as bytes for a store.

A row has no place where a field is missing or is no number (true is none, "1" is none); it is NaN there,
which no JSON number and no vector that was taken in can be.

As bytes the places of a segment say of which fields they are: whoever is asked for others, or reads what
is damaged, makes them again from the rows.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from pctstream.core.block import Block
from pctstream.core.kernels import Float64

_HEAD = struct.Struct("<IQ")
"""Checksum of all that follows and of the fields' names; rows."""
VECTOR = "dim:"


class Places:
    """Reads the coordinates of rows; x and y: a payload's field, or dim:N of the vector.

    >>> from pctstream.core.block import Source
    >>> import pyarrow as pa
    >>> rows = Block((Source("t", 0),), *(np.zeros(2, kind) for kind in ("i4", "i8", "i4")),
    ...              np.array([[1.0, 2.0], [3.0, 4.0]], np.float32),
    ...              payloads=pa.array([b'{"a": 7}', b'{"a": "7"}']))
    >>> places = Places("dim:1", "a")
    >>> places.of(rows).tolist()
    [[2.0, 4.0], [7.0, nan]]
    >>> raw = places.to_bytes(places.of(rows))
    >>> places.from_bytes(raw).tolist(), Places("a", "dim:1").from_bytes(raw)
    ([[2.0, 4.0], [7.0, nan]], None)
    """

    def __init__(self, x: str, y: str) -> None:
        self.fields = (x, y)
        self._named = zlib.crc32(f"{x}\0{y}".encode())

    def of(self, rows: Block) -> Float64:
        """The places f64[2, n] of a block's rows."""
        named = [field for field in self.fields if not field.startswith(VECTOR)]
        read = _numbers(rows, named) if named else iter(())
        found = [
            _column(rows.vectors, int(field[len(VECTOR) :])) if field.startswith(VECTOR)
            else next(read)
            for field in self.fields
        ]  # fmt: skip
        return np.stack(found)

    def entry(self, rows: Block) -> bytes:
        """The places of a block's rows as bytes."""
        return self.to_bytes(self.of(rows))

    def to_bytes(self, places: Float64) -> bytes:
        """What `from_bytes` reads."""
        body = np.ascontiguousarray(places, "<f8").tobytes()
        rows = places.shape[1]
        return _HEAD.pack(zlib.crc32(body, self._named ^ rows), rows) + body

    def from_bytes(self, raw: bytes | None) -> Float64 | None:
        """The places f64[2, n]; None where they are of other fields, or not what was written."""
        if raw is None or len(raw) < _HEAD.size:
            return None
        sum_, rows = _HEAD.unpack_from(raw)
        body = raw[_HEAD.size :]
        if len(body) != 16 * rows or zlib.crc32(body, self._named ^ rows) != sum_:
            return None
        return np.frombuffer(body, "<f8").reshape(2, rows).astype(np.float64)


def _column(vectors: npt.NDArray[np.float32], number: int) -> Float64:
    if number >= vectors.shape[1]:
        return np.full(len(vectors), np.nan)
    return vectors[:, number].astype(np.float64)


def _numbers(rows: Block, fields: list[str]) -> Any:
    """A column f64[n] for each field of the payloads, in their order."""
    found = np.full((len(fields), len(rows)), np.nan)
    texts = [] if rows.payloads is None else rows.payloads.to_pylist()
    for row, text in enumerate(texts):
        said = orjson.loads(text) if text else None
        if not isinstance(said, dict):
            continue
        for number, field in enumerate(fields):
            value = said.get(field)
            if type(value) is float or type(value) is int:
                found[number, row] = value
    return iter(found)
