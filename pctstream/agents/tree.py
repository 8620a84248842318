"""The tree agent: the single writer of `<tree>.routing`.

It runs on the worker that holds partition 0 of `.control`. It keeps nothing: each step looks at the
routing it has read back, asks the pure `Author` what comes next, does it, and waits until the record
has come back accepted before it goes on (R5). Topics come before the record that needs them, and are
made idempotently, so an author that dies anywhere is simply done again.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import orjson
from confluent_kafka import Message as KafkaMessage
from confluent_kafka.admin import AdminClient

from pctstream import topics
from pctstream.agents.reopening import Reopening
from pctstream.agents.sampler import Sampler
from pctstream.config import Config
from pctstream.core.between import FENCE, fence_message
from pctstream.core.coverage import least_limit
from pctstream.core.effects import Parcel
from pctstream.core.mover import Mover, SendFence
from pctstream.core.moves import ABORTED, DONE
from pctstream.core.names import ROOT, Path, pipe_topic
from pctstream.core.records import order_record
from pctstream.core.routing import Routing
from pctstream.core.tree import Author
from pctstream.core.widths import majority, widths
from pctstream.errors import BrokerUnreachable, Refused
from pctstream.metrics import Metrics
from pctstream.pipes import client
from pctstream.pipes.log import Follower
from pctstream.pipes.writer import Writer
from pctstream.tables import ReadModel, readable

SAMPLE_ROWS = 100
"""Rows whose majority fixes the dimension (DESIGN 4.3)."""
READ_BACK_S = 10.0


class TreeAuthor:
    """A thread that writes the tree's history while this worker is the one to do so."""

    def __init__(
        self, cfg: Config, log: Routing, model: ReadModel,
        writer: Writer, fatal: Callable[..., None], metrics: Metrics,
    ) -> None:  # fmt: skip
        self._cfg = cfg
        self._model = model
        self._log = log
        self._writer = writer
        self._fatal = fatal
        self._metrics = metrics
        self._admin = AdminClient(client.common(cfg, "tree"))
        self._orders: list[tuple[int, dict[str, Any]]] = []
        self._control = Follower(
            client.consumer(cfg, "control"), f"{cfg.tree.name}.control", self._on_order, fatal
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tree", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(10.0)
        self._control.close()

    def _on_order(self, message: KafkaMessage) -> None:
        if message.partition() == 0 and (order := readable(message.value())):
            self._orders.append((int(message.offset() or 0), order))

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                # a step that the broker did not answer is taken again: it is away, or starts
                with suppress(BrokerUnreachable):
                    self._write()
                self._stopping.wait(0.5)
        except Exception as error:
            if not self._stopping.is_set():
                code = error.exit_code if isinstance(error, Refused) else 1
                self._fatal(f"the tree agent failed: {error}", code)

    def _write(self) -> None:
        name = uuid.uuid4().hex
        cfg = self._cfg
        capacities = {s: float(cfg.shards.capacity.get(s, 1.0)) for s in range(cfg.shards.active)}
        author = Author(settings(cfg), capacities, name)
        sampler: Sampler | None = None
        reopening = Reopening(
            cfg, self._log, self._model, self._writer, author, self._append, self._make
        )
        mover = Mover(name, cfg.moves.concurrent, cfg.moves.grace_s)
        try:
            while not self._stopping.is_set():
                if self._answer(name):
                    continue
                match author.wants(self._log):
                    case "dimension":
                        self._append(author.first_record(self._dimension()))
                    case "rows":
                        if sampler is None:
                            sampler = Sampler(cfg, self._log.dimension, self._log.metric)
                        author.sample(*sampler.read())
                    case "append":
                        for record in author.records(self._log):
                            if not self._append(record):
                                # somebody else's record counted: begin again, from the log's start
                                author, sampler = Author(settings(cfg), capacities, name), None
                                break
                    case "topics":
                        self._open(author, ROOT)
                    case "level":
                        busy = reopening.step()
                        if not (self._grow(author) or self._move(mover) or busy):
                            self._stopping.wait(0.25)
                    case _:
                        self._stopping.wait(0.5)
        finally:
            if sampler is not None:
                sampler.close()
            reopening.close()

    def _open(self, author: Author, path: Path) -> bool:
        """The topics first, then the record that puts them in use."""
        self._make([(*path, i) for i in range(self._log.covers[path].k)])
        return self._append(author.split(self._log, path, self._model.portions()))

    def _make(self, paths: Sequence[Path]) -> None:
        """The topics of the pipes of these nodes, unless they are there."""
        names = [pipe_topic(self._cfg.tree.name, path) for path in paths]
        topics.apply(self._admin, [topics.pipe_spec(self._cfg, n) for n in names])
        self._writer.prime()

    def _grow(self, author: Author) -> bool:
        """The next step below N0: whether there was one."""
        covers, portions = self._model.covers(), self._model.portions()
        step, path = author.trunk(self._log, covers, portions)
        if step == "topics":
            return self._open(author, path)
        if step == "refuse":
            return self._append(author.not_promoted(self._log, path, portions))
        if step == "append":
            records = author.trunk_records(self._log, path, covers[path])
            return all(self._append(record) for record in records)
        record = author.levels.look(self._log, portions, time.monotonic())
        return record is not None and self._append(record)

    def _answer(self, name: str) -> bool:
        """The next order gets its record: whether there was one."""
        while self._orders and self._orders[0][0] <= self._log.orders.at:
            del self._orders[0]
        if not self._orders or not self._log.tree:
            return False
        at, order = self._orders[0]
        return self._append(order_record(order, at, self._log.seq + 1, name))

    def _move(self, mover: Mover) -> bool:
        """The next step of a move: whether there was one."""
        reports, portions = self._model.moves(), self._model.portions()
        step = mover.look(self._log, reports, portions, time.monotonic())
        if isinstance(step, SendFence):
            topic = pipe_topic(self._cfg.tree.name, step.portion)
            value = fence_message(step.move, self._log.position)
            header = ("pct-type", FENCE.encode())
            self._writer.append(Parcel(topic, 0, None, value, [header]))
        elif step is not None and self._append(step):
            self._tell(step)
        return step is not None

    def _tell(self, step: dict[str, Any]) -> None:
        if step.get("stage") in (DONE, ABORTED):
            move = self._log.moves.of(step["move"])
            took = move.history[-1]["time"] - move.history[0]["time"]
            if move.stage == DONE:
                self._metrics.move_seconds.observe(took)
            else:
                os.write(2, f"pctstream: move {move.id} was aborted: {move.why}\n".encode())

    def _append(self, record: dict[str, Any]) -> bool:
        """Append, and wait until it was read back; whether it is ours that counted."""
        if record["type"] == "sink":
            os.write(2, f"pctstream: {sink_message(record)}\n".encode())
        topic = f"{self._cfg.tree.name}.routing"
        self._writer.append(Parcel(topic, 0, None, orjson.dumps(record), []))
        deadline = time.monotonic() + READ_BACK_S
        while self._log.seq < record["seq"] and not self._stopping.is_set():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return self._log.authors.get(record["seq"]) == str(record["author"])

    def _dimension(self) -> int:
        if self._cfg.tree.dimension:
            return self._cfg.tree.dimension
        sampler = Sampler(self._cfg, 0, "euclidean")
        try:
            shown: list[int] = []
            idle_since = time.monotonic()
            while not self._stopping.is_set():
                found = sampler.messages()
                for _, message in found:
                    shown += widths(message, self._cfg.blocks.row_bytes)
                now = time.monotonic()
                idle_since = now if found else idle_since
                idle = now - idle_since >= self._cfg.tree.level_idle_s
                if len(shown) >= SAMPLE_ROWS or (shown and idle):
                    return majority(shown[:SAMPLE_ROWS])
        finally:
            sampler.close()
        raise InterruptedError("stopped before the dimension was known")


def sink_message(record: dict[str, Any]) -> str:
    """What to tell the people whose node is not expanded."""
    limit = record["limit"]
    key = "tree.sink_rows" if limit == "sink_rows" else f"limits.{limit}"
    return (
        f"{record['node']} is a sink after {record['rows']} rows: its cover would exceed {key}. Its "
        "rows stay there, stored and searchable; a larger tree.epsilon gives a smaller cover"
    )


def settings(cfg: Config) -> dict[str, Any]:
    """What the author needs of the configuration."""
    tree = cfg.tree
    return {
        "tree": tree.name,
        "dimension": tree.dimension,
        "metric": tree.metric,
        "epsilon": tree.epsilon,
        "epsilon_ratio": tree.epsilon_ratio,
        "fanout": tree.fanout,
        "gap": tree.gap,
        "sink_rows": tree.sink_rows,
        "stop": tree.stop,
        "kmeans_iterations": tree.kmeans_iterations,
        "balance": tree.balance,
        "miss_limit": least_limit(tree.gap) if tree.miss_limit == "auto" else tree.miss_limit,
        "miss_cooldown": tree.miss_cooldown,
        "half_life_s": tree.half_life_s,
        "sink_scans": tree.sink_scans,
        "fold_share": tree.fold_share,
        "level_rows": tree.level_rows,
        "level_idle_s": tree.level_idle_s,
        "level_timeout_s": tree.level_timeout_s,
        "max_level": tree.max_level,
        "cut": tree.cut,
        "seed": tree.seed,
        "shards": cfg.shards.count,
        "prototypes": cfg.limits.prototypes,
        "nodes": cfg.limits.nodes,
        "topics": cfg.limits.topics,
    }
