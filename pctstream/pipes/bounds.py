"""Where logs begin and end, and what was committed: asked of the broker for many inputs at once.

By the admin client, because a consumer that another thread is polling does not answer such questions
reliably.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import orjson
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pctstream.core.block import Source
from pctstream.errors import BrokerUnreachable
from pctstream.refusal import REFUSED, error_of

TIMEOUT_S = 15.0
POLL_S = 0.25
ABSENT = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
LOST = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError._LOG_TRUNCATION,
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
"""What a consumer says when the log does not go on where it reads."""


def bounds(admin: AdminClient, sources: Iterable[Source]) -> dict[Source, tuple[int, int]]:
    """(first offset, log end) of each partition; a partition that does not exist is left out."""
    wanted = list(sources)
    spec: Any = OffsetSpec
    low = _offsets(admin, wanted, spec.earliest())
    high = _offsets(admin, wanted, spec.latest())
    return {s: (low[s], high[s]) for s in wanted if s in low and s in high}


def before(admin: AdminClient, sources: Iterable[Source], time_s: float) -> dict[Source, int]:
    """Of each partition the first offset that the broker took at this time (seconds) or later; where
    there is none, the log's end."""
    wanted = list(sources)
    spec: Any = OffsetSpec
    high = _offsets(admin, wanted, spec.latest())  # first: what comes meanwhile is not older
    found = _offsets(admin, wanted, spec.for_timestamp(max(0, int(time_s * 1000))))
    return {s: found[s] if found[s] >= 0 else high[s] for s in wanted if s in high and s in found}


def ends(admin: AdminClient, sources: Sequence[Source]) -> dict[Source, int]:
    """The log ends; asked again while a partition that was made a moment ago has no leader yet."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return {source: end for source, (_, end) in bounds(admin, sources).items()}
        except BrokerUnreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)


def _offsets(admin: AdminClient, sources: list[Source], which: OffsetSpec) -> dict[Source, int]:
    asked = {TopicPartition(*s): which for s in sources}
    out: dict[Source, int] = {}
    if not asked:
        return out
    for place, future in admin.list_offsets(asked, request_timeout=TIMEOUT_S).items():
        try:
            out[Source(place.topic, place.partition)] = int(future.result(TIMEOUT_S).offset)
        except KafkaException as error:
            if error.args[0].code() in REFUSED:
                raise error_of(error.args[0], f"ask for the ends of {place.topic}") from None
            if error.args[0].retriable() or error.args[0].code() not in ABSENT:
                raise BrokerUnreachable(
                    f"cannot ask for the ends of {place.topic}: {error}"
                ) from None
        except TimeoutError:
            raise BrokerUnreachable(f"nobody says where {place.topic} ends") from None
    return out


class Commit(NamedTuple):
    """How far a partition was committed: everything up to ``offset`` is done, and the note says of
    what that is true; {} where somebody else committed."""

    offset: int
    note: dict[str, Any]


def committed(admin: AdminClient, group: str, sources: Iterable[Source]) -> dict[Source, Commit]:
    """What the group committed of these partitions, where it did (R1)."""
    places = [TopicPartition(*s) for s in sources]
    if not places:
        return {}
    asked = [ConsumerGroupTopicPartitions(group, places)]
    future = admin.list_consumer_group_offsets(asked, request_timeout=TIMEOUT_S)[group]
    try:
        found = future.result(TIMEOUT_S).topic_partitions
    except (KafkaException, TimeoutError) as error:
        if isinstance(error, KafkaException) and error.args[0].code() in REFUSED:
            raise error_of(error.args[0], f"ask what {group} committed") from None
        raise BrokerUnreachable(f"cannot ask what {group} committed: {error!r}") from None
    return {
        Source(p.topic, p.partition): Commit(p.offset - 1, _note(p.metadata))
        for p in found
        if p.offset >= 0
    }


def _note(metadata: str | None) -> dict[str, Any]:
    with suppress(orjson.JSONDecodeError):
        note = orjson.loads(metadata or "")
        return note if isinstance(note, dict) else {}
    return {}
