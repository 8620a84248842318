"""`pctstream verify`: nothing lost, nothing doubled, nothing altered."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from pctstream import rights
from pctstream.commands.context import ask, common_options, configured, worker_urls
from pctstream.core.block import Source
from pctstream.deep import verify_pipes
from pctstream.errors import InputBroken
from pctstream.ingested import ends_of, partitions_of
from pctstream.reach import reach
from pctstream.settled import wait_applied, wait_bridged
from pctstream.verify import verify


@click.command("verify")
@common_options
@click.option("--http", default=None, help="URL of a worker.")
@click.option("--json", "as_json", is_flag=True)
@click.option("--deep", is_flag=True, help="Also every pipe against its portion's store.")
def verify_command(
    config_file: Path | None, data_dir: Path | None, http: str | None, as_json: bool, deep: bool
) -> None:
    """Read the ingest log to its end, ask every shard, compare; exit 5 on a lost or doubled row."""
    cfg = configured(config_file, data_dir)
    rights.check(reach(cfg, "verify"), cfg, "reader")
    urls = worker_urls(cfg, http)
    ingest = f"{cfg.tree.name}.P0"
    theirs: dict[Source, int] = {}
    broken = None
    partitions = partitions_of(cfg, ingest)
    try:
        theirs = wait_bridged(cfg, urls, sys.stderr)
    except InputBroken as error:
        broken = error
    ends = ends_of(cfg, ingest, partitions)
    try:
        wait_applied(cfg, urls, sys.stderr)
    except InputBroken as error:
        broken = error

    def ask_shards() -> Any:
        return ask(cfg, urls, "/v1/shards")["shards"]

    verdict = verify(cfg, ask(cfg, urls, "/v1/tree"), ask_shards, ends, theirs)
    said: dict[str, Any] = verdict.to_json()
    sound = verdict.sound
    if deep:
        said["pipes"] = verify_pipes(cfg, len(ends), ask_shards)
        sound = sound and not any(said["pipes"].values())
    if as_json:
        click.echo(json.dumps(said))
    else:
        click.echo(", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}"
                             for k, v in said.items()))  # fmt: skip
    if broken is not None:
        raise broken
    sys.exit(0 if sound else 5)
