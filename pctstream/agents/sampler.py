"""The rows that N0's cover is found in, all partitions in turn: from the ingest log's start, or from where
a re-opening reads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from pctstream.config import Config
from pctstream.core import ingest
from pctstream.core.block import Source
from pctstream.core.tree import Turns
from pctstream.core.unit import Message
from pctstream.pipes import client
from pctstream.pipes.message import as_message


class Sampler:
    """Reads the ingest log, all partitions in turn: from these ``starts``, else from its start."""

    def __init__(
        self, cfg: Config, dimension: int, metric: str, starts: Mapping[int, int] | None = None
    ) -> None:
        self._cfg = cfg
        self._dimension = dimension
        self._metric = metric
        self._topic = f"{cfg.tree.name}.P0"
        # what was read there may be gone by the time somebody does it again
        reset = {"auto.offset.reset": "earliest"} if starts else {}
        self._consumer = Consumer(client.consumer(cfg, "tree") | reset)
        partitions = list(range(cfg.shards.count))
        first = dict.fromkeys(partitions, OFFSET_BEGINNING) | dict(starts or {})
        self._consumer.assign([TopicPartition(self._topic, p, first[p]) for p in partitions])
        self._turns = Turns(partitions, max(1, dimension))
        self._at_end: set[int] = set()
        self._moved = time.monotonic()

    def messages(self) -> list[tuple[int, Message]]:
        """(partition, message) of the next poll."""
        out = []
        for message in self._consumer.consume(64, 0.1):
            partition = int(message.partition() or 0)
            error = message.error()
            if error is None:
                self._at_end.discard(partition)
                out.append((partition, as_message(message)))
            elif error.code() == KafkaError._PARTITION_EOF:
                self._at_end.add(partition)
        return out

    def read(self) -> tuple[Any, bool]:
        """(rows whose turn has come, whether none came for a while)."""
        for partition, message in self.messages():
            source = Source(self._topic, partition)
            unit = ingest.decode(
                source, [message], message.offset - 1, message.offset,
                self._dimension, self._metric, self._cfg.ingest.format,
                self._cfg.blocks.row_bytes,
            )  # fmt: skip
            self._turns.add(unit)
        rows = self._turns.take(self._at_end)
        now = time.monotonic()
        if len(rows):
            self._moved = now
        return rows, now - self._moved >= self._cfg.tree.level_idle_s

    def close(self) -> None:
        self._consumer.close()
