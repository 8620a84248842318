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


def as_message(message: KafkaMessage) -> Message:
    """Offset, key, value and the headers that say what it is."""
    content_type = kind = origin = None
    pairs: Any = message.headers()
    # once for every row of those who send one row a message: no dict, no calls where none are needed
    for name, value in pairs or ():
        name = str(name).lower()  # some clients write Content-Type
        if name == "content-type":
            content_type = KNOWN.get(value) or _text(value)
        elif name == "pct-type":
            kind = _text(value)
        elif name == ORIGIN:
            origin = _text(value)
    key: Any = message.key()
    value = message.value()
    epoch = message.leader_epoch()
    return Message(
        message.offset() or 0,
        key if key is None or type(key) is bytes else _bytes(key),
        value if value is None or type(value) is bytes else _bytes(value),
        content_type,
        kind,
        message.timestamp()[1],
        -1 if epoch is None else epoch,
        origin,
    )


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
