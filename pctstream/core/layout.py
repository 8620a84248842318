"""Portions, their loads and the shards that hold them: what a plan is made from, as arrays.

The **load** of a portion is the rate at which its rows arrive, in rows/s, and not the rows it holds.
A shard is overloaded when rows come faster than it applies them; rows at rest cost it disk only, and
those count as the bytes of a move. A plan looks at the load at the horizon of the forecast.

A shard's **relative load** is its load over its share of the whole: weight / sum of weights. 1.0 is
an even spread whatever the stream does, so no absolute rate has to be configured. Where it is known
what all shards carry together, in rows/s, 1.0 is that instead, as long as it is more than comes.
Weights of shards that are being drained are not summed: their share is to be carried by the others.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pctstream.core.names import Path, node_name
from pctstream.errors import UsageError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

State = Literal["active", "new", "excluded", "drained"]
MOVE_COST = 1e-4
"""What a move costs besides its bytes, in means of a portion's bytes: even an empty one is not free."""


@dataclass(frozen=True, slots=True)
class PortionLoad:
    """What is known of a portion when moves are decided.

    load and predicted: rows/s, now and at the horizon; bytes: what a copy of it takes; score: drift
    score in units of its noise. Of its rows: centroid, low and high f32[d] (the range of each
    feature), intrinsic dimension. None where it is not known.
    """

    path: Path
    owner: int
    load: float
    predicted: float
    rows: int = 0
    bytes: int = 0
    score: float = 0.0
    centroid: Float32 | None = None
    low: Float32 | None = None
    high: Float32 | None = None
    intrinsic: float | None = None


@dataclass(frozen=True, slots=True)
class ShardRoom:
    """A shard as a place for portions; weight: its share of the load against the others' weights.

    active and new ones take and give portions, excluded ones take none and may give, drained ones
    take none and must give all that is not pinned.
    """

    shard: int
    weight: float = 1.0
    state: State = "active"


@dataclass(frozen=True, slots=True)
class Layout:
    """P portions (by path) on S shards (by number). An assignment is i64[P], indices of shards."""

    portions: tuple[PortionLoad, ...]
    shards: tuple[ShardRoom, ...]
    load: Float64
    """f64[P], at the horizon."""
    cost: Float64
    """f64[P], what a move of it costs: its bytes and a little."""
    owner: Int64
    share: Float64
    """f64[S], rows/s that are a relative load of 1."""
    allowed: Bool
    """[P, S], where a portion may be; one True in the row of a portion that must stay."""

    @classmethod
    def of(
        cls,
        portions: Sequence[PortionLoad],
        shards: Sequence[ShardRoom],
        held: Collection[Path] = (),
        full: float = 0.0,
    ) -> Layout:
        """Whatever the order of the input; the portions in `held` stay. UsageError: impossible.

        full: rows/s that all shards carry together; 0: not known.
        """
        parts = tuple(sorted(portions, key=lambda p: p.path))
        rooms = tuple(sorted(shards, key=lambda s: s.shard))
        index = _index(parts, rooms)
        load = np.array([p.predicted for p in parts], np.float64)
        size = np.array([p.bytes for p in parts], np.float64)
        owner = np.array([index[p.owner] for p in parts], np.int64)
        weight = np.array([s.weight for s in rooms], np.float64)
        leaves = np.array([s.state == "drained" for s in rooms])
        takes = np.array([s.state in ("active", "new") for s in rooms])
        allowed = np.tile(takes, (len(parts), 1)) if parts else np.zeros((0, len(rooms)), bool)
        own = np.arange(len(parts)), owner
        allowed[own] = ~leaves[owner]
        stays = np.array([p.path in held for p in parts], bool) | ~allowed.any(axis=1)
        allowed[stays] = False
        allowed[own] |= stays
        carrying = float(weight[~leaves].sum()) or float(weight.sum())
        share = weight / carrying * (max(full, float(load.sum())) or 1.0)
        extra = MOVE_COST * float(size.mean()) if size.any() else 1.0
        return cls(parts, rooms, load, size + extra, owner, share, allowed)

    @property
    def movable(self) -> Bool:
        """bool[P]: whether there is another place for it."""
        own: Bool = self.allowed[np.arange(len(self.owner)), self.owner]
        choices: Int64 = self.allowed.sum(axis=1)
        return choices > own

    def loads(self, places: Int64) -> Float64:
        """f64[S], rows/s of each shard under this assignment."""
        return np.bincount(places, self.load, len(self.shards)).astype(np.float64)

    def relative(self, places: Int64) -> Float64:
        """f64[S], relative loads under this assignment."""
        return self.loads(places) / self.share

    def most(self, places: Int64) -> float:
        """The maximum relative load under this assignment."""
        return float(self.relative(places).max(initial=0.0))

    def moving_cost(self, places: Int64) -> float:
        return float(self.cost[places != self.owner].sum())

    def legal(self, places: Int64) -> bool:
        return bool(self.allowed[np.arange(len(places)), places].all())


def _index(portions: Sequence[PortionLoad], shards: Sequence[ShardRoom]) -> Mapping[int, int]:
    index = {s.shard: i for i, s in enumerate(shards)}
    if not shards or len(index) < len(shards):
        raise UsageError("shards to plan for: at least one, each named once")
    if bad := [s.shard for s in shards if not 0.0 < s.weight < math.inf]:
        raise UsageError(f"shards.capacity of {bad}: weights are numbers above 0")
    if len({p.path for p in portions}) < len(portions):
        raise UsageError("portions to plan for: each named once")
    for p in portions:
        if p.owner not in index:
            raise UsageError(f"{node_name(p.path)} is on shard {p.owner}, which is not listed")
        if not (0.0 <= p.predicted < math.inf and p.bytes >= 0):
            raise UsageError(
                f"{node_name(p.path)}: a load of {p.predicted} rows/s and {p.bytes} bytes; "
                "both are finite and at least 0"
            )
    return index
