"""The way down a subtree, and the nodes that re-open, or fold children, on it.

The compiled walk stops a node's rows at the one where its bound broke or it is to look after its
children, and keeps them from a node that scans; what is to happen at a row happens here, in between. So
whatever the units, a node's cover changes at the same row of its sequence (R0). A lower node goes first:
the rows that wait there came before those that wait above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pctstream.core import life
from pctstream.core.cover import Cover
from pctstream.core.fading import Int64
from pctstream.core.folding import Arrivals, appended, light, living
from pctstream.core.lanes import Float32
from pctstream.core.names import Path
from pctstream.core.node import Node
from pctstream.core.reopening import Aside, Reopening
from pctstream.core.walk import Counts, Int32, Map
from pctstream.core.watch import Watch

if TYPE_CHECKING:
    from pctstream.core.subtree import Subtree

NOBODY = -1


class Descent:
    """Of one subtree."""

    def __init__(self, tree: Subtree) -> None:
        shape = tree.shape
        self._tree = tree
        folds = shape.half_life_s > 0 and shape.fold_share > 0
        self.watch = Watch(shape.miss_window, shape.miss_limit, shape.miss_cooldown, folds)
        self.arrivals = Arrivals(folds)
        self._above: Int32 = np.zeros(0, np.int32)
        """Of each node its parent."""
        self._map = Map(shape.dimension)
        self._reopening: dict[int, Reopening] = {}
        """Of every split node, where nodes re-open."""
        self._scanning: set[int] = set()
        self._late: set[int] = set()
        """Sinks that have split: what the scan kept aside is in the store still."""

    def extend(self, nodes: int) -> None:
        """So many more nodes, without a cover."""
        self.watch.extend(nodes)
        self.arrivals.extend(nodes)

    def draw(self, split: list[Node], above: list[int]) -> None:
        """Lay out the covers in force of the split nodes; ``above``: each node's parent, or -1."""
        covers = {n.number: (n.living, living(n.cover, n.folded)) for n in split if n.cover}
        self._map = Map.of(self._tree.shape.dimension, len(self._tree.nodes), covers)
        self._above = np.array(above, np.int32)

    def begin(self, node: Node, sample: int = 0) -> None:
        """A node's cover is in force; the first ``sample`` rows that come were scanned for it."""
        self.watch.begin(node.number, sample)
        self._look(node)

    def _look(self, node: Node, aside: Float32 | None = None, scanned: Any = None) -> None:
        if node.cover is None or not self._tree.shape.miss_limit:
            return
        cover = living(node.cover, node.folded)
        one = Reopening(cover, self._tree.shape, node.spare, aside, scanned)
        if not one.room:
            self.watch.stop(node.number)
        self._reopening[node.number] = one

    # down

    def walk(
        self, rows: Float32, at: Int32, steps: Int64 | None = None, passing: int = NOBODY
    ) -> None:
        """Move each row f32[n, d], of these steps i64[n], from the node ``at`` int32[n] to its leaf, in
        place; the node ``passing`` hands them on though it scans."""
        while True:
            stay = tuple(self._scanning - {passing})
            before = at.copy() if self.arrivals.on else at
            halted, found = self._map.walk(rows, at, self._tree.counts, self.watch, stay)
            if self.arrivals.on and steps is not None:
                self._arrived(before, at, steps)
            if len(found):
                self._keep_aside(rows, found)
            for number in halted:
                self._halt(self._tree.nodes[number])
            if not (stay or len(halted)):
                return
            waiting = np.unique(at[self._map.split[at]]).tolist()
            if not waiting:
                return
            number = max(waiting, key=lambda n: self._tree.nodes[n].level)
            if number in self._scanning and number != passing:
                self._take(self._tree.nodes[number], rows, at, steps)

    def arrived(self, steps: Int64) -> None:
        """Rows of these steps i64[n] came to the root."""
        if self.arrivals.on:
            self.arrivals.came(np.zeros(len(steps), np.int32), steps)

    def _arrived(self, before: Int32, at: Int32, steps: Int64) -> None:
        """Rows went from nodes to nodes: each on its way got them from the one above."""
        went = np.flatnonzero(before != at)
        node, top, step = at[went], before[went], steps[went]
        while len(node):
            self.arrivals.came(node, step)
            node = self._above[node]
            on = node != top
            node, top, step = node[on], top[on], step[on]

    def _halt(self, node: Node) -> None:
        """A window has closed, and something may be due; while a node scans nothing is."""
        if node.number in self._scanning:
            return
        if self.watch.broken(node.number):
            self._open(node)
            return
        shape, weights = self._tree.shape, self.arrivals.weights(node.children)
        missed, least = self.watch.missed(node.number), shape.miss_window
        passed = self.watch.passed(node.number)
        if gone := light(weights, node.folded, shape.fold_share, missed, passed, least):
            self._fold(node, gone)

    def _keep_aside(self, rows: Float32, found: Int32) -> None:
        for number in sorted(set(found[:, 1].tolist())):
            mine = found[found[:, 1] == number, 0]
            self._reopening[number].watch(rows[mine])

    def _take(self, node: Node, rows: Float32, at: Int32, steps: Int64 | None) -> None:
        """The rows that wait at a node that scans, as far as its cover is in force."""
        wait = np.flatnonzero(at == node.number)
        mine = np.ascontiguousarray(rows[wait])
        one = self._reopening[node.number]
        taken = one.take(mine)
        there = np.full(taken, node.number, np.int32)
        aged = None if steps is None else steps[wait[:taken]]
        self.walk(mine[:taken], there, aged, node.number)
        at[wait[:taken]] = there
        if one.ended:
            self._end(node, one)

    def examine(self, rows: Float32, counts: Counts) -> None:
        """Compute for rows f32[n, d] at the root what `walk` will, and change nothing."""
        at = np.zeros(len(rows), np.int32)
        self._map.walk(rows, at, counts, self.watch.scratch())

    # re-opening

    def _open(self, node: Node) -> None:
        self._reopening[node.number].open()
        self._scanning.add(node.number)
        self.watch.stop(node.number)
        node.step(life.BOUND_BROKEN, (0, *self._tree.now[1:]))

    def _end(self, node: Node, one: Reopening) -> None:
        self._scanning.discard(node.number)
        event = life.COVER_GROWN if one.ended == "cover" else life.IN_VAIN
        node.step(event, (2, *self._tree.now[1:]))
        self._tree.changed.add(node.number)
        if event == life.IN_VAIN:
            rows, _ = one.scanned or (0, 0)
            self.watch.rest(node.number, rows)
            self._look(node)
            return
        self._tree.covered.add(node.number)
        self._append(node, one)
        self.begin(node)
        self._tree.draw()

    def _append(self, node: Node, one: Reopening) -> None:
        """Children with the next free numbers, of what is left of the node's budget."""
        k, count = len(node.children), len(one.aside)
        paths: list[Path] = [(*node.path, k + i) for i in range(count)]
        node.runs.append((len(self._tree.nodes), count))
        assert node.cover is not None
        node.cover = appended(node.cover, one.grown(), count)
        self._tree.add(paths, node.give(count), (0, *self._tree.now[1:]))

    def split_late(self, node: Node, cover: Cover) -> None:
        """A sink that was scanned again has a cover: in force from the next row on."""
        tree, entry = self._tree, self._tree.now[1:]
        node.cover, node.sink, node.limit, node.holds = cover, None, "", True
        node.first = len(tree.nodes)
        node.share_out(cover.k, tree.shape)
        tree.add([(*node.path, i) for i in range(cover.k)], node.below, (0, *entry))
        node.step(life.COVERED_LATE, (2, *entry))
        tree.covered.add(node.number)
        self._late.add(node.number)
        self.begin(node)
        tree.draw()

    # folding

    def _fold(self, node: Node, children: list[int]) -> None:
        """They get no more rows."""
        node.folded += children
        self._tree.changed.add(node.number)
        self.begin(node)
        self._tree.draw()

    # the store

    def record(self, number: int) -> dict[str, Any]:
        """What the store keeps of a node beside `Node.record`."""
        came = self.arrivals.record(number)
        if not self._map.split[number]:
            return came
        one = self._reopening.get(number)
        return {"watch": self.watch.of(number), "scanned": one and one.scanned} | came

    def take_aside(self, number: int) -> Aside | None:
        """What the store does not have of the rows that a node keeps aside."""
        one = self._reopening.get(number)
        if one is None and number in self._late:
            self._late.discard(number)
            return Aside(0, np.zeros((0, self._tree.shape.dimension), np.float32))
        return None if one is None else one.take_aside()

    def restore(self, node: Node, record: Mapping[str, Any], aside: Aside | None) -> None:
        """As the store has it; a store of before says nothing, and the node watches from here on."""
        self.extend(1)
        self.arrivals.restore(node.number, record)
        if node.first < 0 or node.cover is None:
            return
        scanned = record.get("scanned")
        self.watch.begin(node.number)
        if "watch" in record:
            self.watch.restore(node.number, record["watch"])
        self._look(node, None if aside is None else aside.rows, scanned and tuple(scanned))
        if scanned:
            self._scanning.add(node.number)
