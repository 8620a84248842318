"""The rows of a node: what was laid out long ago, and what came since.

Rows come a few at a time, and laying out is worth it only for many. So they wait in a tail, laid out by
leaf alone; a tail of `Sizes.tail` rows becomes a young run. Once the young runs have `Sizes.share` rows for
each sub-portion they are handed down to these (`subportions`), which have runs of their own.

    tail -> young runs -> runs of a sub-portion -> two sub-portions, when it is full

All of that is made in steps, from any thread: `due` tells the next, which reads at most `Sizes.most`
rows however many there are; `Step.made` lays them out beside what is searched meanwhile; `replace` puts
that in its place. A step changes nothing that is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from typing import NamedTuple

import numpy as np

from pctstream.core.cells import Int32
from pctstream.core.lanes import Float32
from pctstream.core.run import Part, Run, Sizes, joined, merge, unsettled
from pctstream.core.subportions import SubPortion, SubPortions, handed_down, settled


class Made(NamedTuple):
    """What comes of a step."""

    young: tuple[Run, ...]
    """In the place of the young runs that it read."""
    subs: SubPortions
    """All of them."""


class Step(NamedTuple):
    """What is to be laid out next, and all sub-portions as they were."""

    subs: SubPortions
    which: int = -1
    """The sub-portion that is to be settled."""
    young: tuple[Run, ...] = ()
    """Side by side: to be handed down, or to become one."""
    down: bool = False
    full: int = 0

    @property
    def rows(self) -> int:
        """That are laid out."""
        return self.subs[self.which].rows if self.which >= 0 else sum(map(len, self.young))

    def made(self) -> Made:
        """Carried out; nothing of what is searched is changed."""
        subs, at = self.subs, self.which
        if at >= 0:
            return Made((), (*subs[:at], *settled(subs[at], self.full), *subs[at + 1 :]))
        if self.down:
            return Made((), handed_down(subs, self.young))
        return Made((merge(self.young),), subs)


@dataclass(slots=True)
class Runs:
    """All rows of a node that were read so far.

    >>> runs = Runs(2)
    >>> runs.add(np.zeros((700, 2), np.float32), np.zeros(700, np.int32), 5)
    >>> runs.add(np.ones((3, 2), np.float32), np.zeros(3, np.int32), 9)
    >>> [len(run) for run in runs.all()], runs.all()[1].place[0].tolist()
    ([700, 3], [9, 0])
    >>> step = runs.due()
    >>> step.down, runs.replace(step, step.made()), runs.due() is None, runs.subs[0].rows
    (True, True, True, 700)
    """

    dimension: int
    given: InitVar[Sizes | None] = None
    sizes: Sizes = field(init=False)
    subs: SubPortions = ()
    """At least one."""
    young: list[Run] = field(default_factory=list)
    """Oldest first."""
    _tail: list[Part] = field(default_factory=list)
    _waiting: Run | None = None
    _calm: SubPortions = ()
    """Of these none is due."""

    def __post_init__(self, given: Sizes | None) -> None:
        self.sizes = given or Sizes.of(self.dimension)
        self.subs = self.subs or (SubPortion(np.zeros(self.dimension, np.float32)),)

    def __len__(self) -> int:
        return sum(map(len, self.all()))

    @property
    def nbytes(self) -> int:
        return sum(run.nbytes for run in self.all())

    def all(self) -> list[Run]:
        """Every run; each row is in one of them."""
        waiting = [self._waiting] if self._waiting else []
        return [*(run for sub in self.subs for run in sub.runs), *self.young, *waiting]

    def add(self, rows: Float32, leaf: Int32, segment: int) -> None:
        """The rows f32[n, d] of the next segment and the leaf int32[n] of each."""
        place = np.stack([np.full(len(rows), segment, np.int64), np.arange(len(rows))], axis=1)
        self.take([(rows, leaf, place)])

    def take(self, parts: Sequence[Part]) -> None:
        """Rows, leaves and places of several segments, in order."""
        fresh = [part for part in parts if len(part[0])]
        if not fresh:
            return
        rows, leaf, place = joined([*self._tail, *fresh])
        young = self.sizes.young
        pieces = [
            Run.of(rows[at : at + young], leaf[at : at + young], place[at : at + young], rough=True)
            for at in range(0, len(rows), young)
        ]
        self._tail, self._waiting = [], None
        if len(pieces[-1]) < self.sizes.tail:
            self._waiting = pieces.pop()
            self._tail = [self._waiting.part]
        self.young += pieces

    def due(self) -> Step | None:
        """The next step; None where all is well."""
        sizes, subs, young = self.sizes, self.subs, tuple(self.young)
        for which, sub in enumerate(subs if subs is not self._calm else ()):
            if sub.rows > sizes.full or unsettled(sub.runs):
                return Step(subs, which, full=sizes.full)
        self._calm = subs
        if young and sum(map(len, young)) >= min(sizes.share * len(subs), 2 * sizes.full):
            upto = np.cumsum([len(run) for run in young]) <= 2 * sizes.full
            return Step(subs, -1, young[: int(upto.sum())], True)
        read = unsettled(young)
        return Step(subs, -1, tuple(read)) if read else None

    def replace(self, step: Step, made: Made) -> bool:
        """What a step made in the place of what it read, unless that is no longer here."""
        young = [*map(id, self.young)]
        read = [*map(id, step.young)]
        at = young.index(read[0]) if read and read[0] in young else 0
        if self.subs is not step.subs or young[at : at + len(read)] != read:
            return False
        self.young[at : at + len(read)] = made.young
        self.subs = made.subs
        return True
