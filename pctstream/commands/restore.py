"""`pctstream restore`: the shards' stores made of a snapshot, before the workers start."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click

from pctstream import rights
from pctstream.commands.context import common_options, configured
from pctstream.commands.snapshot import needed
from pctstream.errors import UsageError
from pctstream.known import whole_history
from pctstream.reach import reach
from pctstream.snapshots.against import continued, same_tree
from pctstream.snapshots.manifest import named
from pctstream.snapshots.restoring import removed, restored, stores_in, unused


@click.command("restore")
@click.argument("snapshot", type=click.Path(exists=True, file_okay=False, path_type=Path),
                required=False)  # fmt: skip
@common_options
@click.option(
    "--shard", "chosen", multiple=True, type=click.IntRange(min=0), help="This shard only."
)
@click.option("--force", is_flag=True, help="Replace stores that are there.")
@click.option("--json", "as_json", is_flag=True)
def restore_command(
    snapshot: Path | None, config_file: Path | None, data_dir: Path | None,
    chosen: tuple[int, ...], force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make the shards' stores in the data directory of SNAPSHOT (or the newest one in that folder).

    SNAPSHOT is store.snapshots if it is not given. The workers are stopped meanwhile; when they start they
    read on from where the snapshot ends. Exit 5 if the logs do not go on there.
    """
    cfg = configured(config_file, data_dir)
    folder = snapshot or cfg.store.snapshots
    if folder is None:
        raise UsageError("of what? name a snapshot or the folder of them, or set store.snapshots")
    manifest = named(folder.absolute(), cfg.tree.name)
    admin = reach(cfg, "restore")
    rights.require(admin, needed(cfg, False, False), "a restore")
    same_tree(admin, manifest)
    log = whole_history(cfg)
    shards = sorted(set(chosen)) or [entry.shard for entry in manifest.shards]
    for shard in shards:
        manifest.entry(shard)
    continued(admin, manifest, log, shards)
    stores = Path(cfg.store.dir) / "shards"
    there = [shard for shard in shards if stores_in(stores, shard)]
    if there and not force:
        raise UsageError(
            f"{stores} has stores of the shards {', '.join(map(str, there))} already, which know more than "
            "any snapshot unless they are damaged: --force replaces them"
        )
    for shard in shards:
        unused(stores, shard)
    rows = 0
    for shard in shards:
        clear = partial(removed, stores, shard)
        count = restored(manifest, log, shard, stores / str(shard), clear)
        click.echo(f"shard {shard}: {count:,} rows", err=True)
        rows += count
    if as_json:
        click.echo(json.dumps({"snapshot": str(manifest.folder), "shards": shards, "rows": rows}))
    else:
        click.echo(f"{len(shards)} shards, {rows:,} rows of {manifest.folder}: start the workers")
