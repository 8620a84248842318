"""A row that was refused, as a message of `<tree>.dlq`."""

from __future__ import annotations

from pctstream.core.effects import Parcel
from pctstream.core.unit import DeadLetter

WHY = 1000
"""Characters of a dead letter's reason: it may quote what someone sent."""


def dead_letter(topic: str, letter: DeadLetter, message_bytes: int) -> Parcel:
    """CONTRACT: one message a row, key = origin, why in the headers.

    A message that the broker refused for its size would end the worker, again after each start: of a
    value larger than ``message_bytes`` only the origin is told, by which it is found.
    """
    origin = letter.origin
    value: bytes | None = letter.value
    why = letter.message if len(letter.message) <= WHY else letter.message[:WHY] + " .."
    if value is not None and len(value) > message_bytes:
        why += f" (its {len(value)} bytes are too many for a dead letter)"
        value = None
    headers = {
        "code": letter.code,
        "message": why,
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "index": origin.index,
        "stage": letter.stage,
        "time": letter.time_ms / 1000.0,
    }
    return Parcel(
        topic,
        0,
        str(origin).encode(),
        value,
        [(f"pct.error.{n}", str(v).encode(errors="replace")) for n, v in headers.items()],
    )
