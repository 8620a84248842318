"""`Producer`: puts rows into a tree.

Rows are collected into blocks, grouped by the ingest partition of their id (core.piles), because
one row per message costs four times as much on the way in. A block goes out when it is full, when
its first row has waited for `linger_s` seconds (seen at the next call), and at `flush`.

One producer belongs to one thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Producer as KafkaProducer
from confluent_kafka.admin import AdminClient

from pctstream.client.applied import wait_applied
from pctstream.client.asking import Client
from pctstream.client.checks import check_ids, checked
from pctstream.core import given
from pctstream.core.block import ARROW
from pctstream.core.formats import FLOAT32, JSON
from pctstream.core.given import Row
from pctstream.core.piles import Piles, Sealed, check_sizes
from pctstream.errors import (
    BrokerUnreachable,
    DeliveryFailed,
    NotFound,
    PctError,
    Refused,
    RowRefused,
    UsageError,
)
from pctstream.refusal import REFUSED

Format = Literal["block", "json", "float32"]

LIST_TIMEOUT_S = 15.0
LOOSE_ROWS = 256
"""Rows of `add` that are turned into columns together."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_FIXED: dict[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    # in order and without a hole: a message that fails takes the later ones with it
    "enable.gapless.guarantee": True,
    # five in flight may lose the first batch on a topic made a moment ago (pipes/client.py says how)
    "max.in.flight": 1,
    "compression.type": "none",
    "linger.ms": 5,
    "batch.size": 1_000_000,
    "partitioner": "murmur2_random",
    # a broker may be away this long, in milliseconds; then the delivery has failed
    "message.timeout.ms": 120_000,
    # what may wait here: the next produce blocks until there is room
    "queue.buffering.max.kbytes": 65_536,
    "queue.buffering.max.messages": 100_000,
}


_SILENT = logging.Logger("pctstream.client", logging.CRITICAL + 1)
"""librdkafka's own log, which it keeps of a fatal error at any level: what it says is raised."""


class Producer:
    """Puts rows into the tree `tree` on the Kafka at `broker`.

    ``client`` has further librdkafka properties (security above all); ``format`` "json" or
    "float32" sends one keyed message per row instead of blocks. ``rows`` counts what was sent in
    how many ``messages`` and ``bytes``, ``acked`` the rows of those that the broker has taken.
    Every method may raise DeliveryFailed: the broker did not take a message, nor any after it.

        with Producer("127.0.0.1:9092", "pct") as rows:
            rows.add([0.1, 0.2], id="a", payload={"colour": "red"}, time=1700000000.0)
    """

    def __init__(
        self,
        broker: str,
        tree: str = "pct",
        *,
        client: Mapping[str, Any] = _NOTHING,
        format: Format = "block",
        block_rows: int = 1024,
        block_bytes: int = 524_288,
        linger_s: float = 1.0,
    ) -> None:
        self.topic = f"{tree}.P0"
        self.rows = self.acked = self.messages = self.bytes = 0
        self._format: Format = format
        self._linger_s = linger_s
        self._failure: PctError | None = None
        own = {
            "bootstrap.servers": broker,
            "client.id": f"pctstream-{tree}-producer",
            "log_level": 0,
        }
        self._client = {**own, **client}
        self._sent: dict[int, int] = {}
        """The last offset that the broker took, of each partition."""
        ours = {"error_cb": self._error, "logger": _SILENT}
        self._kafka = KafkaProducer({**own, **client, **_FIXED, **ours})
        self._piles = Piles(self._count(), block_rows, block_bytes)
        self._loose: list[Row] = []
        self._loose_since = 0.0

    def add(
        self,
        vector: Any,
        id: str | int | None = None,
        payload: Mapping[str, Any] | None = None,
        time: float | None = None,
    ) -> None:
        """One row: a flat sequence of numbers, a name, a JSON object, seconds since the epoch.

        Raises RowRefused for what can be no row; rows that were added before it are not concerned.
        """
        row = checked(vector, id, payload, time)
        now = _now()
        if not self._loose:
            self._loose_since = now
        self._loose.append(row)
        if len(self._loose) >= LOOSE_ROWS or now - self._loose_since > self._linger_s:
            self._gather()
            self.poll()

    def extend(self, rows: pa.RecordBatch) -> None:
        """Many rows, all or none: columns ``vector`` (fixed_size_list<float32>[d]), and where there
        are such ``id`` (string), ``time`` (float64 seconds) and the payload's fields.

        Raises RowRefused: "too-large" for a row that no message can carry, "id" for an id that is empty
        or has more than 4,096 bytes.
        """
        check_sizes(rows)
        if "id" in rows.schema.names:
            check_ids(rows["id"])
        self._gather()
        self._spread(rows)
        self.poll()

    def poll(self, wait_s: float = 0.0) -> None:
        """Send what has waited for `linger_s`, and hear from the broker for up to `wait_s`."""
        before = _now() - self._linger_s
        if self._loose and self._loose_since < before:
            self._gather()
        self._send(self._piles.late(before))
        self._kafka.poll(wait_s)
        self._check()

    def seal(self) -> None:
        """Send everything that still waits for its block to fill, without waiting for the acks."""
        self._gather()
        self._send(self._piles.seal())

    def flush(
        self,
        wait: Literal["acked", "applied"] = "acked",
        *,
        tree: Client | str | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        """Return when the broker has taken every row that was given.

        ``wait="applied"``: when each is in the store of its shard besides, as the workers of ``tree`` say
        (a `Client`, or an address): then it can be found. Raises NotReady after ``timeout_s``.
        """
        if wait == "applied" and tree is None:
            raise UsageError('flush(wait="applied") needs tree=, a Client or a worker\'s address')
        self.seal()
        while self.acked < self.rows:
            self.poll(0.1)
        if wait == "applied" and tree is not None:
            admin = AdminClient(self._client)
            if isinstance(tree, Client):
                wait_applied(tree, admin, self.topic, self._sent, timeout_s)
            else:
                with Client(tree) as asked:
                    wait_applied(asked, admin, self.topic, self._sent, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Flush, also after an error of somebody else's: rows that were added are meant."""
        if self._failure is None and not isinstance(error, KeyboardInterrupt):
            self.flush()

    def _count(self) -> int:
        try:
            found = self._kafka.list_topics(self.topic, timeout=LIST_TIMEOUT_S).topics[self.topic]
        except KafkaException as error:
            self._kafka.poll(0)
            self._check()
            raise BrokerUnreachable(f"no Kafka answers: {error.args[0].str()}; is it up?") from None
        if found.error is not None and found.error.code() in REFUSED:
            raise _forbidden(self.topic)
        if found.error is not None or not found.partitions:
            raise NotFound(
                f"there is no topic {self.topic}: start `pctstream up`, or `pctstream topics apply`"
            )
        return len(found.partitions)

    def _gather(self) -> None:
        """The rows of `add`, in order, to their piles."""
        loose, self._loose = self._loose, []
        for part in given.gathered(loose):
            if isinstance(part, Row):
                # no block can hold it: it goes alone, behind those of its id that wait in one
                if part.id is not None:
                    self._send(self._piles.seal(self._piles.partition(part.id)))
                self._alone(part, "json" if self._format == "block" else self._format)
            else:
                self._spread(part)

    def _spread(self, rows: pa.RecordBatch) -> None:
        if self._format == "block":
            self._send(self._piles.spread(rows, _now()))
            return
        for row in given.rows_of(rows):
            self._alone(row, self._format)

    def _send(self, blocks: Iterable[Sealed]) -> None:
        for block in blocks:
            self._produce(block.value, block.rows, ARROW, partition=block.partition)

    def _alone(self, row: Row, kind: Format) -> None:
        """A row as a message of its own, keyed by its id."""
        if kind == "json":
            self._produce(given.to_json(row), 1, JSON, key=row.id)
            return
        if row.payload is not None or row.time is not None:
            raise UsageError("a float32 message has no payload and no time: use blocks or JSON")
        self._produce(row.vector.astype("<f4").tobytes(), 1, FLOAT32, key=row.id)

    def _produce(self, value: bytes, rows: int, content: str, **where: Any) -> None:
        def delivered(error: KafkaError | None, message: Any) -> None:
            if error is None:
                self.acked += rows
                self._sent[message.partition()] = message.offset()
            elif error.code() in REFUSED:
                self._fail(_forbidden(self.topic))
            else:
                self._fail(DeliveryFailed(f"{self.topic} did not take a message: {error.str()}"))

        while True:
            self._check()
            try:
                self._kafka.produce(
                    self.topic,
                    value=value,
                    headers=[("content-type", content.encode())],
                    on_delivery=delivered,
                    **where,
                )
                break
            except BufferError:
                self._kafka.poll(0.05)
            except KafkaException as error:
                self._check()
                if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                    why = f"a message of {len(value):,} bytes is more than Kafka takes"
                    raise RowRefused("too-large", why) from None
                why = f"cannot produce to {self.topic}: {error.args[0].str()}"
                raise DeliveryFailed(why) from None
        self.rows += rows
        self.messages += 1
        self.bytes += len(value)
        self._kafka.poll(0)

    def _error(self, error: KafkaError) -> None:
        if error.code() in REFUSED:
            self._fail(Refused(f"the broker refused us: {error.str()}; check kafka.client"))
        elif error.fatal():
            self._fail(DeliveryFailed(f"the producer failed for good: {error.str()}"))

    def _fail(self, error: PctError) -> None:
        self._failure = self._failure or error

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure


def _forbidden(topic: str) -> Refused:
    return Refused(
        f"the broker's ACLs do not let us Write the topic {topic}: a producer needs it, `pctstream topics "
        "export --acl` prints what to allow"
    )


_now = time.monotonic
