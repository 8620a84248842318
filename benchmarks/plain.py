"""A plain Kafka loop: read, deal out, read again. What the broker lets be done, and no more.

The ingest topic is read, row i goes to topic i mod 48 (or as many as there are), the rows that come out
of those topics are counted. The client settings are those of the product. Rows are dealt out in messages as
large as those of the product: as many together as `limits.unit_rows` and `limits.unit_bytes` allow.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from arrivals import Arrivals
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from traffic import bare, pipe_head, pipe_row_bytes

from pctstream import config
from pctstream.config import Config
from pctstream.core.block import ARROW
from pctstream.core.formats import FLOAT32
from pctstream.pipes import client

ARROW_HEADER = [("content-type", ARROW.encode())]


class Dealer:
    """The rows that wait, and how they go out."""

    def __init__(self, cfg: Config, share: int, pipes: int) -> None:
        self._cfg, self._pipes = cfg, pipes
        self._producer = Producer(client.producer(cfg, f"loop-{share}"))
        self._head = pipe_head(cfg.tree.dimension)
        self._single: list[bytes] = []
        self._columns: list[tuple[Any, Any, Any, Any]] = []
        self._offsets: list[int] = []
        self._times: list[int] = []
        limits = cfg.limits
        self._full = min(limits.unit_rows, limits.unit_bytes // (4 * cfg.tree.dimension))
        self._rows = 0

    def take(self, value: bytes, content: bytes, offset: int, time_ms: int) -> None:
        """One message of the ingest topic."""
        if content == FLOAT32.encode():
            self._single.append(value)
            self._offsets.append(offset)
            self._times.append(time_ms)
            self._rows += 1
        else:
            vectors = bare(value, content, self._cfg.tree.dimension)
            n = len(vectors)
            self._columns.append((vectors, np.full(n, offset), np.full(n, time_ms / 1000.0),
                                  np.arange(n, dtype=np.int32)))  # fmt: skip
            self._rows += n
        if self._rows >= self._full:
            self.send()

    def send(self) -> None:
        """Everything that waits."""
        if self._single:
            n = len(self._single)
            flat = np.frombuffer(b"".join(self._single), np.float32)
            self._columns.append((flat.reshape(n, -1), np.array(self._offsets),
                                  np.array(self._times) / 1000.0, np.zeros(n, np.int32)))  # fmt: skip
        if not self._columns:
            return
        columns = [np.concatenate(c) for c in zip(*self._columns, strict=True)]
        for waiting in (self._single, self._offsets, self._times, self._columns):
            waiting.clear()
        self._rows = 0
        for t in range(self._pipes):
            value = b"".join((self._head, *(c[t :: self._pipes].tobytes() for c in columns)))
            self._produce(f"{self._cfg.tree.name}.P0.{t}", value)

    def _produce(self, topic: str, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, value=value, partition=0, headers=ARROW_HEADER,
                                       on_delivery=acked)  # fmt: skip
                return
            except BufferError:
                self._producer.poll(0.005)

    def poll(self) -> None:
        """Hear from the broker."""
        self._producer.poll(0)


def acked(error: Any, message: Any) -> None:
    if error is not None or message.offset() is None:
        os._exit(1)


def loop(cfg: Config, share: int, shares: int, arrived: Arrivals, pipes: int) -> None:
    """For ever; share i of n has every nth partition and topic."""
    ingest, head = f"{cfg.tree.name}.P0", len(pipe_head(cfg.tree.dimension))
    row_bytes = pipe_row_bytes(cfg.tree.dimension)
    consumer = Consumer(client.consumer(cfg, f"loop-{share}"))
    mine = [TopicPartition(ingest, p, 0) for p in range(cfg.shards.count) if p % shares == share]
    mine += [TopicPartition(f"{ingest}.{t}", 0, 0) for t in range(pipes) if t % shares == share]
    consumer.incremental_assign(mine)
    dealer = Dealer(cfg, share, pipes)
    while True:
        messages = consumer.consume(256, 0.01)
        came = 0
        for message in messages:
            if (error := message.error()) is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise SystemExit(f"{message.topic()}: {error}")
            elif message.topic() == ingest:
                content = message.headers()[0][1]
                dealer.take(message.value(), content, message.offset(), message.timestamp()[1])
            else:
                came += (len(message.value()) - head) // row_bytes
        if not messages:
            dealer.send()
        dealer.poll()
        if came:
            arrived.add(came)


def main() -> None:
    """Arguments: which share of how many, the file to count in, pipes; the rest by the environment."""
    share, shares, file, pipes = *map(int, sys.argv[1:3]), Path(sys.argv[3]), int(sys.argv[4])
    loop(config.load(None, os.environ, {}), share, shares, Arrivals(file), pipes)


if __name__ == "__main__":
    main()
