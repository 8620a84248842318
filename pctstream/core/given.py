"""Rows as someone outside gives them: before the log has given them an origin.

They travel as one Arrow record batch (CONTRACT: Rows on the ingest topic): ``vector``
fixed_size_list<float32>[d], optional ``id`` (string) and ``time`` (seconds), and one column for
each field of the payload. A column has one type, and null for a row that lacks the field, which
reading it back could not tell from a field that is null. So rows are put into one batch only if
their payloads have the same fields of the same types; one that no column can hold (a list, an
object, a field called like a column) stays a Python object and travels as JSON.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from pctstream.core.block import matrix

COLUMNS = ("vector", "id", "time", "deleted")
"""Names in a block that are no payload."""

_SCALARS = (bool, int, float, str)
_WHOLE = range(-(2**63), 2**63)


class Row(NamedTuple):
    """One row as a Python program has it; ``vector`` is float32 [d]."""

    vector: npt.NDArray[np.float32]
    id: str | None = None
    payload: Mapping[str, Any] | None = None
    time: float | None = None


def batch(
    vectors: npt.NDArray[np.float32],
    ids: pa.Array | None = None,
    times: pa.Array | None = None,
    payload: Mapping[str, pa.Array] | None = None,
) -> pa.RecordBatch:
    """Rows as one record batch; ``vectors`` is float32 [n, d], the others have length n.

    >>> one = batch(np.ones((1, 3), np.float32), pa.array(["a"]), payload={"n": pa.array([1])})
    >>> one.schema.names, one.num_rows
    (['vector', 'id', 'n'], 1)
    """
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    columns: dict[str, pa.Array] = {
        "vector": pa.FixedSizeListArray.from_arrays(flat, int(vectors.shape[1]))
    }
    if ids is not None:
        columns["id"] = ids
    if times is not None:
        columns["time"] = times
    for name, values in (payload or {}).items():
        if name in COLUMNS:
            raise ValueError(f"a payload field cannot be called {name!r}: the row has that itself")
        columns[name] = values
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows of batches of one schema, in order."""
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def encode(rows: pa.RecordBatch) -> bytes:
    """The batch as one Arrow stream: the value of a message."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return bytes(sink.getvalue())


def gathered(rows: Sequence[Row]) -> Iterator[pa.RecordBatch | Row]:
    """Batches of consecutive rows that fit into one; a row that fits into none as it is.

    >>> v = np.zeros(1, np.float32)
    >>> found = gathered([Row(v, "a", {"n": 1}), Row(v, "b", {"n": None}), Row(v, "c", {"n": "x"}),
    ...                   Row(v, "d", {"n": [1]})])
    >>> [one.id if isinstance(one, Row) else one.num_rows for one in found]
    [2, 1, 'd']
    """
    run: list[Row] = []
    kind: dict[str, type | None] = {}
    for row in rows:
        own = _kind(row.payload)
        merged = None if own is None or not run else _merged(run[-1], kind, row, own)
        if merged is None and run:
            yield _of(run)
            run = []
        if own is None:
            yield row
            continue
        run.append(row)
        kind = own if merged is None else merged
    if run:
        yield _of(run)


def to_json(row: Row) -> bytes:
    """The row as the value of a JSON message; float32 survive it bit by bit."""
    fields: dict[str, Any] = {} if row.id is None else {"id": row.id}
    fields["vector"] = row.vector.astype(np.float64).tolist()
    if row.payload is not None:
        fields["payload"] = row.payload
    if row.time is not None:
        fields["time"] = row.time
    return orjson.dumps(fields)


def rows_of(rows: pa.RecordBatch) -> Iterator[Row]:
    """The rows of a batch, one by one."""
    names = set(rows.schema.names)
    fields = [n for n in rows.schema.names if n not in COLUMNS]
    none = [None] * rows.num_rows
    ids = rows["id"].to_pylist() if "id" in names else none
    times = rows["time"].to_pylist() if "time" in names else none
    payloads: Sequence[Any] = rows.select(fields).to_pylist() if fields else none
    for one in zip(matrix(rows["vector"]), ids, payloads, times, strict=True):
        yield Row(*one)


def _kind(payload: Mapping[str, Any] | None) -> dict[str, type | None] | None:
    """The type of each field (None for a null); None if a field needs more than a column."""
    kind: dict[str, type | None] = {}
    for name, value in (payload or {}).items():
        whole = type(value) is not int or value in _WHOLE
        if name in COLUMNS or not whole or (value is not None and type(value) not in _SCALARS):
            return None
        kind[name] = None if value is None else type(value)
    return kind if kind or payload is None else None


def _merged(
    last: Row, kind: dict[str, type | None], row: Row, own: dict[str, type | None]
) -> dict[str, type | None] | None:
    """The types of a batch that takes this row too; None if it cannot."""
    alike = (
        len(last.vector) == len(row.vector)
        and (last.id is None) == (row.id is None)
        and (last.time is None) == (row.time is None)
        and list(kind) == list(own)
        and all(
            a is b or a is None or b is None
            for a, b in zip(kind.values(), own.values(), strict=True)
        )
    )
    return {n: kind[n] or own[n] for n in own} if alike else None


def _of(run: Sequence[Row]) -> pa.RecordBatch:
    names = list(run[0].payload or {})
    return batch(
        np.stack([r.vector for r in run]),
        None if run[0].id is None else pa.array([r.id for r in run], pa.string()),
        None if run[0].time is None else pa.array([r.time for r in run], pa.float64()),
        {name: pa.array([(r.payload or {})[name] for r in run]) for name in names},
    )


def seconds(value: Any) -> float:
    """Seconds since the epoch from a number or an ISO 8601 text; without a zone it is UTC.

    >>> seconds(12), seconds("1970-01-02"), seconds("1970-01-01T01:00:00+01:00")
    (12.0, 86400.0, 0.0)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is neither seconds nor an ISO 8601 text")
    if not isinstance(value, str):
        return float(value)
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is no ISO 8601 time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()
