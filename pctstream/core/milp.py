"""The best assignment of few portions, as an integer program solved by HiGHS.

One binary variable per portion and shard it may be on, exactly one of them 1 per portion; three
goals, one program each, the answer of one being a limit for the next:

    1. least maximum relative load   min z       with load of s <= z * share of s
    2. least bytes moved             min cost    with load of s <= limit * share of s
    3. least dissimilarity           min unlike  with that limit and cost <= budget

HiGHS ends by itself within its gap, after `NODES` branches, or after the seconds it is given: the
last depends on the machine, so it is a net below the others and wide enough not to be met.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from pctstream.core.layout import Float64, Int64, Layout

NODES = 2000
GAP = 0.01


@dataclass(frozen=True, slots=True)
class Answer:
    """places: the assignment found, if any; bound: no assignment does better at this goal."""

    places: Int64 | None
    bound: float


class Program:
    """The integer program of a layout; loads are in shares, costs in the sum of all."""

    def __init__(self, layout: Layout, seconds: float) -> None:
        self._layout, self._seconds = layout, seconds
        self._portion, self._shard = np.nonzero(layout.allowed)
        n, variables = len(layout.portions), np.arange(len(self._portion))
        ones = np.ones(len(variables))
        self._once = sparse.csr_array((ones, (self._portion, variables)), (n, len(variables)))
        weight = layout.load[self._portion] / layout.share[self._shard]
        shape = (len(layout.shards), len(variables))
        self._loads = sparse.csr_array((weight, (self._shard, variables)), shape)
        moved = self._shard != layout.owner[self._portion]
        self._cost = np.where(moved, layout.cost[self._portion], 0.0) / layout.cost.sum()

    def least_load(self, at_most: float) -> Answer:
        """Goal 1, known to be reachable with `at_most`; the bound is a relative load."""
        goal = np.append(np.zeros(len(self._portion)), 1.0)
        column = np.full((self._loads.shape[0], 1), -1.0)
        rules = [LinearConstraint(sparse.hstack([self._loads, column], format="csr"), -np.inf, 0.0)]
        return self._solve(goal, rules, at_most)

    def least_cost(self, limit: float) -> Answer:
        """Goal 2: no relative load above `limit`."""
        return self._solve(self._cost, [LinearConstraint(self._loads, -np.inf, limit)], None)

    def least_unlike(self, limit: float, budget: float, unlike: Float64) -> Answer:
        """Goal 3: nor a cost above `budget`, in the layout's bytes; unlike f64[P, S]."""
        goal = unlike[self._portion, self._shard]
        rules = [
            LinearConstraint(self._loads, -np.inf, limit),
            LinearConstraint(self._cost[None, :], -np.inf, budget / float(self._layout.cost.sum())),
        ]
        return self._solve(goal, rules, None)

    def _solve(self, goal: Float64, rules: list[LinearConstraint], at_most: float | None) -> Answer:
        count = len(self._portion)
        once, high = self._once, np.ones(count)
        if at_most is not None:
            once = sparse.hstack([once, np.zeros((once.shape[0], 1))], format="csr")
            high = np.append(high, at_most)
        found = milp(
            goal,
            integrality=np.append(np.ones(count), np.zeros(len(goal) - count)),
            bounds=Bounds(np.zeros(len(goal)), high),
            constraints=[LinearConstraint(once, 1.0, 1.0), *rules],
            options={"mip_rel_gap": GAP, "node_limit": NODES, "time_limit": self._seconds},
        )
        bound = found.mip_dual_bound
        bound = 0.0 if bound is None or not np.isfinite(bound) else float(bound)
        if found.x is None:
            return Answer(None, bound)
        places = self._layout.owner.copy()
        chosen = found.x[:count] > 0.5
        places[self._portion[chosen]] = self._shard[chosen]
        return Answer(places, bound)
