"""What a worker tells the others: absolute records on `.state`, and its own gauges.

Each shard sends one record of itself and one of each portion that changed: every half window, or as
soon as the rows stop coming, and never more than twice in a window, so that `.state` carries at most
2 x (portions + shards) records a window. A record is never a difference: losing or repeating one
changes nothing.
"""

from __future__ import annotations

import math
import time
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any

import orjson

from pctstream.agents.portions import Covers, portion_record
from pctstream.agents.rates import Rates
from pctstream.agents.shard import Shard, Turn
from pctstream.agents.tree import sink_message
from pctstream.core.block import Source
from pctstream.core.effects import Parcel
from pctstream.core.names import node_name
from pctstream.core.portion import Portion
from pctstream.core.trunk import Trunk
from pctstream.tables import Record, key_of

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker


QUIET_S = 0.3
"""Without a row for this long: what is known now will hold for a while, so it is told."""


class Reporter:
    """Makes and sends the records of one worker's shards."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._sent: dict[str, tuple[Any, ...]] = {}
        self._rates = Rates(worker.cfg.drift.window_s / 2)
        self._times: deque[float] = deque([-math.inf] * 2, maxlen=2)
        self._seen = (-1, 0.0)
        self._told = -1
        self._limits: set[str] = set()
        self._covers = Covers(worker.name, worker.model)

    def tick(self) -> None:
        """Report if it is time."""
        now, window = time.monotonic(), self._worker.cfg.drift.window_s
        at = sum(
            n.position.stored + n.position.routed + (n.version if isinstance(n, Portion) else 0)
            for s in list(self._worker.shards.values())
            for n in list(s.nodes.values())
        )
        if at != self._seen[0]:
            self._seen = (at, now)
        quiet = at != self._told and now - self._seen[1] >= QUIET_S
        if now - self._seen[1] >= QUIET_S:
            for shard in list(self._worker.shards.values()):
                for portion in shard.copies:
                    self._hurry(shard, portion)
        since = now - self._times[-1]
        # so that the next one, a window after the last but one, is no later than its heartbeat
        early = quiet and since >= window - self._worker.cfg.kafka.heartbeat_s
        if (early or since >= window / 2) and now - self._times[0] >= window:
            self._times.append(now)
            self._told = at
            self.report()

    def report(self) -> None:
        """Send what changed; every shard's own record always, as its heartbeat."""
        worker = self._worker
        if worker.fenced:
            return  # others may answer for these shards by now
        ends = worker.inputs.reader.ends()
        now = time.time()
        records: list[Record] = []
        for shard in list(worker.shards.values()):
            if shard.root is None:
                continue
            for portion in shard.portions:
                key = f"portion:{node_name(portion.path)}"
                since = worker.routing.since[portion.path]
                state = (portion, portion.version, since, worker.hosted_in)
                if self._sent.get(key) == state:
                    self._hurry(shard, portion)
                    continue
                record = self._portion(shard, portion, now)
                if record is not None:
                    covers = self._covers.of(shard, portion)
                    if covers is not None:  # else all of it is told again
                        self._sent[key] = state
                    self._name_limits(record)
                    records += [record, *(covers or ())]
            records.append(self.shard(shard, ends, now))
        parcels = [self.parcel(r) for r in records]
        if parcels:
            worker.writer.send(parcels, worker.monitor.told())

    def _name_limits(self, record: Record) -> None:
        """The first node here that each limit makes a sink is named; `pct_limit_reached` counts all.

        Those above the cut are named by the tree's author.
        """
        columns = record["nodes"]
        for path, rows, limit in zip(*(columns[c] for c in ("path", "rows", "limit")), strict=True):
            if limit and not record["trunk"] and limit not in self._limits:
                self._limits.add(limit)
                name = ",".join(filter(None, (record["portion"], path)))
                first = sink_message({"node": name, "rows": rows, "limit": limit})
                self._worker.tell(f"{first} (the first one here; pct_limit_reached counts them)")

    def _hurry(self, shard: Shard, portion: Portion) -> None:
        """No row comes to it: what it put off is done now."""
        if portion.waits:
            self._worker.enqueue(Turn(shard, portion, portion.hurry))

    def beat(self) -> None:
        """Send the shards' records alone: this worker lives."""
        if self._worker.fenced:
            return
        if parcels := [self.parcel(r) for r in self.shards().values()]:
            self._worker.writer.send(parcels, self._worker.monitor.told())

    def shards(self) -> dict[int, Record]:
        """The records of the shards hosted here, as of now."""
        ends, now = self._worker.inputs.reader.ends(), time.time()
        hosted = list(self._worker.shards.items())
        return {n: self.shard(s, ends, now) for n, s in hosted if s.root is not None}

    def portions(self, most: int | None = None) -> dict[str, Record]:
        """The records of the portions hosted here, as of now; ``most``: of so many nodes of each."""
        now = time.time()
        hosted = list(self._worker.shards.values())
        records = [self._portion(s, p, now, most) for s in hosted for p in s.portions]
        return {record["portion"]: record for record in records if record is not None}

    def _portion(
        self, shard: Shard, portion: Portion, now: float, most: int | None = None
    ) -> Record | None:
        name = node_name(portion.path)
        rate = self._rates.of(name, portion.rows, now)
        # what became of a promoted portion is told of it as of another
        log = self._worker.routing
        turned = log.promotions.epochs.get(portion.path, 0) if isinstance(portion, Trunk) else 0
        epoch = max(log.since[portion.path], turned)
        return portion_record(shard, portion, self._worker.host(), epoch, now, rate, most)

    def all_shards(self) -> dict[int, Record]:
        """Every shard's record: as it was told, and as of now for those hosted here."""
        return self._worker.model.shards() | self.shards()

    def one_shard(self, number: int) -> Record | None:
        """One shard's record, likewise; None where nothing is known of it."""
        shard = self._worker.shards.get(number)
        if shard is None or shard.root is None:
            return self._worker.model.shards().get(number)
        return self.shard(shard, self._worker.inputs.reader.ends(), time.time())

    def all_portions(self, most: int | None = None) -> dict[str, Record]:
        """Every portion's record, likewise; ``most``: of so many nodes of each that is here."""
        return self._worker.model.portions() | self.portions(most)

    def again(self, record: Record) -> None:
        """A lower record than one held was read: if it is of an entity here, tell it once more."""
        if record["worker"] != self._worker.name:
            self._sent.pop(key_of(record), None)

    def shard(self, shard: Shard, ends: dict[Source, int], now: float) -> Record:
        """The state of a shard: its inputs, its share of N0, what it counts."""
        root = shard.root
        assert root is not None
        portions = shard.portions
        rows = root.rows + sum(p.held_rows for p in portions)
        here = {node_name(p.path): p.rows for p in portions}
        here[f"N0 of {shard.number}"] = root.rows + root.gone
        inputs = self._inputs(shard, ends)
        return {
            "kind": "shard",
            "shard": shard.number,
            **self._worker.host(),
            "url": self._worker.url,
            "epoch": self._worker.routing.epoch,
            # of its ingest partition alone: portions come and go, and a sum over them would fall
            "offset": root.position.stored + root.position.routed,
            "time": now,
            "rows": rows,
            "bytes": sum(p.bytes for p in portions),
            "rate": sum(self._rates.of(name, came, now) for name, came in here.items()),
            "portions": [node_name(p.path) for p in portions],
            "shadows": sorted(map(node_name, shard.shadows)),
            "bloom": shard.blooms.told(),
            "inputs": [*inputs, *self._worker.bridge.inputs(shard.number)],
            "root": {
                "rows": root.rows,
                "state": root.mode,
                "held": root.held,
                **root.counts,
                "witness": root.witness.to_json(),
            },
            "metrics": {
                "rows": rows,
                "routed": root.routed_rows,
                "dead_letters": root.dead_rows + sum(p.dead_rows for p in portions),
            },
        }

    def _inputs(self, shard: Shard, ends: dict[Source, int]) -> list[dict[str, Any]]:
        inputs = []
        for path, node in sorted(shard.nodes.items()):
            source, at = shard.source(path), node.position
            broken = self._worker.inputs.broken.get(source)
            inputs.append(
                {
                    "node": node_name(path),
                    "topic": source.topic,
                    "partition": source.partition,
                    "stored": at.stored,
                    "routed": at.routed,
                    "end": ends.get(source, -1),
                    "epoch": at.epoch,
                    "shadow": path in shard.shadows,
                    "error": None if broken is None else str(broken),
                    **self._worker.monitor.known(shard.number, node_name(path)),
                }
            )
        return inputs

    def parcel(self, record: Record) -> Parcel:
        """A record as a message of `<tree>.state`."""
        topic = f"{self._worker.cfg.tree.name}.state"
        key = key_of(record).encode()
        partition = zlib.crc32(key) % self._worker.cfg.shards.count
        return Parcel(topic, partition, key, orjson.dumps(record), [])
