"""The inputs of a worker's nodes: where reading starts, what stops one, how far all are (R1).

An input is read behind its store's watermark (a restored one's is the snapshot's); without a store, N0's
behind what the group committed (= routed), a pipe's from its beginning, if that is still there. It stops,
alone and for good, where the log does not continue the store: the topic has another id, or its end lies
before the watermark. Rows that nobody has read and that are gone (retention removed them) end the worker
with code 5: they are lost, and what everybody who asks gets from then on is not all there was. With
`ingest.on_loss = "stop"` that stops its input only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import orjson
from confluent_kafka.admin import AdminClient

from pctstream import heap
from pctstream.agents.perform import Counters
from pctstream.agents.shard import Shard, Turn
from pctstream.config import Config
from pctstream.core import ingest
from pctstream.core.block import Source
from pctstream.core.marks import Marks
from pctstream.core.names import ROOT, Path
from pctstream.core.position import UNKNOWN, LogIdentity, Position
from pctstream.core.root import Root
from pctstream.core.routing import Routing
from pctstream.core.unit import Message, Unit
from pctstream.errors import BrokerUnreachable, InputBroken, InputLost
from pctstream.pipes import client
from pctstream.pipes.bounds import Commit, bounds, committed
from pctstream.pipes.input import Collect
from pctstream.pipes.reader import Reader
from pctstream.pipes.readers import Place, Readers
from pctstream.pipes.room import Load, Room
from pctstream.topics import topic_ids

Enqueue = Callable[[Turn], None]
RESTORE = (
    "bring the shard back with `pctstream restore --force`, or name the snapshots in store.snapshots and "
    "remove its store"
)
NOTE_BYTES = 4096
"""Of a commit's metadata: the broker's default (`offset.metadata.max.bytes`)."""


class Inputs:
    """Adds, watches and removes the inputs of the shards hosted here."""

    def __init__(
        self, cfg: Config, log: Routing, metrics: Counters, enqueue: Enqueue,
        fatal: Callable[..., None], name: str, room: Room, busy: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.broken: dict[Source, InputBroken] = {}
        self.waiting = ""
        """Why inputs are not read yet."""
        self.topic_ids: dict[str, str] = {}
        self._bases: dict[Source, Callable[[], None]] = {}
        self._unread: list[tuple[Shard, Path]] = []
        self._gone: set[str] = set()
        self._cfg = cfg
        self._log = log
        self._metrics = metrics
        self._enqueue = enqueue
        self._fatal = fatal
        self._name = name
        self._group = f"{cfg.tree.name}.pipes"
        self._admin = AdminClient(client.common(cfg, "inputs"))
        blocks, limits = cfg.blocks, cfg.limits
        self.reader = Readers(
            lambda: Reader(
                client.reader(cfg, name, self._group), room=room, broken=self.stop, fatal=fatal, busy=busy,
                collect=Collect(blocks.linger_ms / 1000.0, limits.unit_rows, limits.unit_bytes),
                channel_blocks=limits.channel_blocks,
            )
        )  # fmt: skip

    def add(self, fresh: Sequence[tuple[Shard, Path]]) -> None:
        """Read these nodes' inputs, as soon as the broker says how far they go."""
        self._unread += fresh
        self.read()

    def read(self) -> None:
        """Begin with those that wait for the broker; asked again if it does not answer."""
        fresh = [(s, p) for s, p in self._unread if p in s.nodes]
        try:
            self._begin_reading(fresh)
        except BrokerUnreachable as error:
            # a client whose coordinator died with the broker may ask in vain for ever (seen)
            self._admin = AdminClient(client.common(self._cfg, "inputs"))
            self.waiting = str(error)
            return
        self._unread, self.waiting = [], ""
        if fresh:
            heap.settle()

    def _begin_reading(self, fresh: Sequence[tuple[Shard, Path]]) -> None:
        if not fresh:
            return
        sources = {s.source(p) for s, p in fresh}
        self.topic_ids.update(topic_ids(self._admin, {s.topic for s in sources}))
        logs = bounds(self._admin, sources)
        told = committed(self._admin, self._group, [s.source(p) for s, p in fresh if by_commit(p)])
        for shard, path in fresh:
            source = shard.source(path)
            found = shard.store.position(source)
            log = found[1] if found else UNKNOWN
            low = logs.get(source, (0, -1))[0]
            error: InputBroken | None
            if found is None:
                self._begin(shard, path, low, told.get(source))
                error = begins_late(source, path, low, told.get(source))
            else:
                error = self._broken(shard, path, logs.get(source, (0, -1)), log)
            if error is not None:
                self.stop(source, error)
                continue
            after, decode = shard.nodes[path].position.taken, self._decoder(source, path)
            feed = partial(self._feed, shard, path)
            routes = partial(shard.routes, path)
            place = shard.number, source
            self.reader.add(place, after, decode, feed, log.leader_epoch, routes)

    def _begin(self, shard: Shard, path: Path, low: int, told: Commit | None) -> None:
        """Without a store: behind what was committed, else the log's start."""
        position, marks, ids = Position(low - 1, low - 1), Marks(), False
        if told is not None:
            position = Position(told.offset, told.offset, int(told.note.get("epoch", 0)))
            marks = Marks.from_json(told.note.get("marks", ()))
            ids = bool(told.note.get("ids"))
        begin = partial(shard.begin, position, path, marks, low, ids)
        self._bases[shard.source(path)] = begin
        begin()

    def _broken(
        self, shard: Shard, path: Path, log: tuple[int, int], was: LogIdentity
    ) -> InputBroken | None:
        """Why the log does not continue the store, if so."""
        source, after = shard.source(path), shard.nodes[path].position.taken
        if was.topic_id and self.topic_ids.get(source.topic) != was.topic_id:
            return made_again(source)
        low, high = log
        if error := lost(source, low, after):
            return error
        if high < after + 1:
            return InputBroken(
                f"{source.topic}[{source.partition}] holds offsets {low} to {high}, but the store "
                f"goes on at {after + 1}: rows are missing from this log; restore it, or remove the "
                "shard's store to rebuild")  # fmt: skip
        return None

    def whole(self, source: Source) -> bool:
        """Whether a log still has all that was ever in it, as far as the broker says now."""
        try:
            return bounds(self._admin, [source]).get(source, (1, 0))[0] == 0
        except BrokerUnreachable:
            return False

    def identity(self, place: Place) -> LogIdentity:
        """Of which log what is read here comes (R1)."""
        topic_id = self.topic_ids.get(place[1].topic, "")
        return LogIdentity(topic_id, self.reader.leader_epoch(place))

    def again(self, shard: Shard, path: Path) -> None:
        """The node was restored: read on behind what its store has (R6)."""
        source = shard.source(path)
        if shard.store.position(source) is None:
            self._bases.get(source, lambda: None)()
        self.reader.reread((shard.number, source), shard.nodes[path].position.taken + 1)

    def remove(self, shard: Shard) -> None:
        """The shard is somebody else's now."""
        for path in list(shard.nodes):
            self.drop(shard, path)

    def drop(self, shard: Shard, path: Path) -> None:
        """This shard does not read the input of this node any more."""
        self.reader.remove((shard.number, shard.source(path)))
        self.broken.pop(shard.source(path), None)

    def stop(self, source: Source, error: InputBroken) -> None:
        """This input is read no more; the worker goes on, not ready, unless rows are lost."""
        self.broken[source] = error
        self.reader.stop(source)
        if isinstance(error, InputLost) and self._cfg.ingest.on_loss == "end":
            self._fatal(str(error), error.exit_code)
        os.write(2, f"pctstream worker {self._name}: {error}\n".encode())

    def check(self, shards: Iterable[Shard]) -> None:
        """Stop the inputs whose topic was made again; say which of those that stopped lost rows."""
        done = {s.source(p): n.position.taken for s in shards for p, n in list(s.nodes.items())}
        sources = set(done)
        if not sources:
            return
        try:
            now = topic_ids(self._admin, {s.topic for s in sources})
            stopped = [s for s, e in self.broken.items() if type(e) is InputBroken and s in done]
            for source, (low, _) in bounds(self._admin, stopped).items():
                if error := lost(source, low, done[source]):
                    self.stop(source, error)
        except BrokerUnreachable:
            return  # asked again soon: a broker that is away has not lost a topic
        gone, self._gone = self._gone, {s.topic for s in sources if s.topic not in now}
        for source in sources - set(self.broken):
            # a broker that starts may not know a topic yet: gone is what is missing twice
            if source.topic not in now and source.topic not in gone:
                continue
            if now.get(source.topic) != self.topic_ids.get(source.topic):
                self.stop(source, made_again(source))

    def commit(self, shards: Iterable[Shard]) -> None:
        """Tell the group how far each input is: routed for N0, taken for a pipe.

        Where more foreign partitions come through an input than a commit can name, it is not told:
        whoever has lost the store then reads from the log's start, and the portions' marks know.
        """
        positions = []
        for shard in shards:
            for path, node in list(shard.nodes.items()):
                if path in shard.shadows:
                    continue
                note: dict[str, Any] = {"epoch": node.position.epoch}
                done = node.position.taken
                if isinstance(node, Root):
                    if node.done is None:
                        continue
                    done, marks, note["ids"], note["epoch"] = node.done
                    note["marks"] = marks.to_json()
                text = orjson.dumps(note).decode()
                if done >= 0 and len(text) <= NOTE_BYTES:
                    positions.append((shard.source(path), done + 1, text))
        self.reader.commit(positions)

    def _decoder(self, source: Source, path: Path) -> Callable[..., Unit]:
        if path != ROOT:
            return partial(ingest.decode_pipe, source)
        log, assumed, row_bytes = self._log, self._cfg.ingest.format, self._cfg.blocks.row_bytes

        def decode(messages: Sequence[Message], prev: int, last: int) -> Unit:
            return ingest.decode(
                source, messages, prev, last, log.dimension, log.metric, assumed, row_bytes
            )

        return decode

    def _feed(self, shard: Shard, path: Path, unit: Unit, load: Load) -> None:
        node = shard.nodes.get(path)
        if node is None:
            return load.leave()
        self._metrics.stage("read", len(unit))
        return self._enqueue(Turn(shard, node, partial(node.feed, unit), unit, load))


def by_commit(path: Path) -> bool:
    """Whether an input without a store begins behind what its group committed: a pipe never does (R1)."""
    return path == ROOT


def lost(source: Source, low: int, done: int) -> InputLost | None:
    """The error of a log that begins at ``low``, of which everything up to ``done`` was read."""
    if low <= done + 1:
        return None
    return InputLost(
        f"{source.topic}[{source.partition}] begins at offset {low}, and nobody has read what came from "
        f"{done + 1} on: those rows are lost, retention or a person removed them; restore the "
        "topic (or, if it was cut behind a snapshot, the shard: `pctstream restore`), or set "
        'ingest.on_loss = "stop" to go on without this input'
    )


def begins_late(source: Source, path: Path, low: int, told: Commit | None) -> InputLost | None:
    """The error of an input without a store whose log does not have all that a store would.

    A tree may begin on an ingest log that was cut before; a pipe is nobody's but the tree's. Which ids
    N0 had seen stands in the log from its start on, and nowhere else.
    """
    if path == ROOT and told is None:
        return None
    if path == ROOT and told is not None and not (told.note.get("ids") and low > 0):
        return lost(source, low, told.offset)
    if low <= 0:
        return None
    what = "which ids came" if path == ROOT else "the rows"
    return InputLost(
        f"{source.topic}[{source.partition}] begins at offset {low}, and {what} before it no store here "
        f"knows: {RESTORE}"
    )


def made_again(source: Source) -> InputBroken:
    """The error of an input whose topic has another id."""
    return InputBroken(
        f"{source.topic} was deleted, or deleted and made again: its rows are not those the store has "
        "read; this input stopped, restore the topic or rebuild the tree"
    )
