"""The rows of some views at one moment, as a table and which of them count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pctstream.agents.view import Mask, View
from pctstream.core.run import Run
from pctstream.core.table import Table


class Drawn(NamedTuple):
    """A row that was drawn by lot."""

    lot: float
    """In [0, 1): the lowest lots are drawn."""
    origin: str
    vector: tuple[float, ...]


class Sight(NamedTuple):
    """What a question looks at."""

    table: Table
    owner: tuple[tuple[View, Run], ...]
    """Of each run of the table."""
    left: int
    """How often rows had left the views."""
    alive: Mask | None
    """bool[slots]: the rows that have not; None: all."""

    @classmethod
    def of(cls, views: Sequence[View], dimension: int) -> Sight:
        """Of these views as they are now; whoever asks holds them still."""
        owner = tuple((view, run) for view in views for run in view.runs.all())
        table = Table([run.cells for _, run in owner], dimension)
        return cls(table, owner, sum(view.left for view in views), _alive(owner))

    def again(self, views: Sequence[View]) -> Sight | None:
        """The same where nothing has come; None where something has."""
        runs = [run for view in views for run in view.runs.all()]
        if [id(run) for _, run in self.owner] != [id(run) for run in runs]:
            return None
        left = sum(view.left for view in views)
        return self if left == self.left else self._replace(left=left, alive=_alive(self.owner))

    def drawn(self, count: int, rng: np.random.Generator) -> list[Drawn]:
        """So many of the rows that count, by lot."""
        starts = self.table.starts()
        slots = [np.flatnonzero(run.rows >= 0) + starts[i] for i, run in enumerate(self.table.runs)]
        every = np.concatenate([np.zeros(0, np.int64), *slots])
        every = every if self.alive is None else every[self.alive[every]]
        lots = rng.random(len(every))
        found = []
        for at in np.argsort(lots)[:count].tolist():
            number = int(np.searchsorted(starts, every[at], side="right")) - 1
            (view, run), own = self.owner[number], int(every[at] - starts[number])
            segment, row = run.place[run.cells.rows[own]].tolist()
            vector = run.cells.vectors(np.array([own]))[0].tolist()
            origin = str(view.segments[segment].origin(row))
            found.append(Drawn(float(lots[at]), origin, tuple(vector)))
        return found


def _alive(owner: Sequence[tuple[View, Run]]) -> Mask | None:
    found = [view.alive(run) for view, run in owner]
    if all(one is None for one in found):
        return None
    return np.concatenate([
        np.ones(len(run.cells.rows), np.bool_) if one is None else one.slots
        for one, (_, run) in zip(found, owner, strict=True)
    ])  # fmt: skip
