"""The rows that a cover is found in, all partitions of a node's input in turn: N0's from the ingest log's
start; any node's above the cut from where its re-opening reads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from pctstream.config import Config
from pctstream.core import ingest
from pctstream.core.block import Source
from pctstream.core.names import ROOT, Path, pipe_topic
from pctstream.core.tree import Turns
from pctstream.core.unit import Message, Unit
from pctstream.pipes import client
from pctstream.pipes.message import as_message


class Sampler:
    """Reads the input of a node, all partitions in turn: from these ``starts``, else from its start."""

    def __init__(
        self, cfg: Config, dimension: int, metric: str, starts: Mapping[int, int] | None = None,
        path: Path = ROOT,
    ) -> None:  # fmt: skip
        self._cfg = cfg
        self._dimension = dimension
        self._metric = metric
        self._path = path
        self._topic = pipe_topic(cfg.tree.name, path)
        # what was read there may be gone by the time somebody does it again
        reset = {"auto.offset.reset": "earliest"} if starts else {}
        self._consumer = Consumer(client.consumer(cfg, "tree") | reset)
        partitions = list(range(cfg.shards.count if path == ROOT else 1))
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
            self._turns.add(self._unit(Source(self._topic, partition), message))
        rows = self._turns.take(self._at_end)
        now = time.monotonic()
        if len(rows):
            self._moved = now
        return rows, now - self._moved >= self._cfg.tree.level_idle_s

    def _unit(self, source: Source, message: Message) -> Unit:
        before, at = message.offset - 1, message.offset
        if self._path != ROOT:
            return ingest.decode_pipe(source, [message], before, at, self._dimension)
        return ingest.decode(
            source, [message], before, at, self._dimension, self._metric, self._cfg.ingest.format,
            self._cfg.blocks.row_bytes,
        )  # fmt: skip

    def close(self) -> None:
        self._consumer.close()
