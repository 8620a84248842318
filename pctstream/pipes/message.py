"""A message of confluent-kafka as a pure value."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Message as KafkaMessage

from pctstream.core.block import ARROW
from pctstream.core.bridge import ORIGIN
from pctstream.core.formats import FLOAT32, JSON
from pctstream.core.unit import Message

KNOWN = {name.encode(): name for name in (ARROW, FLOAT32, JSON)}
"""Content types that need not be decoded again and again."""


# what `Message(...)` does behind a Python function: half of the time, once for every row
_new = tuple.__new__
_last: tuple[Any, tuple[str | None, str | None, str | None]] = (None, (None, None, None))
"""The headers read last, and what they said: those of one producer are all alike."""


def as_message(message: KafkaMessage) -> Message:
    """Offset, key, value and the headers that say what it is."""
    global _last
    pairs: Any = message.headers()
    known, said = _last
    if pairs != known:
        said = _said(pairs or ())
        _last = pairs, said
    content_type, kind, origin = said
    key: Any = message.key()
    value = message.value()
    epoch = message.leader_epoch()
    fields = (
        message.offset() or 0,
        key if key is None or type(key) is bytes else _bytes(key),
        value if value is None or type(value) is bytes else _bytes(value),
        content_type,
        kind,
        message.timestamp()[1],
        -1 if epoch is None else epoch,
        origin,
    )
    return _new(Message, fields)


def _said(pairs: Any) -> tuple[str | None, str | None, str | None]:
    content_type = kind = origin = None
    for name, value in pairs:
        name = str(name).lower()  # some clients write Content-Type
        if name == "content-type":
            content_type = KNOWN.get(value) or _text(value)
        elif name == "pct-type":
            kind = _text(value)
        elif name == ORIGIN:
            origin = _text(value)
    return content_type, kind, origin


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
