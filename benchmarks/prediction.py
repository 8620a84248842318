"""Does prediction pay? The policy on made-up loads, with and without forecasts: `make prediction`.

    hot spot    ramps up over a minute and wanders every two; 32 portions, 4 shards, 12 minutes, 10 seeds
    stationary  30 minutes of rates that stay, one shard above its share all the time, 3 seeds
    square      half of the portions are busy in turn, for one window or more each, 30 minutes

By nobody (`never`), by the policy that believes in what is (`last`), with the workers' forecaster
(`drift`), and by one that knows what comes (`perfect`). Overload is shard-seconds above the tolerance; a
seed is *in time* if there was none: whatever had to move had moved before. Time is simulated: a plan and
a move of this window count from the next one on at the earliest. Exit 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pctstream.core import loads
from pctstream.core.foreseen import Foreseen
from pctstream.core.layout import Float64, ShardRoom
from pctstream.core.policy import Tuning
from pctstream.core.simulate import Carrying, Forecast, Run, last, perfect, simulate

PORTIONS, MINUTES = 32, 12
ROOMS = [ShardRoom(s) for s in range(4)]
PATHS = [(0, i) for i in range(PORTIONS)]
ROUND = {path: i % 4 for i, path in enumerate(PATHS)}
WAYS: dict[str, Callable[[Float64, float, int], Forecast | None]] = {
    "never": lambda rates, window_s, horizon: None,
    "last": lambda rates, window_s, horizon: last,
    "drift": lambda rates, window_s, horizon: Foreseen(window_s, horizon),
    "perfect": lambda rates, window_s, horizon: perfect(rates),
}


def run(rates: Float64, way: str, window_s: float, horizon: int, full: float = 0.0) -> Run:
    """One way through one series."""
    forecast = WAYS[way](rates, window_s, horizon)
    carrying = Carrying(window_s, horizon, full=full)
    return simulate(rates, PATHS, ROUND, ROOMS, Tuning(), carrying, forecast)


@dataclass
class Sum:
    """Of all seeds."""

    seconds: float = 0.0
    moves: int = 0
    bytes: int = 0
    in_time: int = 0

    def add(self, one: Run) -> None:
        self.seconds += one.overload_s
        self.moves += len(one.moves)
        self.bytes += one.bytes
        self.in_time += not one.overload


def hot_spot(seeds: int, window_s: float, horizon: int, first: int = 0) -> dict[str, Sum]:
    """A line for each way."""
    found = {way: Sum() for way in WAYS}
    for seed in range(first, first + seeds):
        rng = np.random.default_rng(seed)
        rates = loads.hot_spot(rng, int(MINUTES * 60 / window_s), PORTIONS, window_s)
        for way, total in found.items():
            total.add(run(rates, way, window_s, horizon))
    print(f"\nhot spot, windows of {window_s:g} s, horizon {horizon}, {seeds} seeds")
    print(f"{'':<10}{'overload':>10}{'moves':>8}{'MB moved':>10}{'in time':>9}")
    for way, total in found.items():
        print(f"{way:<10}{total.seconds:>8,.0f} s{total.moves:>8}{total.bytes / 1e6:>10,.0f}"
              f"{total.in_time:>9}", flush=True)  # fmt: skip
    return found


def stationary(seeds: int) -> int:
    """Moves by the forecaster in half an hour in which nothing changes."""
    moves = 0
    for seed in range(seeds):
        rates = loads.stationary(np.random.default_rng(seed), 360, PORTIONS)
        made = run(rates, "drift", 5.0, 6, float(rates.sum(axis=1).max()))
        moves += len(made.moves)
    print(f"\nstationary, 30 minutes, {seeds} seeds: {moves} moves")
    return moves


def square(periods: tuple[int, ...]) -> bool:
    """Whether no portion moves twice within a cool-down."""
    good = True
    for period in periods:
        rates = loads.square(np.random.default_rng(period), 360, PORTIONS, period=period)
        made = run(rates, "drift", 5.0, 6, float(rates.sum(axis=1).max()))
        times: dict[tuple[int, ...], list[float]] = {}
        for done in made.moves:
            times.setdefault(done.move.portion, []).append(done.planned_s)
        apart = [b - a for t in times.values() for a, b in itertools.pairwise(t)]
        least = f", {min(apart):.0f} s apart at least" if apart else ""
        print(
            f"square of period {period}: {len(made.moves)} moves in 30 minutes{least}", flush=True
        )
        good &= all(gap >= Tuning().cooldown_s for gap in apart)
    return good


def main() -> int:
    """The bars: 8 of 10 seeds in time, half of the overload, 1.5 times the moves."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--spots-only", action="store_true")
    options = parser.parse_args()
    seeds = options.seeds
    good = True
    for window_s, horizon in ((5.0, 6), (2.5, 12)):
        found = hot_spot(seeds, window_s, horizon, options.first)
        blind, ahead = found["last"], found["drift"]
        good &= ahead.seconds <= 0.5 * blind.seconds and ahead.moves <= 1.5 * blind.moves
        good &= ahead.in_time >= 0.8 * seeds
    if not options.spots_only:
        good &= stationary(3) == 0
        good &= square((2, 4, 12, 24))
    print("\nholds" if good else "\nmissed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
