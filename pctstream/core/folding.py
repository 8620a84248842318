"""Folding: a child that weighs next to nothing any more gets no more rows; its siblings take them.

What it means
-------------
**When.** A split node below the cut looks after its children once in `tree.miss_cooldown` rows of its
own, at a window's end (`watch`), unless it is looking for more of its cover. It folds the lightest, as
many as weigh less than `tree.fold_share` of all together with what its cover misses already, but never
the heaviest (so one is always left). Together, and with what is missed: of a stream with a long tail most
children are light, and were each folded by itself they would be missed as one, found again when the node
re-opens, and folded again, for ever. Not before as many rows have come since its cover last changed as it
weighs: by then a child that was found late weighs most of what it is going to. A node that weighs less
than a window says nothing of its children: one row from the future makes all others weigh nothing, and
folds nobody.

**What a child weighs** here are the rows that its parent ever sent it, each by its age as of the newest
row that the parent sent (`fading`). Rows that have left since count on: when they leave, another who
reads the same pipe may not have split the node yet, but the rows that a node hands down are the same to
all, in the same order. So who folds whom, behind which row, follows from the sequence of the node's rows
and their own times (R0): a rebuild, a shadow, a warm copy, a stale store that catches up and a pass that
splits the node late come to the same. No clock, no message, no record. Weights are whole numbers and what
is missed is a sum of halves, so nothing hangs on an order of summing (R10).

**What happens.** From the next row on the cover in force is that of the others (`living`): rows go to the
nearest of these, what lies beyond them is counted as missed, from nothing, and re-opening looks for what
they lack. Of the child everything stays: its name and number, its centroid in the cover, its nodes, the
rows that lie there. They are searched, counted, updated, expired and moved like all others. Nothing is
written but the node's own record, in the WriteBatch of the rows (R2, R6). A folded child does not come
back. Where the stream does, its rows lie beyond: the node re-opens and finds a new child, with the next
number; prototypes are more than epsilon apart among those in force (R8). What a child was given of the
budget of nodes stays with it.

**What is told.** `folded` of `/v1/nodes`; an entry of a cover stands for the rows of folded siblings to
which it is the nearest (`solver`). `miss_bound` is of the rows that came since: what a scan promised was
of a cover that is not in force any more.

**Above the cut** children are topics that have owners, and every shard has N0: who is folded there is a
record, and from which row on, markers say (`folder`). A portion that is promoted becomes a trunk node: all
children of its cover get rows again, under the same names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pctstream.core.cover import Cover
from pctstream.core.fading import KEPT, NEVER, STEPS, Int32, Int64

GRAINS = 1 << 20
"""To a row of today: weights are whole numbers of grains."""
_AGED: Int64 = np.array([round(GRAINS * 2.0 ** (-age / STEPS)) for age in range(KEPT)], np.int64)
_PARTS = ("prototypes", "centroids", "weights", "radii")


class Arrivals:
    """Of every node of a subtree, how many rows of each step its parent sent it; index is its number.

    >>> arrivals = Arrivals(True)
    >>> arrivals.extend(3)
    >>> arrivals.came(np.array([1, 1, 2], np.int32), np.array([0, 0, 4]))
    >>> (arrivals.weights([1, 2]) / GRAINS).tolist()
    [1.0, 1.0]
    """

    def __init__(self, on: bool) -> None:
        """Not ``on``: nobody folds, and nothing is counted."""
        self.on = on
        self._rows: Int64 = np.zeros((0, KEPT if on else 0), np.int64)
        self._newest: Int64 = np.zeros(0, np.int64)
        """Of each node; of the steps up to `KEPT` before it there are counts."""

    def extend(self, nodes: int) -> None:
        """So many more nodes, that got nothing."""
        more = np.zeros((nodes, self._rows.shape[1]), np.int64)
        self._rows = np.concatenate([self._rows, more])
        self._newest = np.concatenate([self._newest, np.full(nodes, NEVER, np.int64)])

    def came(self, nodes: Int32, steps: Int64) -> None:
        """Rows of these steps i64[n] were sent to these nodes i32[n]."""
        newest = self._newest.copy()
        np.maximum.at(newest, nodes, steps)
        for node in np.flatnonzero(newest > self._newest).tolist():
            since = max(int(self._newest[node]), int(newest[node]) - KEPT)
            self._rows[node, np.arange(since + 1, newest[node] + 1) % KEPT] = 0
        self._newest = newest
        kept = steps > np.maximum(newest[nodes] - KEPT, NEVER)
        np.add.at(self._rows, (nodes[kept], steps[kept] % KEPT), 1)

    def weights(self, nodes: Sequence[int]) -> Int64:
        """What these siblings i64[k] weigh in grains, as of the newest row that any of them got."""
        own = self._newest[list(nodes), None]
        ages = np.arange(KEPT)
        steps = own.max(initial=NEVER) - ages[None]
        told = (steps <= own) & (steps > own - KEPT) & (own > NEVER)
        rows = np.take_along_axis(self._rows[list(nodes)], steps % KEPT, axis=1)
        return np.asarray(np.where(told, rows * _AGED, 0).sum(axis=1), np.int64)

    # the store

    def record(self, number: int) -> dict[str, Any]:
        """What the store keeps of a node."""
        if not self.on:
            return {}
        steps = int(self._newest[number]) - np.arange(KEPT)
        rows = self._rows[number, steps % KEPT]
        return {
            "came": {str(s): n for s, n in zip(steps.tolist(), rows.tolist(), strict=True) if n}
        }

    def restore(self, number: int, record: Mapping[str, Any]) -> None:
        """As `record` gave it; ``extend`` was called."""
        for step, rows in record.get("came", {}).items() if self.on else ():
            self._newest[number] = max(int(self._newest[number]), int(step))
            self._rows[number, int(step) % KEPT] = rows


def told(record: Mapping[str, Any]) -> tuple[int, float]:
    """Of what a node's record says that its parent sent it: the newest step, and the rows as of it, faded.

    >>> told({"came": {"9": 2, "5": 3}}), told({})[1]
    ((9, 3.5), 0.0)
    """
    came = {int(step): rows for step, rows in record.get("came", {}).items()}
    newest = max(came, default=NEVER)
    return newest, sum(
        (rows * 2.0 ** ((step - newest) / STEPS) for step, rows in came.items()), 0.0
    )


def light(
    weights: Int64, folded: Sequence[int], share: float, missed: float, passed: int, least: int
) -> list[int]:
    """Which children are to be folded now: their places in the cover. ``weights`` i64[k] in grains, those
    of folded ones too; ``missed``: the share of rows that lies beyond the cover; ``passed``: rows since it
    last changed; ``least``: rows that the node has to weigh.

    >>> thousand = np.array([900, 83, 9, 8]) * GRAINS
    >>> light(thousand, [], 0.01, 0.0, 1000, 64), light(thousand, [], 0.02, 0.0, 1000, 64)
    ([3], [2, 3])
    >>> light(thousand, [], 0.02, 0.011, 1000, 64), light(thousand, [3], 0.01, 0.0, 1000, 64)
    ([3], [2])
    >>> light(thousand, [], 0.02, 0.0, 999, 64), light(thousand, [], 0.02, 0.0, 1000, 1001)
    ([], [])
    """
    total = int(weights.sum())
    if total < least * GRAINS or passed * GRAINS < total:
        return []
    left = sorted((int(w), i) for i, w in enumerate(weights.tolist()) if i not in folded)
    gone, together = [], 0
    for weight, child in left[:-1]:
        together += weight
        if together >= (share - missed) * total:
            break
        gone.append(child)
    return sorted(gone)


def living(cover: Cover, folded: Sequence[int]) -> Cover:
    """The cover without these: what is in force."""
    if not folded:
        return cover
    rest = np.setdiff1d(np.arange(cover.k), np.array(folded))
    return _with(cover, {name: getattr(cover, name)[rest] for name in _PARTS})


def appended(cover: Cover, grown: Cover, count: int) -> Cover:
    """A cover with the last ``count`` of another that grew from what of it is in force."""
    ends = {name: (getattr(cover, name), getattr(grown, name)[-count:]) for name in _PARTS}
    return _with(grown, {name: np.concatenate(both) for name, both in ends.items()})


def _with(cover: Cover, parts: Mapping[str, Any]) -> Cover:
    return replace(cover, **parts)
