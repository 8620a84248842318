"""A plan: which portions move where, what it gains and costs, and why the others stay.

Three goals, each within a little of what the one before allows: the least maximum relative load at
the horizon, then the fewest bytes moved, then the least dissimilarity to the new neighbors. A plan
may be `SLACK` above the least load, because the last percent can cost half the rows of the tree;
never above what the seed's `reshard` reaches, though. Whoever wants no more than some load says so
by `enough`, and fewer portions move.

1. A lower bound of the load (core/bound.py) that says how far from the best a plan can be.
2. Packing and local search (core/greedy.py), `reshard` and the layout as it is: the best of these.
3. Few portions: an integer program per goal (core/milp.py), the first only if 2 is not within
   SLACK of 1; its answer counts where it is better.
4. A plan that gains less than `min_gain`, a part of the maximum load, is not made, and one that
   moves the part b of all bytes must gain (1 + b) times that. A drained shard is emptied anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pctstream.core.bound import lower_bound
from pctstream.core.dissimilarity import dissimilarity
from pctstream.core.greedy import cheapen, match, spread
from pctstream.core.layout import Float64, Int64, Layout, PortionLoad, ShardRoom
from pctstream.core.names import Path, node_name
from pctstream.core.reshard import resharded
from pctstream.core.staying import Stay, stays
from pctstream.errors import IllegalTransition

SLACK = 0.02
BYTES_SLACK = 0.02
EXACT = 320
"""Portions x shards up to which the integer programs are asked."""
SECONDS = 1.0
"""Of each of them at most."""
CLOSE = 1.0 + 1e-6
"""HiGHS keeps its limits within 1e-7 or so."""


@dataclass(frozen=True, slots=True)
class Move:
    """One portion to another shard: rows and bytes to be copied."""

    portion: Path
    source: int
    target: int
    rows: int
    bytes: int
    why: str

    def to_json(self) -> dict[str, Any]:
        return {"portion": node_name(self.portion), "from": self.source, "to": self.target,
                "rows": self.rows, "bytes": self.bytes, "why": self.why}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spread:
    """Relative loads at the horizon (1.0: an even spread); mean over the shards not drained."""

    max_load: float
    mean: float

    def to_json(self) -> dict[str, float]:
        return {"max_load": self.max_load, "mean": self.mean}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, and what was weighed. bound: no plan has a lower maximum load than this."""

    id: str
    epoch: int
    moves: tuple[Move, ...]
    before: Spread
    after: Spread
    bound: float
    not_moved: tuple[Stay, ...]

    @property
    def gap(self) -> float:
        """How far the plan may be from the best: a part of the bound, 0 for the best."""
        return max(0.0, self.after.max_load / self.bound - 1.0) if self.bound > 0.0 else 0.0

    @property
    def bytes(self) -> int:
        return sum(move.bytes for move in self.moves)

    def to_json(self) -> dict[str, Any]:
        """As `/v1/plans` answers."""
        return {"id": self.id, "epoch": self.epoch,
                "moves": [move.to_json() for move in self.moves],
                "before": self.before.to_json(), "after": self.after.to_json(),
                "bound": {"max_load": self.bound, "gap": self.gap},
                "not_moved": [stay.to_json() for stay in self.not_moved]}  # fmt: skip

    def check(self, epoch: int) -> None:
        """IllegalTransition (409) if owners changed since: the plan was made for others."""
        if epoch != self.epoch:
            raise IllegalTransition(
                f"plan {self.id} was made in epoch {self.epoch}, now it is {epoch}: make it again"
            )


def plan(
    portions: Sequence[PortionLoad],
    shards: Sequence[ShardRoom],
    *,
    name: str,
    epoch: int,
    threshold: float = 3.0,
    held: Mapping[Path, str] | None = None,
    enough: float = 0.0,
    min_gain: float = 0.0,
    full: float = 0.0,
    exact: int = EXACT,
) -> Plan:
    """The plan `name` for this epoch.

    threshold: drift score above which a portion that stays is told of. held: portions that must
    stay, and why (pinned, cooling down). enough: a relative load that needs no improving. min_gain:
    a part of the maximum load. full: rows/s that all shards carry together, 0: not known. exact:
    portions x shards up to which HiGHS is asked.

    >>> hot = [PortionLoad((0, i), 0, 10.0, 10.0, rows=9, bytes=99, score=4.0) for i in range(2)]
    >>> p = plan(hot, [ShardRoom(0), ShardRoom(1)], name="1", epoch=7)
    >>> p.before.max_load, p.after.max_load, [(m.portion, m.target) for m in p.moves]
    (2.0, 1.0, [((0, 0), 1)])
    """
    held = held or {}
    layout = Layout.of(portions, shards, held, full)
    unlike = dissimilarity(layout)
    bound = lower_bound(layout)
    if layout.movable.any():
        places, bound = _assignment(layout, unlike, bound, threshold, enough, exact)
    else:
        places = layout.owner
    refused = _too_little(layout, places, min_gain)
    if refused:
        places = layout.owner
    return Plan(
        name,
        epoch,
        _moves(layout, places),
        _spread(layout, layout.owner),
        _spread(layout, places),
        min(bound, layout.most(places)),
        stays(layout, places, threshold, held, refused, enough),
    )


def _assignment(
    layout: Layout, unlike: Float64, bound: float, threshold: float, enough: float, exact: int
) -> tuple[Int64, float]:
    """The assignment i64[P] and the bound, raised where the integer program knew more."""
    seed = resharded(layout, unlike, threshold)
    known = [places for places in (layout.owner, seed) if layout.legal(places)]
    start = min(known or [_anywhere(layout)], key=layout.most)
    best = spread(layout, bound, max(bound * (1.0 + SLACK), enough), start)
    program = None
    if layout.allowed.sum() <= exact:
        from pctstream.core.milp import Program  # scipy takes a second to import

        program = Program(layout, SECONDS)
    if program and layout.most(best) > max(bound * (1.0 + SLACK), enough):
        answer = program.least_load(layout.most(best))
        bound = max(bound, answer.bound)
        best = _better(answer.places, best, layout.most)
    limit = min(max(layout.most(best), bound * (1.0 + SLACK)), *map(layout.most, known or [best]))
    limit = max(limit, enough)
    within = [p for p in (*known, best) if layout.most(p) <= limit * CLOSE]
    best = min((cheapen(layout, p, limit) for p in within), key=layout.moving_cost)
    if layout.moving_cost(best) == 0.0:
        return best, bound
    if program:
        best = _better(program.least_cost(limit).places, best, layout.moving_cost)
    budget = layout.moving_cost(best) * (1.0 + BYTES_SLACK)
    budget = min(
        [budget, *(c for c in map(layout.moving_cost, within) if c >= layout.moving_cost(best))]
    )

    def apart(places: Int64) -> float:
        return float(unlike[np.arange(len(places)), places].sum())

    best = match(layout, best, limit, unlike)
    if program:
        best = _better(program.least_unlike(limit, budget, unlike).places, best, apart)
    return best, bound


def _better(found: Int64 | None, best: Int64, goal: Any) -> Int64:
    return found if found is not None and goal(found) < goal(best) else best


def _anywhere(layout: Layout) -> Int64:
    """A legal assignment: who must leave goes where the load is least, the largest first."""
    places = layout.owner.copy()
    homeless = ~layout.allowed[np.arange(len(places)), places]
    loads = layout.loads(places)
    loads -= np.bincount(places[homeless], layout.load[homeless], minlength=len(loads))
    for p in sorted(np.flatnonzero(homeless), key=lambda p: (-layout.load[p], p)):
        there = np.where(layout.allowed[p], (loads + layout.load[p]) / layout.share, np.inf)
        places[p] = int(np.argmin(there))
        loads[places[p]] += layout.load[p]
    return places


def _too_little(layout: Layout, places: Int64, min_gain: float) -> str:
    """Why the plan is not worth its bytes; empty if it is, or must be."""
    moved = places != layout.owner
    if not moved.any() or not layout.legal(layout.owner):
        return ""
    before, after = layout.most(layout.owner), layout.most(places)
    needed = min_gain * (1.0 + layout.moving_cost(places) / float(layout.cost.sum()))
    gain = 1.0 - after / before if before > 0.0 else 0.0
    if gain >= needed:
        return ""
    return (f"the best plan lowers the maximum load by {gain:.1%}, "
            f"and what it moves asks for {needed:.1%}")  # fmt: skip


def _spread(layout: Layout, places: Int64) -> Spread:
    relative = layout.relative(places)
    stands = np.array([s.state != "drained" for s in layout.shards])
    mean = float(relative[stands].mean()) if stands.any() else 0.0
    return Spread(layout.most(places), mean)


def _moves(layout: Layout, places: Int64) -> tuple[Move, ...]:
    before, after = layout.relative(layout.owner), layout.relative(places)
    moves = []
    for p in np.flatnonzero(places != layout.owner):
        part, home, to = layout.portions[p], layout.owner[p], places[p]
        source, target = layout.shards[home], layout.shards[to]
        drained = "is drained and " if source.state == "drained" else ""
        why = (f"shard {source.shard} {drained}goes from {before[home]:.2f} to {after[home]:.2f} "
               f"of its share, shard {target.shard} from {before[to]:.2f} to {after[to]:.2f}; "
               f"{part.predicted:.6g} rows/s of it are this portion's")  # fmt: skip
        moves.append(Move(part.path, source.shard, target.shard, part.rows, part.bytes, why))
    return tuple(moves)
