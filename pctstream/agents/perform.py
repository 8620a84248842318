"""Carrying effects out: the one place where a decision of the core becomes I/O.

1. ``Apply``    one WriteBatch in the shard's store
2. ``Send``     parcels encoded and produced; ``delivered`` comes back through the node's channel
3. ``RouteHeld`` the rows held at N0 are read in order and routed; ``Regrow`` a portion sees its own;
   ``Purge``    rows that left are taken off the disk
   ``Promote``  a portion's store becomes that of a trunk node
   ``Prove``    what the store holds of a portion at this moment is told by whoever moves it
4. ``Reread``, ``Pause``, ``Resume``  the reader
5. ``Dropped``  counted
6. ``Stop``     ends the worker: it starts again from its watermarks

``Outlet`` and ``Inlet`` are what pipes.py offers; the simulator offers the same over a list.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from pctstream.agents.crash import CrashPoints
from pctstream.agents.letters import dead_letter
from pctstream.agents.passing import Passes
from pctstream.agents.shard import Node, Shard, Turn
from pctstream.core.block import ARROW, Block, concat, encode
from pctstream.core.effects import (
    Apply,
    Dropped,
    Effect,
    Parcel,
    Pause,
    Promote,
    Prove,
    Purge,
    Regrow,
    Reread,
    Resume,
    RouteHeld,
    Send,
    Stop,
)  # fmt: skip
from pctstream.core.handing import HandsDown
from pctstream.core.names import Path, pipe_topic
from pctstream.core.poison import sift
from pctstream.core.portion import Portion
from pctstream.core.position import UNKNOWN, LogIdentity
from pctstream.errors import DeliveryFailed
from pctstream.pipes.readers import Place
from pctstream.pipes.room import Room
from pctstream.promoting import promote
from pctstream.purging import purge

HELD_MESSAGES = 16
"""Held rows are routed so many messages' worth at a time (a unit's, as shipped)."""


class Outlet(Protocol):
    """Where messages leave: ``done(None)`` once all are acked, else ``done(reason)``."""

    def send(self, parcels: Sequence[Parcel], done: Callable[[str | None], None]) -> None: ...


class Inlet(Protocol):
    """Where messages come in."""

    def reread(self, place: Place, offset: int) -> None: ...

    def pause(self, place: Place) -> None: ...

    def resume(self, place: Place) -> None: ...


class Counters(Protocol):
    """What is counted on the way."""

    def dropped(self, rows: int, reason: str) -> None: ...

    def dead(self, code: str) -> None: ...

    def stage(self, stage: str, rows: int) -> None: ...

    def expired(self, rows: int) -> None: ...

    def purged(self, rows: int) -> None: ...


class Performer:
    """Carries out the effects of the nodes of one worker."""

    def __init__(
        self,
        outlet: Outlet,
        inlet: Inlet,
        counters: Counters,
        enqueue: Callable[[Turn], None],
        stop: Callable[[str], None],
        limits: Limits,
        crash: CrashPoints | None = None,
        identity: Callable[[Place], LogIdentity] | None = None,
        room: Room | None = None,
        prove: Callable[[Shard, Prove], None] | None = None,
        passes: Passes | None = None,
        restore: Callable[[Shard, Path], None] | None = None,
    ) -> None:
        self._outlet = outlet
        self._inlet = inlet
        self._counters = counters
        self._enqueue = enqueue
        self._stop = stop
        self._limits = limits
        self._crash = crash or CrashPoints()
        self._identity = identity or (lambda _: UNKNOWN)
        self._room = room or Room(sys.maxsize, sys.maxsize)
        self._prove = prove or (lambda _, __: None)
        self._passes = passes or Passes()
        self._restore = restore or (lambda _, __: None)

    def take(self, turn: Turn) -> None:
        """One turn of a node: decide, then act."""
        if turn.stale:
            return
        try:
            self._carry(turn.shard, turn.node, self._decide(turn))
        except Exception:
            # nothing more may be taken by this node until it is restored (R6)
            turn.shard.lost.add(turn.node.path)
            raise

    def _decide(self, turn: Turn) -> list[Effect]:
        try:
            return turn.call()
        except Exception:
            if turn.unit is None:
                raise
            clean = sift(turn.node.examine, turn.unit)
            if clean is turn.unit:
                raise
            return turn.node.feed(clean)

    def _carry(self, shard: Shard, node: Node, effects: Sequence[Effect]) -> None:
        for effect in effects:
            shard.pulses += 1
            match effect:
                case Apply():
                    self._apply(shard, node, effect)
                case Send():
                    self._send(shard, node, effect)
                case RouteHeld():
                    self._hand_down(shard, node, effect)
                case Regrow():
                    self._regrow(shard, node)
                case Purge():
                    self._purge(shard, node)
                case Promote():
                    self._promote(shard, node, effect)
                case Prove():
                    self._prove(shard, effect)
                case Reread(source, offset):
                    self._inlet.reread((shard.number, source), offset)
                case Pause(source):
                    self._inlet.pause((shard.number, source))
                case Resume(source):
                    self._inlet.resume((shard.number, source))
                case Dropped(rows, reason):
                    self._counters.dropped(rows, reason)
                case Stop(reason):
                    self._stop(reason)

    def _hand_down(self, shard: Shard, node: Node, effect: RouteHeld) -> None:
        assert isinstance(node, HandsDown)
        for last, rows in self._held(shard, node, effect.after):
            self._carry(shard, node, node.reroute(last, rows))
            if effect.in_pieces:
                on: list[Effect] = [RouteHeld(last, in_pieces=True)]
                self._enqueue(Turn(shard, node, partial(list, on)))
                return
        self._carry(shard, node, node.rerouted())

    def _promote(self, shard: Shard, node: Node, effect: Promote) -> None:
        """The node is lost from here on: what it became is restored from the store."""
        self._crash.passing("before-promoted")
        shard.lost.add(node.path)
        with shard.looking_again():
            rows = promote(shard.store, effect, self._identity((shard.number, effect.source)))
        self._counters.purged(rows)
        self._crash.passing("after-promoted")
        self._restore(shard, node.path)

    def _held(self, shard: Shard, node: HandsDown, after: int = -1) -> Iterator[tuple[int, Block]]:
        """The segments held at a node, some together where none or all of them were routed before:
        each that is handed over becomes a message for every child."""
        some: list[Block] = []
        last, done = -1, node.position.routed
        for offset, rows in shard.store.segments(node.path, after):
            together = [*some, rows]
            if some and (
                (last <= done) != (offset <= done)
                or sum(len(b) for b in together) > HELD_MESSAGES * self._limits.rows
                or sum(b.content_bytes for b in together) > HELD_MESSAGES * self._limits.bytes
            ):
                yield last, concat(some)
                together = [rows]
            some, last = together, offset
        if some:
            yield last, concat(some)

    def _regrow(self, shard: Shard, node: Node) -> None:
        assert isinstance(node, Portion)
        effects = self._passes.run(shard, node, lambda: self._crash.passing("before-grown"))
        self._carry(shard, node, effects)
        self._crash.passing("after-grown")

    def _purge(self, shard: Shard, node: Node) -> None:
        final = node.subtree.final if isinstance(node, Portion) else None
        with shard.looking_again():
            rows = purge(shard.store, node.path, final)
        node.purged()
        self._counters.purged(rows)
        self._crash.passing("after-purged")

    def _apply(self, shard: Shard, node: Node, effect: Apply) -> None:
        trunk = isinstance(node, HandsDown)
        routing = trunk and effect.rows is None
        before, after = (
            ("before-routed", "after-routed") if routing else ("before-apply", "after-apply")
        )
        self._crash.passing(before)
        shard.apply(effect, self._identity((shard.number, effect.source)))
        self._crash.passing(after)
        if effect.expired and node.path not in shard.shadows:
            self._counters.expired(effect.expired)
        if effect.rows is not None:
            stage = "stored" if trunk else "applied"
            stage = "shadowed" if node.path in shard.shadows else stage
            self._counters.stage(stage, effect.rows.brought)

    def _send(self, shard: Shard, node: Node, effect: Send) -> None:
        parcels: list[Parcel] = []
        for path, block in effect.parcels:
            topic = pipe_topic(shard.tree, path)
            for piece in block.pieces(self._limits.rows, self._limits.bytes):
                parcels += self._encoded(topic, piece)
            self._counters.stage("routed", block.brought)
        for letter in effect.dead:
            parcels.append(dead_letter(f"{shard.tree}.dlq", letter, self._limits.message_bytes))
            self._counters.dead(letter.code)

        rows = sum(len(block) for _, block in effect.parcels)
        load = self._room.load(rows, sum(len(p.value or b"") for p in parcels))

        def done(reason: str | None) -> None:
            load.leave()

            # ``delivered`` changes the node, so it takes its turn in the node's channel
            def call() -> list[Effect]:
                if reason is None:
                    return node.delivered(effect.ticket)
                return node.failed(reason)

            self._enqueue(Turn(shard, node, call))

        self._outlet.send(parcels, done)
        self._crash.passing("after-produce")

    def _encoded(self, topic: str, piece: Block) -> list[Parcel]:
        value = encode(piece)
        if len(value) > self._limits.message_bytes and len(piece) > 1:
            half = len(piece) // 2
            return [
                *self._encoded(topic, piece.slice(0, half)),
                *self._encoded(topic, piece.slice(half, len(piece))),
            ]
        if len(value) > self._limits.message_bytes:
            raise DeliveryFailed(
                f"a row of {len(value)} bytes is larger than a message may be "
                f"({self._limits.message_bytes}): lower blocks.row_bytes or raise the broker's limit"
            )
        return [Parcel(topic, 0, None, value, [("content-type", ARROW.encode())])]


class Limits(NamedTuple):
    """Of one produced message: rows, content bytes aimed at, encoded bytes never exceeded."""

    rows: int = 1024
    bytes: int = 524288
    message_bytes: int = 1_000_000
