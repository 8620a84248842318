"""What comes with a request: its body, bounded, and what it accepts for an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import orjson
from fastapi import Request, Response

from pctstream.core.block import ARROW
from pctstream.core.formats import JSON
from pctstream.errors import NotAcceptable, QueryRefused, TooLarge

T = TypeVar("T")
PAGE_MAX = 1000
"""Entries of one answer (bounds its size)."""
TEXT_MAX = 1000
BODY_BYTES = 1 << 20
ARROW_BYTES = 8 << 20


def answered(said: Mapping[str, Any]) -> Response:
    """An answer as JSON, written fast."""
    return Response(orjson.dumps(said), media_type=JSON)


def plain(digits: str) -> bool:
    """Whether a text is a whole number that `int` reads, of no absurd length.

    >>> plain("12"), plain("²"), plain("9" * 5000), plain("-1")
    (True, False, False, False)
    """
    return digits.isascii() and digits.isdigit() and len(digits) < 19


def page(items: Sequence[T], limit: int, cursor: str) -> tuple[list[T], str | None]:
    """The items behind the cursor, `PAGE_MAX` at most, and the cursor of the next page."""
    if cursor and not plain(cursor):
        raise QueryRefused("cursor: give what `next` said, or nothing")
    start = int(cursor or 0)
    stop = start + max(1, min(limit, PAGE_MAX))
    return list(items[start:stop]), str(stop) if stop < len(items) else None


def short(said: Mapping[str, Any], field: str) -> str:
    """A text that goes into a record, "" where none is given; QueryRefused where it is too long.

    A record larger than a message may be would end the worker that writes it.
    """
    text = said.get(field, "")
    if not isinstance(text, str) or len(text) > TEXT_MAX:
        raise QueryRefused(f"{field}: a text of at most {TEXT_MAX:,} characters")
    return text


def taken(properties: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    """What the OpenAPI document says of a call's JSON body."""
    schema = {"type": "object", "additionalProperties": False, "required": list(required),
              "properties": dict(properties)}  # fmt: skip
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": bool(required), "content": content}}


async def body(request: Request) -> bytes:
    """The whole body; TooLarge as soon as it is more than 1 MiB (8 MiB of Arrow)."""
    is_arrow = request.headers.get("content-type", "").partition(";")[0].strip() == ARROW
    limit = ARROW_BYTES if is_arrow else BODY_BYTES
    refusal = TooLarge(f"the body may have {limit:,} bytes: ask for less at a time")
    told = request.headers.get("content-length", "0")
    if not plain(told) or int(told) > limit:
        raise refusal
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise refusal
        pieces.append(piece)
    return b"".join(pieces)


def json_object(raw: bytes, fields: Sequence[str]) -> dict[str, Any]:
    """The JSON object a body is, with none but these fields; QueryRefused otherwise."""
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise QueryRefused(f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise QueryRefused("the body is not a JSON object")
    if strange := sorted(set(found) - set(fields)):
        raise QueryRefused(f"unknown field {strange[0]!r}: there are {', '.join(fields)}")
    return found


def chosen(accept: str | None, offered: Sequence[str]) -> str:
    """The media type offered that an Accept header likes best, the first of equals (RFC 9110)."""
    wishes = [_wish(part) for part in (accept or "*/*").split(",") if part.strip()]

    def liked(kind: str) -> float:
        names = (kind, kind.partition("/")[0] + "/*", "*/*")
        for name in names:  # the most specific one decides
            if found := [q for wish, q in wishes if wish == name]:
                return max(found)
        return 0.0

    best = max(offered, key=liked)
    if liked(best) <= 0.0:
        raise NotAcceptable(f"nothing accepted is offered: there are {', '.join(offered)}")
    return best


def _wish(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip() for piece in part.lower().split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return name, float(value)
            except ValueError:
                return name, 0.0
    return name, 1.0
