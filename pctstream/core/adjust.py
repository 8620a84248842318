"""Adjusting: regions that are too dense split, neighbors that are nearly empty are joined.

Numbered as in `adjust`:
1. What a cut left behind (the adjustment was given up in between) is handed down first.
2. The regions to look at: where the density map changed since the last time or somebody asked; all, if
   the last time something was changed, denied by the budget, or asked for with other settings.
3. Regions above `split_rows` (or `max_size`) split, the densest for their area first; what queries ask is
   weighed in (`core.granularity`). The cuts are planned, priced, allowed by the budget or denied, made,
   and then the rows are handed down in slices.
4. Regions below `merge_rows`, the smallest first, are joined with a partner that is below it too: of
   several the one that NEIGHBORS says is nearest to it.

A region changes at most once in an adjustment, so no more rows are moved than the touched regions have.
Nothing is ever rebuilt. The generator yields after each slice and is sent the seconds that the slice took;
between two slices rows may come and go and anybody may search. It may be given up at any slice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import numpy as np

from pctstream.core.budget import Budget
from pctstream.core.cuts import SAMPLE, Cutter
from pctstream.core.density_map import DensityMap
from pctstream.core.granularity import Granularity
from pctstream.core.kernels import Int64
from pctstream.core.membership import Membership
from pctstream.core.pages import PAGE
from pctstream.core.regions import Cut, Regions

TOLD = 100
"""Denied changes that are told one by one; the rest is only counted."""


def by_proximity(regions: Regions, a: int, b: int) -> float:
    """The distance of the middles of two regions, twice and squared."""
    apart = regions.nodes.box[a] - regions.nodes.box[b]
    x, y = (apart[:2] + apart[2:]).tolist()
    return float(x * x + y * y)


def by_count(regions: Regions, a: int, b: int) -> float:
    """How unlike the numbers of rows of two regions are."""
    return float(abs(regions.nodes.rows[a] - regions.nodes.rows[b]))


NEIGHBORS: dict[str, Callable[[Regions, int, int], float]] = {
    "proximity": by_proximity,
    "count": by_count,
}
"""`spatial.neighbors`: which partner a region is joined with, the least first."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Work that was just done."""

    kind: str
    """split or merge"""
    region: str
    rows: int


@dataclass(frozen=True, slots=True)
class Denied:
    """A change that was wanted and not made."""

    kind: str
    region: str
    rows: int
    why: str
    """budget, identical, min_size, max_size, depth, regions, bytes"""


@dataclass(slots=True)
class Adjusted:
    """What an adjustment did. A node above others is not counted as created."""

    considered: int = 0
    splits: int = 0
    merges: int = 0
    created: int = 0
    deleted: int = 0
    reindexed: int = 0
    """Rows whose region changed."""
    touched: int = 0
    """Rows that the touched regions had."""
    seconds: float = 0.0
    cost: float = 0.0
    denied: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind and why."""
    told: list[Denied] = field(default_factory=list)

    @property
    def again(self) -> bool:
        """Whether the next adjustment must look everywhere."""
        return bool(
            self.splits or self.merges or any(why in ("budget", "bytes") for _, why in self.denied)
        )

    def deny(self, kind: str, region: str, rows: int, why: str) -> None:
        """Counts and tells."""
        self.denied[kind, why] += 1
        if len(self.told) < TOLD:
            self.told.append(Denied(kind, region, rows, why))


Work = Generator[Slice, float | None, Adjusted]


def adjust(
    density_map: DensityMap, index: Membership, config: Granularity, budget: Budget,
    *, everywhere: bool = True,
) -> Work:  # fmt: skip
    """One adjustment; the budget was refilled and queries faded by the caller, who knows the time.

    >>> from pctstream.core.spatial import SpatialIndex
    >>> index = SpatialIndex(Granularity(split_rows=2, merge_rows=0))
    >>> x = np.array([0.0, 0.1, 7.0, 7.5])
    >>> index.insert(np.arange(4), x, x).inserted, index.adjust_now(0.0).splits
    (4, 1)
    """
    done = yield from _leftovers(index, config, budget, Adjusted())  # 1
    nodes = index.regions.nodes
    leaves = index.regions.leaves()
    if not everywhere:  # 2
        leaves = leaves[density_map.changed(nodes.box[leaves]) | (nodes.queries[leaves] > 0.01)]
    density_map.settle()
    done.considered = len(leaves)
    made = yield from _split(index, config, budget, done, leaves)  # 3
    return (yield from _merge(index, config, budget, done, made))  # 4


def _leftovers(index: Membership, config: Granularity, budget: Budget, done: Adjusted) -> Work:
    nodes = index.regions.nodes
    for node in np.flatnonzero((nodes.axis >= 0) & (nodes.rows > 0)).tolist():
        done.touched += int(nodes.rows[node])
        done = yield from _hand_down(index, node, config, budget, done)
    return done


def _hand_down(
    index: Membership, node: int, config: Granularity, budget: Budget, done: Adjusted
) -> Work:
    while moved := index.hand_down(node, config.slice_rows):
        seconds = yield Slice("split", index.regions.name(node), moved)
        _charge(budget, done, moved, 0, seconds)
    return done


def _charge(budget: Budget, done: Adjusted, rows: int, regions: int, seconds: float | None) -> None:
    before = budget.spent
    budget.charge(rows, regions, seconds or 0.0)
    done.cost += budget.spent - before
    done.reindexed += rows
    done.seconds += seconds or 0.0


def _factors(index: Membership, config: Granularity) -> dict[int, float]:
    """How much each row of each region counts."""
    leaves = index.regions.leaves()
    factors = config.factor(index.regions.nodes.queries[leaves])
    return dict(zip(leaves.tolist(), factors.tolist(), strict=True))


def _dense(
    index: Membership, config: Granularity, leaves: Int64, factor: dict[int, float]
) -> list[int]:
    """Those of the regions that split if they can, the densest first."""
    nodes = index.regions.nodes
    sides = nodes.box[leaves, 2:] - nodes.box[leaves, :2]
    counts = nodes.rows[leaves] * np.array([factor[n] for n in leaves.tolist()])
    wanted = counts > config.split_rows
    if config.max_size > 0.0:
        wanted |= sides.max(axis=1) > config.max_size
    order = np.argsort(-counts / sides.prod(axis=1), kind="stable")
    dense: list[int] = leaves[order[wanted[order]]].tolist()
    return dense


def _split(
    index: Membership, config: Granularity, budget: Budget, done: Adjusted, leaves: Int64
) -> Generator[Slice, float | None, set[int]]:
    """Splits; the regions that were made."""
    regions, made = index.regions, set[int]()
    factor = _factors(index, config)
    room = config.max_regions - len(factor)
    for node in _dense(index, config, leaves, factor):
        cutter, cut = _planned(index, node, config, factor[node], room)
        name, rows = regions.name(node), int(regions.nodes.rows[node])
        for why in cutter.why:
            done.deny("split", name, rows, why)
        if cut is None:
            continue
        if index.bytes_with(min(rows, config.slice_rows)) > index.most_bytes:
            done.deny("split", name, rows, "bytes")
            continue
        # a region goes, and one more come than there are lines
        if not budget.allows(budget.cost(rows, cutter.made + 2)):
            done.deny("split", name, rows, "budget")
            continue
        regions.cut(node, cut)
        made.update(regions.below(node))
        room -= cutter.made
        done.splits, done.deleted = done.splits + 1, done.deleted + 1
        done.created, done.touched = done.created + cutter.made + 1, done.touched + rows
        _charge(budget, done, 0, cutter.made + 2, None)
        done = yield from _hand_down(index, node, config, budget, done)
    return made


def _planned(
    index: Membership, node: int, config: Granularity, factor: float, room: int
) -> tuple[Cutter, Cut | None]:
    """What becomes of a region, planned on a sample of its rows."""
    nodes, slots = index.regions.nodes, index.members(node)
    step = -(-len(slots) // SAMPLE)
    slots = slots[:: max(step, 1)]
    cutter = Cutter(config, factor * max(step, 1), room=room, aspect=index.regions.aspect)
    x, y = index.pages.x[slots], index.pages.y[slots]
    return cutter, cutter.cut(nodes.box[node].tolist(), int(nodes.depth[node]), x, y)


def _merge(
    index: Membership, config: Granularity, budget: Budget, done: Adjusted, made: set[int]
) -> Work:
    """Joins; `made` are regions that have changed already."""
    regions, nearness = index.regions, NEIGHBORS[config.neighbors]
    factor = _factors(index, config)
    counts = {n: float(regions.nodes.rows[n]) * factor[n] for n in factor}
    small = sorted((n for n, c in counts.items() if c < config.merge_rows), key=counts.__getitem__)
    unseen = 0
    for node in small:
        if node in made:
            continue
        others = [n for n in regions.partners(node) if n not in made]
        others = [n for n in others if counts.get(n, np.inf) < config.merge_rows]
        # what is asked most there will count for all: that must not make them split again
        others = [n for n in others if _together(regions, factor, node, n) < 2 * config.merge_rows]
        others.sort(key=lambda n: nearness(regions, node, n))
        allowed = [n for n in others if _fits(regions, config, node, n)]
        name, rows = regions.name(node), int(regions.nodes.rows[node])
        if not allowed:
            if others:
                done.deny("merge", name, rows, "max_size")
            continue
        both = rows + int(regions.nodes.rows[allowed[0]])
        if index.bytes_with(2 * PAGE) > index.most_bytes:
            done.deny("merge", name, rows, "bytes")
            continue
        if not budget.allows(budget.cost(both, 3)):
            done.deny("merge", name, rows, "budget")
            continue
        above = index.join(node, allowed[0])
        # the numbers of the two may be given to others, but not within this adjustment
        made |= {node, allowed[0], above}
        done.merges, done.created = done.merges + 1, done.created + 1
        done.deleted, done.touched = done.deleted + 2, done.touched + both
        unseen += both
        _charge(budget, done, both, 3, None)
        if unseen >= config.slice_rows or done.merges % 64 == 0:
            _charge(budget, done, 0, 0, (yield Slice("merge", regions.name(above), unseen)))
            unseen = 0
    return done


def _together(regions: Regions, factor: dict[int, float], a: int, b: int) -> float:
    """How much two regions count as one."""
    rows = float(regions.nodes.rows[a] + regions.nodes.rows[b])
    return rows * max(factor[a], factor[b])


def _fits(regions: Regions, config: Granularity, a: int, b: int) -> bool:
    """Whether what two regions make up is not above the largest size."""
    box = regions.nodes.box[[a, b]]
    sides = box[:, 2:].max(axis=0) - box[:, :2].min(axis=0)
    return config.max_size <= 0.0 or float(sides.max()) <= config.max_size
