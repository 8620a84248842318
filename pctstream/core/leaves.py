"""The leaves of a subtree, and what each scans: its rows, in order, as long as it may still have a cover.

A covering leaf scans from its first row on (`find`). Where that ends in vain it is a sink at that very row,
and scans again later (`sink`). Where it ends with a cover, a pass over the rows stored is due (`growth`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pctstream.core import kernels, life
from pctstream.core.find import FindCover
from pctstream.core.kernels import Int64
from pctstream.core.lanes import Float32
from pctstream.core.node import Node
from pctstream.core.reopening import Aside
from pctstream.core.sink import Sink
from pctstream.core.walk import Int32

if TYPE_CHECKING:
    from pctstream.core.subtree import Subtree


class Leaves:
    """Of one subtree."""

    def __init__(self, tree: Subtree) -> None:
        self._tree = tree

    def listen(self, node: Node) -> None:
        """Begin to scan where nothing was missed: the node has no row yet."""
        tree = self._tree
        epsilon = tree.gates.epsilons.get(node.level)
        waits = node.state == life.COVERING and node.level <= tree.gates.open_level
        if waits and epsilon and not tree.counts.rows[node.number]:
            node.find = self.scanner(epsilon)

    def scanner(self, epsilon: float) -> FindCover:
        """Find-cover as this tree's nodes do it."""
        shape = self._tree.shape
        return FindCover(
            shape.dimension, epsilon, shape.gap, shape.sink_rows, shape.stop, shape.prototypes
        )

    def scan(
        self, rows: Float32, leaf: Int32, steps: Int64 | None = None, only: set[int] | None = None
    ) -> None:
        """Leaves take their rows f32[n, d], of these steps i64[n], in order; those behind the one at which
        a sink split go on, in place."""
        order, starts = kernels.grouped(leaf, len(self._tree.nodes))
        for number in sorted(set(leaf.tolist()) if only is None else only):
            node = self._tree.nodes[number]
            if node.find is None and node.sink is None and node.first < 0:
                continue
            mine = order[starts[number] : starts[number + 1]]
            if len(mine):
                behind = mine[self._take(node, rows, mine) :]
                if len(behind):
                    self._tree.go_down(rows, leaf, behind, steps)

    def _take(self, node: Node, rows: Float32, mine: Int64) -> int:
        """The next rows of a node, ``mine`` of all; how many of them stay there."""
        at = 0
        if node.find is not None and node.find.state == "covering":
            before = node.find.rows
            node.find.feed(np.ascontiguousarray(rows[mine]))
            at = node.find.rows - before
            self._tree.calm &= node.find.state == "covering"
            self._end_in_vain(node, node.find)
        if node.sink is not None:
            at += node.sink.pass_by(len(mine) - at)
            at += node.sink.take(np.ascontiguousarray(rows[mine[at:]]))
            if node.sink.cover is not None:
                self._tree.descent.split_late(node, node.sink.cover)
        return len(mine) if node.first < 0 else at

    def _end_in_vain(self, node: Node, find: FindCover) -> None:
        """A sink, where the scan is over without a cover that the node may have."""
        fits = find.state == "cover" and len(find.prototypes) <= node.budget
        if find.state == "covering" or fits:
            return
        node.limit = "nodes"
        if find.state == "sink":
            node.limit = "prototypes" if find.reason == "prototypes" else "sink_rows"
        node.find = None
        node.step(life.TOO_LARGE, self._tree.now)
        self._tree.changed.add(node.number)
        if self._tree.shape.sink_scans:
            node.sink = Sink(self._tree.shape, find.epsilon, node.budget, find.rows)

    # the store

    def record(self, number: int) -> dict[str, Any]:
        """What the store keeps of a sink beside `Node.record`."""
        sink = self._tree.nodes[number].sink
        return {} if sink is None else sink.record

    def take_aside(self, number: int) -> Aside | None:
        """What the store does not have of the prototypes that a sink has found so far."""
        sink = self._tree.nodes[number].sink
        return None if sink is None else sink.take_aside()

    def restore(self, node: Node, record: Mapping[str, Any], aside: Aside | None) -> None:
        """As the store has it; who covers scans its rows again."""
        tree = self._tree
        if node.state == life.SINK and tree.shape.sink_scans and "epsilon" in record:
            seen, scanned = int(tree.counts.rows[node.number]), record["scanned"]
            node.sink = Sink(tree.shape, record["epsilon"], node.budget, seen, scanned, aside)
