"""The whole system in one process: workers, authors, logs, and a scheduler that picks what is next.

Everything random comes from one seed. A step is one thing that happens somewhere: a row is
produced, a unit delivered, a turn taken, a message lands, its ack is heard, a process dies.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

import orjson
from sim.author import AuthorProcess
from sim.folds import Folds
from sim.keeper import Keeper
from sim.log import Log, Outlet
from sim.memory import MemoryKV
from sim.rows import EVER, Maker, Truth
from sim.rules import INGEST, Ledger, Rules
from sim.standby import Guard, Kept
from sim.worker import CONTROL, ROUTING, Crashed, Key, Worker

from pctstream.agents.portions import portion_record
from pctstream.agents.shard import Shard
from pctstream.core import bridge, life
from pctstream.core.block import Origin, Source
from pctstream.core.cover import Cover
from pctstream.core.effects import Parcel
from pctstream.core.marks import Marks
from pctstream.core.moves import DONE, SHADOWING, UNDER_WAY, VERIFYING, Move
from pctstream.core.names import ROOT, Path, node_name, pipe_topic
from pctstream.core.portion import Portion
from pctstream.core.root import Done
from pctstream.core.routing import Routing
from pctstream.core.tree import root_state
from pctstream.core.trunk import Trunk
from pctstream.core.unit import Message
from pctstream.errors import StoreFailed
from pctstream.tables import newer

Choices = tuple[tuple[Callable[[], bool], float], ...]
"""What may happen, and how often it does."""
UNIT = 5
GRACE = "GRACE"
"""DONE, and the target has told that it answers; the source has its copy still."""
STRIKES = (
    (DONE, 0.5), (GRACE, 0.6), (SHADOWING, 0.3), (DONE, 0.5), (GRACE, 0.6), (VERIFYING, 0.2),
)  # fmt: skip
"""Stages in which a portion is on two shards, and the chance of a fault after a step there."""
POINTS = ("before-apply", "after-apply", "after-produce", "before-routed", "after-routed",
          "before-grown", "after-grown")  # fmt: skip
RISING = ("before-promoted", "after-promoted")
ASKED, RECORDED, MARKED, HANDING = "ASKED", "RECORDED", "MARKED", "HANDING"
"""Steps of a promotion: the order; cover; split, and its marker; the store turned, rows go down."""
OFTEN = {ASKED: 0.02, RECORDED: 0.3, MARKED: 0.05, HANDING: 0.3}
"""The chance of a fault after a step there."""


class World:
    """One run."""

    def __init__(
        self, seed: int, faults: bool = True, deep: bool = False, sinking: bool = False,
        folding: bool = False,
    ) -> None:  # fmt: skip
        """``deep``: trunk nodes below N0 are re-opened, and portions are promoted; ``sinking``: rows come
        from everywhere at first, and from a few places later, so that sinks come to have covers;
        ``folding``: children above the cut are folded."""
        self.chance = chance = random.Random(seed)
        self.deep = deep
        self.sinking = sinking
        self.rises = random.Random(f"rises {seed}")
        self.faults = faults
        self.sources = [Source(INGEST, p) for p in range(chance.randint(1, 3))]
        busy = chance.randint(1, len(self.sources))
        self.busy = self.sources[:busy]
        self.theirs: dict[Source, list[Parcel]] = {}
        if chance.random() < 0.4:
            places = [Source("theirs", p) for p in range(chance.randint(1, 4))]
            self.theirs = {s: [] for s in places if s.partition % len(self.sources) < busy}
        self.copied = dict.fromkeys(self.theirs, 0)
        self.hasty = chance.random() < 0.3
        self.settings: dict[str, Any] = {
            "shards": len(self.sources),
            "epsilon": chance.choice([4.0, 8.0, 8.0, 16.0]), "gap": chance.randint(3, 9),
            "sink_rows": chance.randint(20, 60), "stop": chance.choice(["gap", "block"]),
            "fanout": 4, "kmeans_iterations": 2, "balance": True, "prototypes": 20, "metric": "euclidean",
            "epsilon_ratio": chance.choice([0.6, 0.8, "auto"]), "max_level": chance.randint(1, 4), "cut": 1,
            "level_rows": chance.choice([1, 30, 1000]), "level_idle_s": 5.0,
            "level_timeout_s": chance.choice([8.0, 1000.0]), "nodes": chance.choice([60, 10_000]),
        }  # fmt: skip
        living = random.Random(f"living {seed}")
        self.settings["miss_limit"] = living.choice([0.0, 0.2, 0.4])
        self.settings |= {
            "miss_window": living.choice([6, 16]),
            "miss_cooldown": living.choice([1, 30]),
        }
        self.settings["half_life_s"] = random.Random(f"fading {seed}").choice([0.0, 0.001, 0.02])
        """A message's time is its offset in milliseconds."""
        folds = random.Random(f"folds5318 {seed}")
        if folds.random() < 0.3:
            self.settings |= {
                "fold_share": folds.choice([0.2, 0.4]), "half_life_s": folds.choice([0.01, 0.03]),
                "miss_limit": folds.choice([0.2, 0.4]), "miss_cooldown": folds.choice([1, 8]),
                "miss_window": 4,
            }  # fmt: skip
        if self.settings["max_level"] > 1 and chance.random() < 0.4:
            self.settings["cut"] = chance.randint(2, self.settings["max_level"])
        if deep:
            self.settings |= {
                "cut": self.rises.choice([1, 1, 2]), "max_level": 3, "nodes": 10_000, "epsilon_ratio": 0.6,
                "gap": self.rises.randint(3, 5), "stop": "gap", "epsilon": 8.0, "sink_rows": 60,
                "level_rows": 1,
            }  # fmt: skip
        sinks = random.Random(f"sinks {seed}")
        self.settings["sink_scans"] = sinking or sinks.random() < 0.5
        if sinking:
            self.settings |= {
                "epsilon": 100.0, "epsilon_ratio": 0.02, "gap": sinks.randint(4, 6), "cut": 1,
                "sink_rows": sinks.randint(8, 14), "prototypes": sinks.randint(5, 8),
                "max_level": sinks.randint(2, 3), "nodes": 10_000,
            }  # fmt: skip
        self.folding = folding
        self.folds = Folds(self, seed)
        if folding:
            self.settings |= {"miss_limit": self.settings["miss_limit"] or 0.4, "nodes": 10_000}
        self.drifts = random.Random(f"drift77 {seed}")
        self.drifting = bool(self.settings["miss_limit"]) and self.drifts.random() < 0.4
        """Whether N0 is re-opened."""
        self.depths = random.Random(f"depths {seed}")
        self.heard: dict[int, dict[str, Any]] = {}
        self.truth = Truth()
        names = random.Random(f"ids {seed}")
        self.fate = random.Random(f"fate {seed}")
        self.times = random.Random(f"expiry4 {seed}")
        self.aging = self.times.choice([0.0, 0.0, 0.1, 0.5])
        """How often rows expire."""
        self.lossy = self.fate.random() < 0.1
        """The ingest log may be cut where nobody has read."""
        self.first_strike = self.fate.randrange(len(STRIKES))
        self.views = random.Random(f"places {seed}")
        self.seen = self.views.random() < 0.6
        """Places are indexed, and filters made."""
        self.room = self.views.choice([1 << 30, 1 << 30, 1 << 30, 8000])
        """Bytes for an index of places; there may be too few."""
        hard = chance.random() < 0.1
        self.maker = Maker(
            chance, self.truth, hard or sinking, names,
            living if self.settings["miss_limit"] else None, sinks.randint(20, 80) if sinking else EVER,
        )  # fmt: skip
        self.told: dict[str, dict[str, Any]] = {}
        self.rules = Rules(
            self.truth, self.settings["sink_rows"], UNIT * 4, self.settings["cut"], self.told
        )
        self.log = Log(landed=self.rules.landed)
        self.kvs: dict[int, MemoryKV] = {}
        self.ledgers: dict[int, Ledger] = {}
        self.bases: dict[int, Done] = {}
        self.commits: dict[int, Done] = {}
        self.hosts: dict[int, int] = {}
        self.left: dict[tuple[int, int], tuple[MemoryKV, Ledger, Done]] = {}
        """(host, shard) -> a store that stayed there when the shard went, as it was then."""
        self.outlets: list[Outlet] = []
        self.zombies: list[Worker] = []
        self.reports: list[tuple[int, Path, Marks]] = []
        self.covers: dict[Path, Cover] = {}
        self.hashes: dict[tuple[bool, Path, Path, int], str] = {}
        self.moving: dict[tuple[str, int], dict[str, Any]] = {}
        self.eager = len(self.sources) > 1 and chance.random() < 0.5
        self.crashes = self.strikes = self.steps = 0
        self.opened = 0
        """Levels that some worker knew to be open."""
        self.keeper = Keeper(seed, faults)
        self.encore = False
        """Moves of a grown tree, with few faults but those of `strike`."""
        self.met: Counter[tuple[str, str, str]] = Counter()
        """(stage of a move, who of it, fault) and how often."""
        for number in range(len(self.sources)):
            self._new_store(number)
            self.hosts[number] = number % 2
        self.guard = Guard(self, seed)
        self.workers = [self._start(n) for n in range(2)]
        self.authors = [self._author(f"a{n}") for n in range(chance.randint(1, 2))]
        self.late: list[Parcel] = []

    # processes

    def _new_store(self, number: int) -> None:
        self.kvs[number] = kv = MemoryKV()
        kept = self.keeper.file(number)
        self.bases[number] = (
            kept.base if kept else self.commits.get(number, Done(-1, Marks(), False))
        )
        self.ledgers[number] = Ledger(self.rules, kv, self.bases[number][0])
        if kept:
            self.ledgers[number].copied = True
            self.keeper.bring_back(number, kv, self.history())
            self.ledgers[number].copied = False

    def history(self) -> Routing:
        """All that `.routing` holds."""
        log = Routing()
        for message in self.log.messages(ROUTING, 0, self.log.end(ROUTING)):
            log.fold(orjson.loads(message.value or b""), message.offset, 0.0)
        return log

    def _start(self, slot: int) -> Worker:
        crash = ""
        if self.faults and self.chance.random() < 0.5:
            crash = f"{self.chance.choice(POINTS)}:{self.chance.randint(1, 8)}"
        if self.deep and self.faults and self.rises.random() < 0.4:
            crash = f"{self.rises.choice(RISING)}:1"
        outlet = Outlet(self.log, self.rules.acked)
        mild = self.chance.random() < 0.4
        worker = Worker(
            self.log, outlet, self.settings["sink_rows"], crash, mild, self.rules.folded
        )
        for number, host in self.hosts.items():
            if host == slot:
                worker.open(number, self.kvs[number], self.bases[number])
        self.guard.start(slot)
        return worker

    def _author(self, name: str) -> AuthorProcess:
        return AuthorProcess(
            self.log,
            self.rules,
            self.sources,
            self.settings,
            name,
            self.hasty,
            self.told,
            self.covers,
            self.moving,
            self.heard,
        )

    def meet(self, fault: str, routing: Routing, shards: Collection[int] | None = None) -> None:
        """A fault falls upon those who have a part in a move: its two shards, or its author."""
        for move in routing.moves.unfinished:
            parts = {"author"} if shards is None else {
                part for part in ("source", "target") if getattr(move, part) in shards
            }  # fmt: skip
            self.met.update((self.stage(move, routing), part, fault) for part in parts)

    def stage(self, move: Move, routing: Routing) -> str:
        """The stage of a move, as `STRIKES` tells them apart."""
        told = self.told.get(node_name(move.portion), {}).get("epoch", -1)
        return GRACE if move.stage == DONE and told >= routing.since[move.portion] else move.stage

    def crash(self, worker: Worker, fault: str = "crash") -> None:
        """Its memory is gone; its store is not, nor what it had sent."""
        self.crashes += 1
        if worker not in self.zombies:
            self.meet(fault, worker.routing, worker.shards)
        worker.outlet.die(self.chance)
        self.outlets.append(worker.outlet)
        if worker in self.zombies:
            self.zombies.remove(worker)
        else:
            slot = self.workers.index(worker)
            self.workers[slot] = self._start(slot)

    def guarded(self, worker: Worker, act: Callable[[], object]) -> None:
        """Something that the process may not survive."""
        try:
            act()
        except (Crashed, StoreFailed):
            self.crash(worker)
        else:
            if worker.stopped:
                self.crash(worker)

    @property
    def running(self) -> list[Worker]:
        return [*self.workers, *self.zombies]

    # steps; each answers whether there was anything to do

    def produce(self) -> bool:
        for _ in range(self.chance.randint(1, 4)):
            source = self.chance.choice(self.busy)
            self.log.append(source, self.maker.make(source))
        return True

    def expire(self) -> bool:
        """A timer at some worker believes that rows are old."""
        source = self.times.choice(self.busy)
        theirs = [s for s in self.theirs if s.partition % len(self.sources) == source.partition]
        self.log.append(source, self.maker.expire(source, theirs, self.times))
        return True

    def produce_theirs(self) -> bool:
        for source, log in self.theirs.items():
            parcel = self.maker.make(source, ours=False)
            assert parcel is not None
            log.append(parcel)
        return bool(self.theirs)

    def bridge(self) -> bool:
        """Some bridge copies on, from where it believes to be."""
        behind = [s for s, log in self.theirs.items() if self.copied[s] < len(log)]
        if behind:
            source = self.chance.choice(behind)
            start = self.copied[source]
            stop = min(start + self.chance.randint(1, 3), len(self.theirs[source]))
            for at, told in enumerate(self.theirs[source][start:stop], start):
                message = Message(at, told.key, told.value)
                copy = bridge.copies("pct", len(self.sources), source, [message], at - 1, at)
                place = Source(*copy.parcels[0][:2])
                self.truth.by_offset[place].append(self.truth.by_offset[source][at])
                self.log.append(place, copy.parcels[0])
            self.copied[source] = stop
        return bool(behind)

    def bridge_again(self) -> bool:
        """A bridge that died, or a zombie, had not come so far."""
        for source, at in self.copied.items():
            self.copied[source] = max(0, at - self.chance.randint(0, 6))
        return bool(self.copied)

    def follow(self) -> bool:
        worker = self.chance.choice(self.running)
        return worker.follow(self.chance.randint(1, 3))

    def deliver(self) -> bool:
        worker = self.chance.choice(self.running)
        if inputs := worker.readable:
            worker.deliver(self.chance.choice(inputs), self.chance.randint(1, UNIT))
        return bool(inputs)

    def turn(self) -> bool:
        worker = self.chance.choice(self.running)
        return self.with_key(worker, worker.turn)

    def obey(self) -> bool:
        """The reader or the wiring of a worker does the next thing it was told."""
        worker = self.chance.choice(self.running)
        queues = [q for q in (worker.orders, worker.wiring) if q]
        if queues:
            self.chance.choice(queues).popleft()()
        return bool(queues)

    def with_key(self, worker: Worker, act: Callable[[Key], object]) -> bool:
        keys = worker.waiting if worker in self.running else []
        if keys:
            key = self.chance.choice(keys)
            self.guarded(worker, lambda: act(key))
        return bool(keys)

    def land(self) -> bool:
        outlet = self.chance.choice([*(w.outlet for w in self.running), *self.outlets])
        if outlet.queued:
            outlet.land(self.chance.choice(outlet.queued))
            return True
        if outlet in self.outlets:
            self.outlets.remove(outlet)
        return False

    def ack(self) -> bool:
        outlet = self.chance.choice(self.running).outlet
        if unheard := outlet.unheard:
            outlet.ack(self.chance.choice(unheard))
        return bool(unheard)

    def author(self) -> bool:
        ended = {s for s in self.sources if s not in self.busy}
        return self.chance.choice(self.authors).step(self.chance, ended)

    def report(self) -> bool:
        """An owner reports its marks; the report arrives now or later."""
        worker = self.chance.choice(self.running)
        self.hear(worker)
        portions = [(s, p) for s in worker.shards.values() for p in s.portions]
        if portions:
            shard, portion = self.chance.choice(portions)
            saved = shard.store.state(portion.path)
            self.tell(shard, portion)
            if saved is not None:
                marks = Marks.from_json(saved["marks"])
                self.reports += [(slot, portion.path, marks) for slot in range(2)]
        if self.reports:
            at = self.chance.randrange(len(self.reports))
            slot, path, marks = self.reports.pop(at)
            self.workers[slot].report(path, marks)
        return bool(portions)

    def hear(self, worker: Worker) -> None:
        """What the tree agent knows of the N0 of a worker's shards from now on."""
        for number, shard in worker.shards.items():
            if shard.root is not None:
                at = shard.root.position
                told = {"node": "N0", "epoch": at.epoch, "routed": at.routed}
                self.heard[number] = {"inputs": [told]}

    def reopen(self) -> None:
        """Some author believes that a bound is broken."""
        if self.drifts.random() < 0.03:
            starts = {
                s.partition: self.drifts.randint(max(0, self.log.end(s) - 40), self.log.end(s))
                for s in self.sources
            }
            self.drifts.choice(self.authors).reopen(ROOT, starts)

    def reopen_below(self) -> None:
        """The same of a trunk node."""
        author = self.depths.choice(self.authors)
        paths = sorted(author.routing.splits.keys() - {ROOT})
        if paths and self.depths.random() < 0.2:
            path = self.depths.choice(paths)
            end = self.log.end(Source(pipe_topic("pct", path), 0))
            author.reopen(path, {0: self.depths.randint(max(0, end - 20), end)})

    def tell(self, shard: Shard, portion: Portion) -> None:
        """What the tree agent knows of a portion from now on."""
        if self.workers[self.hosts[shard.number]].shards.get(shard.number) is shard:
            since = self.workers[self.hosts[shard.number]].routing.since[portion.path]
            record = portion_record(shard, portion, {"worker": ""}, since, 0.0, 0.0)
            if newer(record, self.told.get(record["portion"])):
                self.told[record["portion"]] = record
            found = {n.path: n.cover for n in portion.subtree.nodes if n.cover is not None}
            for path, cover in found.items():
                # a trunk node's is recorded, a portion's found: in a run on another's records two
                key = isinstance(portion, Trunk), portion.path, path, cover.k
                known = self.hashes.setdefault(key, cover.hash)
                assert known == cover.hash, "R10: two covers of a node"
                self.covers[path] = cover

    def tell_all(self) -> None:
        """Every owner tells of its portions."""
        for worker in self.workers:
            for shard in worker.shards.values():
                for portion in shard.portions:
                    self.tell(shard, portion)

    # promotion

    def promote(self) -> None:
        """Somebody finds a portion too heavy; it may have no children, or move."""
        log = self.workers[0].routing
        if log.portions and self.rises.random() < 0.02 and len(log.promotions.epochs) < 2:
            split = [p for p in log.portions if root_state(p, self.told) == life.SPLITTING]
            portion = self.rises.choice(split or log.portions)
            self.order({"do": "promote", "portion": node_name(portion)})

    def promotion(self) -> tuple[str, Path] | None:
        """The step that a promotion is at, and whose it is."""
        log = self.workers[0].routing
        for path in sorted(log.promotions.asked):
            return (RECORDED if log.states[path] == life.WAITING else ASKED), path
        for path in sorted(log.promotions.epochs):
            shard = self.workers[self.hosts[log.owners[path]]].shards.get(log.owners[path])
            node = shard and shard.nodes.get(path)
            if isinstance(node, Trunk):
                if not node.emptied:
                    return HANDING, path
            elif node is not None:
                return MARKED, path
        return None

    def upset(self) -> None:
        """A fault falls upon who has a part in a promotion."""
        at = self.promotion()
        if at is None or self.rises.random() > OFTEN[at[0]]:
            return
        stage, path = at
        log = self.workers[0].routing
        children = [p for p in log.owners if p[:-1] == path]
        parts = {"owner": path, "author": None}
        parts |= {"child": self.rises.choice(children)} if children else {}
        part = self.rises.choice(sorted(parts))
        fault = self.rises.choice(("crash", "rebuild", "zombie"))
        if part == "author":
            fault = "crash"
            self.author_dies()
        else:
            self.befall(self.hosts[log.owners[parts[part]]], fault)
        self.met[stage, part, fault] += 1

    def befall(self, slot: int, fault: str) -> None:
        """A crash, the loss of a disk, or a zombie, at the worker of this slot."""
        if fault == "crash":
            self.crash(self.workers[slot])
        elif fault == "rebuild":
            self.lose_disk(self.workers[slot])
        else:
            for zombie in list(self.zombies):
                self.crash(zombie)
            self.stand_still(slot)

    # moves

    def ask(self) -> bool:
        """Somebody wants something of some portion; it may be impossible by the time it is read."""
        log = self.workers[0].routing
        if len(self.sources) < 2 or not log.portions:
            return False
        portion = self.chance.choice(log.portions)
        order: dict[str, Any] = {
            "do": "move", "portion": node_name(portion), "to": self.chance.choice(self.sources).partition,
            "until": self.chance.choice(["", "", "", "COPYING", "SHADOWING", "VERIFYING"]),
        }  # fmt: skip
        moves = [move.id for move in log.moves.unfinished]
        if moves and (self.chance.random() < 0.5 or len(moves) > 3):
            words = ["pause", "cancel", *["resume"] * (60 if self.encore else 2)]
            what = self.chance.choice(words)
            order = {"do": what, "move": self.chance.choice(moves)}
        self.order(order)
        return True

    def order(self, order: dict[str, Any]) -> None:
        self.log.append(CONTROL, Parcel(*CONTROL, None, orjson.dumps(order), []))

    def copy(self) -> bool:
        """A shard that lacks a portion begins to copy it, or goes on, or reads the pipe instead."""
        worker = self.chance.choice(self.running)
        wanted = worker.lacking()
        if not wanted:
            return False
        shard, move = self.chance.choice(wanted)
        key = shard.number, move.portion
        begun = worker.copies.pop(key, None)
        if begun is None or begun[0] != move.id:
            return self.begin_copy(worker, shard, move)
        breaks_at = self.chance.choice([None, None, self.chance.randint(0, 5)])
        worker.receive(shard, move.portion, begun[1], breaks_at)
        return True

    def begin_copy(self, worker: Worker, shard: Shard, move: Move) -> bool:
        sources = [
            other.shards[move.source] for other in self.running
            if move.source in other.shards and move.portion in other.shards[move.source].nodes
        ]  # fmt: skip
        if self.chance.random() < 0.1 or not sources:
            shard.store.forget(move.portion, shard.source(move.portion))
            shard.from_pipe.add(move.portion)
            worker.copies.pop((shard.number, move.portion), None)
            worker.sync()
        else:
            moment = self.chance.choice(sources).store.frozen()
            worker.copies[shard.number, move.portion] = move.id, moment
        return True

    def prove(self) -> bool:
        return self.chance.choice(self.running).prove()

    def tell_of_moves(self) -> bool:
        """Some worker tells how far its moves are; a zombie may believe that its shards are its own."""
        worker = self.chance.choice(self.running)
        going = [m for m in worker.routing.moves.unfinished if m.stage in UNDER_WAY]
        for move in going:
            for number in (move.source, move.target):
                if number in worker.shards:
                    self.moving[move.id, number] = worker.tell_of(move, number)
        return bool(going)

    def look(self) -> bool:
        """The threads of a worker that keep what its shards answer by; it is as brute force says."""
        worker = self.views.choice(self.running)
        for number, sight in worker.sights(self.room):
            sight.adjust(self.views)
            if worker not in self.zombies:
                sight.check_places(self.ledgers[number].live, self.views)
                sight.check_filters()
        return bool(worker.shards)

    def look_at_all(self, live: Mapping[Origin, bytes]) -> None:
        """All shards together find every row that is left, once, or twice on its way down."""
        found: set[Origin] = set()
        for worker in self.workers:
            for number, sight in worker.sights(self.room):
                found |= sight.check_places(self.ledgers[number].live, self.views)
                sight.check_filters()
        assert found == live.keys(), "places: all shards together find other rows than there are"

    def hurry(self) -> bool:
        self.chance.choice(self.running).hurry()
        return True

    def commit(self) -> bool:
        for worker in self.workers:
            for number, shard in worker.shards.items():
                for portion in shard.portions:
                    self.log.commits[shard.source(portion.path)] = portion.position.taken
                if shard.root is not None and (done := shard.root.done):
                    self.commits[number] = done
        return True

    # faults

    def kill(self) -> bool:
        """A process dies, now and then with its disk."""
        worker = self.chance.choice(self.running)
        if worker not in self.zombies and self.chance.random() < 0.3:
            self.lose_disk(worker)
        else:
            self.crash(worker)
        return True

    def lose_disk(self, worker: Worker) -> None:
        """All that it has is made again from the logs."""
        for number in worker.shards:
            if not self.guard.take_over(number):
                self._new_store(number)
        self.crash(worker, "rebuild")

    def lose_turn(self) -> bool:
        worker = self.chance.choice(self.running)
        taken, deepest = self.chance.random() < 0.5, self.chance.random() < 0.5
        return self.with_key(
            worker, lambda k: worker.lose(max(worker.waiting) if deepest else k, taken)
        )

    def deliver_twice(self) -> bool:
        worker = self.chance.choice(self.running)
        for entry in worker.inputs.values():
            worker.reread((entry.key[0], entry.source), self.chance.randint(0, entry.delivered + 1))
        return True

    def retention(self) -> bool:
        """The log lets go of rows that nobody has read."""
        source = self.fate.choice(self.busy)
        worker = self.workers[self.hosts[source.partition]]
        entry = worker.inputs.get((source.partition, source))
        behind = entry is not None and entry.delivered + 1 < self.log.end(source)
        if not behind or worker.routing.states.get(ROOT) != life.SPLITTING:
            return False
        self.commit()
        if cut := source.partition in self.commits:
            self.log.low[source] = self.fate.randint(entry.delivered + 2, self.log.end(source))
        return cut

    def refuse(self) -> bool:
        outlet = self.chance.choice(self.running).outlet
        if queued := outlet.queued:
            outlet.refuse(self.chance.choice(queued))
        return bool(queued)

    def fatal(self) -> bool:
        """A process hears that its producer is at its end."""
        for worker in self.running:
            if worker.outlet.broken:
                self.crash(worker)
                return True
        return False

    def rebalance(self) -> bool:
        """A shard moves to the other worker: with its store; or that has an older one, which it brings up
        to date; or none, and it is built again from the logs."""
        number = self.chance.choice(sorted(self.hosts))
        old = self.workers[self.hosts[number]]
        if number in self.guard.kept:
            left = Kept(self.kvs[number], self.ledgers[number], self.bases[number])
            old.release(number)
            self.guard.take_over(number)
            self.guard.keep(number, left)
            return True
        self.hosts[number] = slot = 1 - self.hosts[number]
        old.release(number)
        if self.chance.random() < 0.4:
            stayed = self.kvs[number], self.ledgers[number], self.bases[number]
            stale = self.left.pop((slot, number), None)
            self.left[1 - slot, number] = stayed
            if stale is None:
                self._new_store(number)
            else:
                self.kvs[number], self.ledgers[number], self.bases[number] = stale
        self.workers[slot].open(number, self.kvs[number], self.bases[number])
        return True

    def zombie(self) -> bool:
        """A worker that was given up goes on, with its stores; others build its shards again."""
        if self.zombies:
            return False
        self.stand_still(self.chance.randrange(2))
        return True

    def stand_still(self, slot: int) -> None:
        """The worker of this slot goes on without knowing that it is not the one any more."""
        self.meet("zombie", self.workers[slot].routing, self.workers[slot].shards)
        self.zombies.append(self.workers[slot])
        for number in self.workers[slot].shards:
            if not self.guard.take_over(number):
                self._new_store(number)
        self.workers[slot] = self._start(slot)

    def strike(self) -> None:
        """A fault falls upon who has a part in a move whose portion is on both shards.

        That takes a few steps of a run; without this hardly any run would have a fault there. One
        stage after the other has its turn, or hardly a move got farther than the first.
        """
        log = self.workers[0].routing
        aim, chance = STRIKES[(self.first_strike + self.strikes) % len(STRIKES)]
        for move in log.moves.unfinished:
            if self.stage(move, log) != aim or self.fate.random() > chance:
                continue
            slot = self.hosts[self.fate.choice((move.source, move.target))]
            self.strikes += 1
            fault = self.fate.choice(("crash", "rebuild", "zombie", "author"))
            if fault == "crash":
                self.crash(self.workers[slot])
            elif fault == "rebuild":
                self.lose_disk(self.workers[slot])
            elif fault == "author":
                self.author_dies()
            else:
                for zombie in list(self.zombies):
                    self.crash(zombie)
                self.stand_still(slot)
            return

    def author_dies(self) -> bool:
        at = self.chance.randrange(len(self.authors))
        self.meet("crash", self.authors[at].routing)
        late = self.authors[at].late()
        if late is not None:
            self.late.append(late)
        self.authors[at] = self._author(f"a{self.chance.random()}")
        return True

    def late_record(self) -> bool:
        """What an author that is dead had on its way gets into the log, whatever came between."""
        if late := bool(self.late):
            self.log.append(ROUTING, self.late.pop())
        return late

    def step(self) -> None:
        """Whatever is next; then the rules that are about more than one event."""
        self.steps += 1
        self._act(self._usual + (self._faults if self.faults else ()))
        if self.faults:
            self.strike()
        if self.drifting:
            self.reopen()
        self.guard.step()
        if self.folding:
            self.folds.step()
        if self.deep:
            self.reopen_below()
            self.promote()
            if self.faults:
                self.upset()
        if number := self.keeper.due(len(self.sources)):
            self.keeper.keep(
                number - 1, self.kvs[number - 1], self.bases[number - 1], self.history()
            )
        self.check()

    def wander(self) -> None:
        """Whatever is next, and no fault."""
        self._act(self._usual)

    def _act(self, choices: Choices) -> None:
        actions, weights = zip(*choices, strict=True)
        for action in self.chance.choices(actions, weights, k=20):
            if action():
                break

    @property
    def _usual(self) -> Choices:
        return (
            (self.produce, 2.5), (self.follow, 3), (self.deliver, 6), (self.turn, 9),
            (self.land, 6), (self.ack, 6), (self.author, 15 if self.eager else 5), (self.report, 1),
            (self.commit, 1),
            (self.fatal, 0.3), (self.obey, 4 if self.eager else 1), (self.hurry, 0.3), (self.bridge, 4),
            (self.produce_theirs, 1.5), (self.ask, 6.0 if self.encore else 2.0 if self.eager else 0.0),
            (self.copy, 9), (self.prove, 6), (self.tell_of_moves, 9),
            (self.expire, self.aging), (self.look, 0.6 if self.seen else 0.0),
        )  # fmt: skip

    @property
    def _faults(self) -> Choices:
        less = 5 if self.encore else 1
        return (
            (self.kill, 0.3 / less), (self.lose_turn, 1.4 / less), (self.deliver_twice, 0.4 / less),
            (self.refuse, 0.8 / less), (self.rebalance, 0.3 / less), (self.zombie, 0.2 / less),
            (self.author_dies, 0.3 / less), (self.late_record, 0.2 / less),
            (self.bridge_again, 0.5 / less), (self.retention, 5.0 if self.lossy else 0.0),
        )  # fmt: skip

    def check(self) -> None:
        # a worker that was just started may not have read what its store was made with
        everyone = [*self.running, *self.guard.by.values()]
        self.opened = max(self.opened, *(len(w.routing.levels) for w in everyone))
        for worker in self.workers:
            self.rules.proved(worker.proofs)
            for number, shard in worker.shards.items():
                self.rules.held(shard, worker.routing)
                if shard.root is not None:
                    self.rules.visible(shard.root, self.ledgers[number])
                for portion in shard.portions:
                    late = {n.path for n in portion.subtree.nodes if n.holds}
                    assert all(
                        n.level <= self.opened
                        or n.state == life.LEAF
                        or (n.find is None and n.path[:-1] in late)
                        for n in portion.subtree.nodes
                    ), f"R0: a node of {portion.path} covers before its level is open"
                units = (sum(t.unit is not None for t in c) for c in worker.channels.values())
                assert all(n < 200 for n in units), "R12: a channel grows"

    def root_rows(self) -> int:
        """What the shards count at N0."""
        roots = [worker.shards[n].root for worker in self.workers for n in worker.shards]
        return sum(root.rows for root in roots if root is not None)

    def nodes(self, live: bool = False) -> dict[str, dict[Origin, bytes]]:
        """Name of each node -> the rows that lie there (and have not left), over all shards in use."""
        found: dict[str, dict[Origin, bytes]] = {}
        for worker in self.workers:
            for number, shard in worker.shards.items():
                for node in shard.topics().values():
                    ledger = self.ledgers[number]
                    if rows := ledger.live(node) if live else ledger.held.get(node):
                        found.setdefault(node, {}).update(rows)
        return found
