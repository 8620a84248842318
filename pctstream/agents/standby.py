"""Warm copies of shards that other workers host (`store.standby`): shadows that stay.

A standby is a `Shard` whose nodes read the inputs that its owner reads, with readers and room of their
own, into a store of its own (`hosting`), by the same marks and watermarks. It is in no list that questions,
reports, proofs or commits look at, and it sends nothing (`follow`).

    the group gives a copy to this worker -> `assign` -> `tick`: opened, wired like a shard
    a record of the owner on `.state`     -> `heard`  -> what waited for its word is done
    the group gives the shard itself      -> `yield_to_owner`: the store goes to `Worker` as it is

Taking over is opening a shard whose store is already open: its nodes are restored from what is in it, so
nothing of what this copy believed beyond that counts, and their inputs are read on from there. A copy that
cannot go on (an input of it is broken) does not take over: the shard is opened as if there were none.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from pctstream.agents.bringing import Bringer
from pctstream.agents.follow import Follow, Uncounted
from pctstream.agents.inputs import Inputs
from pctstream.agents.perform import Limits
from pctstream.agents.shard import Shard
from pctstream.agents.wiring import anew, wire
from pctstream.core.handing import HandsDown
from pctstream.core.names import Path
from pctstream.errors import InputLost
from pctstream.pipes.room import Room
from pctstream.tables import Record

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker

CHECK_S = 3.0
LEVEL_MESSAGES = 1000
"""A copy that lacks no more than this is level: a second of a busy stream; it is not any more once it lacks
ten times that."""
EVEN = 2
"""Shards by which another worker hosts more than this one: then it may give one up."""


class Standbys:
    """The warm copies that one worker keeps."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.shards: dict[int, Shard] = {}
        self.wanted: frozenset[int] = frozenset()
        self._lost: deque[tuple[Shard, Path]] = deque()
        self._checked, self._told_at, self._asked_in = 0.0, 0.0, -1
        self._level: set[int] = set()

    def start(self) -> None:
        """Readers of their own, where this worker may have to keep copies at all."""
        worker, cfg = self._worker, self._worker.cfg
        if not cfg.store.standby:
            return
        limits, name = cfg.limits, f"{worker.name}-standby"
        self.room = Room(limits.rows_in_flight, limits.bytes_in_flight)
        self._inputs = Inputs(
            cfg, worker.routing, Uncounted(), worker.enqueue, self._failed, name, self.room, lambda: False,
        )  # fmt: skip
        self.performer = Follow(
            self._inputs.reader, worker.enqueue, worker.fatal, Limits(cfg.blocks.rows, cfg.blocks.bytes),
            limits.rows_in_flight, self._inputs.identity,
        )  # fmt: skip
        self._bringer = Bringer(worker, self.shards, self._inputs.whole)

    def _failed(self, reason: str, code: int = 1) -> None:
        """A copy whose log lacks rows is no reason to end: its owner has them, and is there."""
        if code != InputLost.exit_code:
            self._worker.fatal(reason, code)

    # which are here; all of this on the wiring's thread

    def assign(self, shards: frozenset[int]) -> None:
        """Of these shards this worker keeps copies, and of no others."""
        self.wanted, self._level = shards, self._level & shards
        for number in set(self.shards) - shards:
            self._close(number)

    def yield_to_owner(self, number: int) -> None:
        """This worker hosts the shard from now on: the store stays open for it, if the copy can go on."""
        shard = self.shards.get(number)
        if shard is None:
            return
        errors = [*self._errors(shard), *self._bringer.cut_off(shard)]
        self._unwire(shard)
        errors += self._bringer.writes(number)
        if errors:
            self._worker.hosting.spoil(number, "; ".join(errors))
            shard.close()
            return
        shard.rest()

    def _close(self, number: int) -> None:
        shard = self.shards[number]
        self._unwire(shard)
        self._worker.hosting.let_go(number)
        shard.close()

    def _unwire(self, shard: Shard) -> None:
        del self.shards[shard.number]
        self._inputs.remove(shard)
        self.performer.forget(shard)

    def tick(self) -> None:
        """Open, mend, copy and tell what is due."""
        worker, now = self._worker, time.monotonic()
        if not worker.cfg.store.standby:
            return
        opened = [n for n in sorted(self.wanted - set(self.shards)) if self._open(n)]
        while self._lost:
            self._restore(*self._lost.popleft())
        if opened or self._drop_lost():
            self.sync()
        self._inputs.read()
        if now - self._checked >= CHECK_S:
            self._checked = now
            self._inputs.check(self.shards.values())
        self._level = {n for n in self.shards if self._is_level(n)}
        if now - self._told_at >= worker.cfg.kafka.heartbeat_s and not worker.fenced:
            self._told_at = now
            if parcels := [worker.reporter.parcel(r) for r in self.records()]:
                worker.writer.send(parcels, self._acked)
            self._even_out()

    def _acked(self, reason: str | None) -> None:
        if reason is not None:
            self._worker.fatal(reason)

    def _open(self, number: int) -> bool:
        worker = self._worker
        told = worker.model.shards().get(number)
        if (
            told is None
            or told["worker"] == worker.name
            or told.get("generation", -1) < worker.hosted_in
        ):
            return False  # where its owner lies on this machine is not known yet
        store = worker.hosting.warm(number)
        if store is None:
            return False
        self.shards[number] = shard = worker.made(number, store)
        shard.standby = True
        self.heard(told)
        return True

    def sync(self) -> None:
        """What the routing gives the owner is read here too."""
        if self.shards:
            wire(self._worker, self.shards, self._inputs, self._bringer.copy)

    def _drop_lost(self) -> bool:
        """Portions whose pipes were cut where a copy had not read: they are to be brought anew."""
        found = [
            (shard, path) for shard in self.shards.values() for path, node in list(shard.nodes.items())
            if not isinstance(node, HandsDown)
            and isinstance(self._inputs.broken.get(shard.source(path)), InputLost)
        ]  # fmt: skip
        for shard, path in found:
            self._inputs.drop(shard, path)
            self.performer.forget(shard, path)
            shard.from_pipe.discard(path)
            shard.drop(path)
        return bool(found)

    def _restore(self, shard: Shard, path: Path) -> None:
        if self.shards.get(shard.number) is shard:
            self.performer.forget(shard, path)
            anew(self._worker, shard, path, self._inputs)

    def raised(self, shard: Shard, path: Path) -> None:
        """A node raised: it is restored soon."""
        self._lost.append((shard, path))

    # what is heard and told

    def heard(self, record: Record) -> None:
        """An owner told how far it is."""
        if shard := self.shards.get(int(record["shard"])):
            self.performer.heard(shard, record["inputs"])

    def lag(self, shard: Shard) -> int:
        """Messages of its inputs that it has not read; -1 while the broker has not said how far they go."""
        ends, lag = self._inputs.reader.ends(), 0
        for path, node in list(shard.nodes.items()):
            end = ends.get(shard.source(path), -1)
            if end < 0:
                return -1
            lag += max(0, end - 1 - node.position.taken)
        return lag if shard.nodes else -1

    def _errors(self, shard: Shard) -> list[str]:
        sources = {shard.source(path) for path in list(shard.nodes)}
        return [str(e) for s, e in self._inputs.broken.items() if s in sources]

    def _is_level(self, number: int) -> bool:
        shard = self.shards[number]
        whole = set(shard.nodes) >= set(self._worker.routing.roles(number))
        most = LEVEL_MESSAGES * (10 if number in self._level else 1)
        return whole and not self._errors(shard) and 0 <= self.lag(shard) <= most

    def level(self) -> set[int]:
        """The copies that could take over now."""
        return {n for n in self._level if n in self.shards}

    def records(self) -> list[Record]:
        """What is told of each copy here."""
        worker, level = self._worker, self.level()
        sizes = worker.hosting.warm_sizes()
        return [
            {
                "kind": "standby", "shard": number, **worker.host(), "epoch": worker.routing.epoch,
                "offset": time.time_ns() // 1_000_000, "time": time.time(), "lag": self.lag(shard),
                "level": number in level, "errors": self._errors(shard),
                "bytes": sizes.get(number, 0),
            }
            for number, shard in sorted(self.shards.copy().items())
        ]  # fmt: skip

    def _even_out(self) -> None:
        """Ask the group once more, once in each generation, if that would give this worker a shard."""
        worker = self._worker
        if self._asked_in == worker.hosted_in:
            return
        told = worker.model.shards()
        workers = {r["worker"] for r in told.values()}
        hosts = [r["worker"] for r in told.values() if r.get("generation", -1) >= worker.hosted_in]
        own = len(worker.assigned or ())
        most = {name for name in workers if hosts.count(name) >= own + EVEN}
        # one that was started again with this setting within the session timeout was given what it had
        none = self._asked_in < 0 and not self.wanted and len(workers) > 1
        if none or any(told[n]["worker"] in most for n in self.level()):
            self._asked_in = worker.hosted_in
            worker.rejoin()

    def close(self) -> None:
        """The worker ends."""
        for number in list(self.shards):
            self._close(number)
        if self._worker.cfg.store.standby:
            self._bringer.close()
            self._inputs.reader.close()
