"""`pctstream status`: the tree by level, shards, lag, moves under way."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from pctstream.commands import watching
from pctstream.commands.context import ask, common_options, configured, worker_urls
from pctstream.commands.explained import move_line
from pctstream.config import Config
from pctstream.core.moves import ABORTED, DONE, STAGES


@click.command("status")
@common_options
@click.option("--http", default=None, help="URL of a worker.")
@click.option("--json", "as_json", is_flag=True)
@click.option("--watch", is_flag=True, help="Again every two seconds, in its place on a terminal.")
def status_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool, watch: bool
) -> None:
    """The tree and its shards at this moment; exit 5 if an input is broken."""
    cfg = configured(config_file, data_dir, need_broker=False)
    urls = worker_urls(cfg, http)
    if watch:
        watching.watch(lambda: _said(_status(cfg, urls), as_json))
    status = _status(cfg, urls)
    click.echo("\n".join(_said(status, as_json)))
    sys.exit(5 if status["broken"] else 0)


def _status(cfg: Config, urls: list[str]) -> dict[str, Any]:
    tree, shards = ask(cfg, urls, "/v1/tree"), ask(cfg, urls, "/v1/shards")["shards"]
    broken = [i for s in shards for i in s["inputs"] if i["error"]]
    found = {"tree": tree, "shards": shards, "broken": broken, "stalled": tree["stalled"]}
    return found | {"moves": going(cfg, urls)}


def _said(status: dict[str, Any], as_json: bool) -> list[str]:
    if as_json:
        return [json.dumps(status)]
    moves = [f"  {move_line(move)}" for move in status["moves"]]
    return [*lines(status["tree"], status["shards"]), *moves]


def going(cfg: Config, urls: list[str]) -> list[dict[str, Any]]:
    """The moves that are planned or under way."""
    found: list[dict[str, Any]] = []
    for stage in STAGES:
        if stage not in (DONE, ABORTED):
            found += ask(cfg, urls, f"/v1/moves?stage={stage}")["moves"]
    return found


def lines(tree: dict[str, Any], shards: list[dict[str, Any]]) -> list[str]:
    """The status for people."""
    out = [
        f"tree {tree['name']}: {tree['rows']:,} rows of {tree['dimension']} numbers, epoch "
        f"{tree['epoch']}, {tree['state']}"
    ]
    out += [f"  level {entry['level']}: {level_line(entry)}" for entry in tree["levels"]]
    for one in tree["stalled"]:
        out.append(
            f"  STALLED {one['node']} on shard {one['shard']}, {one['worker']}: {one['why']}"
        )
    for shard in shards:
        lag = sum(max(0, i["end"] - 1 - max(i["stored"], i["routed"])) for i in shard["inputs"])
        out.append(
            f"  shard {shard['shard']}: {shard['rows']:,} rows, {len(shard['portions'])} portions, "
            f"lag {lag} messages, {shard['worker']}"
        )
        out += [f"    BROKEN {i['topic']}: {i['error']}" for i in shard["inputs"] if i["error"]]
    return out


def level_line(entry: dict[str, Any]) -> str:
    """A level of `/v1/tree` for people; the lowest, all leaves, neither covers nor closes."""
    names = ("covering", "waiting", "splitting", "sinks", "leaves")
    states = ", ".join(f"{entry[name]} {name}" for name in names)
    line = f"{entry['nodes']} nodes, {entry['rows']:,} rows held, {states}"
    if entry["nodes"] == entry["leaves"]:
        return line
    epsilon = "not known" if entry["epsilon"] is None else f"{entry['epsilon']:.6g}"
    closed = f"closed by {entry['closed_by']}" if entry["closed_by"] else "open"
    return f"{line}, epsilon {epsilon}, {closed}"
