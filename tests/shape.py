"""As much of JSON Schema as dashboards/dashboard.schema.json uses: what of a document does not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "integer": (int,), "number": (int, float),
}  # fmt: skip
KNOWN = {
    "$schema", "$defs", "title", "$ref", "type", "const", "enum", "anyOf", "required", "properties",
    "additionalProperties", "items", "minItems", "maxItems", "minLength", "pattern", "minimum",
    "maximum",
}  # fmt: skip


def misfits(document: Any, schema: Mapping[str, Any]) -> list[str]:
    """A line for each place that does not fit; a schema with a word not known here is refused."""
    return list(_misfits(document, schema, schema, "$"))


def _misfits(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], at: str
) -> Iterator[str]:
    assert set(schema) <= KNOWN, f"{at}: not understood here: {set(schema) - KNOWN}"
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        yield from _misfits(value, root["$defs"][name], root, at)
    if "anyOf" in schema:
        tried = [list(_misfits(value, one, root, at)) for one in schema["anyOf"]]
        if all(tried):
            yield min(tried, key=len)[0]
    if "const" in schema and value != schema["const"]:
        yield f"{at}: {value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if "type" in schema:
        named = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_is(value, name) for name in named):
            yield f"{at}: {value!r} is no {named}"
            return
    yield from _bounds(value, schema, at)
    if isinstance(value, dict):
        yield from _members(value, schema, root, at)
    if isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            yield from _misfits(item, schema["items"], root, f"{at}[{i}]")


def _is(value: Any, name: str) -> bool:
    return isinstance(value, TYPES[name]) and not (
        isinstance(value, bool) and name in ("integer", "number")
    )


def _bounds(value: Any, schema: Mapping[str, Any], at: str) -> Iterator[str]:
    size = len(value) if isinstance(value, (str, list)) else None
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if size is not None:
        least = schema.get("minLength" if isinstance(value, str) else "minItems", 0)
        if not least <= size <= schema.get("maxItems", size):
            yield f"{at}: of length {size}"
    if number is not None and not (
        schema.get("minimum", number) <= number <= schema.get("maximum", number)
    ):
        yield f"{at}: {number} lies outside"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{at}: {value!r} is not like {schema['pattern']}"


def _members(
    value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], at: str
) -> Iterator[str]:
    known = schema.get("properties", {})
    yield from (f"{at}: lacks {name}" for name in schema.get("required", []) if name not in value)
    for name, member in value.items():
        if name in known:
            yield from _misfits(member, known[name], root, f"{at}.{name}")
        elif schema.get("additionalProperties") is False:
            yield f"{at}: {name} is not known"
