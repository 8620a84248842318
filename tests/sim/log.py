"""Kafka in memory: a message in its list is durable; whether anybody hears so is another matter.

``Log`` keeps topic partitions. ``Outlet`` is one idempotent, gapless producer: what it was given
lands per partition in order, acks come later and apart, and after a refusal nothing more lands.
When its process dies, part of what is under way still lands, and its acks are heard by nobody.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pctstream.core.block import Source
from pctstream.core.effects import Parcel
from pctstream.core.unit import Message

Done = Callable[[str | None], None]


@dataclass(slots=True)
class Log:
    """Topic partitions; an entry is a message, or None for a record of a transaction."""

    partitions: dict[Source, list[Parcel | None]] = field(default_factory=lambda: defaultdict(list))
    landed: Callable[[Source, int, Parcel], None] = lambda source, offset, parcel: None
    low: dict[Source, int] = field(default_factory=lambda: defaultdict(int))
    """Where each begins: what came before is gone."""
    commits: dict[Source, int] = field(default_factory=dict)
    """What the group of lag tools has for pipes: the last offset that their owners had taken."""

    def append(self, source: Source, parcel: Parcel | None) -> int:
        entries = self.partitions[source]
        entries.append(parcel)
        if parcel is not None:
            self.landed(source, len(entries) - 1, parcel)
        return len(entries) - 1

    def end(self, source: Source) -> int:
        """The offset that the next message will have."""
        return len(self.partitions[source])

    def messages(self, source: Source, start: int, stop: int) -> list[Message]:
        out = []
        for offset, parcel in enumerate(self.partitions[source][start:stop], start):
            if parcel is not None:
                said = {k: v.decode() for k, v in parcel.headers}
                kind, ours = said.get("content-type"), said.get("pct-type")
                home = said.get("pct-origin")
                out.append(Message(offset, parcel.key, parcel.value, kind, ours, offset, -1, home))
        return out


@dataclass(slots=True)
class Sent:
    """One message under way."""

    parcel: Parcel
    left: list[int]
    done: Done
    offset: int = -1


class Outlet:
    """``agents.perform.Outlet`` over a Log; the scheduler says what happens to its messages."""

    def __init__(self, log: Log, acked: Callable[[Source, int], None]) -> None:
        self._log = log
        self._acked = acked
        self._queues: dict[Source, deque[Sent]] = defaultdict(deque)
        self._unheard: dict[Source, deque[Sent]] = defaultdict(deque)
        self.broken = False

    def send(self, parcels: Sequence[Parcel], done: Done) -> None:
        left = [len(parcels)]
        for parcel in parcels:
            if not self.broken:
                self._queues[Source(parcel.topic, parcel.partition)].append(
                    Sent(parcel, left, done)
                )

    @property
    def queued(self) -> list[Source]:
        return [s for s, queue in self._queues.items() if queue]

    @property
    def unheard(self) -> list[Source]:
        return [s for s, queue in self._unheard.items() if queue]

    def land(self, source: Source) -> None:
        """The broker takes the next message for this partition."""
        sent = self._queues[source].popleft()
        sent.offset = self._log.append(source, sent.parcel)
        self._unheard[source].append(sent)

    def ack(self, source: Source) -> None:
        """The oldest ack of this partition arrives."""
        sent = self._unheard[source].popleft()
        self._acked(source, sent.offset)
        sent.left[0] -= 1
        if sent.left[0] == 0:
            sent.done(None)

    def refuse(self, source: Source) -> None:
        """The broker does not take the next message: the producer is at its end."""
        sent = self._queues[source].popleft()
        self.broken = True
        self._queues.clear()
        sent.done(f"{source.topic}: refused")

    def die(self, chance: random.Random) -> None:
        """The process is gone: of each partition a first part of what was queued may still land."""
        self._unheard.clear()
        for queue in self._queues.values():
            for _ in range(chance.randint(0, len(queue))):
                queue.pop()
