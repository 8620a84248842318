"""The weighted epsilon-cover of a level: what any solver can use instead of the rows.

Theory
------
The cover of level L has one entry for each node of level L, and one for each node above that has no
children: a leaf stands for itself. So every row of the tree is behind exactly one entry (R7).

A node hands its rows down after it has split, not in the same instant, and what it still holds
belongs to none of its children yet. While that is so the node is an entry as well, with those rows
only. (Spread over the children they would be counted where they may never arrive.)

A weight is the entry's share of all rows behind the entries, so the weights sum to 1 from whatever
reports they were made. Where weights fade (`fading`) it is the share of the faded rows. An entry without
rows has weight 0 and stays: its ball is part of the cover.

A folded node (`folding`) is no entry, nor is what lies below it. Its rows stand with the nearest of its
siblings that are not folded; at a lower level with the entry below that one whose centre is nearest. The
ball of that entry is widened to hold theirs.

The centre of a node is its centroid in its parent's cover. N0 has no parent: its centre is the mean
of its children's, weighted by their rows. Until it has children nobody knows a centre: then N0 stands
for its rows without one (null, or NaN where there is no null). A node with neither rows nor a centre
is no entry: before the first row the cover is empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pctstream.core import kernels, names
from pctstream.core.kernels import Float32, Float64, Int64
from pctstream.core.names import Path
from pctstream.errors import NotFound


@dataclass(frozen=True, slots=True, eq=False)
class NodeSummary:
    """A node as the views know it; in a mapping of them every node's parent is there too."""

    path: Path
    rows: int
    """In its whole subtree."""
    radius: float | None
    """No row of the subtree is farther from the centroid; None: not known."""
    centroid: Float32 | None
    """f32[d], from its parent's cover; None for N0."""
    miss_bound: float | None = None
    """Of the mass that its own cover misses, at 95 % confidence; None: it has none."""
    faded: float | None = None
    """Of ``rows``, each by its age; None: they do not fade."""
    folded: bool = False
    """It gets no more rows (`folding`)."""


Nodes = Mapping[Path, NodeSummary]


@dataclass(frozen=True, slots=True, eq=False)
class LevelCover:
    """The n entries of a level, in the order of their paths."""

    level: int
    epsilon: float | None
    paths: tuple[Path, ...]
    x: Float32
    """f32[n, d]: the centres; a row of NaN where none is known."""
    w: Float64
    """f64[n]: shares of all faded rows; their sum is 1 (0 where there are no rows)."""
    rows: Int64
    """i64[n]"""
    faded: Float64
    """f64[n]: the rows, each by its age; just the rows where weights do not fade."""
    radius: Float64
    """f64[n]: no row behind the entry is farther from its centre; NaN: not known."""
    miss_bound: Float64
    """f64[n]: `NodeSummary.miss_bound`; NaN: the node has no cover of its own."""

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def total(self) -> int:
        """Rows behind all entries."""
        return int(self.rows.sum())

    @property
    def placed(self) -> npt.NDArray[np.bool_]:
        """bool[n]: which entries have a centre."""
        if not self.x.shape[1]:
            return np.zeros(len(self), np.bool_)
        return np.asarray(~np.isnan(self.x).any(axis=1), np.bool_)


def level_cover(nodes: Nodes, level: int, epsilon: float | None = None) -> LevelCover:
    """The cover of a level; NotFound below 0. Below the tree's leaves it is the leaves' cover.

    >>> def node(path, rows, *centroid):
    ...     return NodeSummary(path, rows, 1.0, np.array(centroid, np.float32) if centroid else None)
    >>> tree = {n.path: n for n in (node((0,), 8), node((0, 0), 6, 1.0), node((0, 1), 2, 5.0))}
    >>> found = level_cover(tree, 1)
    >>> found.paths, found.w.tolist(), level_cover(tree, 0).x.tolist()
    (((0, 0), (0, 1)), [0.75, 0.25], [[2.0]])
    """
    if level < 0:
        raise NotFound(f"there is no level {level}: levels begin with 0, the root's")
    entries = _entries(nodes, level)
    dimension = next((len(n.centroid) for n in nodes.values() if n.centroid is not None), 0)
    x = np.full((len(entries), dimension), np.nan, np.float32)
    radius = np.full(len(entries), np.nan, np.float64)
    rows = np.array([held for _, held, _ in entries], np.int64)
    faded = np.array([weight for _, _, weight in entries], np.float64)
    for i, (path, _, _) in enumerate(entries):
        centre, bound = place(nodes, path)
        if centre is not None:
            x[i] = centre
        if bound is not None:
            radius[i] = bound
    misses = [nodes[path].miss_bound for path, _, _ in entries]
    miss_bound = np.array([np.nan if p is None else p for p in misses], np.float64)
    weights = faded if faded.any() else rows.astype(np.float64)  # all are too old to weigh anything
    total = float(weights.sum())
    w: Float64 = weights / total if total else np.zeros(len(rows), np.float64)
    paths = tuple(path for path, _, _ in entries)
    found = LevelCover(level, epsilon, paths, x, w, rows, faded, radius, miss_bound)
    return _folded_in(found, _hosts(nodes, paths))


def _weight(node: NodeSummary) -> float:
    return float(node.rows) if node.faded is None else node.faded


def _entries(nodes: Nodes, level: int) -> list[tuple[Path, int, float]]:
    """Path, rows and faded rows of every entry, in order."""
    handed: dict[Path, tuple[int, float]] = {}
    for path, node in nodes.items():
        if len(path) > 1:
            rows, weight = handed.get(path[:-1], (0, 0.0))
            handed[path[:-1]] = rows + node.rows, weight + _weight(node)
    entries = []
    for path in sorted(p for p in nodes if names.level(p) <= level):
        rows, weight = nodes[path].rows, _weight(nodes[path])
        if names.level(path) < level and path in handed:
            rows -= handed[path][0]
            weight = max(0.0, weight - handed[path][1])
            if rows <= 0:
                continue
        if rows or place(nodes, path)[0] is not None:
            entries.append((path, rows, weight))
    return entries


def _hosts(nodes: Nodes, entries: Sequence[Path]) -> dict[int, int]:
    """The number of each entry that is folded, or below a node that is -> of the one that it stands with;
    not of those none of whose siblings is an entry."""
    siblings: dict[Path, list[Path]] = {
        path[:-1]: [] for path, node in nodes.items() if node.folded
    }
    if not siblings:
        return {}
    for path, node in nodes.items():
        if not node.folded and path[:-1] in siblings:
            siblings[path[:-1]].append(path)
    below: dict[Path, list[int]] = {path: [] for some in siblings.values() for path in some}
    found: dict[int, int] = {}
    tops = [_folded_top(nodes, path) for path in entries]
    for number, path in enumerate(entries):
        for depth in range(2, len(path) + 1) if tops[number] is None else ():
            if path[:depth] in below:
                below[path[:depth]].append(number)
    for number, top in enumerate(tops):
        there = [p for p in siblings.get(top[:-1], ()) if below[p]] if top else []
        if top and there:
            near = min(there, key=lambda p: (_apart(nodes, p, top), p))
            own = entries[number]
            found[number] = min(below[near], key=lambda n: (_apart(nodes, entries[n], own), n))
    return found


def _folded_top(nodes: Nodes, path: Path) -> Path | None:
    """The highest folded node on the way to a node."""
    ways = (path[:depth] for depth in range(2, len(path) + 1))
    return next((p for p in ways if p in nodes and nodes[p].folded), None)


def _apart(nodes: Nodes, one: Path, other: Path) -> float:
    """Between two centres, as a sum in order; infinite where one is not known."""
    a, b = nodes[one].centroid, nodes[other].centroid
    if a is None or b is None:
        return np.inf
    return float(np.sqrt(np.cumsum((a.astype(np.float64) - b.astype(np.float64)) ** 2)[-1]))


def _folded_in(found: LevelCover, hosts: Mapping[int, int]) -> LevelCover:
    """The cover without those entries, their rows with their hosts."""
    if not hosts:
        return found
    rows, faded, w, radius = (
        found.rows.copy(), found.faded.copy(), found.w.copy(), found.radius.copy()
    )  # fmt: skip
    x = found.x.astype(np.float64)
    slack = 1.0 + (x.shape[1] + 4) * 2.0**-52
    for number, host in hosts.items():
        if found.rows[number]:
            apart = np.sqrt(np.cumsum((x[number] - x[host]) ** 2)[-1])
            radius[host] = np.maximum(radius[host], slack * (apart + found.radius[number]))
        rows[host] += found.rows[number]
        faded[host] += found.faded[number]
        w[host] += found.w[number]
    left = [n for n in range(len(found)) if n not in hosts]
    return LevelCover(
        found.level, found.epsilon, tuple(found.paths[n] for n in left), found.x[left], w[left],
        rows[left], faded[left], radius[left], found.miss_bound[left],
    )  # fmt: skip


def place(nodes: Nodes, path: Path) -> tuple[Float32 | None, float | None]:
    """Centre f32[d] and radius of a node, each None where nobody knows it."""
    node = nodes[path]
    if node.centroid is not None:
        return node.centroid, node.radius
    below = [n for p, n in nodes.items() if p[:-1] == path and n.centroid is not None]
    if not below:
        return None, node.radius
    rows = np.array([n.rows for n in below], np.float64)
    centroids = np.stack([n.centroid for n in below if n.centroid is not None])
    weights = rows if rows.any() else np.ones(len(below))
    mean = (weights @ centroids.astype(np.float64)) / weights.sum()
    centre: Float32 = mean.astype(np.float32)
    if node.rows > rows.sum() or any(n.radius is None for n in below if n.rows):
        return centre, None
    same = np.zeros(len(below), np.int32)
    far = kernels.distances(centroids, same, centre[None, :])
    slack = 1.0 + (centre.shape[0] + 4) * 2.0**-52
    return centre, max(
        (
            slack * (d + (n.radius or 0.0))
            for d, n in zip(far.tolist(), below, strict=True)
            if n.rows
        ),
        default=0.0,
    )
