"""What moves are decided from: the portions' loads, the room of the shards, and who has to stay.

Made of `<tree>.routing` and of what owners and the drift agent told last, so any worker can make it:

    load        rows/s, as the owner told it; 0 once it has told nothing for `FRESH` windows, because
                an owner tells of a portion only while rows come to it
    predicted   the forecast for the horizon; the load itself where no fresh forecast is known
    score       of the same record; 0 where there is none, or it is too young (`GROWN_UP`): without a
                forecast nothing moves by itself
    features    centroid: where its parent's cover has it. Ranges and dimension: of its own cover,
                once it has split: its centroids stand for its rows

A portion that is moving counts where it goes to, and is held. Shards that take no portions by
configuration (those from `shards.active` on) are part of it only while they have some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pctstream.core.cover import Cover
from pctstream.core.layout import Float64, Layout, PortionLoad, ShardRoom
from pctstream.core.moves import ABORTED, DONE, PLANNED
from pctstream.core.names import Path, node_name
from pctstream.core.routing import Routing

FRESH = 4
"""Windows: what is older says how it was."""
GROWN_UP = 12
"""Scored windows before a portion's forecast counts: a stream that begins is one long ramp."""
FRESH_S = 3.0
"""And so long at least: two workers' clocks differ a little."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Capacities:
    """The section [shards]: rows_per_s is what all carry together, 0: not known."""

    count: int
    active: int
    weights: Mapping[int, float]
    rows_per_s: float = 0.0

    def weight(self, shard: int) -> float:
        return float(self.weights.get(shard, 1.0))


@dataclass(frozen=True, slots=True)
class Situation:
    """Of one moment; owners are those of ``epoch``, but moving portions are at their targets."""

    epoch: int
    portions: tuple[PortionLoad, ...]
    rooms: tuple[ShardRoom, ...]
    held: Mapping[Path, str]
    full: float
    """rows/s that all shards carry together, as configured or seen so far; 0: not known."""

    @property
    def total(self) -> float:
        """rows/s of all portions now."""
        return sum(part.load for part in self.portions)

    def relative(self, owners: Mapping[Path, int] | None = None) -> dict[int, float]:
        """The relative load of each shard now; with some portions elsewhere if ``owners`` says so."""
        if not self.rooms:
            return {}
        known = {room.shard for room in self.rooms}
        elsewhere = {p: s for p, s in (owners or {}).items() if s in known}
        now = [PortionLoad(p.path, elsewhere.get(p.path, p.owner), p.load, p.load)
               for p in self.portions]  # fmt: skip
        layout = Layout.of(now, self.rooms, full=self.full)
        loads: Float64 = layout.relative(layout.owner)
        return {room.shard: float(x) for room, x in zip(layout.shards, loads, strict=True)}


def situation(
    log: Routing, portions: Mapping[str, Record], drift: Mapping[str, Record],
    features: Features, capacities: Capacities, now: float, window_s: float,
) -> Situation:  # fmt: skip
    """``portions`` and ``drift``: the last records by name; ``now``: seconds since the epoch."""
    epoch, oldest = log.epoch, now - max(FRESH * window_s, FRESH_S)
    parts = []
    for path in log.portions:
        name, move = node_name(path), log.moves.current(path)
        told, seen = portions.get(name, {}), drift.get(name, {})
        load = float(told["rate"]) if told and told["time"] >= oldest else 0.0
        fresh = bool(seen) and seen["time"] >= oldest and len(seen["history"]) >= GROWN_UP
        parts.append(
            PortionLoad(
                path,
                log.owners[path] if move is None else move.target,
                load,
                max(0.0, float(seen["parts"]["level_then"])) if fresh else load,
                rows=int(told.get("rows", 0)),
                bytes=int(told.get("bytes", 0)),
                score=float(seen["score"]) if fresh else 0.0,
                **features.of(path, log.covers.get(path[:-1])),
            )
        )
    full = capacities.rows_per_s or log.orders.ledger.full
    return Situation(epoch, tuple(parts), _rooms(log, parts, capacities), held(log), full)


def _rooms(log: Routing, parts: list[PortionLoad], given: Capacities) -> tuple[ShardRoom, ...]:
    busy = {part.owner for part in parts}
    rooms = []
    for shard in range(given.count):
        weight = given.weight(shard)
        if shard in log.orders.drained:
            rooms.append(ShardRoom(shard, weight, "drained"))
        elif shard < given.active:
            rooms.append(ShardRoom(shard, weight))
        elif shard in busy:
            rooms.append(ShardRoom(shard, weight, "excluded"))
    return tuple(rooms)


def held(log: Routing) -> dict[Path, str]:
    """The portions that no plan may move, and why."""
    found = {path: "it is pinned" for path in log.orders.pinned.copy() if path in log.owners}
    found |= dict.fromkeys(
        log.promotions.asked, "it is being promoted: its children will be portions"
    )
    for move in log.moves.unfinished:
        if move.stage == DONE:
            why = f"it has just moved: shard {move.source} has not let go of it yet ({move.id})"
        elif move.stage == PLANNED:
            why = f"it is to move to shard {move.target} ({move.id})"
        else:
            why = f"it is moving to shard {move.target} ({move.id}, {move.stage})"
        found[move.portion] = why
    return found


def cooling(log: Routing, now: float, cooldown_s: float) -> dict[Path, str]:
    """The portions whose last move ended less than the cool-down ago, and for how long they stay."""
    found = {}
    for move in log.moves.all():
        left = ended(move.history) + cooldown_s - now
        if not move.open and left > 0.0:
            found[move.portion] = f"moved lately: it stays for another {left:.0f} s"
    return found


def ended(history: list[dict[str, Any]]) -> float:
    """When a move was done or given up; when it was planned, as long as it is neither."""
    times = [entry["time"] for entry in history if entry["stage"] in (DONE, ABORTED)]
    return float(times[0] if times else history[0]["time"])


class Features:
    """What is known of the portions' rows, by covers; kept, because a cover never changes."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[str, dict[str, Any]]] = {}
        self._covers: Mapping[Path, Cover] = {}

    def take(self, covers: Mapping[Path, Cover]) -> Features:
        """The covers of nodes at the cut and below, as they are known now."""
        self._covers = covers
        return self

    def of(self, path: Path, parent: Cover | None) -> dict[str, Any]:
        """Those fields of a PortionLoad that are known of this portion."""
        found = {} if parent is None else {"centroid": parent.centroids[path[-1]]}
        if (own := self._covers.get(path)) is not None:
            known = self._known.get(path)
            if known is None or known[0] != own.hash:
                known = self._known[path] = own.hash, _measured(own)
            found |= known[1]
        return found


def _measured(cover: Cover) -> dict[str, Any]:
    """Ranges, and as the dimension the participation ratio of the centroids' covariance:
    (sum of its eigenvalues)^2 / sum of their squares, k where k directions vary alike."""
    points = cover.centroids
    found: dict[str, Any] = {"low": points.min(axis=0), "high": points.max(axis=0)}
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    gram = centred @ centred.T
    squares = float((gram * gram).sum())
    if cover.k > 2 and squares > 0.0:
        found["intrinsic"] = float(np.trace(gram)) ** 2 / squares
    return found
