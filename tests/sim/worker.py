"""One worker process: the product's shards, nodes and performer, and nothing that outlives it.

What `agents.worker` does on its threads happens here when the scheduler says so, step by step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from sim.log import Log, Outlet
from sim.memory import MemoryKV
from sim.sight import Sight

from pctstream import config
from pctstream.agents.copying import received, sent
from pctstream.agents.follow import Uncounted
from pctstream.agents.inputs import by_commit, lost
from pctstream.agents.passing import Passes
from pctstream.agents.perform import CrashPoints, Limits, Performer
from pctstream.agents.shard import Node, Shard, Turn
from pctstream.core import ingest
from pctstream.core.block import Source
from pctstream.core.effects import Effect, Prove
from pctstream.core.handing import HandsDown
from pctstream.core.marks import Marks
from pctstream.core.moves import UNDER_WAY, VERIFYING, Move
from pctstream.core.names import ROOT, Path
from pctstream.core.position import Position
from pctstream.core.proof import proof
from pctstream.core.root import Done
from pctstream.core.routing import Routing
from pctstream.core.unit import Unit
from pctstream.errors import NotReady
from pctstream.pairs import CopyBroken
from pctstream.pipes import client
from pctstream.pipes.readers import Place
from pctstream.store import Store

TREE = "pct"
ROUTING = Source(f"{TREE}.routing", 0)
CONTROL = Source(f"{TREE}.control", 0)
OUT_OF_RANGE = client.consumer(config.load(None, {}, {}), "reader")["auto.offset.reset"]
"""What the client does where the log does not have what it is to read."""
DEPTH = 4
"""Units that wait for a node at most (`limits.channel_blocks`)."""

Folded = Callable[[Routing, dict, bool], None]
Key = tuple[int, Path]


class Crashed(Exception):
    """The process is gone, in the middle of whatever it did."""


class AgentRaised(Exception):
    """A node's agent ends with a turn in its hand; the process goes on."""


@dataclass(slots=True)
class Input:
    """What `pipes.reader` keeps of an input."""

    key: Key
    source: Source
    delivered: int
    paused: bool = False


def _ignored(rows: int, size: int) -> None:
    """How far a copy is is shown to people."""


class Worker:
    """An incarnation of a worker; a crash is the end of it."""

    def __init__(
        self, log: Log, outlet: Outlet, sink_rows: int, crash: str, mild: bool, folded: Folded
    ) -> None:  # fmt: skip
        self.log = log
        self.outlet = outlet
        self.routing = Routing()
        self.shards: dict[int, Shard] = {}
        self.inputs: dict[Place, Input] = {}
        self.channels: dict[Key, deque[Turn]] = {}
        self.stopped = False
        self.orders: deque[Callable[[], None]] = deque()
        self.wiring: deque[Callable[[], None]] = deque()
        self.copies: dict[Key, tuple[str, Store]] = {}
        self.asked: deque[tuple[Shard, Prove, Store]] = deque()
        self.proofs: dict[tuple[str, int], dict[str, Any]] = {}
        self._bases: dict[int, Done] = {}
        self._sights: dict[int, tuple[Shard, Sight]] = {}
        self._followed = self._passed = 0
        self._sink_rows = sink_rows
        self._folded = folded
        self._mild = mild
        self._performer = self._performed(CrashPoints(crash, self._die))

    def _performed(self, crash: CrashPoints) -> Performer:
        return Performer(
            self.outlet, self, Uncounted(), self._enqueue, self._stop, Limits(3, 200, 4000), crash,
            prove=lambda shard, effect: self.asked.append((shard, effect, shard.store.frozen())),
            passes=Passes(self._between, slice_s=0.0),
            restore=self._restore,
        )  # fmt: skip

    def _die(self) -> None:
        raise AgentRaised if self._mild else Crashed

    def _stop(self, reason: str) -> None:
        self.stopped = True

    def _enqueue(self, turn: Turn) -> None:
        here = (turn.shard.number, turn.node.path) in self.channels
        if here and self.shards.get(turn.shard.number) is turn.shard:
            self.channels[turn.shard.number, turn.node.path].append(turn)

    # shards come and go

    def open(self, number: int, kv: MemoryKV, base: Done) -> None:
        """Host a shard; where its store is new, N0 begins behind the committed ``base``."""
        self.shards[number] = self._made(number, kv)
        self._bases[number] = base
        self.sync()

    def _made(self, number: int, kv: MemoryKV) -> Shard:
        return Shard(number, TREE, Store(kv), self._sink_rows)

    def release(self, number: int) -> None:
        shard = self.shards.pop(number)
        for path in shard.nodes:
            self._let_go(shard, path)
        shard.nodes.clear()

    def _let_go(self, shard: Shard, path: Path) -> None:
        self.inputs.pop((shard.number, shard.source(path)), None)
        self.channels.pop((shard.number, path), None)

    def follow(self, count: int) -> bool:
        """Read the next records of the routing log; whether there were any."""
        messages = self.log.messages(ROUTING, self._followed, self._followed + count)
        for message in messages:
            record = orjson.loads(message.value or b"")
            accepted = self.routing.fold(record, message.offset, 0.0)
            self._followed = message.offset + 1
            self._folded(self.routing, record, accepted)
        if messages:
            self.sync()
        return bool(messages)

    def sync(self) -> None:
        for number, shard in self.shards.items():
            synced = shard.sync(self.routing)
            for path in synced.gone:
                self._let_go(shard, path)
                shard.drop(path)
            for path in synced.fresh:
                source = shard.source(path)
                self._begin(shard, path)
                key, after = (number, path), shard.nodes[path].taken
                if error := lost(source, self.log.low[source], after):
                    raise error
                self.channels[key] = deque()
                self.inputs[number, source] = Input(key, source, after)
            self._adopt(shard)

    def _begin(self, shard: Shard, path: Path) -> None:
        """Without a store: behind what was committed, if that counts."""
        source = shard.source(path)
        if shard.store.position(source) is not None or not by_commit(path):
            return
        base = Done(self.log.commits.get(source, -1), Marks(), False)
        offset, marks, ids, epoch = self._bases[shard.number] if path == ROOT else base
        shard.begin(Position(offset, offset, epoch), path, marks, 0, ids)

    def _adopt(self, shard: Shard) -> None:
        for path, node in sorted(shard.nodes.items()):
            self._enqueue(Turn(shard, node, partial(shard.adopt, path, self.routing)))

    # the reader (``agents.perform.Inlet``): orders are carried out when it gets to them

    def reread(self, place: Place, offset: int) -> None:
        self._order(place, "delivered", offset - 1)

    def pause(self, place: Place) -> None:
        self._order(place, "paused", True)

    def resume(self, place: Place) -> None:
        self._order(place, "paused", False)

    def _order(self, place: Place, what: str, value: int) -> None:
        def obey() -> None:
            if place in self.inputs:
                setattr(self.inputs[place], what, value)

        self.orders.append(obey)

    @property
    def readable(self) -> list[Input]:
        """Inputs with messages to deliver and room for them."""
        return [
            i for i in self.inputs.values()
            if not i.paused and i.delivered + 1 < self.log.end(i.source)
            and len(self.channels[i.key]) < DEPTH
        ]  # fmt: skip

    def deliver(self, entry: Input, count: int) -> None:
        """The next messages of an input, decoded, to its node's channel."""
        start, low = entry.delivered + 1, self.log.low[entry.source]
        if start < low:
            if OUT_OF_RANGE != "earliest":
                raise lost(entry.source, low, entry.delivered) or AssertionError(
                    "R1: silently lost"
                )
            start = low
        last = min(self.log.end(entry.source), start + count) - 1
        messages = self.log.messages(entry.source, start, last + 1)
        number, path = entry.key
        unit: Unit
        if path == ROOT:
            unit = ingest.decode(
                entry.source, messages, entry.delivered, last, self.routing.dimension,
                self.routing.metric,
            )  # fmt: skip
        else:
            unit = ingest.decode_pipe(entry.source, messages, entry.delivered, last)
        entry.delivered = last
        shard = self.shards[number]
        node = shard.nodes[path]
        self.channels[entry.key].append(Turn(shard, node, partial(node.feed, unit), unit))

    # the node agents

    @property
    def waiting(self) -> list[Key]:
        return [key for key, channel in self.channels.items() if channel]

    def turn(self, key: Key) -> None:
        """The next turn of a node."""
        self._take(key, self.channels[key].popleft())

    def lose(self, key: Key, taken: bool) -> None:
        """The node's agent dies with a turn in its hand, before or after the node has changed."""
        turn = self.channels[key].popleft()

        def call() -> list[Effect]:
            if taken:
                turn.call()
            raise AgentRaised

        self._take(key, Turn(turn.shard, turn.node, call, turn.unit))

    def _take(self, key: Key, turn: Turn) -> None:
        try:
            self._performer.take(turn)
        except AgentRaised:
            self.wiring.append(partial(self._restored, turn.shard, key))

    def _restore(self, shard: Shard, path: Path) -> None:
        self.wiring.append(partial(self._restored, shard, (shard.number, path)))

    def _restored(self, shard: Shard, key: Key) -> None:
        number, path = key
        if self.shards.get(number) is not shard or path not in shard.nodes:
            return
        source = shard.source(path)
        node = shard.restore(path, self.routing)
        self._begin(shard, path)
        self._adopt(shard)
        self.reread((number, source), node.taken + 1)

    def _between(self, shard: Shard, node: Node) -> None:
        """In the middle of a pass: every other time, other nodes of the shard have a turn."""
        self._passed += 1
        if self._passed % 2:
            return
        for key in self.waiting:
            if key[0] == shard.number and key[1] != node.path:
                self.turn(key)

    # moves: what `agents.move` does on its threads

    def lacking(self) -> list[tuple[Shard, Move]]:
        """Copies that are wanted here."""
        found = []
        for shard in self.shards.values():
            for path in shard.shadows - set(shard.nodes) - shard.from_pipe:
                move = self.routing.moves.current(path)
                if move is not None and move.stage in UNDER_WAY:
                    found.append((shard, move))
        return found

    def receive(self, shard: Shard, path: Path, moment: Store, breaks_at: int | None) -> None:
        """Write a copy; it breaks off after so many pieces."""

        def pieces() -> Iterator[bytes]:
            for at, piece in enumerate(sent(moment, path, shard.source(path), 300)):
                if at == breaks_at:
                    return
                yield piece

        with suppress(CopyBroken, NotReady):
            received(shard.store, path, shard.source(path), pieces(), _ignored, _ignored)
        self.sync()

    def prove(self) -> bool:
        """Answer the next fence, if its record was read."""
        if not self.asked or self.routing.position < self.asked[0][1].fence.position:
            return False
        shard, effect, moment = self.asked.popleft()
        move = self.routing.moves.get(effect.fence.move)
        if move and move.stage == VERIFYING and self.shards.get(shard.number) is shard:
            found = proof(rows for _, rows in moment.live(effect.path))
            key = move.id, shard.number
            self.proofs.setdefault(key, {})[str(effect.fence.offset)] = found.to_json()
        return True

    def tell_of(self, move: Move, number: int) -> dict[str, Any]:
        """How far a move is at a shard."""
        shard = self.shards[number]
        node = shard.nodes.get(move.portion)
        return {
            "whole": node is not None, "at": -1 if node is None else node.position.stored,
            "end": self.log.end(shard.source(move.portion)),
            "proofs": dict(self.proofs.get((move.id, number), {})),
        }  # fmt: skip

    def hurry(self) -> None:
        """No row came for a while."""
        for shard in self.shards.values():
            for portion in shard.copies:
                if portion.waits:
                    self._enqueue(Turn(shard, portion, portion.hurry))

    def sights(self, most_bytes: int) -> Iterator[tuple[int, Sight]]:
        """What each shard here answers by; an index of places takes so many bytes at most."""
        for number, shard in sorted(self.shards.items()):
            if self._sights.get(number, (None, None))[0] is not shard:
                self._sights[number] = shard, Sight(shard, most_bytes)
            yield number, self._sights[number][1]

    def report(self, path: Path, marks: Marks) -> None:
        """An owner's marks, as read from the state log."""
        for shard in self.shards.values():
            parent = shard.nodes.get(path[:-1])
            if isinstance(parent, HandsDown):
                self._enqueue(Turn(shard, parent, partial(parent.owner_applied, path, marks)))
