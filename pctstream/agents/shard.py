"""A shard at work: its store and the nodes restored from it, kept in step with the routing.

A node in memory is never ahead of its store for good: whatever goes wrong between the two, the node
is thrown away and restored, and its input is read again from where the store is (R6).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from pctstream.agents.blooms import Blooms
from pctstream.core import life, moves
from pctstream.core.block import Source
from pctstream.core.drawer import BELOW, HERE
from pctstream.core.effects import Apply, Effect
from pctstream.core.handing import HandsDown
from pctstream.core.known import Known
from pctstream.core.marks import Marks
from pctstream.core.names import ROOT, Path, level, node_name, node_path, pipe_topic
from pctstream.core.portion import Portion
from pctstream.core.position import UNKNOWN, LogIdentity, Position
from pctstream.core.root import Root
from pctstream.core.routing import Routing
from pctstream.core.trunk import Trunk
from pctstream.core.unit import Unit
from pctstream.leavings import Kept
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


class Synced(NamedTuple):
    """Paths of the nodes that are new here, of those to be copied from their owner, and of those to
    be dropped."""

    fresh: list[Path]
    lacking: list[Path]
    gone: list[Path]


@dataclass(slots=True)
class Shard:
    """Store and nodes of one storage node of the seeds."""

    number: int
    tree: str
    store: Store
    sink_rows: int
    nodes: dict[Path, Node] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Held by the turn under way; in the middle of a long one its thread takes others (`Lanes.between`)."""
    lost: set[Path] = field(default_factory=set)
    """Nodes that raised: what they believe and what the store holds may differ."""
    pulses: int = 0
    """Effects carried out so far: where it stops while a turn is under way, that turn hangs."""
    growing: bool = False
    """A portion sees all its rows again, which takes as long as it takes."""
    shadows: set[Path] = field(default_factory=set)
    """Portions that are here beside their owner, or still: nobody asks this shard for them."""
    from_pipe: set[Path] = field(default_factory=set)
    """Shadows that no owner gave a copy of: they read their pipe from its beginning (R0)."""
    fpr: float = 0.01
    """Of absent ids, the share for which this shard says maybe."""
    standby: bool = False
    """A warm copy beside the shard's owner: nobody asks it, and it tells nobody anything."""
    blooms: Blooms = field(init=False)
    _waited: int = -1

    def __post_init__(self) -> None:
        self.blooms = Blooms(self.store, self.fpr)

    def apply(self, effect: Apply, log: LogIdentity = UNKNOWN) -> None:
        """Into the store, in one WriteBatch; its filters know of it before."""
        with self.blooms.applying(effect):
            self.store.apply(effect, log)

    @contextmanager
    def between_turns(self) -> Iterator[bool]:
        """No turn is under way; or one that takes long is, and the answer is False: a view must not
        wait for it, and what it reads meanwhile may be of two moments."""
        got = self.lock.acquire(blocking=False)
        if not got and not self.growing and self._waited != self.pulses:
            got = self.lock.acquire(timeout=LOCK_S)
            self._waited = -1 if got else self.pulses
        try:
            yield got
        finally:
            if got:
                self.lock.release()

    @contextmanager
    def looking_again(self) -> Iterator[None]:
        """A turn that sees all rows of a portion: the monitor gives it time."""
        before, self.growing = self.growing, True
        try:
            yield
        finally:
            self.growing = before

    @property
    def root(self) -> Root | None:
        node = self.nodes.get(ROOT)
        return node if isinstance(node, Root) else None

    @property
    def portions(self) -> list[Portion]:
        """Those that this shard answers for, in the order of their names."""
        return [p for p in self.copies if p.path not in self.shadows]

    @property
    def copies(self) -> list[Portion]:
        """All that lie here, also those of which another shard is asked."""
        return [n for _, n in sorted(self.nodes.items()) if isinstance(n, Portion)]

    def sync(self, log: Routing) -> Synced:
        """Restore the nodes that the routing gives this shard, and say which it lacks or takes away."""
        if not log.tree:
            return Synced([], [], [])
        roles = log.roles(self.number)
        self.shadows = {p for p, role in roles.items() if self.standby or role != moves.OWNER}
        added, lacking = [], []
        for path in [ROOT, *sorted(roles)]:
            if path in self.nodes:
                continue
            warm = self.standby and level(path) == log.cut
            if self._copied(path, moves.SHADOW if warm else roles.get(path)):
                self.restore(path, log)
                added.append(path)
            else:
                lacking.append(path)
        self.from_pipe &= self.shadows
        return Synced(added, lacking, self._gone(log, roles))

    def _copied(self, path: Path, role: str | None) -> bool:
        """Whether this node is here, or its input will bring it."""
        if path == ROOT or self.store.position(self.source(path)) is not None:
            return True
        if role == moves.SHADOW and path not in self.from_pipe:
            return False
        if self.store.state(path) is not None:
            # part of a copy, whose owner this shard has become before it was whole
            self.store.forget(path, self.source(path))
        return True

    def _gone(self, log: Routing, roles: Mapping[Path, str]) -> list[Path]:
        """Portions that lie here and that another shard has."""
        here = {*self.nodes, *map(node_path, self.store.nodes())}
        return sorted(p for p in here if p != ROOT and p not in roles and p in log.owners)

    def rest(self) -> None:
        """No node takes anything more, and the filters are saved; a turn under way ends first."""
        with self.lock:
            self.nodes.clear()
            self.blooms.save(every=True)

    def close(self) -> None:
        """Let go of the store, too."""
        with self.lock:
            self.rest()
            self.store.close()

    def drop(self, path: Path) -> None:
        """Nothing of this portion stays here; a turn under way ends first, later ones need not wait
        until all its keys are gone."""
        with self.lock:
            self.nodes.pop(path, None)
            self.lost.discard(path)
            self.blooms.drop(path)
            self.store.renumbered(path)  # nobody writes beside its rows from now on
        self.store.forget(path, self.source(path))

    def restore(self, path: Path, log: Routing) -> Node:
        """The node as the store has it, in place of whatever was in memory."""
        source = self.source(path)
        found = self.store.position(source)
        position = found[0] if found else None
        saved = self.store.state(path)
        if saved is not None:
            saved["purged"] = self.store.purged(path)
        if path == ROOT:
            drawers = {name: self.store.drawer(path, name) for name in (HERE, BELOW)}
            kept = Kept(self.store, path)
            self.nodes[path] = Root(source, self.sink_rows, position, saved, drawers, kept)
        else:
            cover = log.covers[path[:-1]]
            epoch = log.reopened.epoch_of(path)
            centroid = cover.centroids[path[-1]]
            born_s = log.history[path][0]["time"]
            # a portion that was promoted has a trunk node's store, whatever was read of it here yet
            turned = saved is not None and "stored_rows" in saved
            kind = Trunk if turned or level(path) < log.cut else Portion
            self.nodes[path] = kind(
                path, source, centroid, epoch, log.shape, log.budget(path), born_s,
                position=position, saved=saved, nodes=self.store.subtree(path),
                kept=Kept(self.store, path),
            )  # fmt: skip
        self.lost.discard(path)
        self.blooms.open(path, -1 if position is None else position.taken)
        return self.nodes[path]

    def source(self, path: Path) -> Source:
        """The input of a node: its ingest partition for N0, its pipe for the others."""
        topic = pipe_topic(self.tree, path)
        return Source(topic, self.number if path == ROOT else 0)

    def begin(
        self, base: Position, path: Path, marks: Marks, low: int = 0, ids: bool = False
    ) -> None:
        """A log that was never read here begins behind ``base`` (and, of bridged rows, ``marks``):
        nothing before it is to be had. If rows had ``ids``, N0 reads from the log's start ``low`` again,
        to know where each id is (R11)."""
        node = self.nodes[path]
        if ids and isinstance(node, Root) and node.position == Position(epoch=node.position.epoch):
            node.know(Known(base.taken, marks))
            # each row by the epoch of its place: the markers come again with the rows (R4)
            base, marks = Position(low - 1, low - 1), Marks()
        if node.position == Position(epoch=node.position.epoch) and base.taken >= 0:
            if isinstance(node, Root):
                node.begin(base, marks)
            else:
                node.position = base
                node.taken = base.taken

    def adopt(self, path: Path, log: Routing) -> list[Effect]:
        """What the routing says of a node now."""
        node = self.nodes.get(path)
        if node is None:
            return []
        effects: list[Effect] = []
        if isinstance(node, HandsDown) and path in log.splits:
            effects += node.learn(log.epochs(path))
        if isinstance(node, Root):
            if path in log.splits:
                effects += node.adopt(log.splits[path], log.cover_of(path))
            elif log.states[path] == life.SINK:
                effects += node.adopt_sink(log.epoch)
            return effects
        if not isinstance(node, Trunk):
            effects += node.hear(log.promotion(path))
        effects += node.adopt(log.gates)
        if isinstance(node, Trunk) and path in log.splits:
            effects += node.split(log.splits[path], log.cover_of(path))
        elif isinstance(node, Trunk) and path in log.limits:
            effects += node.refuse(log.limits[path])
        return effects

    def routes(self, path: Path) -> bool:
        """Whether what comes to a node goes on: a portion may have become a trunk node."""
        return isinstance(self.nodes.get(path), HandsDown)

    def topics(self) -> dict[str, str]:
        """Topic of each input -> the node it feeds."""
        return {self.source(path).topic: node_name(path) for path in self.nodes}
