"""Growth: one pass over the rows of a portion, in order, brings its nodes on.

1. A node whose scan is over gets its cover: k-means over exactly the rows it scanned, or is a sink.
2. A node whose cover was found before and whose level has closed splits: its rows go to its
   children, which begin to scan from their first row.
3. A node that knows its epsilon and has unscanned rows (a level's epsilon came late, or the shard
   was restored) scans them.
4. A node of a level without epsilon proposes one from its first rows.

Everything a pass changes is written at its end, in one batch: a crash in between changes nothing.
One pass serves all nodes of a level; the next level needs the next pass.
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
    """One stored segment: its offset, rows f32[n, d], the number int32[n] of each one's leaf, and which
    of them i64[m] have left."""

    offset: int
    rows: Float32
    leaf: Int32
    gone: Int64 | None


class Growth:
    """A pass that is under way."""

    def __init__(self, subtree: Subtree, now: Entry) -> None:
        self._tree = subtree
        self._now = now
        self._ended = subtree.ended
        self._unscanned = {n.number for n in subtree.unscanned}
        self._split = subtree.splitting
        self._measured = subtree.unmeasured
        self._kept: dict[int, list[Float32]] = {n.number: [] for n in self._ended + self._measured}
        self._wanted = {n.number: FIRST_ROWS * subtree.shape.fanout for n in self._measured}
        self._wanted |= {n.number: n.find.rows for n in self._ended if n.find is not None}
        self._piece: list[Segment] = []
        self._rows = 0
        self.labels: list[tuple[int, Int32]] = []
        """(offset of the segment, the leaf of each of its rows), where a row has moved."""
        for number in self._unscanned:
            node = subtree.nodes[number]
            node.find = subtree.scanner(subtree.gates.epsilons[node.level])
        subtree.now = now
        for node in self._split:
            self._make_children(node)
            node.step(life.LEVEL_OPENED, self._split_entry(node, 2))
            subtree.changed.add(node.number)
        if self._split:
            subtree.draw()

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

    def take(self, offset: int, rows: Float32, leaf: Int32, gone: Int64 | None = None) -> None:
        """The next segment; rows that have left are scanned and go down like the others (R0)."""
        self._piece.append(Segment(offset, rows, leaf, gone))
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
        for number, kept in self._kept.items():
            if self._wanted[number] > 0:
                mine = rows[leaf == number][: self._wanted[number]]
                self._wanted[number] -= len(mine)
                kept.append(mine)
        if self._unscanned:
            self._tree.scan(rows, leaf, self._unscanned)
        if self._split:
            self._label(piece, self._tree.move(rows, leaf))

    def _label(self, piece: list[Segment], leaves: Int32) -> None:
        ends = np.cumsum([len(s.rows) for s in piece])[:-1]
        for segment, now in zip(piece, np.split(leaves, ends), strict=True):
            _, _, leaf, gone = segment
            if (now != leaf).any():
                self.labels.append((segment.offset, now))
                if gone is not None:
                    moved = gone[now[gone] != leaf[gone]]
                    self._tree.leave(now[moved], leaf[moved])

    def finish(self) -> None:
        """All segments were taken."""
        self._look()
        for node in self._ended:
            self._end(node)
        for node in self._measured:
            rows = np.concatenate(self._kept[node.number])
            node.proposal = (len(rows), auto_epsilon(rows, self._tree.shape.fanout))
        self._tree.passed()

    def _end(self, node: Node) -> None:
        find, node.find = node.find, None
        assert find is not None
        _, offset, time, epoch = self._now
        self._tree.changed.add(node.number)
        if find.state == "cover" and len(find.prototypes) <= node.budget:
            rows = np.concatenate(self._kept[node.number])
            shape = self._tree.shape
            node.cover = refine(
                rows, find.prototypes, find.epsilon, shape.kmeans_iterations, shape.gap,
                shape.balance,
            )  # fmt: skip
            self._tree.covered.add(node.number)
            node.step(life.COVER_FOUND, (1, offset, time, epoch))
            return
        if find.state == "cover":
            node.limit = "nodes"
        else:
            node.limit = "prototypes" if find.reason == "prototypes" else "sink_rows"
        node.step(life.TOO_LARGE, self._now)
