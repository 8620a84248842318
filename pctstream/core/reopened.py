"""Covers that were re-opened, as `.routing` tells of them: what was begun, what came of it, which epochs.

    reopen         N0, hash of the cover in force, offsets to read from     one at a time
    cover          N0, piece 1 of 2, of the whole cover as it is to be
    reopened       N0, its hash, owners of the children that are new        -> epoch
    or not reopened    N0, why                                              rests for some rows

An author that dies is done again from `reopen`: where reading starts is recorded, and the first whole
cover that follows counts. The children there are stay what they are: a cover that changes them is none.

    folded         N0, children that get no more rows (`folder`)            -> epoch
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pctstream.core.cover import Cover
from pctstream.core.names import Path
from pctstream.core.node import SPARE


class Opening(NamedTuple):
    """A re-opening under way."""

    seq: int
    cover: str
    """The hash of the cover in force."""
    starts: Mapping[int, int]
    """Of each partition of the node's input, the offset that is read first."""


class Ended(NamedTuple):
    """How the last one ended: ``why`` is empty where children came of it."""

    seq: int
    why: str


@dataclass(slots=True)
class Reopened:
    """Of all nodes above the cut."""

    epochs: dict[Path, dict[int, int]] = field(default_factory=dict)
    """Of each split node: epoch -> how many children rows go to."""
    folded: dict[Path, dict[int, int]] = field(default_factory=dict)
    """Of those that have folded children: child -> the epoch from which on it gets no more rows."""
    first: dict[Path, Cover] = field(default_factory=dict)
    """Of those that have grown: the cover by which they split."""
    open: dict[Path, Opening] = field(default_factory=dict)
    grown: dict[Path, Cover] = field(default_factory=dict)
    """Of those under way: the cover that was found."""
    ended: dict[Path, Ended] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)
    """Why they ended ("" where children came) and how often."""

    def begin(self, path: Path, cover: Cover, record: Mapping[str, Any], seq: int) -> None:
        """Find-cover is taken up again, unless it is already."""
        if path in self.epochs and path not in self.open and record["hash"] == cover.hash:
            starts = {int(p): int(offset) for p, offset in record["starts"].items()}
            self.open[path] = Opening(seq, cover.hash, starts)

    def found(self, path: Path, cover: Cover, grown: Cover) -> None:
        """A whole cover was recorded: the first one counts."""
        k = cover.k
        if path not in self.open or path in self.grown or grown.k <= k:
            return
        same = np.array_equal(grown.centroids[:k], cover.centroids)
        if same and np.array_equal(grown.prototypes[:k], cover.prototypes):
            self.grown[path] = grown

    def end(self, path: Path, seq: int, why: str) -> Cover | None:
        """It is over; the cover that was found, if any."""
        del self.open[path]
        self.ended[path] = Ended(seq, why)
        self.count[why] = self.count.get(why, 0) + 1
        return self.grown.pop(path, None)

    def fold(self, path: Path, children: Sequence[int], seq: int) -> bool:
        """These children get no more rows; whether that counts. It does not of others than children that
        do, while more are looked for, nor where none would be left."""
        before, k = self.folded.get(path, {}), max(self.epochs.get(path, {0: 0}).values())
        left = set(range(k)) - before.keys()
        if path in self.open or not children or not set(children) < left:
            return False
        self.folded[path] = before | dict.fromkeys(sorted(children), seq)
        self.epochs[path] = self.epochs[path] | {seq: k}
        return True

    def epoch_of(self, child: Path) -> int:
        """The epoch in which a child came to be."""
        above = self.epochs[child[:-1]]
        return min(epoch for epoch, k in above.items() if child[-1] < k)

    def generations(self, path: Path) -> list[int]:
        """How many children a node got each time, in order."""
        ks = sorted(set(self.epochs.get(path, {}).values()))
        return [k - before for before, k in zip([0, *ks], ks, strict=False)]


def shares(
    left: int, generations: Sequence[int], living: bool, lowest: bool = False
) -> tuple[list[int], int]:
    """Of ``left`` nodes that may come to be below a node: how many below each of its children, and how
    many are kept for children to come. As below the cut (`node.Node.share_out`): who may re-open
    (``living``) keeps a quarter, or all that is left where children have none below them (``lowest``).

    >>> shares(100, [4], True), shares(100, [4, 2], True), shares(100, [4], False)
    (([18, 18, 18, 18], 24), ([18, 18, 18, 18, 2, 2], 18), ([24, 24, 24, 24], 0))
    """
    first, *later = generations
    free = left - first
    spare = (free if lowest else free // SPARE) if living else 0
    share = (free - spare) // first
    below = [share] * first
    for count in later:
        share = max(0, min(share, spare // SPARE // count - 1))
        spare -= count * (1 + share)
        below += [share] * count
    return below, spare
