"""News: what of a unit of the ingest log N0 has not taken before (R3).

Of rows that were produced to the ingest topic the watermark knows. Those that a bridge copied there
may come again, at another offset: they are known by the highest origin taken of each foreign
partition, since a bridge repeats and never leaves out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pctstream.core.block import Block, Origin, Source
from pctstream.core.effects import Dropped
from pctstream.core.expiry import bounded
from pctstream.core.marks import Marks
from pctstream.core.unit import DeadLetter, Unit, undone


class News(NamedTuple):
    """What of a unit is taken for the first time, and the marks behind it."""

    rows: Block | None
    dead: tuple[DeadLetter, ...]
    marks: Marks
    dropped: tuple[Dropped, ...] = ()


def news(unit: Unit, taken: int, marks: Marks) -> News:
    """A unit of the ingest log without what was ``taken`` before, or lies at or below the ``marks``.

    The marks given stay as they are: whoever asks may fail yet.
    """
    rows, dead = unit.rows, unit.dead
    dropped: list[Dropped] = []
    if unit.prev < taken:
        dead = undone(unit, taken)
        if rows is not None:
            own = np.array([s == unit.source for s in rows.sources], np.bool_)
            fresh = rows.keep(~own[rows.source] | (rows.offset > taken))
            dropped.append(Dropped(len(rows) - len(fresh), "watermark"))
            rows = fresh
    homes = {*(() if rows is None else rows.sources), *(_home(d.origin) for d in dead)}
    if homes <= {unit.source}:
        return News(rows, dead, marks, tuple(dropped))
    before, marks = marks, marks.copy()
    if rows is not None:
        fresh = rows.keep(marks.advance(rows))
        dropped.append(Dropped(len(rows) - len(fresh), "mark"))
        rows = fresh
    letters = {}
    for letter in dead:
        home, place = _home(letter.origin), (letter.origin.offset, letter.origin.index)
        if home == unit.source or not before.reached(home, place):
            letters[letter.origin] = letter
            marks.past(home, place)
    if rows is not None:
        rows = bounded(rows, unit.source, before)
    return News(rows, tuple(letters.values()), marks, tuple(dropped))


def _home(origin: Origin) -> Source:
    return Source(origin.topic, origin.partition)
