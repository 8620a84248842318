"""`pctstream simulate`: a policy tried on recorded or made-up loads, without moving a row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from pctstream import config
from pctstream.config import Config
from pctstream.core import loads
from pctstream.core.foreseen import Foreseen
from pctstream.core.layout import Float64, PortionLoad, ShardRoom
from pctstream.core.names import Path as NodePath
from pctstream.core.placement import first_owners
from pctstream.core.plan import plan
from pctstream.core.policy import Tuning
from pctstream.core.simulate import Carrying, Forecast, Run, last, perfect, simulate
from pctstream.errors import UsageError
from pctstream.series import read_series

PORTIONS, WINDOWS = 32, 240
"""Of a made-up series."""


@click.command("simulate")
@click.option("--policy", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A pctstream.toml; [drift], [shards] and [moves] count.")  # fmt: skip
@click.option("--series", required=True, metavar="FILE|KIND",
              help=f"A .csv or .npz of loads in rows/s, or one of {', '.join(loads.KINDS)}.")  # fmt: skip
@click.option("--start", type=click.Choice(["plan", "hashing"]), default="plan", show_default=True,
              help="Owners at first: as a plan for the first window, or by hashing.")  # fmt: skip
@click.option("--full", type=click.FloatRange(0.0), default=0.0,
              help="Rows/s that all shards carry together; 1.25 times the most of the series.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, help="Of a made-up series.")
@click.option("--json", "as_json", is_flag=True)
def simulate_command(
    policy: Path, series: str, start: str, full: float, seed: int, as_json: bool
) -> None:
    """Moves and seconds of overload with nobody moving, without a forecast, with pctstream's own, and
    with a perfect one."""
    cfg = config.load(policy, {}, {})
    paths, rates = series_of(series, seed, cfg.drift.window_s)
    rooms = [ShardRoom(s, float(cfg.shards.capacity.get(s, 1.0))) for s in range(cfg.shards.active)]
    owners = starting(paths, rates[0], rooms, start)
    tuning = Tuning(cfg.drift.threshold, cfg.drift.tolerance, cfg.drift.cooldown_s,
                    cfg.drift.min_gain)  # fmt: skip
    carrying = Carrying(cfg.drift.window_s, cfg.drift.horizon, cfg.moves.bytes_per_s, full=full)
    foreseen = Foreseen(cfg.drift.window_s, cfg.drift.horizon, cfg.drift.model)
    ways: dict[str, Forecast | None] = {
        "never": None, "last": last, "drift": foreseen, "perfect": perfect(rates)
    }  # fmt: skip
    runs = {
        name: simulate(rates, paths, owners, rooms, tuning, carrying, way)
        for name, way in ways.items()
    }
    said = {name: told(run) for name, run in runs.items()}
    click.echo(json.dumps(said) if as_json else "\n".join(lines(said, rates, cfg)))


def series_of(series: str, seed: int, window_s: float) -> tuple[list[NodePath], Float64]:
    """The portions and their loads f64[T, P]: of a file, or made up from the seed."""
    makers = {"stationary": loads.stationary, "hot-spot": loads.hot_spot, "square": loads.square}
    if series in makers:
        rates = makers[series](np.random.default_rng(seed), WINDOWS, PORTIONS, window_s)
        return [(0, i) for i in range(PORTIONS)], rates
    path = Path(series)
    if not path.is_file():
        raise UsageError(f"--series {series}: neither a file nor one of {', '.join(loads.KINDS)}")
    return read_series(path)


def starting(
    paths: list[NodePath], rates: Float64, rooms: list[ShardRoom], start: str
) -> Mapping[NodePath, int]:
    """The owner of each portion before the first window; rates f64[P], of that window."""
    owners = first_owners(paths, {room.shard: room.weight for room in rooms})
    if start == "hashing":
        return owners
    parts = [
        PortionLoad(p, owners[p], float(r), float(r)) for p, r in zip(paths, rates, strict=True)
    ]
    made = plan(parts, rooms, name="start", epoch=0)
    return {**owners, **{move.portion: move.target for move in made.moves}}


def told(run: Run) -> dict[str, Any]:
    """A run as JSON."""
    moves = [
        {**done.move.to_json(), "why": done.trigger, "planned_s": done.planned_s,
         "done_s": done.done_s}
        for done in run.moves
    ]  # fmt: skip
    return {"overload_s": run.overload_s, "max_load": run.most, "bytes": run.bytes, "moves": moves}


def lines(said: Mapping[str, Mapping[str, Any]], rates: Float64, cfg: Config) -> list[str]:
    """The runs as a table, and the moves of the last."""
    windows, portions = rates.shape
    out = [
        f"{portions:,} portions on {cfg.shards.active} shards, {windows:,} windows of "
        f"{cfg.drift.window_s:g} s, up to {rates.sum(axis=1).max():,.0f} rows/s",
        f"{'forecast':<10}{'overload':>12}{'max load':>10}{'moves':>7}{'bytes':>18}",
    ]
    for name, run in said.items():
        out.append(f"{name:<10}{run['overload_s']:>10,.0f} s{run['max_load']:>10.2f}"
                   f"{len(run['moves']):>7,}{run['bytes']:>18,}")  # fmt: skip
    out.append("never: nobody moves; last: what is now will be; drift: as the workers forecast it;")
    out.append("perfect: the series is known")
    return out
