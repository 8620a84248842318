"""Every row as near as the k-th: who the k are is then said by their ids.

A search keeps k rows and tells the least distance it let go. Only where that is the k-th's own does it
matter which were kept; then the question is asked again for more, until all rows of that distance are
there. (Of 100,000 equal rows all are fetched: the first by id may be any of them. What they are called is
then compared by the column, `first`.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pctstream.core.kernels import Float64, Int64
from pctstream.core.table import Found, Table

MORE = 8


def candidates(
    table: Table, found: Found, i: int, query: Float64, k: int, within: float,
    mask: npt.NDArray[np.bool_] | None = None,
) -> tuple[Float64, Int64]:  # fmt: skip
    """Distances and slots of the rows that may be among the k nearest of query f64[d], which is the
    i-th of those that ``found`` answers: k of them, or more where the k-th is not alone.

    >>> from pctstream.core.cells import cells_of
    >>> table = Table([cells_of(np.zeros((5, 2), np.float32))], 2)
    >>> q = np.zeros((1, 2))
    >>> [len(part) for part in candidates(table, table.search(q, 2), 0, q[0], 2, np.inf)]
    [5, 5]
    """
    count, wanted = int(found.count[i]), k
    while count == wanted and found.lost[i] <= found.distance[i, k - 1]:
        wanted = min(wanted * MORE, max(table.slots, wanted + 1))
        most = np.array([min(within, float(found.distance[i, k - 1]))])
        found, i = table.search(query[None], wanted, most, mask=mask), 0
        count = int(found.count[0])
    return found.distance[i, :count], found.slot[i, :count]


Called = tuple[pa.Array, pa.Array]
"""Ids and origins of rows."""


def first(distance: Float64, k: int, called: Callable[[Int64], Called]) -> Int64:
    """Places i64[<= k] of the k first of rows at these distances f64[n]: of those as far as the k-th by
    id, then origin, which ``called`` tells of the rows at these places.

    >>> ids = pa.array(["d", "c", "b", "a"])
    >>> far = np.array([1.0, 0.5, 1.0, 1.0])
    >>> first(far, 2, lambda at: (ids.take(pa.array(at)), ids.take(pa.array(at)))).tolist()
    [1, 3]
    """
    if len(distance) <= k:
        return np.arange(len(distance))
    last = np.partition(distance, k - 1)[k - 1]
    nearer, tied = np.flatnonzero(distance < last), np.flatnonzero(distance == last)
    ids, origins = called(tied)
    order = [("id", "ascending"), ("origin", "ascending")]
    rows = pa.table({"id": ids, "origin": origins})
    chosen = pc.select_k_unstable(rows, k - len(nearer), order)
    return np.concatenate([nearer, tied[chosen.to_numpy()]])
