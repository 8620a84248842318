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
from pctstream.config import Config


def _asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """What search and range share."""
    for option in (
        click.option("--explain", is_flag=True, help="What was looked at, and what was left out."),
        click.option("--payload", is_flag=True, help="Show what the rows carry."),
        click.option("--filter", "wanted", default=None, metavar="JSON",
                     help='Only rows like these: {"price": {"lt": 5}}.'),
        click.option("--vector", "given", default=None, metavar="X,Y,..", help="Near these numbers."),
        click.option("--like", default=None, metavar="ID", help="Near the row with this id."),
    ):  # fmt: skip
        command = option(command)
    return query_options(command)


@click.command("search")
@click.option("-k", "k", type=int, default=10, show_default=True, help="So many rows.")
@click.option("--recall", type=float, default=None,
              help="So much of the exact answer is enough: 0.95.")  # fmt: skip
@_asking
def search_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool,
    given: str | None, like: str | None, wanted: str | None, payload: bool, explain: bool, k: int,
    recall: float | None,
) -> None:  # fmt: skip
    """The rows nearest to a vector, exactly unless a recall is enough."""
    cfg = configured(config_file, data_dir, need_broker=False)
    place = _place(cfg, worker_urls(cfg, http), given, like)
    body = _body(place, wanted, payload, explain) | {"k": k}
    if recall is not None:
        body["recall"] = recall
    _show(ask(cfg, worker_urls(cfg, http), "/v1/search", body, own=False), as_json, payload)


@click.command("range")
@click.option("--radius", type=float, required=True, help="How far, itself included.")
@click.option("--limit", type=int, default=1000, show_default=True, help="The nearest so many.")
@_asking
def range_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool,
    given: str | None, like: str | None, wanted: str | None, payload: bool, explain: bool,
    radius: float, limit: int,
) -> None:  # fmt: skip
    """The rows within a distance of a vector, the nearest first."""
    if not math.isfinite(radius):
        raise click.UsageError("--radius must be finite")
    cfg = configured(config_file, data_dir, need_broker=False)
    place = _place(cfg, worker_urls(cfg, http), given, like)
    body = _body(place, wanted, payload, explain) | {"radius": radius, "limit": limit}
    _show(ask(cfg, worker_urls(cfg, http), "/v1/range", body, own=False), as_json, payload)


@click.command("row")
@click.argument("name", metavar="ID")
@query_options
def row_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool, name: str
) -> None:
    """The row with this ID (or, without an id, of this origin)."""
    cfg = configured(config_file, data_dir, need_broker=False)
    found = ask(cfg, worker_urls(cfg, http), f"/v1/rows/{quote(name, safe='')}", own=False)
    if as_json:
        click.echo(json.dumps(found))
        return
    for key in ("id", "node", "portion", "shard", "origin", "time", "payload"):
        value = found[key]
        shown = value if isinstance(value, str) else json.dumps(value)
        click.echo(f"  {key:8}  {'-' if value is None else shown}")
    click.echo(f"  {'vector':8}  {vector(found['vector'])}")


def _place(cfg: Config, urls: list[str], given: str | None, like: str | None) -> list[float]:
    """Around what: numbers, or those of a row."""
    if (given is None) == (like is None):
        raise click.UsageError("say --vector X,Y,.. or --like ID, one of them")
    if given is not None:
        return list(numbers(given, "--vector"))
    return list(ask(cfg, urls, f"/v1/rows/{quote(str(like), safe='')}", own=False)["vector"])


def _body(place: list[float], wanted: str | None, payload: bool, explain: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"vector": place, "explain": explain}
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
