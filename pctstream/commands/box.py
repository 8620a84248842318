"""`pctstream query box`: rows by where they lie, from a shell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pctstream.commands.context import ask, configured, worker_urls
from pctstream.commands.solver import number, numbers, query_options, table


@click.command("box")
@click.argument("box", metavar="[X0,Y0,X1,Y1]", required=False)
@click.option(
    "--near", "point", default=None, metavar="X,Y", help="The nearest to this point instead."
)
@click.option("-k", "k", type=int, default=10, show_default=True, help="So many nearest.")
@click.option("--limit", type=int, default=1000, show_default=True, help="At most so many rows.")
@click.option("--explain", is_flag=True, help="Which regions were looked at, and how.")
@query_options
def box_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool,
    box: str | None, point: str | None, k: int, limit: int, explain: bool,
) -> None:  # fmt: skip
    """The rows in a box, its edges included, or the nearest to a point (spatial.enabled).

    A box that begins with a minus comes after `--`: `query box -- -10,40,30,60`.
    """
    if (box is None) == (point is None):
        raise click.UsageError("say X0,Y0,X1,Y1 or --near X,Y, one of them")
    cfg = configured(config_file, data_dir, need_broker=False)
    body: dict[str, Any] = {"explain": explain, "limit": limit}
    if point is not None:
        body |= {"point": list(numbers(point, "--near")), "k": k}
    else:
        body["box"] = list(numbers(str(box), "the box"))
    found = ask(cfg, worker_urls(cfg, http), "/v1/spatial/search", body, own=False)
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo("\n".join(told(found)))


def told(found: dict[str, Any]) -> list[str]:
    """An answer as lines.

    >>> told({"results": [], "partial": True, "truncated": False, "coarse": [
    ...     {"shard": 3, "rows": {"least": 2, "about": 5.2, "most": 9}}]})[:2]
    ['0 rows, partial: shards did not answer', '  shard 3: from 2 to 9 rows, by what it told last']
    """
    results, more = found["results"], ", and there are more" if found["truncated"] else ""
    partial = ", partial: shards did not answer" if found["partial"] else ""
    lines = [f"{len(results):,} rows{more}{partial}"]
    for one in found["coarse"]:
        rows = one["rows"]
        guess = one["why"] if rows is None else f"from {rows['least']:,} to {rows['most']:,} rows"
        lines.append(f"  shard {one['shard']}: {guess}, by what it told last")
    far = bool(results) and "distance" in results[0]
    head = ("id", "x", "y", *(("distance",) if far else ()), "shard", "portion")
    lines += table(head, [
        (r["id"], number(r["x"]), number(r["y"]), *((number(r["distance"]),) if far else ()),
         str(r["shard"]), r["portion"])
        for r in results
    ])  # fmt: skip
    for one in found.get("explain", {}).get("shards", ()):
        lines.append(f"shard {one['shard']}: {one['rows_scanned']:,} rows compared, "
                     f"{one['rows_skipped']:,} not")  # fmt: skip
        lines += [
            f"  {r['region']} depth {r['depth']}, {r['rows']:,} rows: {r['how']}"
            for r in one["regions"][:20]
        ]
    return lines
