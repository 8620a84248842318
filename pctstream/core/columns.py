"""Payloads as columns: what a filter looks at.

A field is read out of the JSON of a segment's rows when it is first asked for, and kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa


class Column(NamedTuple):
    """One field of n rows, a column for each kind of value."""

    number: pa.Array
    text: pa.Array
    flag: pa.Array
    there: npt.NDArray[np.bool_]
    """bool[n]: the field is there and not null."""

    def of(self, kind: type) -> pa.Array:
        """The values of one kind; null where it is another."""
        return {float: self.number, str: self.text, bool: self.flag}[kind]

    @classmethod
    def from_values(cls, values: list[Any]) -> Column:
        """From what JSON says, None where it says nothing.

        >>> found = Column.from_values([1, "a", True, None, 2.5])
        >>> found.number.to_pylist(), found.there.tolist()
        ([1.0, None, None, None, 2.5], [True, True, True, False, True])
        """
        numbers = [float(v) if type(v) in (int, float) else None for v in values]
        texts = [v if type(v) is str else None for v in values]
        flags = [v if type(v) is bool else None for v in values]
        return cls(
            pa.array(numbers, pa.float64()), pa.array(texts, pa.string()),
            pa.array(flags, pa.bool_()), np.array([v is not None for v in values], np.bool_),
        )  # fmt: skip


class Columns:
    """The fields of a segment's rows."""

    def __init__(self, payloads: pa.Array | None, times: pa.Array | None, rows: int) -> None:
        self.rows = rows
        self.names: frozenset[str] = frozenset(["time"])
        """Fields that some row has."""
        self._payloads = payloads
        seconds = pa.nulls(rows, pa.float64()) if times is None else times
        there = np.asarray(seconds.is_valid())
        none = pa.nulls(rows, pa.string()), pa.nulls(rows, pa.bool_())
        self._made = {"time": Column(seconds, *none, there)}

    @property
    def nbytes(self) -> int:
        """What the columns read so far take of memory."""
        return sum(
            sum(a.nbytes for a in (c.number, c.text, c.flag)) + self.rows
            for c in list(self._made.values())
        )

    def need(self, fields: Iterable[str]) -> None:
        """Read these fields, in one pass."""
        wanted = [name for name in fields if name not in self._made]
        if not wanted:
            return
        texts = [] if self._payloads is None else self._payloads.to_pylist()
        objects = [orjson.loads(text) if text else {} for text in texts] or [{}] * self.rows
        objects = [one if isinstance(one, dict) else {} for one in objects]
        self.names |= frozenset().union(*objects)
        for name in wanted:
            self._made[name] = Column.from_values([one.get(name) for one in objects])

    def of(self, field: str) -> Column:
        """One field of every row."""
        self.need([field])
        return self._made[field]
