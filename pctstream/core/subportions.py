"""Sub-portions of a node's rows: flat, by k-means, made bit by bit, so that no node is too large to tidy.

A sub-portion is a centre and the rows that came when it was the nearest. It has runs of its own, which are
merged among themselves. When its rows are laid out anew its centre becomes their mean; when they are more
than `Sizes.full` two means cut them, again and again until none is too large (of rows that are all equal:
in the middle). So k-means goes on as rows come, and whatever it reads, merges or cuts is bounded: a sink of
a million rows is never laid out as a whole.

Nothing is decided by it: within a sub-portion rows lie in cells, and each cell has a ball measured over
its own rows. An exact search is exact whatever the centres are; an approximate one takes the nearest
cells, of whichever sub-portions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pctstream.core.halving import halved
from pctstream.core.kernels import Int64, grouped, nearest
from pctstream.core.lanes import Float32, transpose
from pctstream.core.run import Part, Run, joined, merge, unsettled


class SubPortion(NamedTuple):
    """Rows near each other."""

    centre: Float32
    """f32[d]: of rows that come, those go here to which no other centre is nearer."""
    runs: tuple[Run, ...] = ()
    """Oldest first."""

    @property
    def rows(self) -> int:
        """Of all runs."""
        return sum(map(len, self.runs))


SubPortions = tuple[SubPortion, ...]


def handed_down(subs: SubPortions, runs: Sequence[Run]) -> SubPortions:
    """The sub-portions, once the rows of ``runs`` are theirs.

    >>> two = tuple(SubPortion(np.full(2, x, np.float32)) for x in (0, 9))
    >>> rows = np.array([[8, 9], [1, 0], [9, 9]], np.float32)
    >>> run = Run.of(rows, np.zeros(3, np.int32), np.array([[4, 0], [4, 1], [5, 0]]))
    >>> [sub.runs[0].place.tolist() for sub in handed_down(two, [run])]
    [[[4, 1]], [[4, 0], [5, 0]]]
    """
    if len(subs) == 1:
        return (subs[0]._replace(runs=(*subs[0].runs, merge(runs))),)
    part = joined([run.part for run in runs])
    table = transpose(np.stack([sub.centre for sub in subs]))
    order, starts = grouped(nearest(part[0], table, len(subs)), len(subs))
    return tuple(
        sub._replace(runs=(*sub.runs, Run.of(*_picked(part, order[low:high]))))
        if low < high
        else sub
        for sub, low, high in zip(subs, starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    )


def settled(sub: SubPortion, full: int) -> SubPortions:
    """The sub-portion with the runs that are due as one; as several, where it is too large."""
    if sub.rows <= full:
        due = unsettled(sub.runs)
        at = next(i for i, run in enumerate(sub.runs) if run is due[0])
        runs = (*sub.runs[:at], merge(due), *sub.runs[at + len(due) :])
        return (SubPortion(_mean(runs), runs),)
    part = joined([run.part for run in sub.runs])
    made = [(Run.of(*piece),) for piece in _cut(part, full)]
    return tuple(SubPortion(_mean(runs), runs) for runs in made)


def _cut(part: Part, most: int) -> Iterator[Part]:
    rows = np.ascontiguousarray(part[0])
    order = np.arange(len(rows))
    edges = halved(rows, order, np.array([0, len(rows)]), most)
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        for own in np.array_split(order[low:high], -(-(high - low) // most)):
            yield _picked(part, np.sort(own))


def _picked(part: Part, own: Int64) -> Part:
    rows, leaf, place = part
    return rows[own], leaf[own], place[own]


def _mean(runs: Sequence[Run]) -> Float32:
    total = sum(run.cells.x.sum(axis=0, dtype=np.float64) for run in runs)
    return np.asarray(total / sum(map(len, runs)), np.float32)
