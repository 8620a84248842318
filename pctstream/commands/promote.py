"""`pctstream promote URL`: another tree answers where this one is asked."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from pctstream.commands.compare import comparable
from pctstream.commands.context import ask, configured, worker_urls
from pctstream.commands.solver import query_options
from pctstream.config import Config
from pctstream.errors import NotReady, UsageError

LACKS_MOST = 0.01
"""Of the rows here, that the other tree may be behind: more come while it is looked at."""
AGREED_S, POLL_S = 10.0, 0.1


@click.command("promote")
@click.argument("other", required=False)
@click.option("--back", is_flag=True, help="This tree answers again.")
@click.option("--anyway", is_flag=True, help="Also a tree that still grows, or lacks rows.")
@click.option("--reason", default="", help="Kept in the tree's history.")
@query_options
def promote_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool,
    other: str | None, back: bool, anyway: bool, reason: str,
) -> None:  # fmt: skip
    """From now on the tree whose worker is at OTHER answers at the addresses of this one; with --back this
    one does again. Both go on taking rows."""
    if (other is None) != back:
        raise UsageError("name a worker of the tree that is to answer, or --back")
    cfg = configured(config_file, data_dir, need_broker=False)
    urls = worker_urls(cfg, http)
    wanted: dict[str, Any] = {"tree": ask(cfg, urls, "/v1/successor")["here"], "reason": reason}
    if other is not None:
        wanted |= _other(cfg, urls, other.rstrip("/"), anyway)
    said = ask(cfg, urls, "/v1/successor", wanted)
    here = [str(shard["url"]) for shard in ask(cfg, urls, "/v1/shards")["shards"]]
    _agreed(cfg, sorted({*here, *urls}), wanted["tree"])
    if as_json:
        click.echo(json.dumps(said))
        return
    click.echo(f"{wanted['tree']} answers at the addresses of {said['here']}: {', '.join(here)}")
    if not back:
        click.echo("`pctstream promote --back` is the way back; both trees go on taking rows")


def _other(cfg: Config, urls: list[str], other: str, anyway: bool) -> dict[str, Any]:
    """Name and workers of the other tree, if it can take this one's place."""
    mine, theirs = ask(cfg, urls, "/v1/tree"), ask(cfg, [other], "/v1/tree", own=False)
    comparable([mine, theirs])
    if theirs["name"] == mine["name"]:
        raise UsageError(f"{other} is a worker of this tree: name one of another, or --back")
    lacks = mine["rows"] - theirs["rows"]
    if not anyway and lacks > LACKS_MOST * mine["rows"]:
        raise NotReady(
            f"{theirs['name']} has {theirs['rows']:,} rows, {lacks:,} less than {mine['name']}: wait "
            "until it has caught up, or say --anyway"
        )
    if not anyway and theirs["state"] != "grown":
        raise NotReady(f"{theirs['name']} still grows: wait, or say --anyway")
    shards = ask(cfg, [other], "/v1/shards", own=False)["shards"]
    return {"tree": theirs["name"], "urls": sorted({other, *(str(s["url"]) for s in shards)})}


def _agreed(cfg: Config, workers: list[str], tree: str) -> None:
    """Until every worker that answers says so."""
    until = time.monotonic() + AGREED_S
    for worker in workers:
        while True:
            try:
                if ask(cfg, [worker], "/v1/successor")["tree"] == tree:
                    break
            except NotReady:
                break  # whoever is away reads of it when it comes back
            if time.monotonic() > until:
                raise NotReady(f"{worker} does not know yet that {tree} answers: ask again")
            time.sleep(POLL_S)
