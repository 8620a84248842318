"""The readers of a worker: one for all it answers for, a second for what two of its shards both read.

A consumer has one place in a partition. While a portion moves between two shards of one worker both
read its pipe, each at its own pace; the one that comes later is read by a second consumer, made when
it is first needed. A portion has one move at a time (R9), so two are enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pctstream.core.block import Source
from pctstream.errors import IllegalTransition
from pctstream.pipes.input import Decode, Sink
from pctstream.pipes.reader import Reader

Place = tuple[int, Source]
"""An input: a shard, and the topic partition that it reads."""


class Readers:
    """Inputs by shard and source; all methods may be called from any thread."""

    def __init__(self, made: Callable[[], Reader]) -> None:
        self._made = made
        self._all = [made()]
        self._where: dict[Place, Reader] = {}

    def add(
        self, place: Place, after: int, decode: Decode, sink: Sink, leader_epoch: int,
        routes: Callable[[], bool],
    ) -> None:  # fmt: skip
        """Read an input from behind ``after`` (`Reader.add`)."""
        reader = self._where.get(place) or self._free(place[1])
        self._where[place] = reader
        reader.add(place[1], after, decode, sink, leader_epoch, routes)

    def _free(self, source: Source) -> Reader:
        busy = [reader for (_, other), reader in list(self._where.items()) if other == source]
        for reader in self._all:
            if reader not in busy:
                return reader
        if len(self._all) > 1:
            raise IllegalTransition(f"three shards of one worker are to read {source.topic}")
        self._all.append(self._made())
        return self._all[-1]

    def remove(self, place: Place) -> None:
        """Read it no more."""
        if reader := self._where.pop(place, None):
            reader.remove(place[1])

    def stop(self, source: Source) -> None:
        """No shard reads this partition any more."""
        for place in [place for place in list(self._where) if place[1] == source]:
            self.remove(place)

    def reread(self, place: Place, offset: int) -> None:
        """Deliver it again from this offset (R6)."""
        if reader := self._where.get(place):
            reader.reread(place[1], offset)

    def pause(self, place: Place) -> None:
        if reader := self._where.get(place):
            reader.pause(place[1])

    def resume(self, place: Place) -> None:
        if reader := self._where.get(place):
            reader.resume(place[1])

    def asked(self, place: Place) -> bool:
        """Whether the node wants nothing of this input for now."""
        reader = self._where.get(place)
        return reader is not None and reader.asked(place[1])

    def behind(self, place: Place) -> bool:
        """Whether its reader has more all the time than it can give out (`Reader.behind`)."""
        reader = self._where.get(place)
        return reader is not None and reader.behind()

    def unread(self, place: Place, taken: int) -> bool:
        """Whether a node that has taken up to this offset was given nothing more yet."""
        reader = self._where.get(place)
        return reader is not None and reader.unread(place[1], taken)

    def leader_epoch(self, place: Place) -> int:
        reader = self._where.get(place)
        return -1 if reader is None else reader.leader_epoch(place[1])

    def rounds(self) -> dict[str, int]:
        """How often each of their threads came round."""
        return {f"reader {i}": reader.rounds for i, reader in enumerate(self._all)}

    def held(self) -> dict[str, int]:
        """Inputs paused now, by who holds them."""
        each = [reader.held() for reader in self._all]
        return {who: sum(held[who] for held in each) for who in each[0]}

    def ends(self) -> dict[Source, int]:
        """The log end of each input's partition, as the last fetch saw it."""
        found: dict[Source, int] = {}
        for reader in self._all:
            for source, end in reader.ends().items():
                found[source] = max(end, found.get(source, -1))
        return found

    def commit(self, positions: Sequence[tuple[Source, int, str]]) -> None:
        """Tell lag tools how far inputs are done (`Reader.commit`)."""
        self._all[0].commit(positions)

    def close(self) -> None:
        for reader in self._all:
            reader.close()
