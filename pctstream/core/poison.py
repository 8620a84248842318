"""Poison: rows on which the pure core raises, found by halving (R6).

The core is deterministic: a row on which it raises does so at the owner, a shadow and a rebuild,
today and after a restart. So such a row is refused once and for all, as a dead letter with the code
``apply``, and its good neighbours go on. Nothing else may be skipped that way: a store or a broker
that fails ends the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from pctstream.core.block import Block, encode
from pctstream.core.unit import DeadLetter, Unit, joined

Examine = Callable[[Block], object]


def sift(examine: Examine, unit: Unit) -> Unit:
    """The unit without the rows on which ``examine`` raises; each becomes a dead letter.

    ``examine`` must be pure and look at each row alone (``Root.examine``, ``Portion.examine``). The
    unit itself comes back where nothing is wrong: what raised was not a row.

    >>> from pctstream.core.block import Source
    >>> block = Block((Source("t", 0),), np.zeros(3, np.int32), np.array([4, 5, 6]),
    ...               np.zeros(3, np.int32), np.array([[1], [0], [2]], np.float32))
    >>> def examine(rows):
    ...     assert rows.vectors.all(), "a zero"
    >>> clean = sift(examine, Unit(Source("t", 0), 3, 6, block))
    >>> clean.rows.offset.tolist(), [(str(d.origin), d.message) for d in clean.dead]
    ([4, 6], [('t/0/5/0', "AssertionError('a zero')")])
    """
    if unit.rows is None:
        return unit
    if unit.markers:
        parts = [replace(part, markers=()) for part in unit.parts()]
        clean = [sift(examine, part) for part in parts]
        if all(a is b for a, b in zip(clean, parts, strict=True)):
            return unit
        markers = [part.markers for part in unit.parts()]
        return joined([replace(p, markers=m) for p, m in zip(clean, markers, strict=True)])
    bad = dict(_bad(examine, unit.rows, 0))
    if not bad:
        return unit
    good = np.ones(len(unit.rows), np.bool_)
    good[list(bad)] = False
    letters = tuple(_letter(unit, row, error) for row, error in bad.items())
    rows = unit.rows.keep(good) if good.any() else None
    fences = tuple(f._replace(rows=int(good[: f.rows].sum())) for f in unit.fences)
    return replace(unit, rows=rows, dead=unit.dead + letters, fences=fences)


def _bad(examine: Examine, rows: Block, first: int) -> Iterator[tuple[int, Exception]]:
    try:
        examine(rows)
    except Exception as error:
        if len(rows) == 1:
            yield first, error
            return
        half = len(rows) // 2
        yield from _bad(examine, rows.slice(0, half), first)
        yield from _bad(examine, rows.slice(half, len(rows)), first + half)


def _letter(unit: Unit, row: int, error: Exception) -> DeadLetter:
    assert unit.rows is not None
    one = unit.rows.slice(row, row + 1)
    return DeadLetter(
        one.origins()[0], "apply", repr(error), None, encode(one), "apply", unit.time_ms
    )
