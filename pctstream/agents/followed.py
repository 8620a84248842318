"""The logs that every worker follows: `.routing` into its routing, `.state` into its read model."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from confluent_kafka import Message as KafkaMessage

from pctstream.agents.shard import Shard, Turn
from pctstream.core import names
from pctstream.core.handing import HandsDown
from pctstream.core.marks import Marks
from pctstream.core.namesake import Namesake
from pctstream.pipes import client
from pctstream.pipes.log import Follower
from pctstream.tables import Record, readable, told

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker


class Followed:
    """Folds both, and tells the worker's nodes what concerns them."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        tree = worker.cfg.tree.name
        self._names = Namesake(worker.name, worker.host()["began"], time.monotonic())
        self._logs: list[Follower] = []
        self._logs = [
            Follower(
                client.consumer(worker.cfg, f"{worker.name}-{kind}"), f"{tree}.{kind}", fold,
                worker.fatal,
            )
            for kind, fold in (("routing", self._on_routing), ("state", self._on_state))
        ]  # fmt: skip

    @property
    def caught_up(self) -> bool:
        """What they held when this worker began has been read."""
        return bool(self._logs) and all(log.caught_up for log in self._logs)

    def wait(self, timeout_s: float) -> None:
        for log in self._logs:
            log.wait(timeout_s)

    def close(self) -> None:
        for log in self._logs:
            log.close()

    def _on_routing(self, message: KafkaMessage) -> None:
        worker, record = self._worker, readable(message.value())
        time_s = message.timestamp()[1] / 1000.0
        if record and worker.routing.fold(record, int(message.offset() or 0), time_s):
            worker.resync()

    def _on_state(self, message: KafkaMessage) -> None:
        worker, said = self._worker, told(message.value())
        if not said:
            return
        if said.get("kind") == "shard" and self.caught_up:
            self._namesake(said)
        worker.monitor.heard(said)
        record = worker.model.fold(said)
        if record is None:
            worker.reporter.again(said)
        elif record["kind"] == "portion":
            for shard in [*worker.shards.copy().values(), *worker.standby.shards.copy().values()]:
                self.owner_applied(shard, record)
        elif record["kind"] == "shard":
            worker.standby.heard(record)

    def _namesake(self, said: Record) -> None:
        now, began = time.monotonic(), float(said.get("began", 0.0))
        if began and self._names.heard(str(said["worker"]), began, now):
            self._worker.fatal(
                f"another worker of the tree {self._worker.cfg.tree.name} is at work under this name "
                f"({said['url']}): this one ends; name another with --name, or another tree",
                2,
            )

    def owner_applied(self, shard: Shard, record: Record) -> None:
        """What a portion's owner has, for the node above it that may hold rows of it."""
        path = names.node_path(record["portion"])
        parent = shard.nodes.get(path[:-1])
        if isinstance(parent, HandsDown) and parent.stored_rows:
            marks = Marks.from_json(record["marks"])
            turn = Turn(shard, parent, partial(parent.owner_applied, path, marks))
            self._worker.enqueue(turn)
