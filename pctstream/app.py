"""The Faust app of a worker: `faust -A pctstream.app worker -l info`, or `pctstream worker`.

Faust is the control plane: its group on `.shards` says which shards are here, partition 0 of
`.control` who writes the tree's history, and its agents and tables do the control work. Rows go
through the data plane (agents.worker), which this app starts, tells of every assignment, and stops.

The configuration comes from the environment, so that both commands start the same thing: PCT_CONFIG
names a file, PCT_DATA_DIR a data directory, PCT_SECTION__KEY a setting, PCT_WORKER this worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import faust
from faust.assignor.partition_assignor import PartitionAssignor
from faust.types import TP, StreamT

from pctstream import config, heap, stamp, trust
from pctstream.agents.assignor import assignor
from pctstream.agents.drift import DriftAgent
from pctstream.agents.moments import MomentAgent
from pctstream.agents.node import NodeAgents
from pctstream.agents.placement import PlacementAgent
from pctstream.agents.state import declare_state
from pctstream.agents.tree import TreeAuthor
from pctstream.agents.unindexed import patient
from pctstream.agents.worker import Worker
from pctstream.broker import announced
from pctstream.config import Config
from pctstream.core.names import ROOT
from pctstream.core.names import Path as NodePath
from pctstream.credentials import credentials
from pctstream.errors import BrokerUnreachable, PctError
from pctstream.http.server import Server
from pctstream.http.views import tree_view
from pctstream.kept import kept
from pctstream.known import known_portions

QUIET = {"aiokafka.conn": logging.INFO, "numba": logging.WARNING}
"""Whatever --loglevel says: debug would log every request, a password among them, and all compiling."""
TABLE_MEMORY = {"block_cache_size": 8 << 20, "write_buffer_size": 4 << 20, "max_open_files": 64}
"""Bytes, bytes, files of each RocksDB of a Faust table: S partitions x 5 tables must stay small."""


def configured(env: Mapping[str, str]) -> Config:
    """The configuration that the environment names, with the broker found."""
    file = env.get("PCT_CONFIG")
    overrides: dict[str, object] = {}
    if "PCT_DATA_DIR" in env:
        overrides["store.dir"] = env["PCT_DATA_DIR"]
    cfg = config.load(Path(file) if file else None, env, overrides)
    if not cfg.kafka.broker:
        broker = announced(Path(cfg.store.dir))
        if broker is None:
            raise BrokerUnreachable(
                f"no broker is named and none was started from {cfg.store.dir}: set PCT_BROKER, or "
                "run `pctstream up`"
            )
        cfg = config.load(Path(file) if file else None, env, {**overrides, "kafka.broker": broker})
    return cfg


class PctApp(faust.App):
    """Faust's app with the data plane beside it."""

    def __init__(self, cfg: Config, name: str) -> None:
        tree = cfg.tree.name
        warm: dict[str, Any] = {}
        if cfg.store.standby:
            warm["PartitionAssignor"] = self._warm(cfg)
        super().__init__(
            f"{tree}.workers",
            broker=[f"kafka://{b.strip()}" for b in cfg.kafka.broker.split(",")],
            broker_credentials=credentials(cfg.kafka.client),
            store="rocksdb://",
            datadir=str(Path(cfg.store.dir) / "workers" / name / "faust"),
            topic_partitions=cfg.shards.count,
            topic_replication_factor=1,
            # topics.py makes them all; to make one may be a right that a worker has not
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            value_serializer="raw",
            key_serializer="raw",
            table_standby_replicas=0,
            broker_session_timeout=cfg.kafka.session_timeout_s,
            # Faust refuses to start with a longer session than this
            broker_request_timeout=max(90.0, cfg.kafka.session_timeout_s),
            broker_heartbeat_interval=cfg.kafka.heartbeat_s,
            broker_rebalance_timeout=cfg.kafka.session_timeout_s,
            stream_wait_empty=False,
            consumer_group_instance_id=name,
            loghandlers=[],
            **warm,
        )
        self.cfg = cfg
        self.node_agents = NodeAgents(self, tree)
        self.data_plane = Worker(cfg, name, trust.url(cfg), self.node_agents)
        self.data_plane.generation = self._generation
        self.data_plane.rejoin = self._rejoin
        self._author: TreeAuthor | None = None
        self._drift: DriftAgent | None = None
        self._moments: MomentAgent | None = None
        self._placement: PlacementAgent | None = None
        self._server: Server | None = None
        self._declare(tree, cfg.shards.count)

    def _warm(self, cfg: Config) -> type[PartitionAssignor]:
        """Who hosts what where shards have warm copies."""
        topic, copies = f"{cfg.tree.name}.shards", cfg.store.standby
        return assignor(topic, copies, lambda: self.data_plane.standby.level())

    def _declare(self, tree: str, shards: int) -> None:
        def topic(kind: str) -> Any:
            return self.topic(f"{tree}.{kind}", partitions=shards, value_serializer="raw",
                              key_serializer="raw", internal=True)  # fmt: skip

        @self.agent(topic("shards"), name="shards")
        async def shards_(turns: StreamT[bytes]) -> None:
            """Its partitions say which shards this worker hosts; nothing is sent here."""
            async for _ in turns:
                pass

        @self.agent(topic("control"), name="tree")
        async def tree_(orders: StreamT[bytes]) -> None:
            """Whoever holds partition 0 writes the tree's history."""
            async for _ in orders:
                pass

        declare_state(self, topic("state"), TABLE_MEMORY, kept(self.cfg))
        self.declare_nodes([ROOT])
        self.on_partitions_assigned.connect(cast(Any, self._assigned))

    def declare_nodes(self, paths: list[NodePath]) -> None:
        """Agents for these nodes, so that `faust agents` lists them."""
        for path in paths:
            for shard in range(self.cfg.shards.count) if path == ROOT else (0,):
                self.node_agents.declare(path, shard)

    def finalize(self) -> None:
        """Before any command runs: the portions that the tree has already."""
        if not self.finalized:
            self.declare_nodes(known_portions(self.cfg))
        super().finalize()

    async def on_first_start(self) -> None:
        stamp.copied(Path(self.conf.datadir))
        consumer = cast(Any, self.consumer)
        consumer.callback = patient(consumer.callback, consumer.assignment, self.data_plane.tell)
        await super().on_first_start()

    async def on_start(self) -> None:
        await super().on_start()
        self.data_plane.start(asyncio.get_running_loop())
        self._server = Server(self.data_plane)
        self._server.start()

    async def on_stop(self) -> None:
        plane, server, author = self.data_plane, self._server, self._author
        for agent in (self._moments, self._drift, self._placement, author):
            if agent is not None:
                await asyncio.to_thread(agent.stop)
        if server is not None:
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(plane.stop)
        await super().on_stop()

    async def _assigned(self, _app: Any, assigned: Any, *_: Any, **__: Any) -> None:
        tree, plane = self.cfg.tree.name, self.data_plane
        plane.metrics.rebalances.inc()
        warm = self.assignor.assigned_standbys() if self.cfg.store.standby else ()
        plane.assign(*({tp.partition for tp in some if tp.topic == f"{tree}.shards"}
                       for some in (assigned, warm)))  # fmt: skip
        writes = TP(f"{tree}.control", 0) in assigned
        if writes and self._author is None:
            self._author = TreeAuthor(
                self.cfg, plane.routing, plane.model, plane.writer, plane.fatal, plane.metrics
            )
            self._drift, self._placement = DriftAgent(plane), PlacementAgent(plane)
            self._moments = MomentAgent(plane, lambda: tree_view(plane).summaries())
        elif not writes and self._author is not None:
            author, self._author = self._author, None
            drift, self._drift = self._drift, None
            placement, self._placement = self._placement, None
            moments, self._moments = self._moments, None
            if placement is not None:
                await asyncio.to_thread(placement.stop)
            await asyncio.to_thread(author.stop)
            for agent in (drift, moments):
                if agent is not None:
                    await asyncio.to_thread(agent.stop)

    def _rejoin(self) -> None:
        """Ask the group to assign its partitions anew; from any thread."""
        with contextlib.suppress(AttributeError):
            consumer: Any = self.consumer
            thread = consumer._thread
            thread.thread_loop.call_soon_threadsafe(thread._consumer._coordinator.request_rejoin)

    def _generation(self) -> int:
        """Of the group: unchanged means that nobody was rebalanced."""
        try:
            consumer: Any = self.consumer
            return int(consumer._thread._consumer._coordinator.generation)
        except AttributeError:
            return -1


def create(env: Mapping[str, str]) -> PctApp:
    """The app of the worker that this environment describes."""
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
    heap.bound()
    return PctApp(configured(env), env.get("PCT_WORKER", "worker-0"))


def __getattr__(name: str) -> Any:
    """``app`` is made when somebody asks for it: importing this module needs no broker."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        globals()["app"] = create(os.environ)
    except PctError as error:
        raise SystemExit(f"pctstream: {error}") from None
    return globals()["app"]
