"""Files of rows: .npy, .npz, .parquet, .csv and .jsonl, read in pieces.

A reader answers record batches as `core.given` makes them (a .jsonl also single rows that no batch
can hold), in the order of the file. What is the vector, the id, the time and the payload says a
`Choice`; what it leaves open is found as each format suggests, or refused with what there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pctstream.core import given
from pctstream.core.given import Row
from pctstream.errors import UsageError

Piece: TypeAlias = pa.RecordBatch | Row
Rows32 = npt.NDArray[np.float32]

KINDS = (".npy", ".npz", ".parquet", ".csv", ".jsonl")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which columns (or arrays) of a file say what; empty: as the format suggests.

    ``array`` is the vector in one piece, ``fields`` its numbers one by one, times ``scale``.
    """

    array: str = ""
    fields: tuple[str, ...] = ()
    ids: str = ""
    time: str = ""
    payload: tuple[str, ...] = ()
    scale: float = 1.0

    @property
    def named(self) -> tuple[str, ...]:
        """Every column that is asked for by name."""
        return tuple(n for n in (self.array, *self.fields, self.ids, self.time, *self.payload) if n)

    def scaled(self, vectors: npt.NDArray[Any]) -> Rows32:
        """Vectors as float32 [n, d], multiplied."""
        with np.errstate(over="ignore"):
            out: Rows32 = vectors.astype(np.float32)
            if self.scale != 1.0:
                out *= np.float32(self.scale)
        return out


class RowFile(Protocol):
    """A file of rows; ``total`` is how many, as far as that is known beforehand."""

    total: int | None

    def pieces(self, start: int, rows: int) -> Iterator[Piece]:
        """From row ``start`` on, at most ``rows`` at a time; without ids, a row's is its number."""
        ...


def open_rows(path: Path, choice: Choice) -> RowFile:
    """The reader for this file; UsageError says what it lacks."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    # late, because each brings the libraries of its format
    try:
        if path.suffix in (".npy", ".npz"):
            from pctstream.arrays import ArrayFile

            return ArrayFile(path, choice)
        if path.suffix in (".parquet", ".csv"):
            from pctstream.columns import TableFile

            return TableFile(path, choice)
        if path.suffix == ".jsonl":
            from pctstream.lines import LineFile

            return LineFile(path, choice)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    raise UsageError(
        f"{path}: {path.suffix or 'a file without a suffix'} is not {', '.join(KINDS)}"
    )


def numbers(start: int, count: int) -> pa.Array:
    """Row numbers as ids.

    >>> numbers(8, 3).to_pylist()
    ['8', '9', '10']
    """
    return pa.array(np.arange(start, start + count)).cast(pa.string())


def id_column(values: pa.Array, name: str) -> pa.Array:
    """Integers or strings as ids; UsageError for anything else."""
    whole = pa.types.is_integer(values.type)
    if not (whole or pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        raise UsageError(f"{name} has {values.type}: ids are integers or strings")
    if values.null_count:
        raise UsageError(f"{name} has {values.null_count} empty ids: every row needs one")
    return values.cast(pa.string())


def time_column(values: pa.Array, name: str) -> pa.Array:
    """Seconds, timestamps or ISO 8601 texts (without a zone: UTC) as float64 seconds."""
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            seconds = [None if t is None else given.seconds(t) for t in values.to_pylist()]
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from None
        return pa.array(seconds, pa.float64())
    if pa.types.is_date(kind):
        values, kind = values.cast(pa.timestamp("ms")), pa.timestamp("ms")
    if pa.types.is_timestamp(kind):
        micro = values.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.int64())
        return pa.array(micro.to_numpy(zero_copy_only=False) / 1e6, pa.float64(), from_pandas=True)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise UsageError(f"{name} has {kind}: a time is seconds, a timestamp or an ISO 8601 text")
    return values.cast(pa.float64(), safe=False)


def payload_column(values: pa.Array, name: str) -> pa.Array:
    """A payload field in a type that has a JSON form."""
    kind = values.type
    if name in given.COLUMNS:
        raise UsageError(f"the payload cannot have a field {name!r}: every row has that itself")
    if pa.types.is_dictionary(kind):
        return payload_column(values.cast(kind.value_type), name)
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        return values.cast(pa.float64())
    if pa.types.is_large_string(kind):
        return values.cast(pa.string())
    types = pa.types
    if any(
        f(kind) for f in (types.is_binary, types.is_large_binary, types.is_duration, types.is_time)
    ):
        raise UsageError(f"{name} has {kind}, which has no JSON form: leave it out of --payload")
    return values
