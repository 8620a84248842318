"""`pctstream snapshot`: what every shard holds, outside the data directory; and cutting what it has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from confluent_kafka.admin import AdminClient

from pctstream import rights
from pctstream.commands.context import ask, common_options, configured, worker_urls
from pctstream.config import Config
from pctstream.core.block import Source
from pctstream.errors import UsageError
from pctstream.known import whole_history
from pctstream.pipes.bounds import committed
from pctstream.reach import reach
from pctstream.snapshots import trimming
from pctstream.snapshots.manifest import Manifest
from pctstream.snapshots.taking import Taking


@click.command("snapshot")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), required=False)
@common_options
@click.option("--trim", is_flag=True, help="Then cut the pipes up to what the snapshot has.")
@click.option("--trim-ingest", is_flag=True,
              help="And the ingest topic, which `verify` then counts as unverifiable.")  # fmt: skip
@click.option("--rate", default=None, type=click.IntRange(min=1), help="Bytes a second at most.")
@click.option("--http", default=None, help="URL of a worker.")
@click.option("--json", "as_json", is_flag=True)
def snapshot_command(
    folder: Path | None, config_file: Path | None, data_dir: Path | None, trim: bool,
    trim_ingest: bool, rate: int | None, http: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Put a snapshot of every shard into a new directory in FOLDER, while rows come.

    FOLDER is store.snapshots if it is not given. The new directory appears when all of it is there, was
    read again and is right; whatever ends the command before leaves none.
    """
    cfg = configured(config_file, data_dir)
    folder = outside(cfg, folder or cfg.store.snapshots)
    if trim_ingest and cfg.ingest.topics:
        raise UsageError(
            "--trim-ingest: this tree has bridged topics, and which of their rows were replaced stands "
            "only in the ingest topic: use --trim"
        )
    admin = reach(cfg, "snapshot")
    rights.require(admin, needed(cfg, trim or trim_ingest, trim_ingest), "a snapshot")
    urls = worker_urls(cfg, http)

    def ask_shards() -> list[dict[str, Any]]:
        return list(ask(cfg, urls, "/v1/shards")["shards"])

    def tell(line: str) -> None:
        click.echo(line, err=True)

    taking = Taking(cfg, admin, ask_shards, tell, rate or cfg.moves.bytes_per_s)
    manifest = taking.take(folder)
    cuts: dict[Source, int] = {}
    if trim or trim_ingest:
        # each from its host: others tell what they heard last, which may be before the snapshot
        own = {
            int(s["shard"]): ask(cfg, [s["url"]], f"/v1/shards/{s['shard']}") for s in ask_shards()
        }
        cuts = trimming.cut(admin, _cuts(cfg, admin, manifest, own, trim_ingest))
    rows, size = (sum(getattr(e, what) for e in manifest.shards) for what in ("rows", "bytes"))
    if as_json:
        begins = [{"topic": s.topic, "partition": s.partition, "begins": at}
                  for s, at in sorted(cuts.items())]  # fmt: skip
        said = {"snapshot": str(manifest.folder), "rows": rows, "bytes": size, "cut": begins}
        click.echo(json.dumps(said))
        return
    click.echo(f"{manifest.folder}: {rows:,} rows of {len(manifest.shards)} shards, "
               f"{size / 1e6:,.1f} MB, read again and right")  # fmt: skip
    if trim or trim_ingest:
        click.echo(f"{len(cuts)} logs begin now behind what the snapshot has")


def outside(cfg: Config, folder: Path | None) -> Path:
    """Where snapshots lie; UsageError where it would go with the data directory."""
    if folder is None:
        raise UsageError("where to? name a folder, or set store.snapshots")
    folder = folder.absolute()
    if folder.resolve().is_relative_to(Path(cfg.store.dir).resolve()):
        raise UsageError(f"{folder} lies in the data directory, and would be lost with it")
    return folder


def needed(cfg: Config, trims: bool, ingest: bool) -> list[rights.Right]:
    """The rights that it takes, of those of a keeper: who cuts nothing need not be allowed to."""
    found = []
    for right in rights.rights(cfg, "keeper"):
        cuts = ingest if right.name == f"{cfg.tree.name}.P0" else trims
        if right.resource == "topic" and "Delete" in right.operations and not cuts:
            right = replace(right, operations=("Describe",))
        if right.resource == "topic" or ingest:
            found.append(right)
    return found


def _cuts(
    cfg: Config, admin: AdminClient, manifest: Manifest, shards: dict[int, Any], ingest: bool
) -> dict[Source, int]:
    log = whole_history(cfg)
    inputs = {number: shard["inputs"] for number, shard in shards.items()}
    cuts = trimming.pipe_cuts(manifest, log, inputs)
    if ingest:
        tree = cfg.tree.name
        sources = [Source(f"{tree}.P0", one.shard) for one in manifest.shards]
        told = committed(admin, f"{tree}.pipes", sources)
        cuts |= trimming.ingest_cuts(manifest, log, {s: c.offset for s, c in told.items()})
    return cuts
