"""`pctstream query search`, `range` and `row`: the rows themselves from a shell."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from pctstream.commands.context import ask, configured, worker_urls
from pctstream.commands.solver import number, numbers, query_options, table, vector


def _asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """What search and range share."""
    for option in (
        click.option("--explain", is_flag=True, help="What was looked at, and what was left out."),
        click.option("--payload", is_flag=True, help="Show what the rows carry."),
        click.option("--filter", "wanted", default=None, metavar="JSON",
                     help='Only rows like these: {"price": {"lt": 5}}.'),
        click.option("--vector", "given", required=True, metavar="X,Y,..", help="Near these numbers."),
    ):  # fmt: skip
        command = option(command)
    return query_options(command)


@click.command("search")
@click.option("-k", "k", type=int, default=10, show_default=True, help="So many rows.")
@click.option("--recall", type=float, default=None,
              help="So much of the exact answer is enough: 0.95.")  # fmt: skip
@_asking
def search_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool, given: str,
    wanted: str | None, payload: bool, explain: bool, k: int, recall: float | None,
) -> None:  # fmt: skip
    """The rows nearest to a vector, exactly unless a recall is enough."""
    body = _body(given, wanted, payload, explain) | {"k": k}
    if recall is not None:
        body["recall"] = recall
    cfg = configured(config_file, data_dir, need_broker=False)
    _show(ask(cfg, worker_urls(cfg, http), "/v1/search", body), as_json, payload)


@click.command("range")
@click.option("--radius", type=float, required=True, help="How far, itself included.")
@click.option("--limit", type=int, default=1000, show_default=True, help="The nearest so many.")
@_asking
def range_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool, given: str,
    wanted: str | None, payload: bool, explain: bool, radius: float, limit: int,
) -> None:  # fmt: skip
    """The rows within a distance of a vector, the nearest first."""
    if not math.isfinite(radius):
        raise click.UsageError("--radius must be finite")
    body = _body(given, wanted, payload, explain) | {"radius": radius, "limit": limit}
    cfg = configured(config_file, data_dir, need_broker=False)
    _show(ask(cfg, worker_urls(cfg, http), "/v1/range", body), as_json, payload)


@click.command("row")
@click.argument("name", metavar="ID")
@query_options
def row_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool, name: str
) -> None:
    """The row with this ID (or, without an id, of this origin)."""
    cfg = configured(config_file, data_dir, need_broker=False)
    found = ask(cfg, worker_urls(cfg, http), f"/v1/rows/{quote(name, safe='')}")
    if as_json:
        click.echo(json.dumps(found))
        return
    for key in ("id", "node", "portion", "shard", "origin", "time", "payload"):
        value = found[key]
        shown = value if isinstance(value, str) else json.dumps(value)
        click.echo(f"  {key:8}  {'-' if value is None else shown}")
    click.echo(f"  {'vector':8}  {vector(found['vector'])}")


def _body(given: str, wanted: str | None, payload: bool, explain: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"vector": numbers(given, "--vector"), "explain": explain}
    if payload:
        body["include"] = ["payload"]
    if wanted is not None:
        try:
            body["filter"] = json.loads(wanted)
        except ValueError as error:
            raise click.UsageError(f"--filter must be JSON: {error}") from None
    return body


def _show(found: dict[str, Any], as_json: bool, payload: bool) -> None:
    if as_json:
        click.echo(json.dumps(found))
        return
    results = found["results"]
    head = ("id", "distance", "shard", "node", *(("payload",) if payload else ()))
    rows = [
        (r["id"], number(r["distance"]), str(r["shard"]), r["node"],
         *((json.dumps(r["payload"]),) if payload else ()))
        for r in results
    ]  # fmt: skip
    click.echo(f"{len(results):,} rows, {verdict(found)}")
    click.echo("\n".join(table(head, rows)))
    if explain := found.get("explain"):
        click.echo("looked at:")
        for one in explain["shards"]:
            click.echo(f"  shard {one['shard']} ({one['round']}): {one['rows_scanned']:,} rows in "
                       f"{one['cells_scanned']:,} cells, {one['rows_skipped']:,} rows skipped by "
                       f"the {one['skipped_by']}; {' '.join(one['searched'])}")  # fmt: skip
        for one in explain["left_out"]:
            click.echo(f"  not asked: shards {one['shards']}: {one['why']}")


def verdict(found: dict[str, Any]) -> str:
    """How much of the answer it is.

    >>> verdict({"exact": False, "partial": False, "expected_recall": 0.961})
    'about 96 % of the exact answer is expected'
    """
    if found["partial"]:
        return "partial: a shard did not answer"
    more = ", the nearest of more" if found.get("truncated") else ""
    if found["exact"]:
        return "exact" + more
    return f"about {found['expected_recall']:.0%} of the exact answer is expected".replace(
        "%", " %"
    )
