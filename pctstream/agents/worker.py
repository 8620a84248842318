"""The data plane of one worker: its shards, what feeds them, and what they tell the others.

Faust says which shards are here (`assign`); the routing log says which nodes they have (`_sync`). One
thread does all of this wiring, so that it happens in one order; rows never wait for it.

    Follower(.routing) -> Routing -> _sync: nodes restored, agents started, inputs added
    Reader -> Turn(feed) -> node agent -> Performer -> Store, Writer -> Turn(delivered)
    Follower(.state)  -> ReadModel -> Turn(owner_applied)
    every half window: Reporter -> .state
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import orjson
from confluent_kafka import Message as KafkaMessage
from confluent_kafka.admin import AdminClient

from pctstream.agents.hosting import Hosting
from pctstream.agents.node import NodeAgents
from pctstream.agents.perform import CrashPoints, Limits, Performer
from pctstream.agents.report import Reporter
from pctstream.agents.shard import Shard, Turn, node_path
from pctstream.config import Config
from pctstream.core import ingest
from pctstream.core.block import Source
from pctstream.core.marks import Marks
from pctstream.core.names import Path, node_path as path_of
from pctstream.core.routing import ROOT, Routing
from pctstream.core.unit import Message, Unit
from pctstream.errors import DeliveryFailed, InputBroken, PctError, StoreFailed
from pctstream.metrics import Metrics
from pctstream.pipes import client
from pctstream.pipes.bounds import bounds, committed
from pctstream.pipes.log import Follower
from pctstream.pipes.reader import Reader
from pctstream.pipes.writer import Writer
from pctstream.tables import ReadModel, Record
from pctstream.topics import topic_ids

TICK_S = 0.25
TOPIC_CHECK_S = 3.0
COMMIT_S = 2.0
CATCH_UP_S = 60.0


class Worker:
    """Hosts shards; everything here but Faust."""

    def __init__(self, cfg: Config, name: str, url: str, agents: NodeAgents) -> None:
        self.cfg = cfg
        self.name = name
        self.url = url
        self.metrics = Metrics()
        self.routing = Routing()
        self.model = ReadModel()
        self.broken: dict[Source, InputBroken] = {}
        self.generation: Callable[[], int] = lambda: -1
        self.shards: dict[int, Shard] = {}
        self.fatal_reason: str | None = None
        self._agents = agents
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._hosting = Hosting(cfg, name)
        self._assigned: set[int] | None = None
        self._read: set[tuple[int, Path]] = set()
        self._due = dict.fromkeys(("topics", "commit", "report"), 0.0)
        self._beat = time.monotonic()

    # life

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin following the logs; shards come by `assign`."""
        self._loop = loop
        cfg = self.cfg
        self._admin = AdminClient(client.common(cfg, "admin"))
        self.writer = Writer(client.producer(cfg, self.name), self.fatal)
        self.reader = Reader(
            client.consumer(cfg, self.name, f"{cfg.tree.name}.pipes"),
            linger_s=cfg.blocks.linger_ms / 1000.0,
            unit_bytes=cfg.limits.unit_bytes,
            unit_rows=cfg.limits.unit_rows,
            rows_in_flight=cfg.limits.rows_in_flight,
            broken=self._input_broken,
            fatal=self.fatal,
        )
        self._performer = Performer(
            self.writer, self.reader, self.metrics, self.enqueue, self.fatal,
            Limits(cfg.blocks.rows, cfg.blocks.bytes),
            _crash_points(),
        )  # fmt: skip
        self._reporter = Reporter(self)
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="turn")
        self._agents.bind(self.take, self._pool)
        tree = cfg.tree.name
        self._logs = [
            Follower(client.consumer(cfg, f"{self.name}-routing"), f"{tree}.routing",
                     self._on_routing, self.fatal),
            Follower(client.consumer(cfg, f"{self.name}-state"), f"{tree}.state",
                     self._on_state, self.fatal),
        ]  # fmt: skip
        self._thread = threading.Thread(target=self._run, name="wiring", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let go of everything, in the order it depends on each other."""
        self._closing.set()
        self._thread.join(15.0)
        self.reader.close()
        self.writer.close()
        for log in self._logs:
            log.close()
        self._pool.shutdown(wait=True)
        for shard in self.shards.values():
            shard.store.close()

    def fatal(self, reason: str) -> None:
        """End this process: nothing after this moment may count as done (R2)."""
        if self._closing.is_set():
            return
        self.fatal_reason = reason
        os.write(2, f"pctstream worker {self.name}: {reason}\n".encode())
        os._exit(1)

    def assign(self, shards: set[int]) -> None:
        """These shards are this worker's now, and no others."""
        self._order(partial(self._assign, shards))

    @property
    def ready(self) -> str | None:
        """None when this worker serves, else why it does not."""
        if not all(log.caught_up for log in self._logs):
            return "reading the logs"
        if self._assigned is None:
            return "not in the group yet"
        if self._assigned != set(self.shards):
            return "opening shards"
        if self.broken:
            return "; ".join(str(e) for e in self.broken.values())
        if time.monotonic() - self._beat > self.cfg.kafka.session_timeout_s:
            return "stalled longer than the session timeout"
        return None

    def current_shards(self) -> dict[int, Record]:
        """Every shard's record: as reported, and as they are now for those hosted here."""
        return self.model.shards() | self._reporter.shards()

    # turns

    def enqueue(self, turn: Turn) -> None:
        """Put a turn on its node's channel, from any thread."""
        self._loop.call_soon_threadsafe(self._agents.put, turn)

    def take(self, turn: Turn) -> None:
        """What a node agent does with a turn, in a thread."""
        try:
            with self.metrics.apply_seconds.time():
                self._performer.take(turn)
        except (StoreFailed, DeliveryFailed) as error:
            self.fatal(str(error))
        except Exception:
            self.metrics.restarts.inc()
            self._order(partial(self._restore, turn.shard, node_path(turn.node)))
            raise
        finally:
            if turn.unit is not None:
                self.reader.release(len(turn.unit))

    # wiring, on one thread

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.put(order)

    def _run(self) -> None:
        try:
            for log in self._logs:
                log.wait(CATCH_UP_S)
            while not self._closing.is_set():
                self._beat = time.monotonic()
                try:
                    self._orders.get(timeout=TICK_S)()
                except queue.Empty:
                    pass
                self._tick()
        except PctError as error:
            self.fatal(str(error))
        except Exception as error:
            self.fatal(f"wiring failed: {error!r}")

    def _tick(self) -> None:
        now = time.monotonic()
        for task, interval, act in (
            ("topics", TOPIC_CHECK_S, self._check_topics),
            ("commit", COMMIT_S, self._commit),
            ("report", self.cfg.drift.window_s / 2, self._reporter.report),
        ):
            if now - self._due[task] >= interval:
                self._due[task] = now
                act()
        if self._assigned is not None and self._assigned != set(self.shards):
            self._open()

    def _assign(self, shards: set[int]) -> None:
        self._assigned = shards
        for number in set(self.shards) - shards:
            self._drop(number)
        self._open()

    def _open(self) -> None:
        for number in sorted((self._assigned or set()) - set(self.shards)):
            store = self._hosting.open(number)
            if store is None:
                continue
            self.shards[number] = Shard(
                number, self.cfg.tree.name, store, self.cfg.tree.sink_rows
            )
        self._sync()

    def _drop(self, number: int) -> None:
        shard = self.shards.pop(number)
        for path in list(shard.nodes):
            self.reader.remove(shard.source(path))
            self.broken.pop(shard.source(path), None)
            self._read.discard((number, path))
        shard.nodes.clear()
        self._hosting.close(number, shard.store)

    def _sync(self) -> None:
        """Every node the routing gives a shard here is restored, has its agent and its input."""
        fresh: list[tuple[Shard, Path]] = []
        for shard in self.shards.values():
            fresh += [(shard, path) for path in shard.sync(self.routing)]
        if fresh:
            paths = [path for _, path in fresh]
            asyncio.run_coroutine_threadsafe(self._agents.start(paths), self._loop).result(60.0)
            ids = topic_ids(self._admin, {s.source(p).topic for s, p in fresh})
            self._performer.topic_ids = {**self._performer.topic_ids, **ids}
        for shard in self.shards.values():
            if (root := shard.root) is not None:
                self.enqueue(Turn(shard, root, partial(shard.adopt, self.routing)))
        self._read_inputs(fresh)

    def _read_inputs(self, fresh: list[tuple[Shard, Path]]) -> None:
        sources = {s.source(p) for s, p in fresh}
        logs = bounds(self._admin, sources)
        group = f"{self.cfg.tree.name}.pipes"
        told = committed(self._admin, group, [s.source(p) for s, p in fresh if p == ROOT])
        for shard, path in fresh:
            source = shard.source(path)
            self._read_input(shard, path, logs.get(source, (0, -1)), told.get(source))

    def _read_input(
        self, shard: Shard, path: Path, log: tuple[int, int], told: int | None
    ) -> None:
        """R1: where reading starts, or why it cannot."""
        source, node = shard.source(path), shard.nodes[path]
        found = shard.store.position(source)
        known = self._performer.topic_ids.get(source.topic)
        low, high = log
        after = node.position.taken
        if found is None:
            after = low - 1 if told is None else told - 1
            shard.begin(after, path)
        elif found[1] and known != found[1]:
            self._input_broken(source, InputBroken(_other_topic(source)))
            return
        elif high < after + 1 or low > after + 1:
            self._input_broken(source, InputBroken(
                f"{source.topic}[{source.partition}] holds offsets {low} to {high}, but the store "
                f"goes on at {after + 1}: rows are missing from this log; restore it or remove the "
                "shard's store to rebuild"))  # fmt: skip
            return
        self._read.add((shard.number, path))
        self.reader.add(source, after, self._decoder(source, path), partial(self._feed, shard, path))

    def _decoder(self, source: Source, path: Path) -> Callable[..., Unit]:
        if path != ROOT:
            return partial(ingest.decode_pipe, source)
        log, assumed = self.routing, self.cfg.ingest.format

        def decode(messages: Sequence[Message], prev: int, last: int) -> Unit:
            return ingest.decode(source, messages, prev, last, log.dimension, log.metric, assumed)

        return decode

    def _feed(self, shard: Shard, path: Path, unit: Unit) -> None:
        node = shard.nodes.get(path)
        if node is None:
            self.reader.release(len(unit))
            return
        self.metrics.stage("read", len(unit))
        self.enqueue(Turn(shard, node, partial(node.feed, unit), unit))

    def _restore(self, shard: Shard, path: Path) -> None:
        if self.shards.get(shard.number) is not shard:
            return
        node = shard.restore(path, self.routing)
        if path == ROOT:
            self.enqueue(Turn(shard, node, partial(shard.adopt, self.routing)))
        self.reader.reread(shard.source(path), node.position.taken + 1)

    def _input_broken(self, source: Source, error: InputBroken) -> None:
        self.broken[source] = error
        self.reader.remove(source)
        os.write(2, f"pctstream worker {self.name}: {error}\n".encode())

    def _check_topics(self) -> None:
        """An input whose topic was made again stops, alone (R1)."""
        known = self._performer.topic_ids
        topics = {s.source(p).topic for s in self.shards.values() for p in s.nodes}
        if not topics:
            return
        now = topic_ids(self._admin, topics)
        for shard in self.shards.values():
            for path in list(shard.nodes):
                source = shard.source(path)
                if source in self.broken or now.get(source.topic) == known.get(source.topic):
                    continue
                self._input_broken(source, InputBroken(_other_topic(source)))

    def _commit(self) -> None:
        positions = []
        for shard in self.shards.values():
            for path, node in list(shard.nodes.items()):
                at = node.position
                done = at.routed if path == ROOT else at.stored
                if done >= 0:
                    note = orjson.dumps({"epoch": at.epoch}).decode()
                    positions.append((shard.source(path), done + 1, note))
        self.reader.commit(positions)

    # followed logs

    def _on_routing(self, message: KafkaMessage) -> None:
        record = orjson.loads(message.value() or b"{}")
        time_s = message.timestamp()[1] / 1000.0
        if self.routing.fold(record, int(message.offset() or 0), time_s):
            self._order(self._sync)

    def _on_state(self, message: KafkaMessage) -> None:
        if message.value() is None:
            return
        record = self.model.fold(message.value() or b"")
        if record is None:
            self._reporter.again(message.value() or b"")
        elif record["kind"] == "portion":
            marks = Marks.from_json(record["marks"])
            path = path_of(record["portion"])
            for shard in list(self.shards.values()):
                if (root := shard.root) is not None:
                    self.enqueue(Turn(shard, root, partial(root.owner_applied, path, marks)))


def _other_topic(source: Source) -> str:
    return (
        f"{source.topic} was deleted and made again: its rows are not those the store has read; "
        "this input stopped, restore the topic or rebuild the tree"
    )


def _crash_points() -> CrashPoints:
    def raise_once() -> None:
        raise RuntimeError("PCT_RAISE_AT: a node agent raises with a block in hand")

    if text := os.environ.get("PCT_RAISE_AT"):
        return CrashPoints(text, raise_once)
    return CrashPoints(os.environ.get("PCT_CRASH_AT", ""))
