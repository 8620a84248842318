"""`pctstream verify`: nothing lost, nothing doubled, nothing altered."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from pctstream.commands.context import ask, common_options, configured, worker_urls
from pctstream.errors import InputBroken
from pctstream.settled import wait_applied
from pctstream.verify import ends_of, partitions_of, verify


@click.command("verify")
@common_options
@click.option("--http", default=None, help="URL of a worker.")
@click.option("--json", "as_json", is_flag=True)
def verify_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool
) -> None:
    """Read the ingest log to its end, ask every shard, compare; exit 5 on a lost or doubled row."""
    cfg = configured(config_file, data_dir)
    urls = worker_urls(cfg, http)
    ingest = f"{cfg.tree.name}.P0"
    ends = ends_of(cfg, ingest, partitions_of(cfg, ingest))
    broken = None
    try:
        wait_applied(cfg, urls, sys.stderr)
    except InputBroken as error:
        broken = error
    tree = ask(cfg, urls, "/v1/tree")
    verdict = verify(cfg, tree, lambda: ask(cfg, urls, "/v1/shards")["shards"], ends)
    if as_json:
        click.echo(json.dumps(verdict.to_json()))
    else:
        click.echo(", ".join(f"{k} {v:,}" for k, v in verdict.to_json().items()))
    if broken is not None:
        raise broken
    sys.exit(0 if verdict.sound else 5)
