"""Rows from tables: .parquet and .csv.

The vector is the list column of `--array` (by itself: `vector`, `embedding` or `values`), else the
columns of `--fields`, else every column of numbers that is not asked for as something else. Columns
called `id` and `time` are the id and the time unless others are named.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as parquet

from pctstream.core import given
from pctstream.errors import UsageError
from pctstream.files import Choice, Piece, Rows32, id_column, numbers, payload_column, time_column

VECTORS = ("vector", "embedding", "values")


class TableFile:
    """A table, read batch by batch."""

    def __init__(self, path: Path, choice: Choice) -> None:
        self._path, self._choice = path, choice
        if path.suffix == ".parquet":
            with parquet.ParquetFile(path) as file:
                self._schema: pa.Schema = file.schema_arrow
                self.total: int | None = file.metadata.num_rows
        else:
            self._schema = _csv_schema(path, choice)
            # a line break within quotes counts too: it is only for the progress bar
            self.total = max(0, lines(path) - 1)
        missing = [n for n in choice.named if n not in self._schema.names]
        if missing:
            there = ", ".join(self._schema.names)
            raise UsageError(f"{path}: there is no column {missing[0]!r}: use {there}")
        self._ids = choice.ids or self._default("id")
        self._time = choice.time or self._default("time")
        self._vector = self._pick()

    def pieces(self, start: int, rows: int) -> Iterator[Piece]:
        at = width = 0
        for batch in self._batches(rows):
            skip = min(max(0, start - at), batch.num_rows)
            for first in range(skip, batch.num_rows, rows):
                part = batch.slice(first, rows)
                piece = self._piece(part, at + first, width)
                width = piece["vector"].type.list_size
                yield piece
            at += batch.num_rows

    def _piece(self, part: pa.RecordBatch, number: int, width: int) -> pa.RecordBatch:
        vectors = _vectors(part, self._vector, number, width)
        return given.batch(
            self._choice.scaled(vectors),
            id_column(part[self._ids], self._ids) if self._ids else numbers(number, part.num_rows),
            time_column(part[self._time], self._time) if self._time else None,
            {name: payload_column(part[name], name) for name in self._choice.payload},
        )

    def _batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        wanted = {*self._vector, self._ids, self._time, *self._choice.payload}
        names = [name for name in self._schema.names if name in wanted]
        try:
            if self._path.suffix == ".parquet":
                with parquet.ParquetFile(self._path) as file:
                    yield from file.iter_batches(rows, columns=names)
                return
            types = {name: self._schema.field(name).type for name in names}
            options = csv.ConvertOptions(include_columns=names, column_types=types)
            with csv.open_csv(self._path, convert_options=options) as file:
                yield from file
        except pa.ArrowException as error:
            raise UsageError(f"{self._path} cannot be read: {error}") from None

    def _default(self, name: str) -> str:
        taken = {self._choice.array, *self._choice.fields, *self._choice.payload}
        return name if name in self._schema.names and name not in taken else ""

    def _pick(self) -> list[str]:
        """The columns of the vector."""
        choice = self._choice
        if choice.fields:
            return list(choice.fields)
        lists = [n for n in VECTORS if n in self._schema.names and _is_list(self._kind(n))]
        if choice.array or lists:
            name = choice.array or lists[0]
            if not _is_list(self._kind(name)):
                raise UsageError(f"{name} has {self._kind(name)}: --array needs a list of numbers")
            return [name]
        taken = {self._ids, self._time, *choice.payload}
        found = [n for n in self._schema.names if n not in taken and _is_number(self._kind(n))]
        if not found:
            there = ", ".join(self._schema.names)
            raise UsageError(f"{self._path}: name the vector with --fields: {there}")
        return found

    def _kind(self, name: str) -> Any:
        return self._schema.field(name).type


def lines(path: Path) -> int:
    """Lines of a file, the last one with or without an end."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            count += piece.count(b"\n")
            last = piece
    return count + (not last.endswith(b"\n"))


def _csv_schema(path: Path, choice: Choice) -> pa.Schema:
    """The types of the first megabyte; a column that is empty there is text."""
    with csv.open_csv(path) as file:
        schema = file.schema
    fields = []
    for field in schema:
        empty = pa.types.is_null(field.type)
        kind = pa.string() if empty and field.name not in choice.fields else field.type
        # whole numbers in the first rows do not say that all are
        number = field.name in choice.fields or (
            pa.types.is_integer(kind) and field.name not in (choice.ids, *choice.payload, "id")
        )
        fields.append(pa.field(field.name, pa.float64() if number else kind))
    return pa.schema(fields)


def _is_list(kind: Any) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _vectors(part: pa.RecordBatch, names: list[str], number: int, width: int) -> Rows32:
    """float32 [n, d], d = ``width`` if that is not 0; an empty number is NaN, which the tree refuses
    row by row."""
    if not _is_list(part[names[0]].type):
        columns = [part[n].cast(pa.float64(), safe=False) for n in names]
        with np.errstate(over="ignore"):
            return np.stack(
                [c.to_numpy(zero_copy_only=False) for c in columns], axis=1
            ).astype(np.float32)  # fmt: skip
    column = part[names[0]]
    widths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    width = width or int(widths[0])
    odd = np.flatnonzero(widths != width)
    if column.null_count or len(odd):
        at = int(odd[0]) if len(odd) else 0
        raise UsageError(
            f"row {number + at}: {names[0]} has {widths[at]} numbers, the rows before {width}"
        )
    flat = column.flatten().cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
    vectors: Rows32 = flat.reshape(len(column), -1)
    return vectors
