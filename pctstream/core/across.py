"""Which portions must be asked so that an approximate answer has so much of the exact one.

The same as `recall` does for cells, between shards. Balls cannot tell: a leaf that a few strays have made
wide is near every question, and in many dimensions so is every leaf.

Theory
------
Rows go to the nearest centre. Let c be the centre nearest to a question q, and r the distance of its k-th
neighbour. A row x within r of q that went to another centre e has d(q, e) <= d(x, e) + r <= d(x, c) + r
<= d(q, c) + 2 r. So e is farther than c by 2 r at most: in a tree of one level, portions whose centres all
are farther by more hold nothing. How much *slack* is needed, in units of r, for most of the neighbours is
far less, and is learnt: rows of the tree are asked as questions of every shard, and answered exactly; of
each true neighbour, what slack had its portion been asked with? So one pass over a sample tells the recall
of every slack at once.

The portion that a row like the question would go to is asked in any case, and tells r. Portions are
counted, not their shards: so a move changes nothing, and a shard that is asked for one of its portions
adds the others.

An answer then loses rows in two places, between shards and within those that are asked, and is promised
as a whole: half of what the target leaves to miss may be missed here, and what is left is missed within.
A mean may hide questions that lose nearly everything, so the worst tenth of the sample is looked at too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pctstream.core.balls import Balls
from pctstream.core.kernels import Float64
from pctstream.core.names import Path
from pctstream.core.recall import HELD_BACK, recall_of, sure

SHARE = 0.5
"""Of what a target leaves to miss, at most, between shards."""
WORST = 0.85
"""Mean of the worst tenth of the sample, at least: 0.70 are wanted of an answer, SHARE of it here."""


@dataclass(frozen=True, slots=True)
class Across:
    """What a sample of the rows told, for one k.

    >>> balls = Balls((), np.zeros((0, 1)), np.zeros(0), (), np.zeros(0, np.int64))
    >>> across = Across(balls, np.array([[0, 0.2], [0, 0.5]]))
    >>> across.slack(0.5), across.expected(0.2), across.sure(0.5)
    (0.5, 0.75, 1.0)
    """

    balls: Balls
    """As they were then: rows come into the same portions."""
    needed: Float64
    """f64[sample, k]: the slack with which each true neighbour is found: 0, without any; +inf, it is in
    no portion known; NaN, there is no such neighbour."""

    def slack(self, recall: float) -> float:
        """The least that leaves enough for that mean recall of the whole answer; +inf: none does."""
        recall = 1.0 - SHARE * (1.0 - HELD_BACK) * (1.0 - recall)
        values = np.unique(self.needed[np.isfinite(self.needed)])
        low, high = 0, len(values)
        while low < high:
            middle = (low + high) // 2
            if self._enough(float(values[middle]), recall):
                high = middle
            else:
                low = middle + 1
        return float(values[low]) if low < len(values) else np.inf

    def within(self, recall: float, slack: float) -> float:
        """What those that are asked must find of their own so that the whole has so much."""
        return min(1.0, recall + 1.0 - self.sure(slack))

    def expected(self, slack: float) -> float:
        """The mean share of the sample's neighbours that lies in portions asked."""
        found = self._recalls(slack)
        return float(found.mean()) if len(found) else 1.0

    def sure(self, slack: float) -> float:
        """The same, two standard errors below."""
        return sure(self._recalls(slack))

    def portions(self, query: Float64, slack: float, far: float) -> set[Path]:
        """Those to ask for a query f64[d] whose k-th neighbour is so far, or nearer, beside the portion
        that a row like it would go to."""
        return self.balls.beside(query, slack * far if math.isfinite(far) else math.inf)

    def _enough(self, slack: float, recall: float) -> bool:
        found = np.sort(self._recalls(slack))
        worst = found[: max(1, len(found) // 10)]
        return sure(found) >= recall and bool(worst.mean() >= WORST)

    def _recalls(self, slack: float) -> Float64:
        return recall_of(~np.isnan(self.needed), self.needed <= slack)


class Asked(NamedTuple):
    """A row of the tree, asked as a question of all shards."""

    query: Float64
    """f64[d]"""
    home: Path | None
    """The portion that it would go to."""
    near: Sequence[Path | None]
    """The portions of its nearest others; None: of one that is asked in any case."""
    away: Sequence[float]
    """How far each of those is, the nearest first."""


class Sample(NamedTuple):
    """What such rows told, for up to k neighbours."""

    balls: Balls
    more: Float64
    """f64[sample, k]: by how much the nearest centre of each neighbour's portion is farther than the
    nearest of all; 0 where the portion is asked in any case; +inf, NaN as in `Across.needed`."""
    away: Float64
    """f64[sample, k]: how far each neighbour is; NaN, there is none."""

    def across(self, k: int) -> Across:
        """For so many neighbours: r is the distance of the last of them."""
        far = np.fmax.reduce(self.away[:, :k], axis=1, initial=0.0)[:, None]
        more = self.more[:, :k]
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = np.where(more == 0.0, 0.0, more / far)
        return Across(self.balls, needed)


def learn(balls: Balls, sample: Sequence[Asked], k: int) -> Sample:
    """For k neighbours at most; rows that have fewer others are learnt from as they are."""
    more, away = np.full((2, len(sample), k), np.nan)
    for i, asked in enumerate(sample):
        farther = balls.farther(asked.query)
        for j, (path, far) in enumerate(zip(asked.near[:k], asked.away[:k], strict=True)):
            at_hand = path is None or path == asked.home
            more[i, j] = 0.0 if path is None or at_hand else farther.get(path, math.inf)
            away[i, j] = far
    return Sample(balls, more, away)
