"""The bridge: other people's topics, copied message by message into the ingest topic.

Partition p goes to ingest partition p mod S, byte for byte, with its content type, its time and its
place in the header ``pct-origin``: its rows keep the origin of the topic they came from. Nothing is
decoded on the way, so that the dimension is found, and bad rows are refused, in one place.

Whoever copies begins at or before what is copied, and copies in order without a hole. So one that
crashed repeats a part, and a zombie beside it too, but nobody leaves anything out: N0 takes each row
once, by the marks of `core.news` (R3).

    Copies(parcels) ... acked in order -> committed for the group `<tree>.pipes`
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pctstream.core.between import MARKER
from pctstream.core.block import Origin, Source
from pctstream.core.effects import Parcel
from pctstream.core.expiry import EXPIRE
from pctstream.core.names import ROOT, pipe_topic
from pctstream.core.unit import DeadLetter, Message, Unit

ORIGIN = "pct-origin"
LARGEST_BYTES = 1_000_000
"""Of a message's key and value: the broker's default limit leaves room for the headers."""
BETWEEN = (MARKER, EXPIRE)
_PLACE = re.compile(r"([A-Za-z0-9._-]{1,249})/(\d{1,9})/(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Copies(Unit):
    """What becomes of some messages of a foreign partition; its length counts messages."""

    parcels: tuple[Parcel, ...] = ()

    def __len__(self) -> int:
        return len(self.parcels) + len(self.dead)


def copies(
    tree: str, shards: int, source: Source, messages: Sequence[Message], prev: int, last: int
) -> Copies:
    """The same messages for the ingest topic of ``tree``, which has ``shards`` partitions.

    A message too large for it is a dead letter without its value: its origin finds it. What another tree
    wrote between the rows of its ingest topic is no row and stays there.
    """
    topic, partition = pipe_topic(tree, ROOT), source.partition % shards
    parcels, dead = [], []
    for message in messages:
        if message.pct_type in BETWEEN and source.topic.endswith(".P0"):
            continue
        place = Origin(*source, message.offset, 0)
        size = len(message.key or b"") + len(message.value or b"")
        if size > LARGEST_BYTES:
            why = f"a message of {size} bytes: at most {LARGEST_BYTES} are taken from other topics"
            dead.append(DeadLetter(place, "too-large", why, None, None, "bridge", message.time_ms))
            continue
        headers = [(ORIGIN, f"{source.topic}/{source.partition}/{message.offset}".encode())]
        if message.content_type is not None:
            headers.append(("content-type", message.content_type.encode()))
        parcels.append(
            Parcel(topic, partition, message.key, message.value, headers, message.time_ms)
        )
    return Copies(source, prev, last, dead=tuple(dead), parcels=tuple(parcels))


def runs(source: Source, messages: Sequence[Message]) -> Iterator[tuple[Source, Sequence[Message]]]:
    """Consecutive messages of an ingest partition by where they came from, with their offsets there.

    An origin that a message keeps names no place of another topic.

    >>> own, copied = Message(7, None, b""), Message(8, None, b"", origin="theirs/3/41")
    >>> [(str(s.topic), s.partition, [m.offset for m in some])
    ...  for s, some in runs(Source("t.P0", 1), [own, copied])]
    [('t.P0', 1, [7]), ('theirs', 3, [41])]
    """
    if not any(m.origin for m in messages):
        yield source, messages
        return
    run: list[Message] = []
    at = source
    for message in messages:
        home, there = _home(source, message)
        if run and home != at:
            yield at, run
            run = []
        at = home
        run.append(there)
    yield at, run


def _home(source: Source, message: Message) -> tuple[Source, Message]:
    found = _PLACE.fullmatch(message.origin or "")
    if found is None or found[1] == source.topic:
        return source, message
    home = Source(found[1], int(found[2]))
    return home, message._replace(offset=int(found[3]), origin=None)
