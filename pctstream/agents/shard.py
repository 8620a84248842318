"""A shard at work: its store and the nodes restored from it, kept in step with the routing.

A node in memory is never ahead of its store for good: whatever goes wrong between the two, the node
is thrown away and restored, and its input is read again from where the store is (R6).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pctstream.core import life
from pctstream.core.block import Source
from pctstream.core.effects import Effect
from pctstream.core.marks import Marks
from pctstream.core.names import ROOT, Path, level, node_name, pipe_topic
from pctstream.core.portion import Portion
from pctstream.core.position import Position
from pctstream.core.root import Root
from pctstream.core.routing import Routing
from pctstream.core.trunk import Trunk
from pctstream.core.unit import Unit
from pctstream.pipes.room import Load
from pctstream.store import Store

Node = Root | Portion
LOCK_S = 0.5


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing for a node to take, in the order of its channel."""

    shard: Shard
    node: Node
    call: Callable[[], list[Effect]]
    unit: Unit | None = None
    load: Load | None = None

    @property
    def stale(self) -> bool:
        """The node was lost or restored since: what this turn carries is read again."""
        path = self.node.path
        return path in self.shard.lost or self.shard.nodes.get(path) is not self.node


@dataclass(slots=True)
class Shard:
    """Store and nodes of one storage node of the seeds."""

    number: int
    tree: str
    store: Store
    sink_rows: int
    nodes: dict[Path, Node] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    lost: set[Path] = field(default_factory=set)
    """Nodes that raised: what they believe and what the store holds may differ."""
    pulses: int = 0
    """Effects carried out so far: where it stops while a turn is under way, that turn hangs."""
    growing: bool = False
    """A portion sees all its rows again, which takes as long as it takes."""
    _waited: int = -1

    @contextmanager
    def between_turns(self) -> Iterator[bool]:
        """No turn is under way; or one that takes long is, and the answer is False: a view must not
        wait for it, and what it reads meanwhile may be of two moments."""
        got = self.lock.acquire(blocking=False)
        if not got and self._waited != self.pulses:
            got = self.lock.acquire(timeout=LOCK_S)
            self._waited = -1 if got else self.pulses
        try:
            yield got
        finally:
            if got:
                self.lock.release()

    @property
    def root(self) -> Root | None:
        node = self.nodes.get(ROOT)
        return node if isinstance(node, Root) else None

    @property
    def portions(self) -> list[Portion]:
        """In the order of their names."""
        return [n for _, n in sorted(self.nodes.items()) if isinstance(n, Portion)]

    def sync(self, log: Routing) -> list[Path]:
        """Restore the nodes that the routing gives this shard; the paths that are new here."""
        if not log.tree:
            return []
        wanted = [ROOT, *log.owned(self.number)]
        added = [path for path in wanted if path not in self.nodes]
        for path in added:
            self.restore(path, log)
        return added

    def restore(self, path: Path, log: Routing) -> Node:
        """The node as the store has it, in place of whatever was in memory."""
        source = self.source(path)
        found = self.store.position(source)
        position = found[0] if found else None
        saved = self.store.state(path)
        if path == ROOT:
            self.nodes[path] = Root(source, self.sink_rows, position, saved)
        else:
            cover = log.covers[path[:-1]]
            epoch = log.splits[path[:-1]]
            centroid = cover.centroids[path[-1]]
            born_s = log.history[path][0]["time"]
            kind = Trunk if level(path) < log.cut else Portion
            self.nodes[path] = kind(
                path, source, centroid, epoch, log.shape, log.budget(path), born_s,
                position=position, saved=saved, nodes=self.store.subtree(path),
            )  # fmt: skip
        self.lost.discard(path)
        return self.nodes[path]

    def source(self, path: Path) -> Source:
        """The input of a node: its ingest partition for N0, its pipe for the others."""
        topic = pipe_topic(self.tree, path)
        return Source(topic, self.number if path == ROOT else 0)

    def begin(self, base: Position, path: Path, marks: Marks) -> None:
        """A log that was never read here begins behind ``base`` (and, of bridged rows, ``marks``):
        nothing before it is to be had."""
        node = self.nodes[path]
        if node.position == Position(epoch=node.position.epoch) and base.taken >= 0:
            node.position = base
            node.taken = base.taken
            if isinstance(node, Root):
                node.mark(marks)

    def adopt(self, path: Path, log: Routing) -> list[Effect]:
        """What the routing says of a node now."""
        node = self.nodes.get(path)
        if node is None:
            return []
        if not isinstance(node, Root):
            effects = node.adopt(log.gates)
            if isinstance(node, Trunk) and path in log.splits:
                effects += node.split(log.splits[path], log.covers[path])
            elif isinstance(node, Trunk) and path in log.limits:
                effects += node.refuse(log.limits[path])
            return effects
        if log.states[ROOT] == life.SPLITTING:
            return node.adopt(log.splits[ROOT], log.covers[ROOT])
        if log.states[ROOT] == life.SINK:
            return node.adopt_sink(log.epoch)
        return []

    def topics(self) -> dict[str, str]:
        """Topic of each input -> the node it feeds."""
        return {self.source(path).topic: node_name(path) for path in self.nodes}
