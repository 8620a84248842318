"""The one writer of a worker: parcels go out in order, and the last ack of a send calls back.

Gapless (R2): a message that fails takes the producer down with it, so that nothing behind it can be
delivered. The writer then reports and stays closed; the worker ends and starts again from its
watermarks. Sizes are checked before produce, because a message refused for its size would be such a
failure.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from pctstream.core.effects import Parcel
from pctstream.errors import BrokerUnreachable, DeliveryFailed, Refused

Done = Callable[[str | None], None]
POLL_S = 0.05
REPORTS, FAREWELL_S = 10, 1.0
BUSY_MESSAGES = 4
"""One request carries the messages of one partition, and one is in flight: as many milliseconds. So few
that N0's next unit is made when the one before is acked: what came meanwhile is in it."""


class Writer:
    """Produces parcels; thread-safe."""

    def __init__(self, settings: dict[str, Any], fatal: Callable[..., None]) -> None:
        self._fatal = fatal
        self._producer = Producer({**settings, "error_cb": self._on_error})
        self._order = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="writer", daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        while not self._closing.is_set():
            try:
                self._producer.poll(POLL_S)
            except KafkaException as error:  # how a failure for good is told, not by error_cb
                # the reports of what was under way say why, and come a moment later
                for _ in range(REPORTS):
                    with suppress(KafkaException):
                        self._producer.poll(POLL_S)
                self._fatal(f"the producer failed for good: {error.args[0].str()}")
                return

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka tries again by itself."""

    def send(self, parcels: Sequence[Parcel], done: Done) -> None:
        """Produce all; ``done(None)`` once the broker has acked every one, else ``done(reason)``."""
        left = _Countdown(len(parcels), done, self._fatal)
        with self._order:
            for parcel in parcels:
                self._produce(parcel, left)

    def _produce(self, parcel: Parcel, left: _Countdown) -> None:
        while True:
            try:
                self._producer.produce(
                    parcel.topic,
                    value=parcel.value,
                    key=parcel.key,
                    partition=parcel.partition,
                    headers=list(parcel.headers),
                    timestamp=parcel.time_ms,
                    on_delivery=left.acked,
                )
                return
            except BufferError:
                # the local queue is full: the poll thread empties it as acks come in
                if self._closing.wait(0.005):
                    raise DeliveryFailed("the writer was closed") from None
            except Exception as error:  # confluent raises KafkaException for every refusal
                self._closing.wait(FAREWELL_S)  # the poll thread knows why, if the producer failed
                raise DeliveryFailed(
                    f"cannot produce to {parcel.topic}: {error}; the worker starts again from its "
                    "watermarks"
                ) from None

    def busy(self) -> bool:
        """So much is on its way that what comes now would only wait behind it."""
        return len(self._producer) > BUSY_MESSAGES

    def append(self, parcel: Parcel, timeout_s: float = 30.0) -> None:
        """Produce one message and wait for its ack; BrokerUnreachable if it does not come in time.
        It may still come later."""
        acked = threading.Event()
        reason: list[str | None] = []

        def done(why: str | None) -> None:
            reason.append(why)
            acked.set()

        self.send([parcel], done)
        if not acked.wait(timeout_s):
            raise BrokerUnreachable(f"no ack from {parcel.topic} within {timeout_s} s")
        if reason[0] is not None:
            raise DeliveryFailed(reason[0])

    def prime(self, timeout_s: float = 10.0) -> None:
        """Have the metadata of new topics before the first row needs it: of all in one request,
        since one for each of 500 takes seconds."""
        try:
            self._producer.list_topics(timeout=timeout_s)
        except KafkaException as error:
            raise BrokerUnreachable(f"cannot ask for the topics' leaders: {error}") from None

    def close(self, timeout_s: float = 10.0) -> None:
        """Wait for what is under way, then stop."""
        self._producer.flush(timeout_s)
        self._closing.set()
        self._thread.join(timeout_s)


class _Countdown:
    """Calls back once: at the last ack, or at the first failure."""

    def __init__(self, count: int, done: Done, fatal: Callable[..., None]) -> None:
        self._left = count
        self._done = done
        self._fatal = fatal
        self._failed = False

    def acked(self, error: KafkaError | None, message: Any) -> None:
        if self._failed:
            return
        if error is not None:
            self._failed = True
            if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                self._fatal(f"we may not write {message.topic()}: {error.str()}", Refused.exit_code)
            self._done(f"{message.topic()}: {error.str()}")
            return
        self._left -= 1
        if self._left == 0:
            self._done(None)
