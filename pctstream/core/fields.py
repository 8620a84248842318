"""The columns of a foreign block beside its vector: ids, times, deletes and the payload.

Nothing becomes much larger here than it came. A dictionary or a string view tells one value many times
by a few bytes each: what that becomes is added up before it is written out. A payload may only have
columns in which every value takes bytes, and its JSON texts are counted as they are made (R13).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pctstream.core import given
from pctstream.core.block import Block
from pctstream.core.frames import EXPANDED_BYTES
from pctstream.errors import RowRefused

Bad = dict[int, tuple[str, str]]
"""Rows of a batch that cannot be taken: code and reason."""

ID_BYTES = 4096
"""A longer id is refused: it is asked for in an address."""
_PIECE = 256
_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def _plain(column: Any, name: str) -> Any:
    """A column with its values written out: without a dictionary, strings as such.

    What a value takes may be told many times over by a few bytes: the sum is looked at first.
    """
    kind, types = column.type, pa.types
    if types.is_dictionary(kind):
        words = _plain(column.dictionary, name)
        if types.is_string(words.type):
            _expect_small(pc.binary_length(words).take(column.indices), name)
        elif not types.is_primitive(words.type):
            raise RowRefused("schema", f'"{name}" is {kind}: send the values themselves')
        return words.take(column.indices)
    if types.is_string_view(kind):
        _expect_small(_view_lengths(column), name)
        return column.cast(pa.string())
    if types.is_large_string(kind):
        return column.cast(pa.string())
    return column


def _view_lengths(column: Any) -> pa.Array:
    """A view is 16 bytes, of which the first four are its length."""
    views = column.buffers()[1]
    if not len(column) or views is None:
        return pa.array([], pa.int32())
    told = np.frombuffer(views, "<i4")[::4][column.offset :][: len(column)]
    return pa.array(np.where(np.asarray(column.is_valid()), told, 0))


def _expect_small(sizes: pa.Array, name: str) -> None:
    total = pc.sum(sizes.cast(pa.int64())).as_py() or 0
    if total > EXPANDED_BYTES:
        raise RowRefused(
            "too-large",
            f'"{name}" becomes {total} bytes, at most {EXPANDED_BYTES}: send less a block',
        )


def ids(column: pa.Array) -> pa.Array | None:
    """Strings; null where the row has none."""
    column = _plain(column, "id")
    kind = column.type
    if pa.types.is_null(kind):
        return None
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind)):
        raise RowRefused("id", f'"id" must be strings or integers, not {kind}')
    return column.cast(pa.string())


def times(column: pa.Array, bad: Bad) -> pa.Array:
    """float64 seconds; null where there is none, which some libraries write as NaN."""
    column = _plain(column, "time")
    kind, types = column.type, pa.types
    if types.is_date(kind):
        column = column.cast(pa.timestamp("s") if types.is_date32(kind) else pa.timestamp("ms"))
        kind = column.type
    if types.is_string(kind):
        seconds = _iso(column, bad)
    elif types.is_timestamp(kind):
        whole = column.cast(pa.int64()).cast(pa.float64(), safe=False)
        seconds = pc.divide(whole, _PER_SECOND[kind.unit])
    elif types.is_floating(kind) or types.is_integer(kind) or types.is_null(kind):
        seconds = column.cast(pa.float64(), safe=False)
    else:
        raise RowRefused("schema", f'"time" must be seconds, a timestamp or ISO 8601, not {kind}')
    if pc.all(pc.is_finite(seconds), min_count=0).as_py():
        return seconds
    for row in np.flatnonzero(np.isinf(np.asarray(seconds.fill_null(0.0)))):
        bad[int(row)] = ("schema", "the time is infinite")
    return pc.if_else(pc.is_nan(seconds), pa.scalar(None, pa.float64()), seconds)


def _iso(column: pa.Array, bad: Bad) -> pa.Array:
    seconds: list[float | None] = []
    for row, text in enumerate(column.to_pylist()):
        try:
            seconds.append(None if text is None else given.seconds(text))
        except ValueError as error:
            seconds.append(None)
            bad[row] = ("schema", f"the time: {error}")
    return pa.array(seconds, pa.float64())


def deleted(column: pa.Array, ids: pa.Array | None, bad: Bad) -> npt.NDArray[np.bool_]:
    """bool[n]: which rows delete their id; those without one go to ``bad``."""
    column = _plain(column, "deleted")
    if not (pa.types.is_boolean(column.type) or pa.types.is_null(column.type)):
        raise RowRefused("schema", f'"deleted" must be bool, not {column.type}')
    gone: npt.NDArray[np.bool_] = np.array(column.cast(pa.bool_()).fill_null(False), np.bool_)
    named = np.zeros(len(gone), np.bool_) if ids is None else np.asarray(ids.is_valid())
    for row in np.flatnonzero(gone & ~named):
        bad[int(row)] = ("id", "a delete names no id")
    return gone


def bad_ids(rows: Block) -> npt.NDArray[np.bool_]:
    """bool[n]: ids that are empty or too long."""
    if rows.ids is None:
        return np.zeros(len(rows), np.bool_)
    lengths = np.asarray(pc.fill_null(pc.binary_length(rows.ids), 1))
    found: npt.NDArray[np.bool_] = (lengths == 0) | (lengths > ID_BYTES)
    return found


def payloads(batch: pa.RecordBatch, names: Sequence[str]) -> pa.Array | None:
    """Each row's further columns as one JSON object."""
    if not names:
        return None
    columns = [_sayable(_plain(batch[name], name), name) for name in names]
    rows = pa.RecordBatch.from_arrays(columns, names=names)
    texts: list[bytes] = []
    size = 0
    for text in _objects(rows):
        texts.append(text)
        size += len(text)
        if size > EXPANDED_BYTES:
            raise RowRefused(
                "too-large",
                f"the payloads of the block are more than {EXPANDED_BYTES} bytes as JSON",
            )
    return pa.array(texts, pa.binary())


def _objects(rows: pa.RecordBatch) -> Iterator[bytes]:
    try:
        for start in range(0, rows.num_rows, _PIECE):
            for row in rows.slice(start, _PIECE).to_pylist():
                yield orjson.dumps(row)
    except (TypeError, ValueError, OverflowError, LookupError) as error:
        raise RowRefused("schema", f"a payload column has no JSON form: {error}") from None


def _sayable(column: Any, name: str) -> Any:
    """The column in a type that has a JSON form."""
    kind, types = column.type, pa.types
    if types.is_timestamp(kind):
        # Python's own moments are no finer, and know no zone that the machine's files lack
        return column.cast(pa.timestamp("us", kind.tz and "UTC"), safe=False)
    if types.is_decimal(kind) or types.is_float16(kind):
        return column.cast(pa.float64())
    if not (types.is_null(kind) or _takes_bytes(kind)):
        raise RowRefused(
            "schema",
            f'the payload column "{name}" has {kind}, which has no JSON form: leave it out',
        )
    return column


def _takes_bytes(kind: Any) -> bool:
    """Whether a value of this type has a JSON form and takes bytes of its own in the message."""
    types = pa.types
    if types.is_struct(kind) or types.is_map(kind):
        fields = [kind.field(i).type for i in range(kind.num_fields)]
        return bool(fields) and all(_takes_bytes(f) for f in fields)
    if types.is_fixed_size_list(kind):
        return kind.list_size > 0 and _takes_bytes(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind):
        return _takes_bytes(kind.value_type)
    return bool(
        types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind)
        or types.is_string(kind) or types.is_large_string(kind) or types.is_date(kind)
        or types.is_timestamp(kind) or types.is_time(kind)
    )  # fmt: skip
