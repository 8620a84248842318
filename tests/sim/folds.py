"""Children above the cut are folded: some author believes that they weigh little, and faults fall upon who
has a part in it before everybody routes by the new epoch."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pctstream.core.names import ROOT, Path

if TYPE_CHECKING:
    from sim.world import World

FOLDED = "FOLDED"
"""The record counts, and some partition of the node's input is not routed by it yet."""
MOST = 5
"""Children of a node."""


class Folds:
    """Of one run; what it draws moves nothing else."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(f"folds above {seed}")

    def step(self) -> None:
        """After every step of the world."""
        if self._chance.random() < 0.1:
            self._fold()
        if self._world.faults and self._chance.random() < 0.06:
            self._upset()

    def _fold(self) -> None:
        world, chance = self._world, self._chance
        author = chance.choice(world.authors)
        log = author.routing
        path = chance.choice([ROOT, *sorted(log.splits)])
        if path in log.splits and len(log.reopened.folded.get(path, ())) < MOST:
            children = range(log.covers[path].k)
            some = chance.sample(children, min(len(children), chance.randint(1, 2)))
            author.leave_out(path, some)

    def _upset(self) -> None:
        world, chance = self._world, self._chance
        log = world.workers[0].routing
        late = self._late()
        if late is None:
            return
        path, readers = late
        child = chance.choice(sorted(log.reopened.folded[path]))
        owner = log.owners[(*path, child)]
        part, fault = chance.choice(("reader", "child", "author")), "crash"
        if part == "author":
            world.author_dies()
        else:
            slot = world.hosts[chance.choice(readers) if part == "reader" else owner]
            fault = chance.choice(("crash", "rebuild", "zombie"))
            world.befall(slot, fault)
        world.met[FOLDED, part, fault] += 1

    def _late(self) -> tuple[Path, list[int]] | None:
        """A node that has folded children, and the shards that do not route its rows by that yet."""
        world = self._world
        log = world.workers[0].routing
        for path, folded in sorted(log.reopened.folded.items()):
            readers = range(len(world.sources)) if path == ROOT else [log.owners[path]]
            late = [n for n in readers if self._epoch(n, path) < max(folded.values())]
            if late:
                return path, late
        return None

    def _epoch(self, number: int, path: Path) -> int:
        shard = self._world.workers[self._world.hosts[number]].shards.get(number)
        node = shard and shard.nodes.get(path)
        return node.position.epoch if node else -1
