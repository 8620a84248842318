"""Which rows a question wants: the filter grammar, checked when it comes and applied to columns.

    {"colour": "red"}                       equal
    {"price": {"gte": 3, "lt": 5}}          all of these: gte, gt, lte, lt, in, exists
    {"colour": "red", "price": {"lt": 5}}   both
    {"any": [{..}, {..}]}, {"not": {..}}    either; the opposite

A field is a name at the top of the payload, or `time` (seconds, or ISO 8601). Numbers are compared with
numbers (as float64), texts with texts, true and false only with each other; a row whose value is of
another kind, null or absent passes no test but ``{"exists": false}``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pctstream.core.columns import Columns
from pctstream.core.given import seconds
from pctstream.errors import QueryRefused

Mask = npt.NDArray[np.bool_]
Value = str | float | bool

COMPARED: dict[str, Callable[..., Any]] = {
    "gte": pc.greater_equal, "gt": pc.greater, "lte": pc.less_equal, "lt": pc.less,
}  # fmt: skip
TESTS = (*COMPARED, "in", "exists")
DEPTH = 16
PARTS = 256
"""Tests of one filter."""
CHOICES = 1000
"""Values of one `in`."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One field against one value."""

    field: str
    kind: str
    values: tuple[Value, ...]

    def mask(self, columns: Columns) -> Mask:
        """bool[n]: the rows that pass."""
        column = columns.of(self.field)
        if self.kind == "exists":
            return np.asarray(column.there == self.values[0], np.bool_)
        passed = np.zeros(len(column.there), np.bool_)
        if self.kind == "in":
            for kind, values in _by_kind(self.values):
                passed |= _true(pc.is_in(column.of(kind), pa.array(values)))
            return passed
        return _true(
            COMPARED[self.kind](column.of(type(self.values[0])), pa.scalar(self.values[0]))
        )


@dataclass(frozen=True, slots=True)
class Filter:
    """Parts that all, or any, must pass; ``negated``: that must not."""

    parts: tuple[Condition | Filter, ...]
    any: bool = False
    negated: bool = False

    @property
    def fields(self) -> set[str]:
        """Every field it asks for."""
        found: set[str] = set()
        for part in self.parts:
            found |= part.fields if isinstance(part, Filter) else {part.field}
        return found

    def mask(self, columns: Columns) -> Mask:
        """bool[n]: the rows that pass.

        >>> rows = Columns(pa.array([b'{"a": 1}', b'{"a": 5, "b": "x"}', None]), None, 3)
        >>> parse({"a": {"gt": 0}, "not": {"b": "x"}}).mask(rows).tolist()
        [True, False, False]
        """
        masks = [part.mask(columns) for part in self.parts]
        passed = np.full(columns.rows, not self.any)
        for mask in masks:
            passed = passed | mask if self.any else passed & mask
        return ~passed if self.negated else passed


def _true(found: Any) -> Mask:
    filled: Any = pc.fill_null(found, False)
    return np.asarray(filled.to_numpy(zero_copy_only=False), np.bool_)


def _by_kind(values: Iterable[Value]) -> list[tuple[type, list[Value]]]:
    kinds: dict[type, list[Value]] = {}
    for value in values:
        kinds.setdefault(type(value), []).append(value)
    return list(kinds.items())


def parse(given: object) -> Filter:
    """The filter that somebody wrote; QueryRefused names the field that cannot be meant."""
    return _Parser().parts(given, "filter", 0)


class _Parser:
    """Counts as it goes: what comes in is bounded."""

    def __init__(self) -> None:
        self._count = 0

    def parts(self, given: object, where: str, depth: int) -> Filter:
        if not isinstance(given, dict) or not given:
            raise QueryRefused(f"{where} must be an object with at least one field")
        if depth > DEPTH:
            raise QueryRefused(f"{where} is nested deeper than {DEPTH}")
        found: list[Condition | Filter] = []
        for name, wanted in given.items():
            place = f"{where}.{name}"
            if name == "any":
                if not isinstance(wanted, list) or not wanted:
                    raise QueryRefused(f"{place} must be a list of filters")
                inner = [self.parts(one, f"{place}[{i}]", depth + 1)
                         for i, one in enumerate(wanted)]  # fmt: skip
                found.append(Filter(tuple(inner), any=True))
            elif name == "not":
                found.append(Filter((self.parts(wanted, place, depth + 1),), negated=True))
            else:
                found += self.tests(name, wanted, place)
        return Filter(tuple(found))

    def tests(self, field: str, wanted: object, where: str) -> list[Condition]:
        asked = wanted if isinstance(wanted, dict) else {"in": [wanted]}
        if not asked:
            raise QueryRefused(f"{where} asks for nothing: there are {', '.join(TESTS)}")
        found = []
        for kind, value in asked.items():
            self._count += 1
            if self._count > PARTS:
                raise QueryRefused(f"{where}: a filter has {PARTS} tests at most")
            if kind not in TESTS:
                raise QueryRefused(f"{where}.{kind} is no test: there are {', '.join(TESTS)}")
            found.append(Condition(field, kind, self.values(field, kind, value, f"{where}.{kind}")))
        return found

    def values(self, field: str, kind: str, given: object, where: str) -> tuple[Value, ...]:
        if kind == "exists":
            if not isinstance(given, bool):
                raise QueryRefused(f"{where} must be true or false")
            return (given,)
        if kind == "in":
            if not isinstance(given, list) or len(given) > CHOICES:
                raise QueryRefused(f"{where} must be a list of at most {CHOICES:,} values")
            return tuple(_value(field, one, where) for one in given)
        if isinstance(given, bool):
            raise QueryRefused(f"{where}: true and false have no order")
        return (_value(field, given, where),)


def _value(field: str, given: object, where: str) -> Value:
    if field == "time" and isinstance(given, str):
        try:
            return seconds(given)
        except ValueError as error:
            raise QueryRefused(f"{where}: {error}") from None
    if isinstance(given, bool | str):
        return given
    if isinstance(given, int | float) and math.isfinite(given) and abs(given) <= 2.0**1023:
        return float(given)
    raise QueryRefused(f"{where} must be a text, a finite number, true or false")
