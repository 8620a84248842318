"""A policy tried on recorded or made-up loads, without moving a row.

Time goes window by window. In each, the forecast sees the loads up to now, the policy decides, and
the moves of its plans are carried out one after the other: a move takes as long as its bytes at
`bytes_per_s`, one window at least, and the load changes shard when it is done. A portion's bytes are
the rows that came so far times `row_bytes`.

A shard is overloaded in a window if its load is above tolerance times its share of what all carry
together; seconds of overload are summed over shards. What the policy saved is the difference to the
same loads with nobody moving anything. That share is one of a fixed rate, not of the window's load: a
shard that makes room for what is to come is lighter than the others meanwhile, and nobody suffers.

A forecast is any function of (loads so far f64[t, P] in rows/s, horizon in windows) that answers with
(loads at the horizon f64[P], drift scores f64[P]). Two stand for the ends of what is possible:
`last` knows nothing of what comes, and lets every portion move; `perfect` knows the series. What the
workers run is `foreseen.Foreseen`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pctstream.core.layout import Float64, Int64, PortionLoad, ShardRoom
from pctstream.core.names import Path
from pctstream.core.plan import Move
from pctstream.core.policy import Policy, Tuning

HEADROOM = 1.25

Forecast = Callable[[Float64, int], tuple[Float64, Float64]]


@dataclass(frozen=True, slots=True)
class Carrying:
    """How moves are carried out, and how windows are counted; seconds and bytes."""

    window_s: float = 5.0
    horizon: int = 6
    bytes_per_s: float = 50e6
    row_bytes: float = 512.0
    full: float = 0.0
    """rows/s that all shards carry together; 0: `HEADROOM` times the most of the series."""


@dataclass(frozen=True, slots=True)
class Done:
    """A move of the simulation: when its plan was made and when it was over, in seconds."""

    move: Move
    planned_s: float
    done_s: float
    trigger: str


@dataclass(slots=True)
class Run:
    """What came of it; overload: (seconds into the series, shard) of each overloaded window."""

    moves: list[Done] = field(default_factory=list)
    overload: list[tuple[float, int]] = field(default_factory=list)
    overload_s: float = 0.0
    bytes: int = 0
    most: float = 0.0
    """The maximum relative load of any window."""


def last(loads: Float64, horizon: int) -> tuple[Float64, Float64]:
    """The controller without a forecast: what is now will be, and any portion may move."""
    return loads[-1], np.full(loads.shape[1], np.inf)


def perfect(series: Float64) -> Forecast:
    """The controller that knows the whole series, f64[T, P]: the best any forecast can do.

    The score is the change to come over the portion's noise: the median step between two windows
    so far, and no less than the noise of counting.
    """

    def forecast(loads: Float64, horizon: int) -> tuple[Float64, Float64]:
        t = len(loads) - 1
        ahead = series[min(t + horizon, len(series) - 1)]
        steps = np.abs(np.diff(loads, axis=0))
        noise = np.median(steps, axis=0) if len(steps) else np.zeros(loads.shape[1])
        noise = np.maximum(noise, np.sqrt(np.maximum(loads.mean(axis=0), 1.0)))
        return ahead, np.abs(ahead - loads[-1]) / noise

    return forecast


def simulate(
    series: Float64,
    paths: Sequence[Path],
    owners: Mapping[Path, int],
    shards: Sequence[ShardRoom],
    tuning: Tuning,
    carrying: Carrying,
    forecast: Forecast | None,
) -> Run:
    """Loads f64[T, P] in rows/s, a column per path; no forecast: nothing ever moves.

    >>> loads = np.repeat([[9.0, 9.0, 1.0]], 4, axis=0)
    >>> owners = {(0, 0): 0, (0, 1): 0, (0, 2): 1}
    >>> rooms = [ShardRoom(0), ShardRoom(1)]
    >>> tried = [simulate(loads, list(owners), owners, rooms, Tuning(), Carrying(), how)
    ...          for how in (None, last)]
    >>> [(len(run.moves), run.overload_s) for run in tried]
    [(0, 20.0), (1, 10.0)]
    """
    run, policy = Run(), Policy(tuning)
    series = np.asarray(series, np.float64)
    full = carrying.full or HEADROOM * float(series.sum(axis=1).max(initial=0.0))
    world = _World(series, list(paths), dict(owners), list(shards), carrying, full)
    free_s = 0.0
    under_way: list[Done] = []
    for t in range(len(series)):
        now_s = t * carrying.window_s
        for done in [d for d in under_way if d.done_s <= now_s]:
            under_way.remove(done)
            world.owners[done.move.portion] = done.move.target
            policy.moved(done.move.portion, now_s)
            run.moves.append(done)
        world.measure(t, tuning.tolerance, run)
        if forecast is None:
            continue
        # a plan counts moves that are under way as done
        coming = {d.move.portion: d.move.target for d in under_way}
        parts = world.portions(t, forecast, coming)
        held = dict.fromkeys(coming, "it is moving")
        decision = policy.decide(now_s, parts, shards, name=str(t), epoch=0, held=held, full=full)
        if decision.plan is None or decision.trigger is None:
            continue
        for move in decision.plan.moves:
            free_s = max(free_s, now_s) + move.bytes / carrying.bytes_per_s
            over_s = max(free_s, now_s + carrying.window_s)
            under_way.append(Done(move, now_s, over_s, decision.trigger.why))
            run.bytes += move.bytes
    return run


@dataclass(slots=True)
class _World:
    """The loads as they are, and who owns what."""

    series: Float64
    paths: list[Path]
    owners: dict[Path, int]
    shards: list[ShardRoom]
    carrying: Carrying
    full: float

    def portions(self, t: int, forecast: Forecast, coming: Mapping[Path, int]) -> list[PortionLoad]:
        predicted, scores = forecast(self.series[: t + 1], self.carrying.horizon)
        rows = self.series[: t + 1].sum(axis=0) * self.carrying.window_s
        return [
            PortionLoad(
                path,
                coming.get(path, self.owners[path]),
                float(self.series[t, i]),
                max(0.0, float(predicted[i])),
                rows=int(rows[i]),
                bytes=int(rows[i] * self.carrying.row_bytes),
                score=float(scores[i]),
            )
            for i, path in enumerate(self.paths)
        ]

    def measure(self, t: int, tolerance: float, run: Run) -> None:
        index = {room.shard: s for s, room in enumerate(self.shards)}
        where: Int64 = np.array([index[self.owners[path]] for path in self.paths], np.int64)
        loads = np.bincount(where, self.series[t], len(self.shards))
        weights = np.array([room.weight for room in self.shards], np.float64)
        relative = loads / (weights / weights.sum() * (self.full or 1.0))
        run.most = max(run.most, float(relative.max()))
        over = np.flatnonzero(relative > tolerance)
        seconds = t * self.carrying.window_s
        run.overload += [(seconds, self.shards[s].shard) for s in over]
        run.overload_s += len(over) * self.carrying.window_s
