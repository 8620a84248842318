"""Random things to plan for, and an integer program of our own that says what is best.

The oracle shares no code with the product: it counts loads and bytes from the portions themselves,
and its variables are "portion p is on shard s" for all pairs, with what is forbidden set to 0.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from pctstream.core.layout import PortionLoad, ShardRoom
from pctstream.core.names import Path

Case = tuple[list[PortionLoad], list[ShardRoom], set[Path]]


def random_case(seed: int, most: int = 40, shards: int = 6, d: int = 4) -> Case:
    """Portions with loads of many sizes, uneven capacities, now and then a drain, new ones, pins."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(2, most + 1)), int(rng.integers(2, shards + 1))
    weights = rng.choice([0.5, 1.0, 1.0, 2.0, 3.0], m)
    states = ["active"] * m
    for state, chance in (("drained", 0.2), ("new", 0.2), ("excluded", 0.1)):
        if m > 2 and rng.random() < chance:
            states[int(rng.integers(1, m))] = state
    homes = [s for s in range(m) if states[s] != "new"]
    skew = rng.dirichlet(np.full(len(homes), rng.choice([0.3, 1.0, 5.0])))
    loads = rng.lognormal(3.0, rng.choice([0.2, 1.0, 1.8]), n)
    centres = rng.normal(0, 3, (n, d)).astype(np.float32)
    parts = [
        PortionLoad(
            (0, i),
            int(rng.choice(homes, p=skew)),
            float(loads[i]),
            float(loads[i] * rng.uniform(0.5, 2.0)),
            rows=int(rng.integers(1, 100_000)),
            bytes=int(rng.lognormal(13, 1.2)),
            score=float(rng.exponential(2.5)),
            centroid=centres[i],
            low=centres[i] - 1,
            high=centres[i] + 1,
        )
        for i in range(n)
    ]
    pins = {p.path for p in parts if rng.random() < rng.choice([0.0, 0.1])}
    rooms = [ShardRoom(s, float(weights[s]), states[s]) for s in range(m)]  # type: ignore[arg-type]
    return parts, rooms, pins


class Oracle:
    """The least maximum relative load, and the least bytes under a load, by HiGHS."""

    def __init__(self, case: Case, gap: float = 1e-4, seconds: float = 60.0) -> None:
        self.parts, self.rooms, pins = case
        self.at = {room.shard: s for s, room in enumerate(self.rooms)}
        self.options = {"mip_rel_gap": gap, "time_limit": seconds}
        n, m = len(self.parts), len(self.rooms)
        total = sum(p.predicted for p in self.parts)
        weight = sum(r.weight for r in self.rooms if r.state != "drained")
        self.share = [r.weight / weight * total for r in self.rooms]
        self.may = np.zeros((n, m))
        some = any(r.state in ("active", "new") for r in self.rooms)
        for i, p in enumerate(self.parts):
            for s, room in enumerate(self.rooms):
                at_home = p.owner == room.shard
                if p.path in pins or not some:
                    self.may[i, s] = at_home
                else:
                    takes = room.state in ("active", "new")
                    self.may[i, s] = takes or (at_home and room.state == "excluded")
        self.ones = sparse.csr_array(np.kron(np.eye(n), np.ones(m)))
        each = [p.predicted for p in self.parts]
        self.loads = np.zeros((m, n * m))
        for s in range(m):
            self.loads[s, s::m] = np.array(each) / self.share[s]

    def places(self, moves: dict[Path, int]) -> list[int]:
        return [self.at[moves.get(p.path, p.owner)] for p in self.parts]

    def most(self, places: list[int]) -> float:
        sums = [0.0] * len(self.rooms)
        for p, s in zip(self.parts, places, strict=True):
            sums[s] += p.predicted
        return max(a / b for a, b in zip(sums, self.share, strict=True))

    def size(self, places: list[int]) -> int:
        return sum(
            p.bytes for p, s in zip(self.parts, places, strict=True) if self.at[p.owner] != s
        )

    def legal(self, places: list[int]) -> bool:
        return all(self.may[i, s] for i, s in enumerate(places))

    def least_load(self) -> float:
        """What no assignment goes below: the dual bound, within the gap of the optimum."""
        n, m = self.may.shape
        found = milp(
            np.append(np.zeros(n * m), 1.0),
            integrality=np.append(np.ones(n * m), 0),
            bounds=Bounds(0, np.append(self.may.ravel(), np.inf)),
            constraints=[
                LinearConstraint(np.hstack([self.ones.toarray(), np.zeros((n, 1))]), 1, 1),
                LinearConstraint(np.hstack([self.loads, -np.ones((m, 1))]), -np.inf, 0),
            ],
            options=self.options,
        )
        return float(found.mip_dual_bound)

    def least_bytes(self, limit: float) -> float:
        """What no assignment with this maximum load goes below."""
        n, m = self.may.shape
        size = np.repeat([float(p.bytes) for p in self.parts], m)
        for i, p in enumerate(self.parts):
            size[i * m + self.at[p.owner]] = 0.0
        found = milp(
            size / max(1.0, size.max()),
            integrality=np.ones(n * m),
            bounds=Bounds(0, self.may.ravel()),
            constraints=[
                LinearConstraint(self.ones, 1, 1),
                LinearConstraint(self.loads, -np.inf, limit * (1 + 1e-9)),
            ],
            options=self.options,
        )
        assert found.mip_dual_bound is not None, found.message
        return float(found.mip_dual_bound) * max(1.0, float(size.max()))
