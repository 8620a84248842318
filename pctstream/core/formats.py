"""The formats of other people's messages: which one a message has.

The header ``content-type`` decides, with or without parameters. Without it: ``{`` that parses as a
JSON object is JSON, the magic of an Arrow stream a block, exactly 4 x dimension bytes a float32 row;
anything else is refused. A float32 row may begin with the byte of ``{`` or with the magic: what has
its length and does not parse as JSON is a float32 row.

What each format says is read in `objects`, `batches` and, for float32, here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pctstream.core import objects
from pctstream.core.block import ARROW, Block, Source
from pctstream.core.frames import MAGIC
from pctstream.core.unit import Message
from pctstream.errors import RowRefused

JSON = "application/json"
FLOAT32 = "application/octet-stream"
SHORT = {"json": JSON, "float32": FLOAT32, "arrow": ARROW}
_OURS = frozenset(SHORT.values())


class Format(NamedTuple):
    """The content type of a message, and the fields of a JSON object that was parsed to tell."""

    kind: str
    fields: dict[str, Any] | None = None


SAID_FLOAT32, _ARROW = Format(FLOAT32), Format(ARROW)
_SAID = {FLOAT32: SAID_FLOAT32, ARROW: _ARROW}


def recognise(message: Message, dimension: int, assumed: str = "auto") -> Format:
    """The format of a message; RowRefused when nothing fits.

    ``assumed`` (a name of SHORT) holds where the message does not say; dimension 0 is any.

    >>> recognise(Message(0, None, b'{"vector": [1]}'), 2).kind
    'application/json'
    >>> recognise(Message(0, None, b"{234abcd"), 2).kind
    'application/octet-stream'
    """
    value = message.value or b""
    kind = _said(message.content_type) if message.content_type else None
    if kind is None and assumed != "auto":
        kind = SHORT[assumed]
    if kind is not None:
        return _SAID.get(kind) or Format(JSON, objects.parse(value))
    size = len(value)
    fits = size == 4 * dimension or (dimension == 0 and size > 0 and size % 4 == 0)
    if value[:1] == b"{":
        try:
            return Format(JSON, objects.parse(value))
        except RowRefused:
            if not fits:
                raise
    if value[:4] == MAGIC and size != 4 * dimension:
        return _ARROW
    if fits:
        return SAID_FLOAT32
    raise RowRefused("decode", _nothing(value, dimension))


def _said(content_type: str) -> str:
    if content_type in _OURS:
        return content_type
    plain = content_type.partition(";")[0].strip().lower()
    if plain not in _OURS:
        raise RowRefused("decode", f"content-type {content_type!r} is not one of ours")
    return plain


def _nothing(value: bytes, dimension: int) -> str:
    if value[:6] == b"ARROW1":
        return "an Arrow file: send an Arrow stream"
    return f"{len(value)} bytes are no JSON object, no Arrow stream, no {dimension} float32"


def wrong_length(message: Message, dimension: int) -> RowRefused:
    """Why a message that is to be float32 is no row."""
    size = len(message.value or b"")
    if size % 4:
        return RowRefused("truncated", f"{size} bytes are no whole float32 values")
    return RowRefused(
        "dimension", f"{size} bytes are {size // 4} float32 values, the tree has {dimension}"
    )


def float32_rows(
    source: Source, named: Sequence[tuple[Message, str | None]], dimension: int
) -> Block:
    """Messages of 4 x dimension bytes each, with their names, as one block."""
    messages = [m for m, _ in named]
    flat = np.frombuffer(b"".join(m.value or b"" for m in messages), "<f4")
    rows = len(messages)
    return Block(
        (source,),
        np.zeros(rows, np.int32),
        np.array([m.offset for m in messages], np.int64),
        np.zeros(rows, np.int32),
        flat.reshape(rows, dimension),
        _strings([name for _, name in named]),
        pa.array(np.array([m.time_ms for m in messages], np.int64) / 1000.0),
    )


def _strings(values: Iterable[str | None]) -> pa.Array | None:
    texts = list(values)
    if not any(texts):
        return None
    array = pa.array(texts, pa.string())
    return None if array.null_count == len(array) else array
