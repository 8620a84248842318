"""Plans against the true optimum: `make plans`.

200 random cases (`tests/core/cases.py`): 2 to 40 portions, 2 to 6 shards, uneven capacities, loads
and bytes of many sizes, now and then a drained, new or excluded shard and pinned portions. Of each
plan, all by integer programs that share no code with it, run to a gap of 0.1 % or 60 s:

    load   its maximum relative load over what no assignment goes below
    bytes  its bytes over the least for any assignment with that load
    seed   whether `reshard` has a lower load, or the same with fewer bytes

Then 2,000 portions on 50 shards in four kinds of stream, timed on this machine. `--first` and
`--cases` cut the 200 into pieces.

At last the policy on a hot spot that ramps up over a minute and wanders every two, simulated: 32
portions, 4 shards, 15 minutes, 10 seeds; nobody moving, no forecast, a perfect forecast.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from cases import Oracle, random_case

from pctstream.core.layout import PortionLoad, ShardRoom
from pctstream.core.loads import hot_spot
from pctstream.core.plan import Plan, plan
from pctstream.core.policy import Tuning
from pctstream.core.reshard import reshard
from pctstream.core.simulate import Carrying, last, perfect, simulate

CLOSE = 1e-6


def judged(seed: int) -> tuple[float, float, float, bool]:
    """(load ratio, bytes ratio, seconds, whether reshard is better) of a case."""
    case = random_case(seed)
    parts, rooms, pins = case
    began = time.perf_counter()
    made = plan(parts, rooms, name="p", epoch=0, held=dict.fromkeys(pins, "pinned"))
    took = time.perf_counter() - began
    oracle = Oracle(case, gap=1e-3)
    places = oracle.places({m.portion: m.target for m in made.moves})
    load, size = oracle.most(places), oracle.size(places)
    assert oracle.legal(places)
    least = oracle.least_bytes(load)
    theirs = oracle.places(reshard(parts, rooms, 3.0, pins))
    other = oracle.most(theirs)
    better = oracle.legal(theirs) and (
        other < load * (1 - CLOSE) or (other <= load and oracle.size(theirs) < size)
    )
    ratio = size / least if least > 0.5 else 1.0 + size
    return load / oracle.least_load(), ratio, took, better


def large(seed: int, dimension: int, sigma: float) -> tuple[Plan, float]:
    """A plan for 2,000 portions on 50 shards of which one is drained, one new, and its seconds."""
    rng = np.random.default_rng(seed)
    weights = rng.choice([0.5, 1.0, 1.0, 2.0, 3.0], 50)
    states = {3: "drained", 7: "new", 9: "excluded"}
    rooms = [ShardRoom(s, float(weights[s]), states.get(s, "active")) for s in range(50)]  # type: ignore[arg-type]
    homes = [s for s in range(50) if s != 7]
    skew = rng.dirichlet(np.full(len(homes), 2.0))
    centres = rng.normal(0, 3, (2000, dimension)).astype(np.float32)
    parts = [
        PortionLoad((0, i), int(rng.choice(homes, p=skew)), 1.0, float(rng.lognormal(3, sigma)),
                    1000, int(rng.lognormal(13, 1.2)), float(rng.exponential(2.5)),
                    centres[i], centres[i] - 1, centres[i] + 1, 5.0)
        for i in range(2000)
    ]  # fmt: skip
    began = time.perf_counter()
    made = plan(parts, rooms, name="large", epoch=0)
    return made, time.perf_counter() - began


def policies(seeds: int = 10) -> None:
    """Seconds of overload and moves over all seeds, by forecast."""
    paths = [(0, i) for i in range(32)]
    rooms = [ShardRoom(s) for s in range(4)]
    sums = {name: [0.0, 0.0, 0.0] for name in ("never", "last", "perfect")}
    for seed in range(seeds):
        series = hot_spot(np.random.default_rng(seed), 180, 32)
        parts = [PortionLoad(p, 0, r, r) for p, r in zip(paths, series[0].tolist(), strict=True)]
        moves = plan(parts, rooms, name="start", epoch=0).moves
        owners = dict.fromkeys(paths, 0) | {m.portion: m.target for m in moves}
        ways = {"never": None, "last": last, "perfect": perfect(series)}
        for name, way in ways.items():
            run = simulate(series, paths, owners, rooms, Tuning(), Carrying(), way)
            found = run.overload_s, float(len(run.moves)), run.most
            sums[name] = [a + b for a, b in zip(sums[name], found, strict=True)]
    for name, (overload, count, most) in sums.items():
        print(f"{name:8} {overload:,.0f} s of overload, {count:,.0f} moves, "
              f"mean of the maximum load {most / seeds:.2f}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    found = [judged(seed) for seed in range(args.first, args.first + args.cases)]
    for name, column in (("load", 0), ("bytes", 1), ("seconds", 2)):
        values = np.array([row[column] for row in found], np.float64)
        if values.size:
            print(f"{name:8} median {np.median(values):.4f}  p95 {np.quantile(values, 0.95):.4f}  "
                  f"max {values.max():.4f}", flush=True)  # fmt: skip
    worse = sum(row[3] for row in found)
    print(f"reshard better in {worse} of {len(found)}")
    seconds = []
    for seed, (dimension, sigma) in enumerate([(32, 1.0), (128, 1.8), (784, 0.5), (8, 2.5)]):
        made, took = large(seed, dimension, sigma)
        seconds.append(took)
        print(f"2,000 x 50, d={dimension}, sigma {sigma}: {took:.2f} s, {made.before.max_load:.3f} "
              f"-> {made.after.max_load:.3f}, gap {made.gap:.4f}, {len(made.moves)} moves")  # fmt: skip
    policies()
    ok = max((r[0] for r in found), default=1.0) <= 1.05
    ok &= max((r[1] for r in found), default=1.0) <= 1.25
    raise SystemExit(not (ok and not worse and max(seconds) < 2.0))


if __name__ == "__main__":
    main()
