"""Which shards an approximate question need not be put to.

Where it has been learnt from the rows (`core.across`, `learning`): those none of whose portions has a leaf
near enough for the recall that is wanted. Else those whose leaves all lie beyond what the first shard found
or looked at.

What was learnt is forgotten when the tree has other portions, and learnt again when the rows are half as
many more or fewer, or after a while.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pctstream.agents.search import GROWN, LEARNT_FOR
from pctstream.core.across import Across, Sample
from pctstream.core.answers import Question
from pctstream.core.balls import Balls
from pctstream.core.kernels import Float64
from pctstream.core.names import Path

if TYPE_CHECKING:
    from pctstream.http.asking import Hosts

REPORTED_S = 1.0
"""So old may the balls be."""
STALE_S = 600.0
"""After so long it is learnt again: rows may have changed that are as many as before."""
RULES = 64
"""Pairs of k and recall for which it is known what to ask; more are found out anew."""


class Rule(NamedTuple):
    """For one k and one recall."""

    across: Across
    slack: float
    within: float
    expected: float


class Learnt:
    """What is known for up to so many neighbours."""

    def __init__(self, sample: Sample, rows: int) -> None:
        self.sample = sample
        self.rows = rows
        """Of the tree, when it was learnt."""
        self.time = time.monotonic()
        self._rules: dict[tuple[int, float], Rule] = {}

    def rule(self, k: int, recall: float) -> Rule | None:
        """None where no shard can be left out."""
        rule = self._rules.get((k, recall))
        if rule is None:
            across = self.sample.across(k)
            slack = across.slack(recall)
            if len(self._rules) >= RULES:
                self._rules.clear()
            rule = Rule(across, slack, across.within(recall, slack), across.expected(slack))
            self._rules[k, recall] = rule
        return None if math.isinf(rule.slack) else rule


class Choice(NamedTuple):
    """How an approximate question is put."""

    recall: float
    """Wanted of the shards that are asked."""
    expected: float
    """The share of the neighbours that lies there, as far as is known."""
    why: str
    """Others are left out."""
    portions: Callable[[Float64, float, float], set[Path]]
    """(query f64[d], the distance beyond which nothing is wanted, how far the first shard looked) -> those
    that must be asked."""


class Choosing:
    """Knows where rows lie, and what was learnt of them."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._balls: tuple[float, Balls] | None = None
        self.learnt: dict[int, Learnt] = {}
        """By the neighbours that it is good for."""
        self.unknown: Callable[[int], None] = lambda k: None
        """Told a k that is to be learnt."""

    @property
    def balls(self) -> Balls:
        """As they were a moment ago."""
        now = time.monotonic()
        if self._balls is None or now - self._balls[0] > REPORTED_S:
            self._balls = now, self._hosts.balls()
        return self._balls[1]

    def choice(self, question: Question) -> Choice | None:
        """None for an exact question, which leaves out nobody unproven."""
        if question.recall >= 1.0:
            return None
        balls = self.balls
        known = self._known(question, balls)
        rule = known.rule(question.k, question.recall) if known else None
        if rule is None:
            why = "no leaf within what was found or looked at"
            near = lambda query, far, reach: balls.within(query, min(far, reach))  # noqa: E731
            return Choice(question.recall, 1.0, why, near)
        across, slack, within, expected = rule
        why = (
            f"every leaf's centre is farther than the nearest by more than {slack:.2f} of the k-th "
            f"distance: the others have {expected:.3f} of the neighbours, as was learnt from rows"
        )
        near = lambda query, far, reach: across.portions(query, slack, far)  # noqa: E731
        return Choice(within, expected, why, near)

    def _known(self, question: Question, balls: Balls) -> Learnt | None:
        k = next((k for k in LEARNT_FOR if question.k <= k), 0)
        if question.filter or not k or len(balls.portions) < 2:
            return None
        known = self.learnt.get(k)
        if known is not None and known.sample.balls.portions != balls.portions:
            del self.learnt[k]
            known = None
        if known is None or self._stale(known, balls):
            self.unknown(k)
        return known

    def _stale(self, known: Learnt, balls: Balls) -> bool:
        same = known.rows / GROWN <= balls.rows <= known.rows * GROWN
        return not same or time.monotonic() - known.time > STALE_S
