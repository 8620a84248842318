"""Warming up: every kernel that a turn needs is compiled (or read from the cache) before the first row.

On a machine that never ran them compiling takes half a minute of one core. Inside a turn that would be
a turn that does not come back, and the monitor ends workers for that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from pctstream.core.block import Block, Source
from pctstream.core.bloom import Bloom
from pctstream.core.cover import refine
from pctstream.core.effects import Apply
from pctstream.core.find import FindCover
from pctstream.core.identity import names64
from pctstream.core.ids import Below
from pctstream.core.ingest import validate
from pctstream.core.names import ROOT
from pctstream.core.neighbors import Neighbors
from pctstream.core.node import Gates, Shape
from pctstream.core.portion import Portion
from pctstream.core.proof import proof
from pctstream.core.router import Router
from pctstream.core.solver import NodeSummary, level_cover
from pctstream.core.unit import Unit

GAP, ROWS = 4, 64


def warm(spatial: bool = False) -> int:
    """Some rows through all that N0 and a portion do with rows; how many the portion then has.

    With ``spatial`` also through a spatial index.

    >>> warm()
    64
    """
    vectors = np.zeros((ROWS, 2), np.float32)
    vectors[::2] = 9.0
    none = np.zeros(ROWS, np.int32)
    rows, _ = validate(
        Block((Source("t", 0),), none, np.arange(ROWS), none, vectors + np.float32(1)), "cosine"
    )
    rows = Block(rows.sources, rows.source, rows.offset, rows.index, vectors)
    validate(rows, "euclidean")
    find = FindCover(2, 1.0, GAP, ROWS, "gap", ROWS)
    find.feed(vectors)
    cover = refine(vectors[: find.rows], find.prototypes, find.epsilon, 1, GAP, True)
    router = Router(ROOT, cover)
    router.parcels(rows, router.nearest(rows)[0])
    pipe, shape = Source("t.0", 0), Shape(2, GAP, ROWS, max_level=2)
    portion = Portion((0, 0), pipe, cover.centroids[0], 1, shape, 9)
    portion.adopt(Gates(2, {1: 1.0}, (0.0, 0.0)))
    for effect in portion.feed(Unit(pipe, -1, ROWS - 1, rows)):
        if isinstance(effect, Apply) and effect.rows is not None and effect.leaves is not None:
            portion.begin_pass()
            portion.revisit(ROWS - 1, effect.rows, effect.leaves)
            portion.end_pass()
    portion.feed(Unit(pipe, ROWS - 1, 2 * ROWS - 1, rows))
    proof([rows])
    below, named = Below(), replace(rows, ids=pa.array(["a"] * ROWS))
    for unit in range(2):
        below.turned(unit, named, np.zeros(ROWS, np.int32))
    names = names64(named)
    Bloom(0.01).has(int(names[0]))
    Bloom(0.01).add(names)
    names64(rows)
    # not of a turn: but a solver's first question would not be answered in time
    tree = {ROOT: NodeSummary(ROOT, ROWS, None, None)}
    tree |= {(0, i): NodeSummary((0, i), 1, 0.5, cover.centroids[0]) for i in range(2)}
    Neighbors(tree, level_cover(tree, 1)).within(np.zeros(2), 1.0)
    if spatial:
        # who keeps none is not made to wait for its kernels
        from pctstream.core import spatial as index

        index.warm()
    return portion.rows
