"""The reader of a worker: every input's messages, in bulk, as units.

One consumer, one thread, no group subscription: an input is added by `incremental_assign` at the
offset behind its store's watermark (2 ms for 256 partitions, nobody is rebalanced), with the leader
epoch of the last message the store took: a broker whose log was cut behind it says so (R1). What is
collected of each, and when it becomes a unit, is `input.py`'s.

Back-pressure (R12): while the worker has no `room` the thread does not poll, and librdkafka's own
queue (bounded in kbytes) fills, then stops fetching. An input whose node falls behind is paused alone.
Orders from other threads (assign, seek, pause) are queued and carried out by the reader's thread
between two polls: a consumer's position may have only one writer, and confluent-kafka 2.16 does not
answer any other thread while one is polling (seen: `get_watermark_offsets` never returned).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as KafkaMessage

from pctstream.core.block import Source
from pctstream.core.unit import Message
from pctstream.errors import InputBroken, Refused
from pctstream.pipes.bounds import LOST
from pctstream.pipes.input import Collect, Decode, Input, Sink
from pctstream.pipes.message import as_message
from pctstream.pipes.polls import Polls
from pctstream.pipes.priority import lower
from pctstream.pipes.room import Room

LARGE = 4096
"""Messages of so many bytes are counted one by one, smaller ones all that came in one poll."""
IDLE_S, STEP_S = 0.05, 0.005
LOOK_S = 0.5
AHEAD = 8
"""Nodes that stay with their rows are given units until so many have one that they did not take: enough for
two threads until the next look. What is given to more waits in line as it is; collected it grows."""


class Reader:
    """Reads inputs into units; all methods may be called from any thread."""

    def __init__(
        self,
        settings: dict[str, Any],
        *,
        collect: Collect,
        room: Room,
        channel_blocks: int,
        broken: Callable[[Source, InputBroken], None],
        fatal: Callable[..., None],
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._consumer = Consumer(settings)
        self._collect = collect
        self._room = room
        self._channel_blocks = channel_blocks
        self._broken = broken
        self._fatal = fatal
        self._busy = busy
        self._inputs: dict[Source, Input] = {}
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._closing = False
        self.rounds = 0
        """How often the thread came round: it does so many times a second, whatever happens."""
        self._look_at, self._polls = 0.0, Polls(time.monotonic())
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def add(
        self,
        source: Source,
        after: int,
        decode: Decode,
        sink: Sink,
        leader_epoch: int = -1,
        routes: Callable[[], bool] = bool,
    ) -> None:
        """Read an input from the offset behind ``after``, whose leader epoch may be known; what it
        has may be sent on, where it ``routes``."""

        def order() -> None:
            if source in self._inputs:
                self._drop(source)
            self._inputs[source] = Input(
                source, decode, sink, after, self._channel_blocks, leader_epoch, routes
            )
            place = _place(source, after + 1, leader_epoch)
            self._consumer.incremental_assign([place])

        self._order(order)

    def remove(self, source: Source) -> None:
        """Read it no more."""
        self._order(lambda: self._drop(source))

    def _drop(self, source: Source) -> None:
        entry = self._inputs.pop(source, None)
        if entry is None:
            return
        place = [TopicPartition(*source)]
        if entry.paused:
            # the consumer would keep the pause for the next time it is assigned
            self._consumer.resume(place)
        self._consumer.incremental_unassign(place)

    def reread(self, source: Source, offset: int) -> None:
        """Deliver the input again from this offset (R6)."""

        def order() -> None:
            if entry := self._inputs.get(source):
                entry.rewind(offset)
                self._consumer.seek(TopicPartition(source.topic, source.partition, offset))

        self._order(order)

    def pause(self, source: Source) -> None:
        """The node takes nothing more for now."""
        self._order(lambda: self._ask(source, True))

    def resume(self, source: Source) -> None:
        """The node goes on."""
        self._order(lambda: self._ask(source, False))

    def _ask(self, source: Source, pause: bool) -> None:
        if entry := self._inputs.get(source):
            entry.asked = pause
            self._hold(entry)

    def _left(self, entry: Input) -> None:
        """A unit of this input was taken, or is lost."""
        entry.taken()
        if self._inputs.get(entry.source) is entry:
            self._hold(entry)

    def _hold(self, entry: Input) -> None:
        wanted = bool(entry.hold)
        if wanted != entry.paused:
            entry.paused = wanted
            call = self._consumer.pause if wanted else self._consumer.resume
            call([TopicPartition(*entry.source)])

    def asked(self, source: Source) -> bool:
        """Whether the node wants nothing of this input for now."""
        entry = self._inputs.get(source)
        return entry is not None and entry.asked

    def unread(self, source: Source, taken: int) -> bool:
        """Whether a node that has taken up to this offset was given nothing more yet."""
        entry = self._inputs.get(source)
        return entry is not None and not entry.waiting and entry.delivered <= taken

    def behind(self) -> bool:
        """Whether what an input lacks may stand in line behind that of others (`polls`)."""
        return self._polls.behind(time.monotonic())

    def held(self) -> dict[str, int]:
        """Inputs paused now, by who holds them: "node" or "channel"."""
        holds = [entry.hold for entry in list(self._inputs.values()) if entry.paused]
        return {who: holds.count(who) for who in ("node", "channel")}

    def leader_epoch(self, source: Source) -> int:
        """Of the last message read from this input; -1 where that is not known."""
        entry = self._inputs.get(source)
        return -1 if entry is None else entry.leader_epoch

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
        self._room.wake()
        self._thread.join(10.0)

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.put(order)

    def _run(self) -> None:
        lower()
        try:
            while not self._closing:
                self.rounds += 1
                self._obey()
                if self._room.wait(IDLE_S, sum(e.weight for e in self._inputs.values())):
                    self._take(self._consumer.consume(self._polls.most, self._patience()))
                self._make_units(now := time.monotonic())
                self._look(now)
        except Exception as error:
            self._fatal(f"the reader failed: {error!r}")
        finally:
            self._consumer.close()

    def _obey(self) -> None:
        while not self._orders.empty():
            self._orders.get()()

    def _patience(self) -> float:
        linger = self._collect.linger_s
        now = time.monotonic()
        # those that are due within a step become units together; so often those are looked at again
        # that wait because they would queue
        left = [e.since + linger - now for e in self._inputs.values() if e.messages]
        step = min(STEP_S, max(linger, 0.001))
        return max(step, min(left, default=min(IDLE_S, max(linger, STEP_S))))

    def _take(self, messages: Sequence[KafkaMessage]) -> None:
        now, size = time.monotonic(), 0
        place: Any = None
        entry: Input | None = None
        some: list[Message] = []
        for message in messages:
            here = message.topic(), message.partition()
            if here != place:
                size += self._collected(entry, some, now)
                place, entry, some = here, self._inputs.get(here), []  # type: ignore[call-overload]
            if entry is None:
                continue
            error = message.error()
            if error is None:
                some.append(as_message(message))
                if len(message) < LARGE:
                    continue
            size += self._collected(entry, some, now)
            some = []
            if error is not None:
                self._on_error(entry, error, int(message.offset() or 0))
        size += self._collected(entry, some, now)
        self._polls.took(len(messages), size, now)

    def _collected(self, entry: Input | None, some: list[Message], now: float) -> int:
        """Messages of one input that came together; their bytes."""
        if entry is None or not some:
            return 0
        size = entry.take(some, now)
        if entry.bytes >= self._collect.bytes:
            self._deliver(entry)
        return size

    def _on_error(self, entry: Input, error: KafkaError, offset: int) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            # what lies before the end and was not delivered are transaction records
            entry.seen = max(entry.seen, offset - 1)
            return
        if error.code() in LOST:
            self._drop(entry.source)
            self._broken(
                entry.source,
                InputBroken(
                    f"{entry.source.topic}[{entry.source.partition}] cannot be read on from offset "
                    f"{entry.delivered + 1}: {error.str()}; this input stopped, the others go on"
                ),
            )
        elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            self._fatal(f"we may not read {entry.source.topic}: {error.str()}", Refused.exit_code)
        elif error.fatal():
            self._fatal(f"the consumer failed for good: {error.str()}")

    def _make_units(self, now: float) -> None:
        """Of all inputs that are due; those that have waited longest first."""
        entries = sorted(self._inputs.values(), key=lambda entry: entry.since)
        given = sum(entry.waiting > 0 for entry in entries if not entry.routes())
        sending = self._busy()
        for entry in entries:
            if entry.ready(now, self._collect, sending if entry.routes() else given >= AHEAD):
                given += not (entry.routes() or entry.waiting)
                self._deliver(entry)

    def _deliver(self, entry: Input) -> None:
        weight, unit = entry.weight, entry.unit()
        left = partial(self._order, partial(self._left, entry))
        load = self._room.load(len(unit), weight, left)
        self._hold(entry)
        entry.sink(unit, load)


def _place(source: Source, offset: int, leader_epoch: int) -> TopicPartition:
    if leader_epoch < 0:
        return TopicPartition(source.topic, source.partition, offset)
    return TopicPartition(source.topic, source.partition, offset, leader_epoch=leader_epoch)
