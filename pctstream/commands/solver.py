"""`pctstream query cover` and `pctstream query neighbors`: the solver's views as tables."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from pctstream.commands.context import ask, common_options, configured, worker_urls
from pctstream.core.given import seconds

SHOWN = 6
"""Numbers of a centre that a line has room for."""


def query_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every question takes: where to ask, and --json."""
    command = click.option("--json", "as_json", is_flag=True, help="The view's own answer.")(
        command
    )
    command = click.option("--http", default=None, help="URL of a worker.")(command)
    return common_options(command)


@click.command("cover")
@click.argument("level", type=int)
@click.option("--at", default=None, metavar="T", help="As it was then: seconds, or ISO 8601 (UTC).")
@query_options
def cover_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool, level: int,
    at: str | None,
) -> None:  # fmt: skip
    """The weighted epsilon-cover of a LEVEL: its nodes, and the leaves above it."""
    cfg = configured(config_file, data_dir, need_broker=False)
    then = "" if at is None else f"?at={moment(at)!r}"
    found = ask(cfg, worker_urls(cfg, http), f"/v1/levels/{level}/cover{then}", own=False)
    if as_json:
        click.echo(json.dumps(found))
        return
    epsilon = "" if found["epsilon"] is None else f", epsilon {found['epsilon']:.6g}"
    when = "" if at is None else f", as of {iso(found['as_of']['time'])}"
    click.echo(f"level {found['level']}: {found['rows']:,} rows behind "
               f"{len(found['cover']):,} entries{epsilon}{when}")  # fmt: skip
    rows = [
        (e["node"], f"{e['w']:.6f}", f"{e['rows']:,}", number(e["radius"]), vector(e["x"]))
        for e in found["cover"]
    ]
    click.echo("\n".join(table(("node", "weight", "rows", "radius", "centre"), rows)))


@click.command("neighbors")
@click.argument("level", type=int)
@click.option("--node", default=None, help="Around this node's centre: N0,3 or N0.3.")
@click.option("--center", default=None, metavar="X,Y,..", help="Around these numbers.")
@click.option("--max-distance", type=float, required=True, help="How far, itself included.")
@query_options
def neighbors_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool, level: int,
    node: str | None, center: str | None, max_distance: float,
) -> None:  # fmt: skip
    """The entries of a LEVEL's cover within a distance of a centre, the nearest first."""
    if (node is None) == (center is None):
        raise click.UsageError("name either --node or --center")
    if not math.isfinite(max_distance):
        raise click.UsageError("--max-distance must be finite")
    body: dict[str, Any] = {"max_distance": max_distance}
    if node is not None:
        body["node"] = node
    else:
        body["center"] = numbers(center or "")
    cfg = configured(config_file, data_dir, need_broker=False)
    found = ask(cfg, worker_urls(cfg, http), f"/v1/levels/{level}/neighbors", body, own=False)
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = [(n["node"], number(n["distance"]), vector(n["x"])) for n in found["neighbors"]]
    click.echo(f"level {level}: {len(rows):,} entries within {max_distance:g}")
    click.echo("\n".join(table(("node", "distance", "centre"), rows)))


def moment(text: str) -> float:
    """A time as seconds, with a usage error where it is none."""
    try:
        found = float(text)
    except ValueError:
        try:
            found = seconds(text)
        except ValueError as error:
            raise click.UsageError(f"--at: {error}") from None
    if not math.isfinite(found):
        raise click.UsageError("--at takes a finite number of seconds")
    return found


def iso(time_s: float) -> str:
    """Seconds as a text in UTC, to the millisecond."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")


def numbers(text: str, option: str = "--center") -> list[float]:
    """ "1,2,3" as numbers, with a usage error that names what is none."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise click.UsageError(
            f"{option} takes numbers with commas between them: {error}"
        ) from None
    if not all(map(math.isfinite, found)):
        raise click.UsageError(f"{option} takes finite numbers")
    return found


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def vector(x: Sequence[float] | None) -> str:
    """The first few numbers of a centre."""
    if x is None:
        return "-"
    return " ".join(f"{v:.4g}" for v in x[:SHOWN]) + (" .." if len(x) > SHOWN else "")


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns as wide as they must be; all but the first and the last are set to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    last = len(head) - 1

    def line(cells: tuple[str, ...]) -> str:
        sides = [c.ljust(w) if i in (0, last) else c.rjust(w)
                 for i, (c, w) in enumerate(zip(cells, widths, strict=True))]  # fmt: skip
        return "  " + "  ".join(sides).rstrip()

    return [line(head), *map(line, rows)]
