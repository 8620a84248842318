"""The bridge of one worker: copies foreign partitions to the ingest partitions of the shards it hosts.

A partition is copied from behind what the shard's store says of it, else what the group
`<tree>.pipes` committed (which Kafka forgets with the topic), else from its log's start. Both are told
now and then of what the broker has acked, in order. Two workers that copy the same partition for a
while do no harm (`core.bridge`). New partitions, and topics that did not exist, are found by looking.

A partition stops, alone, where its log does not go on there, or is another one (R1).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import orjson
from confluent_kafka.admin import AdminClient

from pctstream.agents.crash import crash_points
from pctstream.agents.inputs import made_again
from pctstream.agents.letters import dead_letter
from pctstream.agents.perform import Limits
from pctstream.agents.shard import Shard
from pctstream.config import Config
from pctstream.core import bridge
from pctstream.core.block import Source
from pctstream.core.bridge import Copies
from pctstream.core.pending import Pending
from pctstream.core.position import UNKNOWN, LogIdentity, Position
from pctstream.core.unit import Unit
from pctstream.errors import BrokerUnreachable, InputBroken
from pctstream.metrics import Metrics
from pctstream.pipes import client
from pctstream.pipes.bounds import Commit, bounds, committed
from pctstream.pipes.input import Collect
from pctstream.pipes.reader import Reader
from pctstream.pipes.room import Load, Room
from pctstream.pipes.writer import Writer
from pctstream.store import Store
from pctstream.topics import Described, described

NODE = "bridge"
"""Where a view names the node that an input feeds."""


@dataclass(slots=True)
class Copying:
    """A foreign partition, and how far its copies are acked."""

    source: Source
    store: Store
    topic_id: str
    done: int
    pending: Pending = field(default_factory=Pending)


class Bridge:
    """Told by the wiring which shards are here; copies on its reader's thread."""

    def __init__(
        self, cfg: Config, writer: Writer, metrics: Metrics, wait: Callable[[], None],
        fatal: Callable[..., None], name: str, room: Room,
    ) -> None:  # fmt: skip
        self.broken: dict[Source, InputBroken] = {}
        self._cfg = cfg
        self._writer = writer
        self._metrics = metrics
        self._wait = wait
        self._fatal = fatal
        self._name = name
        self._room = room
        self._group = f"{cfg.tree.name}.pipes"
        self._admin = AdminClient(client.common(cfg, "bridge"))
        self._copying: dict[Source, Copying] = {}
        self._lock = threading.Lock()
        self._missing: set[str] = set()
        self._crash = crash_points()

    @cached_property
    def _reader(self) -> Reader:
        """Made when there is something to copy: most trees have no bridge."""
        cfg, limits = self._cfg, self._cfg.limits
        return Reader(
            client.consumer(cfg, f"{self._name}-bridge", self._group),
            collect=Collect(cfg.blocks.linger_ms / 1000.0, limits.unit_rows, limits.unit_bytes),
            room=self._room,
            channel_blocks=limits.channel_blocks,
            broken=self._stop,
            fatal=self._fatal,
        )

    def look(self, shards: Mapping[int, Shard]) -> None:
        """Copy every partition that goes to one of these shards, and no other."""
        if not self._cfg.ingest.topics:
            return
        try:
            self._look(described(self._admin, self._cfg.ingest.topics), shards)
        except BrokerUnreachable:
            return  # asked again soon

    def _look(self, found: Mapping[str, Described], shards: Mapping[int, Shard]) -> None:
        missing = set(self._cfg.ingest.topics) - set(found)
        ids = {topic: there.topic_id for topic, there in found.items()}
        for source, at in list(self._copying.items()):
            # a broker that starts may not know a topic yet: gone is what is missing twice
            gone = source.topic in missing & self._missing
            other = ids.get(source.topic, at.topic_id) != at.topic_id
            if source not in self.broken and (gone or other):
                self._stop(source, made_again(source))
        self._tell_missing(missing)
        count = self._cfg.shards.count
        wanted = {
            Source(topic, p)
            for topic, there in found.items()
            for p in range(there.partitions)
            if p % count in shards
        }
        for source in set(self._copying) - wanted - set(self.broken):
            if source.topic not in missing:
                self._drop(source)
        if fresh := sorted(wanted - set(self._copying)):
            self._add(fresh, shards, ids)

    def _add(self, fresh: list[Source], shards: Mapping[int, Shard], ids: dict[str, str]) -> None:
        reader = self._reader  # there before anybody is told of a partition
        logs = bounds(self._admin, fresh)
        told = committed(self._admin, self._group, fresh)
        for source in fresh:
            if source not in logs:
                continue  # not led by anybody yet: the next look finds it
            log, topic_id, count = logs[source], ids[source.topic], self._cfg.shards.count
            store = shards[source.partition % count].store
            after, was = store.position(source) or _told(told.get(source))
            at = Copying(source, store, topic_id, after.routed if was else log[0] - 1)
            self._copying[source] = at
            if was and (error := _broken(source, log, at.done, was, topic_id)):
                self._stop(source, error)
                continue
            epoch = was.leader_epoch if was else -1
            self._write(at)
            copies = partial(bridge.copies, self._cfg.tree.name, count, source)
            reader.add(source, at.done, copies, self._copy, epoch)

    def drop(self, shard: int) -> None:
        """It is somebody else's now."""
        for source in self._of(shard):
            self._drop(source)

    def sources(self, shard: int) -> list[Source]:
        """The foreign partitions that are copied to this shard."""
        return self._of(shard) if self._copying else []

    def _of(self, shard: int) -> list[Source]:
        count = self._cfg.shards.count
        return sorted(s for s in list(self._copying) if s.partition % count == shard)

    def _drop(self, source: Source) -> None:
        self._reader.remove(source)
        with self._lock:
            self._copying.pop(source, None)
        self.broken.pop(source, None)

    def _stop(self, source: Source, error: InputBroken) -> None:
        self.broken[source] = error
        self._reader.remove(source)
        os.write(2, f"pctstream worker {self._name}: {error}\n".encode())

    def _tell_missing(self, missing: set[str]) -> None:
        for topic in sorted(missing - self._missing):
            os.write(2, f"pctstream worker {self._name}: there is no topic {topic} yet "
                        "(ingest.topics): it is bridged when it appears\n".encode())  # fmt: skip
        self._missing = missing

    # copying, on the reader's thread; acks come on the writer's

    def _copy(self, unit: Unit, load: Load) -> None:
        assert isinstance(unit, Copies)
        self._wait()
        at = self._copying.get(unit.source)
        if at is None:
            load.leave()
            return
        topic, most = f"{self._cfg.tree.name}.dlq", Limits().message_bytes
        letters = [dead_letter(topic, d, most) for d in unit.dead]
        for letter in unit.dead:
            self._metrics.dead(letter.code)
        self._metrics.stage("bridged", len(unit.parcels))
        with self._lock:
            at.pending.add(unit.last, unit.last)
        self._crash.passing("before-copied")
        if parcels := [*unit.parcels, *letters]:
            self._writer.send(parcels, partial(self._acked, at, unit, load))
        else:
            self._acked(at, unit, load, None)

    def _acked(self, at: Copying, unit: Unit, load: Load, reason: str | None) -> None:
        if reason is not None:
            self._fatal(f"the bridge could not copy: {reason}")
            return
        self._crash.passing("after-copied")
        with self._lock:
            at.pending.finish(unit.last)
            at.done = max([at.done, *at.pending.drain()])
        load.leave()

    # what others may know

    def commit(self) -> None:
        """Tell the stores and the group how far each partition is copied."""
        going = [at for source, at in self._copying.items() if source not in self.broken]
        positions = [(at.source, at.done + 1, self._write(at)) for at in going if at.done >= 0]
        if positions:
            self._reader.commit(positions)

    def _write(self, at: Copying) -> str:
        log = LogIdentity(at.topic_id, self._reader.leader_epoch(at.source))
        at.store.reach(at.source, Position(routed=at.done), log)
        return orjson.dumps(log._asdict()).decode()

    def inputs(self, shard: int) -> list[dict[str, Any]]:
        """The foreign partitions that are copied to this shard, as views tell of inputs."""
        told = []
        for source in self._of(shard):
            at, broken = self._copying.get(source), self.broken.get(source)
            if at is not None:
                told.append({
                    "node": NODE, "topic": source.topic, "partition": source.partition,
                    "stored": -1, "routed": at.done, "end": self._reader.ends().get(source, -1),
                    "epoch": 0, "error": None if broken is None else str(broken),
                    "moved": None, "restarts": 0, "stalled": None,
                })  # fmt: skip
        return told

    def close(self) -> None:
        if "_reader" in self.__dict__:
            self._reader.close()


def _told(commit: Commit | None) -> tuple[Position, LogIdentity | None]:
    if commit is None:
        return Position(), None
    log = {**UNKNOWN._asdict(), **commit.note}
    return Position(routed=commit.offset), LogIdentity(log["topic_id"], log["leader_epoch"])


def _broken(
    source: Source, log: tuple[int, int], after: int, was: LogIdentity, topic_id: str
) -> InputBroken | None:
    """Why the log does not go on where copying stopped, if so."""
    if was.topic_id and was.topic_id != topic_id:
        return made_again(source)
    low, high = log
    if low > after + 1 or high < after + 1:
        return InputBroken(
            f"{source.topic}[{source.partition}] holds offsets {low} to {high}, but it was copied up to "
            f"{after}: rows are gone that were not copied; restore the topic, or bridge another one"
        )
    return None
