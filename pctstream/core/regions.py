"""The regions: rectangles that share out the plane, as the leaves of a binary tree.

Theory
------
**One node type.** A node is either a region or cut in two by a line: rows with a coordinate below `at` lie
in its low child, the others in its high child. A k-d split is one cut, a quadtree split three (x, then y
in both halves), and both may stand in one tree, so the pattern can change while rows flow. Every row's
place follows from comparisons with the `at` above it: it is in exactly one region, whatever rounding did
to the boxes, which are the same numbers again.

**Turning.** Where a node is cut at x and both its children at one y, it may as well be cut at that y first
and then at x: the regions are the same, but others of them are siblings. So each quarter of a quadtree
split has two neighbors with which it makes up a rectangle.

**Growing.** A row outside doubles the whole: a node above the root, with an empty region on the other side.
Depth counts from the first root, so that what was made before keeps its own; a root above has a negative
one.

**In the store**, each node is an entry: key `r` and its serial number in 8 bytes big-endian, value
`_ENTRY`. Serials are never used twice; what belongs into the next WriteBatch is `changes()`. Which rows
a region has is not stored: it follows from their positions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from pctstream.core.kernels import Float64, Int64
from pctstream.core.lanes import inlined

LEAF, FREE = -1, -2
NONE = -1
_ENTRY = struct.Struct("<qqqbdhdddddd")
"""parent, low and high child (serials, -1: none), axis (-1: a region), at, depth, queries, box, aspect."""

Cut = tuple[int, float, Any, Any]
"""Axis (0: x, 1: y), at, and what becomes of the low and the high half: a Cut or None."""


class Nodes(NamedTuple):
    """One row per node, for kernels; `rows` are its own: a node that was just cut may still have some."""

    axis: Any
    at: Any
    child: Any
    parent: Any
    box: Any
    depth: Any
    serial: Any
    queries: Any
    rows: Any
    head: Any
    """The page that is being filled (`core.membership`)."""


@inlined
def locate(nodes: Any, node: Any, x: float, y: float) -> Any:
    """The region below a node (or the node itself) in which a position lies."""
    while nodes.axis[node] >= 0:
        v = x if nodes.axis[node] == 0 else y
        node = nodes.child[node, 1 if v >= nodes.at[node] else 0]
    return node


def _empty(n: int) -> Nodes:
    return Nodes(
        np.full(n, FREE, np.int8), np.zeros(n), np.full((n, 2), NONE, np.int64),
        np.full(n, NONE, np.int64), np.zeros((n, 4)), np.zeros(n, np.int16), np.zeros(n, np.int64),
        np.zeros(n), np.zeros(n, np.int64), np.full(n, NONE, np.int64),
    )  # fmt: skip


class Regions:
    """The tree; `box` is the whole at first: x0, y0, x1, y1, without its upper edges.

    >>> regions = Regions((0.0, 0.0, 4.0, 2.0))
    >>> regions.cut(regions.root, (0, 2.0, (1, 1.0, None, None), (1, 1.0, None, None)))
    >>> regions.leaves().tolist(), regions.nodes.box[regions.leaves()[0]].tolist()
    ([3, 4, 5, 6], [0.0, 0.0, 2.0, 1.0])
    >>> regions.partners(3)
    [4, 5]
    >>> regions.join(3, 5), regions.leaves().tolist()
    (1, [1, 4, 6])
    """

    def __init__(self, box: tuple[float, ...]) -> None:
        self.nodes = _empty(64)
        self._free = list(range(63, -1, -1))
        self._serial = 0
        self._dirty: set[int] = set()
        self._gone: set[int] = set()
        self.aspect = (box[3] - box[1]) / (box[2] - box[0])
        """Height over width of what counts as square."""
        self.root = self._make(NONE, box, 0)

    def _make(self, parent: int, box: Iterable[float], depth: int) -> int:
        if not self._free:
            n = len(self.nodes.at)
            self.nodes = Nodes(
                *(np.concatenate(both) for both in zip(self.nodes, _empty(n), strict=True))
            )
            self._free = list(range(2 * n - 1, n - 1, -1))
        node, nodes = self._free.pop(), self.nodes
        nodes.axis[node], nodes.child[node], nodes.parent[node] = LEAF, NONE, parent
        nodes.box[node], nodes.depth[node], nodes.serial[node] = tuple(box), depth, self._serial
        nodes.queries[node], nodes.rows[node], nodes.head[node] = 0.0, 0, NONE
        self._serial += 1
        self._dirty.add(node)
        return node

    def _drop(self, node: int) -> None:
        self._gone.add(int(self.nodes.serial[node]))
        self._dirty.discard(node)
        self.nodes.axis[node] = FREE
        self._free.append(node)

    def _halves(self, node: int, axis: int, at: float) -> tuple[list[float], list[float]]:
        low, high = self.nodes.box[node].tolist(), self.nodes.box[node].tolist()
        low[axis + 2] = high[axis] = at
        return low, high

    def cut(self, node: int, cut: Cut) -> None:
        """Makes regions below a region, which keeps its rows until they are handed down."""
        waiting = [(node, cut)]
        while waiting:
            above, (axis, at, *parts) = waiting.pop(0)
            depth, queries = int(self.nodes.depth[above]) + 1, self.nodes.queries[above]
            both = [self._make(above, box, depth) for box in self._halves(above, axis, at)]
            self.nodes.axis[above], self.nodes.at[above] = axis, at
            self.nodes.child[above] = both
            self.nodes.queries[both] = queries
            self._dirty.add(above)
            waiting += [(c, part) for c, part in zip(both, parts, strict=True) if part is not None]

    def partners(self, node: int) -> list[int]:
        """The regions that make up a rectangle with a region and can be joined with it."""
        nodes, above = self.nodes, int(self.nodes.parent[node])
        if above == NONE:
            return []
        side = int(nodes.child[above, 1] == node)
        found = [int(nodes.child[above, 1 - side])]
        over = int(nodes.parent[above])
        if over != NONE:
            beside = int(nodes.child[over, int(nodes.child[over, 0] == above)])
            same = nodes.axis[beside] == nodes.axis[above] and nodes.at[beside] == nodes.at[above]
            if same and nodes.axis[over] != nodes.axis[above]:
                found.append(int(nodes.child[beside, side]))
        return [n for n in found if nodes.axis[n] == LEAF]

    def join(self, a: int, b: int) -> int:
        """Joins two partners to one region, their parent; their rows are to be handed up by the caller."""
        nodes = self.nodes
        if nodes.parent[a] != nodes.parent[b]:
            self._turn(int(nodes.parent[nodes.parent[a]]))
        above = int(nodes.parent[a])
        nodes.axis[above], nodes.child[above] = LEAF, NONE
        nodes.queries[above] = max(nodes.queries[a], nodes.queries[b])
        self._dirty.add(above)
        self._drop(a)
        self._drop(b)
        return above

    def _turn(self, node: int) -> None:
        """Cut first as the children are, then as the node was (see Turning)."""
        nodes = self.nodes
        low, high = nodes.child[node].tolist()
        axis, at = int(nodes.axis[low]), float(nodes.at[low])
        (a, b), (c, d) = nodes.child[low].tolist(), nodes.child[high].tolist()
        nodes.axis[[low, high]], nodes.at[[low, high]] = nodes.axis[node], nodes.at[node]
        nodes.axis[node], nodes.at[node] = axis, at
        for half, box, pair in zip(
            (low, high), self._halves(node, axis, at), ((a, c), (b, d)), strict=True
        ):
            nodes.box[half], nodes.child[half] = box, pair
            nodes.parent[list(pair)] = half
        self._dirty |= {node, low, high, a, b, c, d}

    def reach(self, low: tuple[float, float], high: tuple[float, float]) -> None:
        """Grows until positions from low to high lie inside."""
        for axis in (0, 1):
            while not self.nodes.box[self.root, axis] <= low[axis]:
                self._grow(axis, up=False)
            while not high[axis] < self.nodes.box[self.root, axis + 2]:
                self._grow(axis, up=True)

    def _grow(self, axis: int, *, up: bool) -> None:
        nodes, old = self.nodes, self.root
        box = nodes.box[old].tolist()
        width = box[axis + 2] - box[axis]
        at = box[axis + 2] if up else box[axis]
        box[axis + (2 if up else 0)] = at + width if up else at - width
        if nodes.axis[old] == LEAF:
            nodes.box[old] = box
            self.aspect = (box[3] - box[1]) / (box[2] - box[0])
            self._dirty.add(old)
            return
        depth = int(nodes.depth[old])
        self.root = self._make(NONE, box, depth - 1)
        low, high = self._halves(self.root, axis, at)
        other = self._make(self.root, high if up else low, depth)
        nodes = self.nodes
        nodes.axis[self.root], nodes.at[self.root] = axis, at
        nodes.child[self.root] = (old, other) if up else (other, old)
        nodes.parent[old] = self.root
        self._dirty.add(old)

    def __len__(self) -> int:
        """Nodes, regions and those above them."""
        return len(self.nodes.at) - len(self._free)

    def leaves(self) -> Int64:
        """The regions, as numbers of nodes."""
        return np.flatnonzero(self.nodes.axis == LEAF)

    def below(self, node: int) -> Iterator[int]:
        """The nodes below a node."""
        for child in self.nodes.child[node].tolist() if self.nodes.axis[node] >= 0 else ():
            yield child
            yield from self.below(child)

    def listed(self) -> list[tuple[int, int]]:
        """What readers see: regions and their rows; one that is being cut is whole until that is done."""
        nodes, found, waiting = self.nodes, [], [self.root]
        while waiting:
            node = waiting.pop()
            if nodes.axis[node] != LEAF and nodes.rows[node] == 0:
                waiting += nodes.child[node].tolist()
            else:
                rows = int(nodes.rows[node]) + sum(int(nodes.rows[n]) for n in self.below(node))
                found.append((node, rows))
        return found

    def name(self, node: int) -> str:
        """The region's name for as long as it exists."""
        return f"r{self.nodes.serial[node]}"

    def fade(self, factor: float) -> None:
        """Queries count less as time goes by."""
        self.nodes.queries[:] *= factor

    def changes(self) -> dict[bytes, bytes | None]:
        """Entries that changed since the last call; None: the key is to be deleted."""
        nodes = self.nodes
        out: dict[bytes, bytes | None] = {_key(serial): None for serial in sorted(self._gone)}
        for node in sorted(self._dirty):
            parent, low, high = (
                int(nodes.serial[n]) if n != NONE else NONE
                for n in (nodes.parent[node], *nodes.child[node].tolist())
            )
            out[_key(int(nodes.serial[node]))] = _ENTRY.pack(
                parent, low, high, int(nodes.axis[node]), nodes.at[node], int(nodes.depth[node]),
                nodes.queries[node], *nodes.box[node].tolist(), self.aspect,
            )  # fmt: skip
        self._dirty, self._gone = set(), set()
        return out

    @classmethod
    def from_entries(cls, entries: Mapping[bytes, bytes]) -> Regions:
        """The tree that wrote the entries; its regions have no rows yet. ValueError if some are missing."""
        regions = cls((0.0, 0.0, 1.0, 1.0))
        regions._free.append(regions.root)
        nodes, place, links = regions.nodes, {NONE: NONE}, []
        for key in sorted(entries):
            serial = int.from_bytes(key[1:], "big")
            parent, low, high, axis, at, depth, queries, *box = _ENTRY.unpack(entries[key])
            regions.aspect = box.pop()
            regions._serial = serial
            node = place[serial] = regions._make(NONE, box, depth)
            nodes = regions.nodes
            nodes.axis[node], nodes.at[node], nodes.queries[node] = axis, at, queries
            links.append((node, parent, low, high))
        roots = [node for node, parent, *_ in links if parent == NONE]
        if len(roots) != 1 or any(s not in place for _, *three in links for s in three):
            raise ValueError(f"{len(links)} entries of regions are not one whole tree")
        for node, parent, low, high in links:
            nodes.parent[node], nodes.child[node] = place[parent], (place[low], place[high])
        regions.root, regions._dirty = roots[0], set()
        return regions


def _key(serial: int) -> bytes:
    return b"r" + serial.to_bytes(8, "big")


def area(boxes: Float64) -> float:
    """The sum of the areas of boxes f64[n, 4]."""
    return float(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum())
