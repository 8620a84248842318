"""Somebody who takes snapshots of shards now and then, and what stores are made of them."""

from __future__ import annotations

import random
from typing import NamedTuple

from sim.memory import MemoryKV

from pctstream.core.block import Source
from pctstream.core.names import ROOT, Path
from pctstream.core.root import Done
from pctstream.core.routing import Routing
from pctstream.pairs import Incoming, Pair
from pctstream.snapshots.moment import LAST, answered_for, only, taken, without
from pctstream.store import Store

TREE = "pct"


class File(NamedTuple):
    """A shard at some moment, and behind which commit N0 had begun in that store."""

    pairs: list[Pair]
    nodes: set[Path]
    base: Done


class Keeper:
    """One file of each shard at most, each of a moment of its own."""

    def __init__(self, seed: int, faults: bool) -> None:
        # so that the seeds that `test_sim` knows by what happens in them (STRUCK) have no snapshots
        self._chance = random.Random(f"snapshots5796 {seed}")
        self._often = self._chance.choice([0.0, 0.01, 0.05]) if faults else 0.0
        self._files: dict[int, File] = {}
        self.restored = 0

    def due(self, shards: int) -> int:
        """1 + the shard of which a snapshot is taken now, or 0."""
        due = self._often and self._chance.random() < self._often
        return 1 + self._chance.randrange(shards) if due else 0

    def keep(self, number: int, kv: MemoryKV, base: Done, log: Routing) -> None:
        store = Store(kv.frozen())
        if store.position(Source(f"{TREE}.P0", number)) is None:
            return
        incoming = Incoming(taken(store, TREE, number, log))
        pairs = [pair for some in incoming for pair in some]
        nodes = {ROOT, *log.owned(number)}
        self._files[number] = File(pairs, nodes, base)

    def file(self, number: int) -> File | None:
        """The one that the shard's next store is made of; often there is none."""
        return self._files.get(number) if self._chance.random() < 0.7 else None

    def bring_back(self, number: int, kv: MemoryKV, log: Routing) -> None:
        """As `snapshots.restoring` does: what says that a node is whole comes last."""
        self.restored += 1
        wanted, own = answered_for(log, number), self._files[number]
        pairs = [*without(own.pairs, TREE, own.nodes - wanted - {ROOT})]
        for path in wanted - own.nodes:
            holder = next((f for f in self._files.values() if path in f.nodes), None)
            pairs += [] if holder is None else [*only(holder.pairs, TREE, {path})]
        kv.write([pair for pair in pairs if not pair[0].startswith(LAST)])
        kv.write([pair for pair in pairs if pair[0].startswith(LAST)])
