"""What somebody asks of the rows: every field checked, and named when it cannot be meant."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pctstream.core.answers import Question, asked
from pctstream.core.filters import parse
from pctstream.core.kernels import Float64
from pctstream.core.neighbors import centre_of
from pctstream.errors import QueryRefused
from pctstream.http.body import json_object

K_MOST = 1000
VECTORS_MOST = 64
ROWS_MOST = 10_000
SEARCH = ("vector", "vectors", "k", "exact", "recall", "filter", "include", "explain")
RANGE = ("vector", "radius", "limit", "filter", "include", "explain")
INCLUDE = ("vector", "payload")

_NUMBERS = {"type": "array", "items": {"type": "number"}}
_COMMON = {
    "filter": {"type": "object"},
    "include": {"type": "array", "items": {"enum": list(INCLUDE)}},
    "explain": {"type": "boolean"},
}


def _schema(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "additionalProperties": False, "required": required,
              "properties": {**properties, **_COMMON}}  # fmt: skip
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


SEARCH_BODY = _schema([], {
    "vector": _NUMBERS, "vectors": {"type": "array", "items": _NUMBERS, "maxItems": VECTORS_MOST},
    "k": {"type": "integer", "minimum": 1, "maximum": K_MOST, "default": 10},
    "exact": {"type": "boolean", "default": True},
    "recall": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
})  # fmt: skip
RANGE_BODY = _schema(["vector", "radius"], {
    "vector": _NUMBERS, "radius": {"type": "number", "minimum": 0},
    "limit": {"type": "integer", "minimum": 1, "maximum": ROWS_MOST, "default": K_MOST},
})  # fmt: skip


class Asked(NamedTuple):
    """A question as it came, understood."""

    question: Question
    many: bool
    """A list of vectors was given, so a list of results is wanted."""
    explain: bool
    radius: float = math.inf
    """As it was given."""


def search_asked(raw: bytes, dimension: int, metric: str) -> Asked:
    """The body of a search."""
    said = json_object(raw, SEARCH)
    if ("vector" in said) == ("vectors" in said):
        raise QueryRefused('ask with either "vector" or "vectors", not with both or neither')
    many = "vectors" in said
    rows = said["vectors"] if many else [said["vector"]]
    if not isinstance(rows, list) or not 0 < len(rows) <= VECTORS_MOST:
        raise QueryRefused(f"vectors must be a list of 1 to {VECTORS_MOST} vectors")
    names = [f"vectors[{i}]" for i in range(len(rows))] if many else ["vector"]
    queries = np.stack(
        [_vector(row, name, dimension, metric) for row, name in zip(rows, names, strict=True)]
        if dimension else [np.zeros(1)] * len(rows)
    )  # fmt: skip
    k = whole(said, "k", 10, K_MOST)
    return Asked(
        _question(said, queries, k, np.full(len(rows), math.inf), _recall(said)), many,
        flag(said, "explain"),
    )  # fmt: skip


def range_asked(raw: bytes, dimension: int, metric: str) -> Asked:
    """The body of a range; one row more than the limit is asked for, to know whether there is one."""
    said = json_object(raw, RANGE)
    if "vector" not in said:
        raise QueryRefused("vector is missing")
    query = _vector(said["vector"], "vector", dimension, metric) if dimension else np.zeros(1)
    radius: Any = said.get("radius")
    if type(radius) not in (int, float) or not 0.0 <= float(radius) < math.inf:
        raise QueryRefused("radius must be a finite number, at least 0")
    limit = whole(said, "limit", K_MOST, ROWS_MOST)
    within = np.array([asked(float(radius), metric)])
    question = _question(said, query[None], limit + 1, within, 1.0)
    return Asked(question, False, flag(said, "explain"), float(radius))


def _question(
    said: dict[str, Any], queries: Float64, k: int, within: Float64, recall: float
) -> Question:
    include = said.get("include", [])
    if not isinstance(include, list) or not all(isinstance(i, str) and i in INCLUDE for i in include):  # fmt: skip # noqa: E501
        raise QueryRefused(f"include must be a list of {' and '.join(INCLUDE)}")
    written = said.get("filter")
    wanted = parse(written) if "filter" in said else None
    return Question(
        queries, k, within, 1.0 if wanted else recall, None, wanted, written,
        "vector" in include, "payload" in include,
    )  # fmt: skip


def _vector(given: Any, name: str, dimension: int, metric: str) -> Float64:
    return centre_of(numbers(given, name), dimension, metric, name)


def numbers(given: Any, name: str) -> list[float]:
    """A list of numbers, as it was given; QueryRefused where it is none.

    >>> numbers([1, 2.5], "box")
    [1, 2.5]
    >>> numbers([1, True], "box")
    Traceback (most recent call last):
    pctstream.errors.QueryRefused: box must be a list of numbers
    """
    if not isinstance(given, list) or not all(type(n) in (int, float) for n in given):
        raise QueryRefused(f"{name} must be a list of numbers")
    return given


def whole(said: dict[str, Any], name: str, default: int, most: int) -> int:
    """A field that is a whole number from 1; QueryRefused where it is not."""
    value = said.get(name, default)
    if type(value) is not int or not 1 <= value <= most:
        raise QueryRefused(f"{name} must be a whole number from 1 to {most:,}")
    return int(value)


def flag(said: dict[str, Any], name: str) -> bool:
    """A field that is true or false, which it is where nothing is said; QueryRefused otherwise."""
    value = said.get(name, False)
    if not isinstance(value, bool):
        raise QueryRefused(f"{name} must be true or false")
    return value


def _recall(said: dict[str, Any]) -> float:
    """1 for an exact answer, which is what is given where nothing is said."""
    exact = flag(said, "exact") if "exact" in said else None
    if "recall" not in said:
        return 0.95 if exact is False else 1.0
    recall = said["recall"]
    if type(recall) not in (int, float) or not 0.0 < recall <= 1.0:
        raise QueryRefused("recall must be a number above 0, at most 1")
    if exact and recall < 1.0:
        raise QueryRefused("recall below 1 and exact cannot both be meant")
    return float(recall)
