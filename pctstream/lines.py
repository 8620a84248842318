"""Rows from .jsonl: one JSON object a line, as on the ingest topic.

`{"id": .., "vector": [..], "payload": {..}, "time": ..}`; `embedding` and `values` are accepted for
`vector`. Any other names can be given; with `--payload` the fields named are the payload, found in
the object or in its `payload`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pctstream.columns import VECTORS, lines
from pctstream.core import given
from pctstream.core.given import Row
from pctstream.errors import UsageError
from pctstream.files import Choice, Piece


class LineFile:
    """A file of lines; an empty one is no row."""

    def __init__(self, path: Path, choice: Choice) -> None:
        self._path, self._choice = path, choice
        self.total: int | None = lines(path)

    def pieces(self, start: int, rows: int) -> Iterator[Piece]:
        waiting: list[Row] = []
        number = 0
        with self._path.open("rb") as file:
            for line_number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                if number >= start:
                    waiting.append(self._row(line, line_number, number))
                number += 1
                if len(waiting) >= rows:
                    yield from given.gathered(waiting)
                    waiting = []
        yield from given.gathered(waiting)

    def _row(self, line: bytes, line_number: int, number: int) -> Row:
        choice = self._choice
        try:
            fields = orjson.loads(line)
            if not isinstance(fields, dict):
                raise ValueError("not a JSON object")
            name = fields.get(choice.ids or "id", None if choice.ids else number)
            if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
                raise ValueError(
                    f"the id must be an integer or a string that is not empty: {name!r}"
                )
            moment = fields.get(choice.time or "time")
            return Row(
                choice.scaled(self._vector(fields)),
                str(name),
                self._payload(fields),
                None if moment is None else given.seconds(moment),
            )
        except (ValueError, KeyError, TypeError) as error:
            why = f"no field {error}" if isinstance(error, KeyError) else str(error)
            raise UsageError(f"{self._path}, line {line_number}: {why}") from None

    def _vector(self, fields: dict[str, Any]) -> np.ndarray[Any, Any]:
        choice = self._choice
        if choice.fields:
            values: Any = [fields[name] for name in choice.fields]
        else:
            found = [choice.array] if choice.array else [n for n in VECTORS if n in fields]
            if not found:
                raise ValueError("no vector: name it with --array, or its numbers with --fields")
            values = fields[found[0]]
        # a null is NaN, which the tree refuses row by row
        vector = np.array(values, np.float64)
        if vector.ndim != 1 or not len(vector):
            raise ValueError("the vector is not a flat list of numbers")
        return vector

    def _payload(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        inner = fields.get("payload")
        if not self._choice.payload:
            if inner is not None and not isinstance(inner, dict):
                raise ValueError("the payload is not an object")
            return inner
        both = {**inner, **fields} if isinstance(inner, dict) else fields
        return {name: both[name] for name in self._choice.payload if name in both}
