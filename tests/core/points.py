"""Positions to index, and what any spatial index must be like: each row in exactly one region."""

from __future__ import annotations

from typing import Any

import numpy as np

from pctstream.core.pages import PAGE
from pctstream.core.regions import LEAF, area
from pctstream.core.spatial import SpatialIndex

H = 0.001**0.5 / 2
"""Half the side of a box of 0.1 % of the unit square."""


def skewed(n: int, seed: int = 0) -> Any:
    """Thirty clusters of uneven weight and size in the unit square, f64[n, 2]."""
    rng = np.random.default_rng(seed)
    weights = rng.lognormal(0, 1, 30)
    centres, sizes = rng.random((30, 2)), 0.01 * rng.lognormal(0, 0.7, 30)
    chosen = rng.choice(30, n, p=weights / weights.sum())
    return np.abs(centres[chosen] + rng.normal(0, 1, (n, 2)) * sizes[chosen][:, None]) % 1.0


def data(shared_data: Any, file: str) -> tuple[Any, Any]:
    """Longitudes and latitudes of a file, in the order of time."""
    with np.load(shared_data / file, allow_pickle=False) as arrays:
        return arrays["lon"].astype(np.float64), arrays["lat"].astype(np.float64)


def whole(index: SpatialIndex) -> dict[int, int]:
    """Asserts that all is as it must be; the region of each key."""
    members, nodes = index.members, index.regions.nodes
    pages, found = members.pages, dict[int, int]()
    used = 0
    for node in np.flatnonzero(nodes.axis >= LEAF).tolist():
        slots = members.members(node)
        used += -(-len(slots) // PAGE)
        assert (pages.owner[slots // PAGE] == node).all()
        x, y = pages.x[slots], pages.y[slots]
        x0, y0, x1, y1 = nodes.box[node].tolist()
        assert ((x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)).all()
        keys = pages.key[slots].tolist()
        assert found.keys().isdisjoint(keys) and len(set(keys)) == len(keys), "a row twice"
        found |= dict.fromkeys(keys, node)
    assert used + int(pages.top[0]) == len(pages.owner), "a page lost"
    leaves, box = index.regions.leaves(), nodes.box[[index.regions.root]]
    assert np.isclose(area(nodes.box[leaves]), area(box), rtol=1e-9)
    assert sum(rows for _, rows in index.regions.listed()) == len(found) == len(index)
    entries = members._table[members._table > 0] - 1
    assert len(set(entries.tolist())) == len(entries) == len(index)
    assert set(pages.key[entries].tolist()) == found.keys()
    every = np.concatenate([members.members(n) for n in np.flatnonzero(nodes.axis >= LEAF)])
    counts = index.density_map.scanned(pages.x[every], pages.y[every])
    assert np.array_equal(index.density_map.counts, counts)
    return found


def in_box(x: Any, y: Any, box: tuple[float, ...]) -> Any:
    """Which positions lie in a box, one by one."""
    x0, y0, x1, y1 = box
    return np.flatnonzero((x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1))


def best_grid(x: Any, y: Any, centres: Any, cells: int, shapes: int = 30) -> float:
    """Rows compared per box (half side H) by the best grid of at most so many cells, of many shapes.

    A cell that lies in the box is taken whole, as our regions are.
    """
    best = np.inf
    low, high = centres - H, centres + H
    for nx in np.unique(np.geomspace(1, cells, shapes).astype(int)).tolist():
        n = np.array([nx, cells // nx])
        place = np.minimum((np.stack([x, y], 1) * n).astype(int), n - 1)
        sums = np.zeros(n + 1, np.int64)
        counts = np.bincount(place[:, 0] * n[1] + place[:, 1], minlength=n.prod()).reshape(n)
        sums[1:, 1:] = counts.cumsum(0).cumsum(1)
        a, b = np.clip(np.floor(low * n), 0, n - 1), np.clip(np.floor(high * n), 0, n - 1) + 1
        touched = _rows(sums, a, b)
        c = np.where(a / n >= low, a, a + 1)
        d = np.where(b / n <= high, b, b - 1)
        inside = np.where((d > c).all(axis=1), _rows(sums, c, np.maximum(c, d)), 0)
        best = min(best, float((touched - inside).mean()))
    return best


def _rows(sums: Any, low: Any, high: Any) -> Any:
    (a, b), (c, d) = low.astype(int).T, high.astype(int).T
    return sums[c, d] - sums[a, d] - sums[c, b] + sums[a, b]
