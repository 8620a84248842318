"""Growth: one pass over the rows of a portion, in order, brings its nodes on.

1. A node whose scan ended with a cover gets it: k-means over exactly the rows it scanned.
2. A node with a cover whose level has closed splits: its rows go to its children, which begin to scan
   from their first row. One whose cover is found in this very pass splits at its end.
3. A node that knows its epsilon and has unscanned rows (a level's epsilon came late, or the shard
   was restored) scans them. It may become a sink, and split as one, on the way (`sink`).
4. A node of a level without epsilon proposes one from its first rows.

Everything a pass changes is written at its end, in one batch: a crash in between changes nothing.
One pass serves all nodes of a level; what ends in it, or below what split, needs the next pass.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pctstream.core import life
from pctstream.core.cover import refine
from pctstream.core.find import auto_epsilon
from pctstream.core.kernels import Int64
from pctstream.core.lanes import Float32
from pctstream.core.node import Entry, Node
from pctstream.core.subtree import FIRST_ROWS, Subtree
from pctstream.core.walk import Int32

PIECE_ROWS = 4096
"""Rows looked at in one go: what a node costs is paid for each piece, not for each small segment."""


class Segment(NamedTuple):
    """One stored segment: its offset, rows f32[n, d], the number int32[n] of each one's leaf, which of
    them i64[m] have left, and how old they are i64[n], where weights fade."""

    offset: int
    rows: Float32
    leaf: Int32
    gone: Int64 | None
    steps: Int64 | None


class Growth:
    """A pass that is under way."""

    def __init__(self, subtree: Subtree, now: Entry) -> None:
        self._tree = subtree
        self._now = now
        self._ended = subtree.ended
        self._unscanned = {n.number for n in subtree.unscanned}
        self._split = subtree.splitting
        self._measured = subtree.unmeasured
        self._goes = {n.number for n in self._ended if n.level < subtree.gates.open_level}
        """Of those that have ended: they split as soon as they have a cover, so all their rows are kept."""
        self._kept: dict[int, list[Float32]] = {n.number: [] for n in self._ended + self._measured}
        self._aged: dict[int, list[Int64]] = {number: [] for number in self._goes}
        self._wanted = {n.number: FIRST_ROWS * subtree.shape.fanout for n in self._measured}
        self._wanted |= {n.number: n.find.rows for n in self._ended if n.find is not None}
        self._piece: list[Segment] = []
        self._rows = 0
        self._seen: list[Segment] = []
        """Those whose rows may move, without their rows, and in `_places` where they lie now."""
        self._places: list[Int32] = []
        self.labels: list[tuple[int, Int32]] = []
        """(offset of the segment, the leaf of each of its rows), where a row has moved."""
        for number in self._unscanned:
            node = subtree.nodes[number]
            node.find = subtree.leaves.scanner(subtree.gates.epsilons[node.level])
        subtree.now = now
        self._open(self._split)

    def _open(self, nodes: list[Node]) -> None:
        for node in nodes:
            self._make_children(node)
            node.step(life.LEVEL_OPENED, self._split_entry(node, 2))
            self._tree.changed.add(node.number)
        if nodes:
            self._tree.draw()

    def _make_children(self, node: Node) -> None:
        assert node.cover is not None
        node.first = len(self._tree.nodes)
        paths = [(*node.path, i) for i in range(node.cover.k)]
        node.share_out(node.cover.k, self._tree.shape)
        self._tree.add(paths, node.below, self._split_entry(node, 0))
        self._tree.descent.begin(node, node.cover.rows)

    def _split_entry(self, node: Node, mode: int) -> Entry:
        _, offset, time, epoch = self._now
        return (mode, offset, self._tree.gates.splits_at(node.level, time), epoch)

    def take(
        self, offset: int, rows: Float32, leaf: Int32, gone: Int64 | None = None,
        steps: Int64 | None = None,
    ) -> None:  # fmt: skip
        """The next segment; rows that have left are scanned and go down like the others (R0)."""
        self._piece.append(Segment(offset, rows, leaf, gone, steps))
        self._rows += len(rows)
        if self._rows >= PIECE_ROWS:
            self._look()

    def _look(self) -> None:
        """At all segments of the piece, in order."""
        piece, self._piece, self._rows = self._piece, [], 0
        if not piece:
            return
        rows = np.concatenate([s.rows for s in piece])
        leaf = np.concatenate([s.leaf for s in piece])
        aged = [s.steps for s in piece if s.steps is not None]
        steps = np.concatenate(aged) if aged else None
        for number, kept in self._kept.items():
            if number in self._goes:
                kept.append(rows[leaf == number])
                if steps is not None:
                    self._aged[number].append(steps[leaf == number])
            elif self._wanted[number] > 0:
                mine = rows[leaf == number][: self._wanted[number]]
                self._wanted[number] -= len(mine)
                kept.append(mine)
        now = leaf.copy()
        if self._unscanned:
            self._tree.leaves.scan(rows, now, steps, self._unscanned)
        self._tree.move(rows, now, [n.number for n in self._split], steps)
        if self._split or self._goes or not np.array_equal(now, leaf):
            self._seen += [s._replace(rows=rows[:0]) for s in piece]
            self._places.append(now)

    def finish(self) -> None:
        """All segments were taken."""
        self._look()
        for node in self._ended:
            self._end(node)
        opened = self._tree.gates.open_level
        self._go_on([n for n in self._ended if n.state == life.WAITING and n.level < opened])
        for node in self._measured:
            rows = np.concatenate(self._kept[node.number])
            node.proposal = (len(rows), auto_epsilon(rows, self._tree.shape.fanout))
        self._tree.passed()

    def _go_on(self, nodes: list[Node]) -> None:
        """These split now; and where all rows lie then is told."""
        self._open(nodes)
        if not self._seen:
            return
        places = np.concatenate(self._places)
        for node in nodes:
            rows, aged = np.concatenate(self._kept.pop(node.number)), self._aged[node.number]
            steps = np.concatenate(aged) if aged else None
            at = np.full(len(rows), node.number, np.int32)
            here = places == node.number
            self._tree.move(rows, at, [node.number], steps)
            places[here] = at
        ends = np.cumsum([len(s.leaf) for s in self._seen])[:-1]
        for segment, now in zip(self._seen, np.split(places, ends), strict=True):
            self._label(segment, now)

    def _label(self, segment: Segment, now: Int32) -> None:
        offset, _, leaf, gone, steps = segment
        here = now != leaf
        if not here.any():
            return
        self.labels.append((offset, now))
        if steps is not None:
            here[[] if gone is None else gone] = False
            self._tree.fading.moved(leaf[here], now[here], steps[here])
        if gone is not None:
            moved = gone[now[gone] != leaf[gone]]
            self._tree.leave(now[moved], leaf[moved])

    def _end(self, node: Node) -> None:
        find, node.find = node.find, None
        assert find is not None
        _, offset, time, epoch = self._now
        self._tree.changed.add(node.number)
        rows = np.concatenate(self._kept[node.number])[: find.rows]
        shape = self._tree.shape
        node.cover = refine(
            rows, find.prototypes, find.epsilon, shape.kmeans_iterations, shape.gap, shape.balance
        )
        self._tree.covered.add(node.number)
        node.step(life.COVER_FOUND, (1, offset, time, epoch))
