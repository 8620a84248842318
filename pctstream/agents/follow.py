"""Carrying out what a standby's nodes ask for: everything but what others would hear of.

A standby reads what its owner reads, into a store of its own. What it would send its owner sends; so a
unit is done at the standby, and its position moves on, when the owner has told on `.state` that it is
done there (R2). Until then its ticket waits here. A standby is never ahead of what the broker has
acked, however fast it reads, and one that takes over sends again at most what its owner had not told of.

    Send -> a ticket that waits      heard(shard, record) -> Turn(delivered)
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from pctstream.agents.perform import Inlet, Limits, Performer
from pctstream.agents.shard import Node, Shard, Turn
from pctstream.core import life
from pctstream.core.effects import Parcel, Send
from pctstream.core.handing import HandsDown
from pctstream.core.names import Path, node_path
from pctstream.core.position import LogIdentity
from pctstream.pipes.readers import Place

Key = tuple[int, Path]


class Ticket(NamedTuple):
    """A `Send` that the owner's stands for; ``routed``: it is done once its rows are routed, else once they
    are stored."""

    node: Node
    number: int
    routed: bool
    rows: int


class Uncounted:
    """``perform.Counters``: what a standby does is its owner's, and counted there."""

    def dropped(self, rows: int, reason: str) -> None: ...

    def dead(self, code: str) -> None: ...

    def stage(self, stage: str, rows: int) -> None: ...

    def expired(self, rows: int) -> None: ...

    def purged(self, rows: int) -> None: ...


class Nowhere:
    """``perform.Outlet``: nothing leaves."""

    def send(self, parcels: Sequence[Parcel], done: Callable[[str | None], None]) -> None:
        raise AssertionError("a standby sends nothing")


class Follow(Performer):
    """The performer of a worker's standbys."""

    def __init__(
        self, inlet: Inlet, enqueue: Callable[[Turn], None], stop: Callable[[str], None], limits: Limits,
        most_rows: int, identity: Callable[[Place], LogIdentity] | None = None,
    ) -> None:  # fmt: skip
        """``most_rows`` may wait at a node for its owner's word, then its input pauses."""
        super().__init__(Nowhere(), inlet, Uncounted(), enqueue, stop, limits, identity=identity)
        self._most_rows = most_rows
        self._lock = threading.Lock()
        self._tickets: dict[Key, deque[Ticket]] = {}
        self._done: dict[Key, tuple[int, int]] = {}
        """(stored, routed) of the owner's node, as told."""
        self._paused: set[Key] = set()

    def heard(self, shard: Shard, inputs: Iterable[Mapping[str, Any]]) -> None:
        """How far the owner of a shard has come, told by itself: ``inputs`` of its record."""
        for entry in inputs:
            if str(entry["node"]).startswith("N"):
                key = shard.number, node_path(entry["node"])
                with self._lock:
                    stored, routed = self._done.get(key, (-1, -1))
                    done = max(stored, int(entry["stored"])), max(routed, int(entry["routed"]))
                    self._done[key] = done
                self._deliver(shard, key)

    def forget(self, shard: Shard, path: Path | None = None) -> None:
        """Nothing of this node, or of any here, waits any more."""
        with self._lock:
            for key in [k for k in {*self._tickets, *self._done} if k[0] == shard.number]:
                if path in (None, key[1]):
                    self._tickets.pop(key, None)
                    self._paused.discard(key)
                    if path is None:
                        self._done.pop(key, None)

    def _send(self, shard: Shard, node: Node, effect: Send) -> None:
        key = shard.number, node.path
        # rows of before a split are sent, and then wait for it, while the node has not split yet
        routed = isinstance(node, HandsDown) and (
            bool(effect.parcels) or node.mode == life.SPLITTING
        )
        rows = sum(len(block) for _, block in effect.parcels)
        with self._lock:
            tickets = self._tickets.setdefault(key, deque())
            tickets.append(Ticket(node, effect.ticket, routed, rows))
            full = sum(t.rows for t in tickets) > self._most_rows
            if full:
                self._paused.add(key)
        if full:
            self._inlet.pause((shard.number, shard.source(node.path)))
        self._deliver(shard, key)

    def _deliver(self, shard: Shard, key: Key) -> None:
        with self._lock:
            stored, routed = self._done.get(key, (-1, -1))
            ready, left = deque[Ticket](), deque[Ticket]()
            for ticket in self._tickets.get(key, ()):
                if ticket.node is not shard.nodes.get(key[1]):
                    continue  # restored since: what it took is read again
                done = ticket.number <= (routed if ticket.routed else max(stored, routed))
                (ready if done else left).append(ticket)
            self._tickets[key] = left
            resume = key in self._paused and sum(t.rows for t in left) <= self._most_rows // 2
            if resume:
                self._paused.discard(key)
        for ticket in ready:
            call = partial(ticket.node.delivered, ticket.number)
            self._enqueue(Turn(shard, ticket.node, call))
        if resume:
            self._inlet.resume((shard.number, shard.source(key[1])))
