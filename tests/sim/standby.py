"""The warm copies of the simulator: standbys beside the workers, and the stores they write.

They live by a generator of their own, so that a run without them is what it was. What one does between two
faults is what `agents.standby` does: it follows, is told by its owner how far that is, lacks portions that
came to the shard, and takes over when the owner's disk is gone, when the owner stands still, or when the
group says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sim.log import Log, Outlet
from sim.memory import MemoryKV
from sim.rules import Ledger
from sim.worker import Folded, Key, Worker

from pctstream.agents.follow import Follow
from pctstream.agents.perform import CrashPoints, Limits, Performer
from pctstream.agents.shard import Shard
from pctstream.core.marks import Marks
from pctstream.core.names import ROOT, level, node_name
from pctstream.core.root import Done

if TYPE_CHECKING:
    from sim.world import World

MOST_ROWS = 6
"""That wait for their owner's word."""


class Standby(Worker):
    """The warm copies of one process."""

    def __init__(self, log: Log, sink_rows: int, folded: Folded) -> None:
        super().__init__(log, Outlet(log, lambda *_: None), sink_rows, "", True, folded)

    def _performed(self, crash: CrashPoints) -> Performer:
        self.following = Follow(self, self._enqueue, self._stop, Limits(3, 200, 4000), MOST_ROWS)
        return self.following

    def _made(self, number: int, kv: MemoryKV) -> Shard:
        shard = super()._made(number, kv)
        shard.standby = True
        return shard

    def release(self, number: int) -> None:
        self.following.forget(self.shards[number])
        super().release(number)

    def heard(self, number: int, inputs: list[Mapping[str, Any]]) -> None:
        if shard := self.shards.get(number):
            self.following.heard(shard, inputs)

    def wanting(self) -> list[tuple[Shard, tuple[int, ...]]]:
        """Portions that a copy lacks."""
        return [
            (shard, path)
            for shard in self.shards.values()
            for path in sorted(set(self.routing.roles(shard.number)) - set(shard.nodes))
        ]


class Kept(NamedTuple):
    """The store of a copy, what must hold in it, and behind which commit N0 began there."""

    kv: MemoryKV
    ledger: Ledger
    base: Done


class Guard:
    """All standbys of a world."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self.chance = random.Random(f"standby {seed}")
        self.on = self.chance.random() < 0.4 and world.faults and not (world.lossy or world.deep)
        self.kept: dict[int, Kept] = {}
        self.by: dict[int, Standby] = {}
        self._told: list[tuple[int, list[Mapping[str, Any]]]] = []
        self.taken_over = 0

    def start(self, slot: int) -> None:
        """The process of this slot begins, with the stores that lie there."""
        if not self.on:
            return
        world = self._world
        self.by[slot] = standby = Standby(
            world.log, world.settings["sink_rows"], world.rules.folded
        )
        for number, kept in self.kept.items():
            if world.hosts[number] != slot:
                standby.open(number, kept.kv, kept.base)

    def copied(self, number: int) -> None:
        """A copy of this shard is begun, from nothing."""
        kv, world = MemoryKV(), self._world
        base = world.commits.get(number, Done(-1, Marks(), False))
        self.keep(number, Kept(kv, Ledger(world.rules, kv, base[0]), base))

    def keep(self, number: int, kept: Kept) -> None:
        """A store becomes the copy of this shard, at the slot that does not host it."""
        kept.ledger.warm = True
        self.kept[number] = kept
        self.by[1 - self._world.hosts[number]].open(number, kept.kv, kept.base)

    def take_over(self, number: int) -> bool:
        """The copy, if there is one, is the shard from now on."""
        if number not in self.kept:
            return False
        world, kept = self._world, self.kept.pop(number)
        slot = 1 - world.hosts[number]
        self.by[slot].release(number)
        kept.ledger.warm = False
        for node, rows in kept.ledger.held.items():
            world.rules.beyond[level(tuple(map(int, node[1:].split(","))))].update(rows)
        world.kvs[number], world.ledgers[number], world.bases[number] = kept
        world.hosts[number] = slot
        world.left.pop((slot, number), None)
        world.workers[slot].open(number, kept.kv, kept.base)
        self.taken_over += 1
        return True

    def step(self) -> None:
        """A few things happen at standbys."""
        if not self.on:
            return
        self.check()
        for _ in range(self.chance.randint(1, 6)):
            act: Callable[[], object] = self.chance.choices(
                (self._lack, self._follow, self._deliver, self._turn, self._obey, self._tell, self._hear,
                 self._lose, self._again),
                (1, 3, 6, 9, 3, 2, 3, 0.5, 0.2),
            )[0]  # fmt: skip
            act()

    def check(self) -> None:
        """Nobody is to believe a copy."""
        for standby in self.by.values():
            for shard in standby.shards.values():
                assert not shard.portions, f"R9: a copy of shard {shard.number} answers"
                for portion in shard.copies:
                    assert portion.path in shard.shadows, "R9: a copy is no shadow"

    def _one(self) -> Standby:
        return self.chance.choice(list(self.by.values()))

    def _lack(self) -> None:
        world = self._world
        for number in world.hosts:
            if number not in self.kept:
                return self.copied(number)
        standby = self._one()
        if wanting := standby.wanting():
            shard, path = self.chance.choice(wanting)
            owner = standby.routing.owners.get(path, -1)
            host = world.workers[world.hosts[owner]].shards.get(owner) if owner >= 0 else None
            if host is None or path not in host.nodes or self.chance.random() < 0.5:
                shard.from_pipe.add(path)
                standby.sync()
            else:
                breaks_at = self.chance.choice([None, self.chance.randint(0, 5)])
                standby.receive(shard, path, host.store.frozen(), breaks_at)
        return None

    def _follow(self) -> None:
        self._one().follow(self.chance.randint(1, 3))

    def _deliver(self) -> None:
        standby = self._one()
        if inputs := standby.readable:
            standby.deliver(self.chance.choice(inputs), self.chance.randint(1, 5))

    def _turn(self) -> None:
        standby = self._one()
        if keys := standby.waiting:
            standby.turn(self.chance.choice(keys))

    def _obey(self) -> None:
        standby = self._one()
        queues = [q for q in (standby.orders, standby.wiring) if q]
        if queues:
            self.chance.choice(queues).popleft()()

    def _tell(self) -> None:
        """A host, or one that was, says how far it is; that arrives some time."""
        worker = self.chance.choice(self._world.running)
        for number, shard in worker.shards.items():
            self._told.append((number, self._inputs(shard)))

    def _inputs(self, shard: Shard) -> list[Mapping[str, Any]]:
        return [
            {"node": node_name(path), "stored": n.position.stored, "routed": n.position.routed}
            for path, n in shard.nodes.items()
        ]

    def _hear(self) -> None:
        if self._told:
            number, inputs = self._told.pop(self.chance.randrange(len(self._told)))
            for standby in self.by.values():
                standby.heard(number, inputs)

    def _lose(self) -> None:
        standby = self._one()
        if keys := standby.waiting:
            standby.lose(self.chance.choice(keys), self.chance.random() < 0.5)

    def _again(self) -> None:
        for entry in (standby := self._one()).inputs.values():
            standby.reread(
                (entry.key[0], entry.source), self.chance.randint(0, entry.delivered + 1)
            )

    # at rest

    def report(self, path: tuple[int, ...], marks: Marks) -> None:
        for standby in self.by.values():
            standby.report(path, marks)

    def go_on(self) -> bool:
        """Every copy goes on as far as it can; whether there was anything to do."""
        moved = False
        for standby in self.by.values():
            for queue in (standby.wiring, standby.orders):
                while queue:
                    queue.popleft()()
                    moved = True
            moved |= standby.follow(1000)
            for shard, path in standby.wanting():
                shard.from_pipe.add(path)
                standby.sync()
                moved = True
            for entry in standby.readable:
                standby.deliver(entry, 5)
                moved = True
            while keys := standby.waiting:
                key: Key = keys[0]
                standby.turn(key)
                moved = True
        return moved

    def told_all(self) -> None:
        """Every host says how far it is."""
        for worker in self._world.workers:
            for number, shard in worker.shards.items():
                for standby in self.by.values():
                    standby.heard(number, self._inputs(shard))

    def at_rest(self) -> None:
        """A copy has what its owner has."""
        world = self._world
        for number, kept in self.kept.items():
            owner = world.workers[world.hosts[number]].shards[number]
            log = world.workers[0].routing
            here, there = kept.ledger, world.ledgers[number]
            for path in [ROOT, *log.owned(number)]:
                name, source = node_name(path), owner.source(path)
                at, was = here.store.position(source), there.store.position(source)
                if at is None or was is None:
                    assert not here.held.get(name) and not there.held.get(name), f"R0: {name}"
                    continue
                assert at[0].taken == was[0].taken, f"R6: the copy of {name} is not at its end"
                assert at[0].epoch == was[0].epoch, f"R4: the copy of {name} is in another epoch"
                gone = world.rules.purged
                mine = {o: v for o, v in here.live(name).items() if o not in gone}
                theirs = {o: v for o, v in there.live(name).items() if o not in gone}
                assert mine == theirs, f"R0: the copy of {name} holds other rows"
                if level(path) == log.cut:
                    assert here.store.state(path) == there.store.state(path), f"R0: {name} copied"
            assert set(here.store.nodes()) <= {node_name(p) for p in [ROOT, *log.owned(number)]}, (
                "R9: a copy keeps what its shard has not"
            )
