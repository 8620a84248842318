"""The reader of a worker: every input's messages, in bulk, as units.

One consumer, one thread, no group subscription: an input is added by `incremental_assign` at the
offset behind its store's watermark (2 ms for 256 partitions, nobody is rebalanced). Messages of an
input are collected until they are many bytes or the first has waited for the linger; then they are
decoded together into one unit and handed to the input's sink. While more messages lie in the log than
were collected, the wait is up to `BEHIND` lingers: those rows queue anyway, and what a unit costs on
its way (messages, fetches, WriteBatches) does not grow with its rows. So a busy input comes in large
units and an idle one without delay.

Back-pressure (R12): the rows handed out and not yet taken back by ``release`` are bounded; above the
bound the thread does not poll, and librdkafka's own queue (bounded in kbytes) fills, then stops
fetching. Orders from other threads (assign, seek, pause) are queued and carried out by the reader's
thread between two polls: a consumer's position may have only one writer, and confluent-kafka 2.16
does not answer any other thread while one is polling (seen: `get_watermark_offsets` never returned).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as KafkaMessage

from pctstream.core.block import Source
from pctstream.core.unit import Message, Unit
from pctstream.errors import InputBroken

Decode = Callable[[Sequence[Message], int, int], Unit]
POLL_MESSAGES = 64
IDLE_S = 0.05
LOOK_S = 0.5
BEHIND = 25


@dataclass(slots=True)
class Input:
    """A topic partition that feeds a node."""

    source: Source
    decode: Decode
    sink: Callable[[Unit], None]
    delivered: int
    messages: list[Message] = field(default_factory=list)
    bytes: int = 0
    since: float = 0.0
    seen: int = -1
    end: int = -1


class Reader:
    """Reads inputs into units; all methods may be called from any thread."""

    def __init__(
        self,
        settings: dict[str, Any],
        *,
        linger_s: float,
        unit_bytes: int,
        unit_rows: int,
        rows_in_flight: int,
        broken: Callable[[Source, InputBroken], None],
        fatal: Callable[[str], None],
    ) -> None:
        self._consumer = Consumer(settings)
        self._linger_s = linger_s
        self._unit_bytes = unit_bytes
        self._unit_rows = unit_rows
        self._rows_in_flight = rows_in_flight
        self._broken = broken
        self._fatal = fatal
        self._inputs: dict[Source, Input] = {}
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._out = 0
        self._room = threading.Condition()
        self._closing = False
        self._look_at = 0.0
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def add(self, source: Source, after: int, decode: Decode, sink: Callable[[Unit], None]) -> None:
        """Read an input from the offset behind ``after``."""

        def order() -> None:
            known = source in self._inputs
            self._inputs[source] = Input(source, decode, sink, after)
            place = TopicPartition(source.topic, source.partition, after + 1)
            if known:
                self._consumer.seek(place)
            else:
                self._consumer.incremental_assign([place])

        self._order(order)

    def remove(self, source: Source) -> None:
        """Read it no more."""

        def order() -> None:
            if self._inputs.pop(source, None) is not None:
                self._consumer.incremental_unassign([TopicPartition(*source)])

        self._order(order)

    def reread(self, source: Source, offset: int) -> None:
        """Deliver the input again from this offset (R6)."""

        def order() -> None:
            entry = self._inputs.get(source)
            if entry is None:
                return
            entry.messages, entry.bytes, entry.seen = [], 0, -1
            entry.delivered = offset - 1
            self._consumer.seek(TopicPartition(source.topic, source.partition, offset))

        self._order(order)

    def pause(self, source: Source) -> None:
        self._order(lambda: self._if_read(source, self._consumer.pause))

    def resume(self, source: Source) -> None:
        self._order(lambda: self._if_read(source, self._consumer.resume))

    def _if_read(self, source: Source, call: Callable[[list[TopicPartition]], None]) -> None:
        if source in self._inputs:
            call([TopicPartition(*source)])

    def release(self, rows: int) -> None:
        """These rows were taken: there is room again."""
        with self._room:
            self._out -= rows
            self._room.notify()

    def ends(self) -> dict[Source, int]:
        """Log end of each input as the last fetch saw it (-1: not known yet)."""
        return {source: entry.end for source, entry in list(self._inputs.items())}

    def _look(self, now: float) -> None:
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        for source, entry in self._inputs.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*source), cached=True)
            entry.end = int(high)

    def commit(self, positions: Sequence[tuple[Source, int, str]]) -> None:
        """Tell lag tools (and a store that is lost) how far inputs are done; never waited for."""
        places = [TopicPartition(*s, offset, metadata) for s, offset, metadata in positions]
        if places:
            self._order(lambda: self._consumer.commit(offsets=places, asynchronous=True))

    def close(self) -> None:
        self._closing = True
        with self._room:
            self._room.notify()
        self._thread.join(10.0)

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.put(order)

    def _run(self) -> None:
        try:
            while not self._closing:
                self._obey()
                if self._full():
                    continue
                for message in self._consumer.consume(POLL_MESSAGES, self._patience()):
                    self._take(message)
                now = time.monotonic()
                for entry in list(self._inputs.values()):
                    if self._ready(entry, now):
                        self._deliver(entry)
                self._look(now)
        except Exception as error:
            self._fatal(f"the reader failed: {error!r}")
        finally:
            self._consumer.close()

    def _obey(self) -> None:
        while not self._orders.empty():
            self._orders.get()()

    def _full(self) -> bool:
        with self._room:
            if self._out < self._rows_in_flight:
                return False
            self._room.wait(IDLE_S)
            return self._out >= self._rows_in_flight

    def _patience(self) -> float:
        idle = min(IDLE_S, max(self._linger_s, 0.005))
        now = time.monotonic()
        # an input behind its end is asked again a linger later, not at once
        left = [(e.since - now) % idle for e in self._inputs.values() if e.messages]
        return max(0.001, min(left, default=idle))

    def _take(self, message: KafkaMessage) -> None:
        source = Source(str(message.topic()), int(message.partition() or 0))
        entry = self._inputs.get(source)
        if entry is None:
            return
        error = message.error()
        if error is not None:
            self._on_error(entry, error, int(message.offset() or 0))
            return
        offset = int(message.offset() or 0)
        if offset <= max(entry.delivered, entry.seen):
            return
        taken = as_message(message)
        if not entry.messages:
            entry.since = time.monotonic()
        entry.messages.append(taken)
        entry.bytes += len(taken.value or b"")
        entry.seen = offset
        if entry.bytes >= self._unit_bytes:
            self._deliver(entry)

    def _on_error(self, entry: Input, error: KafkaError, offset: int) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            # what lies before the end and was not delivered are transaction records
            entry.seen = max(entry.seen, offset - 1)
            return
        lost = (
            KafkaError._AUTO_OFFSET_RESET,
            KafkaError.OFFSET_OUT_OF_RANGE,
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError._UNKNOWN_TOPIC,
            KafkaError._UNKNOWN_PARTITION,
        )
        if error.code() in lost:
            self._inputs.pop(entry.source, None)
            self._consumer.incremental_unassign([TopicPartition(*entry.source)])
            self._broken(
                entry.source,
                InputBroken(
                    f"{entry.source.topic}[{entry.source.partition}] cannot be read on from offset "
                    f"{entry.delivered + 1}: {error.str()}; this input stopped, the others go on"
                ),
            )
        elif error.fatal():
            self._fatal(f"the consumer failed for good: {error.str()}")

    def _ready(self, entry: Input, now: float) -> bool:
        if not entry.messages:
            return entry.seen > entry.delivered
        if len(entry.messages) >= self._unit_rows:
            return True
        waited = now - entry.since
        if waited < self._linger_s:
            return False
        return waited >= BEHIND * self._linger_s or not self._behind(entry)

    def _behind(self, entry: Input) -> bool:
        """Whether the last fetch saw more messages still to come than were collected."""
        place = TopicPartition(*entry.source)
        _, high = self._consumer.get_watermark_offsets(place, cached=True)
        return int(high) - 1 - entry.seen > len(entry.messages)

    def _deliver(self, entry: Input) -> None:
        unit = entry.decode(entry.messages, entry.delivered, entry.seen)
        entry.messages, entry.bytes = [], 0
        entry.delivered = entry.seen
        with self._room:
            self._out += len(unit)
        entry.sink(unit)


def as_message(message: KafkaMessage) -> Message:
    """A message of confluent-kafka as a pure value."""
    pairs: Any = message.headers() or []
    headers = {str(k): v for k, v in pairs}
    return Message(
        int(message.offset() or 0),
        _bytes(message.key()),
        _bytes(message.value()),
        _text(headers.get("content-type")),
        _text(headers.get("pct-type")),
        int(message.timestamp()[1]),
    )


def _bytes(value: Any) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else str(value).encode()


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
