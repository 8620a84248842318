"""A message of confluent-kafka as a pure value."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Message as KafkaMessage

from pctstream.core.bridge import ORIGIN
from pctstream.core.unit import Message


def as_message(message: KafkaMessage) -> Message:
    """Offset, key, value and the headers that say what it is."""
    pairs: Any = message.headers() or []
    epoch = message.leader_epoch()
    # some clients write Content-Type
    headers = {str(k).lower(): v for k, v in pairs}
    return Message(
        int(message.offset() or 0),
        _bytes(message.key()),
        _bytes(message.value()),
        _text(headers.get("content-type")),
        _text(headers.get("pct-type")),
        int(message.timestamp()[1]),
        -1 if epoch is None else int(epoch),
        _text(headers.get(ORIGIN)),
    )


def _bytes(value: Any) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else str(value).encode()


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
