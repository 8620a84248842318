"""The subtree of a portion: its nodes, where each row goes, and who has something to do.

What a node finds is a function of the sequence of its rows (R0). Its rows are those of its parent
that are nearest to its centroid, from the parent's first row on: when a node splits, the rows it holds
go down before any later one. So neither the time of a split nor the cut into units shows in the tree.

    place(rows) ---> each row to its leaf, counts on the way, covering leaves scan what they get
    gates(...)  ---> a level closed, or its epsilon is known
    work        ---> some node waits for a pass over the rows stored (see `growth`)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pctstream.core import life
from pctstream.core.cover import Cover
from pctstream.core.descent import Descent
from pctstream.core.fading import Fading, Int64
from pctstream.core.lanes import Float32
from pctstream.core.leaves import Leaves
from pctstream.core.names import Path
from pctstream.core.node import Entry, Gates, Node, Shape
from pctstream.core.reopening import Aside
from pctstream.core.walk import Counts, Int32, arrive

PROPOSERS = 8
"""Nodes of a level, per portion, that propose an epsilon: more would only cost reading."""
FIRST_ROWS = 64
"""Rows per prototype aimed at that show where a cover of that size lies; 4 do in need."""


class NodeRecord(NamedTuple):
    """What the store keeps of a node; ``cover`` and ``aside`` only where they are new."""

    number: int
    record: Mapping[str, Any]
    cover: Cover | None = None
    aside: Aside | None = None


class Subtree:
    """All nodes of a portion; number 0 is the portion's own root."""

    def __init__(
        self, root: Path, centroid: Float32, shape: Shape, budget: int, born: Entry,
        saved: Iterable[NodeRecord] = (),
    ) -> None:  # fmt: skip
        self.shape = shape
        self.gates = Gates()
        self.now: Entry = born
        """What a history says of what happens now."""
        self.calm = False
        """No node waits for a pass, and none will before something happens to it: with every turn it is
        asked, and nodes are many."""
        self._centroid = np.ascontiguousarray(centroid, np.float32).reshape(-1)
        self.nodes: list[Node] = []
        self.counts = Counts()
        self.changed: set[int] = set()
        self.covered: set[int] = set()
        """Numbers of the nodes whose cover the store does not have yet."""
        self.descent = Descent(self)
        self.leaves = Leaves(self)
        self.fading = Fading(shape.half_life_s)
        saved = list(saved)
        for number, record, cover, aside in saved:
            self.nodes.append(Node.restored(number, record, cover))
            self.counts.extend(1)
            self.fading.extend(1)
            for name, value in record["counts"].items():
                getattr(self.counts, name)[number] = value
            self.descent.restore(self.nodes[number], record, aside)
            self.leaves.restore(self.nodes[number], record, aside)
        self.fading.restore([one.record for one in saved])
        if not self.nodes:
            self.add([root], budget, born)
        self.draw()

    def add(self, paths: Iterable[Path], budget: int, born: Entry) -> None:
        """New nodes; those at `max_level` are leaves and scan nothing."""
        self.calm = False
        for path in paths:
            node = Node(path, len(self.nodes), budget, history=[born])
            if node.level >= self.shape.max_level:
                node.state = life.LEAF
            self.nodes.append(node)
            self.counts.extend(1)
            self.fading.extend(1)
            self.descent.extend(1)
            self.changed.add(node.number)
            self.leaves.listen(node)

    def draw(self) -> None:
        """Lay out the covers of the split nodes for the walk."""
        split = [node for node in self.nodes if node.cover and node.first >= 0]
        self._above = [-1] * len(self.nodes)
        for node in split:
            for child in node.children:
                self._above[child] = node.number
        self.descent.draw(split, self._above)

    def open(self, gates: Gates) -> None:
        """What the routing says of levels now."""
        self.gates, self.calm = gates, False
        for node in self.nodes:
            if node.find is None:
                self.leaves.listen(node)

    @property
    def ball(self) -> tuple[Float32, float]:
        """Where every row is that ever came: at most so far, as computed, from this centre f32[d]."""
        return self._centroid, float(self.counts.radius[0])

    # rows

    def place(self, rows: Float32, steps: Int64 | None = None) -> Int32:
        """The number int32[n] of the leaf of each row f32[n, d]; all that follows is counted. ``steps``
        i64[n]: how old they are, where weights fade."""
        leaf = np.zeros(len(rows), np.int32)
        arrive(rows, self._centroid, self.counts)
        self.descent.walk(rows, leaf, steps)
        self.leaves.scan(rows, leaf, steps)
        if steps is not None:
            self.fading.came(leaf, steps)
            self.descent.arrived(steps)
        self._touch(leaf)
        return leaf

    def pass_on(self, rows: Float32, uncovered: int, steps: Int64 | None) -> None:
        """Count rows that come to the root and go on through pipes."""
        arrive(rows, self._centroid, self.counts)
        if steps is not None:
            self.descent.arrived(steps)
        self.counts.uncovered[0] += uncovered
        self.changed.add(0)

    def move(
        self, rows: Float32, at: Int32, split: Iterable[int], steps: Int64 | None = None
    ) -> None:
        """Move each row from the node ``at`` int32[n], where that is one of ``split``, to its leaf, in
        place; covering leaves scan those that are new there."""
        goes = np.zeros(len(self.nodes), np.bool_)
        goes[list(split)] = True
        moved = np.flatnonzero(goes[at])
        if len(moved):
            self.go_down(rows, at, moved, steps)

    def go_down(self, rows: Float32, at: Int32, which: Int64, steps: Int64 | None) -> None:
        """The ``which`` of these rows go on from split nodes to their leaves, in place."""
        leaf, rows = at[which], np.ascontiguousarray(rows[which])
        aged = None if steps is None else steps[which]
        self.descent.walk(rows, leaf, aged)
        self.leaves.scan(rows, leaf, aged)
        self._touch(leaf)
        at[which] = leaf

    def leave(self, leaf: Int32, above: Int32 | None = None) -> None:
        """Rows at these leaves int32[n] have left; counted on the way up, as far as ``above`` where
        they were counted before."""
        stops = np.full(len(leaf), -1, np.int32) if above is None else above
        pairs, times = np.unique(np.stack([leaf, stops]), axis=1, return_counts=True)
        for (number, stop), count in zip(pairs.T.tolist(), times.tolist(), strict=True):
            while number not in (-1, stop):
                self.counts.gone[number] += count
                number = self._above[number]
        self._touch(leaf)

    def _touch(self, leaf: Int32) -> None:
        touched: set[int] = set()
        for number in set(leaf.tolist()):
            while number >= 0 and number not in touched:
                touched.add(number)
                number = self._above[number]
        self.changed |= touched

    def examine(self, rows: Float32) -> None:
        """Compute for each row what `place` will, and change nothing."""
        scratch = Counts()
        scratch.extend(len(self.nodes))
        arrive(rows, self._centroid, scratch)
        self.descent.examine(rows, scratch)

    @property
    def final(self) -> npt.NDArray[np.bool_]:
        """bool[nodes]: those whose rows are never scanned again, nor handed down (R0)."""
        ends = (life.SINK, life.LEAF)
        return np.array([node.state in ends or node.holds for node in self.nodes], np.bool_)

    @property
    def dead(self) -> int:
        """Rows of those nodes that have left."""
        below = np.array(self._above)
        own = self.counts.gone.copy()
        np.subtract.at(own, below[below >= 0], self.counts.gone[below >= 0])
        return int(own[self.final].sum())

    # work

    @property
    def unscanned(self) -> list[Node]:
        """Covering nodes that know their epsilon and hold rows which nobody scanned."""
        return [n for n in self._open if n.find is None and n.level in self.gates.epsilons]

    @property
    def ended(self) -> list[Node]:
        """Covering nodes whose scan is over."""
        return [n for n in self._covering if n.find is not None and n.find.state != "covering"]

    @property
    def splitting(self) -> list[Node]:
        """Nodes with a cover whose level has closed."""
        return [
            n for n in self.nodes if n.state == life.WAITING and n.level < self.gates.open_level
        ]

    @property
    def unmeasured(self) -> list[Node]:
        """The first nodes of a level without epsilon that have rows enough to propose one."""
        few, enough = 4 * self.shape.fanout, FIRST_ROWS * self.shape.fanout
        unknown = [n for n in self._open if n.level not in self.gates.epsilons]
        wanted = []
        for node in unknown[:PROPOSERS]:
            looked = node.proposal[0] if node.proposal else 0
            rows = int(self.counts.rows[node.number])
            if looked < enough <= rows or looked < few <= rows:
                wanted.append(node)
        return wanted

    @property
    def _covering(self) -> list[Node]:
        return [n for n in self.nodes if n.state == life.COVERING]

    @property
    def _open(self) -> list[Node]:
        """Those of them that may scan: the children of a sink may be there before their level is open."""
        return [n for n in self._covering if n.level <= self.gates.open_level]

    @property
    def grown_to(self) -> int:
        """The open level, once every node above it that has a cover has split."""
        return self.gates.open_level - bool(self.splitting)

    @property
    def proposals(self) -> list[tuple[int, int, float]]:
        """(level, rows looked at, epsilon) of the nodes that proposed one."""
        covering = [n for n in self._covering if n.level not in self.gates.epsilons]
        return [(n.level, *n.proposal) for n in covering if n.proposal]

    @property
    def work(self) -> bool:
        """Whether a pass over the stored rows would bring a node on."""
        if self.calm:
            return False
        waits = bool(self.splitting or self.ended or self.unscanned or self.unmeasured)
        known = all(n.level in self.gates.epsilons for n in self._covering)
        self.calm = known and not waits
        return waits

    def passed(self) -> None:
        """A pass is over: what it brought may want another."""
        self.calm = False

    def take_records(self) -> tuple[NodeRecord, ...]:
        """The nodes that changed since the last call, for the store."""
        numbers = sorted(self.changed)
        records = [
            NodeRecord(
                number,
                self.nodes[number].record
                | {"counts": counts}
                | self.leaves.record(number)
                | self.descent.record(number)
                | self.fading.record(number),
                self.nodes[number].cover if number in self.covered else None,
                self.leaves.take_aside(number) or self.descent.take_aside(number),
            )
            for number, counts in zip(numbers, self.counts.of(numbers), strict=True)
        ]
        self.changed, self.covered = set(), set()
        return tuple(records)
