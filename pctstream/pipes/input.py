"""An input: a topic partition that feeds a node, and what of it waits in this process.

Messages are collected until they are many bytes or the first has waited for the linger; then they
are decoded together into one unit and handed to the node's channel. They wait longer, up to ``BEHIND``
lingers, where they would only queue behind others, since what a unit costs on its way hardly grows with
its rows:

    while the node has not taken the unit before
    where they are sent on, while the worker's writer is busy: a unit costs a request for every child
    where they stay, while the nodes of the worker have as much as they can take (`reader.AHEAD`)

So a busy worker makes large units, as many as it can carry, and an idle one makes them without delay.

Units handed out and not yet taken are counted: from ``channel_blocks`` on the partition is paused,
until half of them are taken (R12). A node may ask for a pause too; it is read while nobody holds it.

>>> one = Input(Source("t.P0", 0), lambda m, prev, last: Unit(Source("t.P0", 0), prev, last), print,
...             delivered=4, channel_blocks=2)
>>> one.take([Message(5, None, b"row")], now=0.0)
3
>>> one.ready(0.01, Collect(0.02)), one.ready(0.03, Collect(0.02))
(False, True)
>>> one.unit().last, one.unit().last, one.hold
(5, 5, 'channel')
>>> one.taken(); one.hold
''
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pctstream.core.block import Source
from pctstream.core.unit import Message, Unit
from pctstream.pipes.room import Load

Decode = Callable[[Sequence[Message], int, int], Unit]
Sink = Callable[[Unit, Load], None]
BEHIND = 10
"""Lingers that messages wait for a fuller unit where they would queue anyway; longer waits would be seen
where whoever is waited for stands still."""

MESSAGE_BYTES = 300
"""What a collected message takes besides its value: the objects it is made of."""


class Collect(NamedTuple):
    """When collected messages become a unit."""

    linger_s: float
    rows: int = 16_384
    bytes: int = 8_388_608


@dataclass(slots=True)
class Input:
    """Touched by the reader's thread only."""

    source: Source
    decode: Decode
    sink: Sink
    delivered: int
    channel_blocks: int
    leader_epoch: int = -1
    routes: Callable[[], bool] = bool
    """Whether what is read here is sent on."""
    seen: int = -1
    end: int = -1
    asked: bool = False
    paused: bool = False
    waiting: int = 0
    since: float = 0.0
    bytes: int = 0
    messages: list[Message] = field(default_factory=list)
    _full: bool = False

    def take(self, messages: Sequence[Message], now: float) -> int:
        """The next messages of the log, of which those seen before are dropped; bytes of the others."""
        behind = max(self.delivered, self.seen)
        if messages[0].offset <= behind:
            messages = [m for m in messages if m.offset > behind]
            if not messages:
                return 0
        if not self.messages:
            self.since = now
        size = sum([len(m.value) for m in messages if m.value])
        self.messages += messages
        self.bytes += size
        last = messages[-1]
        self.seen = last.offset
        self.leader_epoch = max(self.leader_epoch, last.leader_epoch)
        return size

    def full(self, collect: Collect) -> bool:
        """It is as much as a unit may be."""
        return len(self.messages) >= collect.rows or self.bytes >= collect.bytes

    def ready(self, now: float, collect: Collect, busy: bool = False) -> bool:
        """Whether a unit is to be made; ``busy``: who would take it, or what it makes, has enough."""
        if not self.messages:
            return self.seen > self.delivered
        if self.full(collect):
            return True
        lingers = BEHIND if busy or self.waiting else 1
        return now - self.since >= collect.linger_s * lingers

    def unit(self) -> Unit:
        """What was collected, decoded; it waits until `taken`."""
        unit = self.decode(self.messages, self.delivered, self.seen)
        self.messages, self.bytes = [], 0
        self.delivered = self.seen
        self.waiting += 1
        return unit

    def taken(self) -> None:
        """The node has taken a unit, or it was lost."""
        self.waiting -= 1

    @property
    def weight(self) -> int:
        """Bytes of memory that the messages collected take."""
        return self.bytes + MESSAGE_BYTES * len(self.messages)

    def rewind(self, offset: int) -> None:
        """Collect again from this offset on."""
        self.messages, self.bytes, self.seen = [], 0, -1
        self.delivered = offset - 1

    @property
    def hold(self) -> Literal["", "node", "channel"]:
        """Who wants it paused: the node, its full channel, or nobody."""
        if self.waiting >= self.channel_blocks:
            self._full = True
        elif self.waiting <= self.channel_blocks // 2:
            self._full = False
        return "node" if self.asked else "channel" if self._full else ""
