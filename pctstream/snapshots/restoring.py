"""A shard's store made of a snapshot: whole, or not there.

1. What an earlier try left is removed. 2. The pairs that belong to the shard now are written, those that
say that a node is whole last. 3. Every file that was read must be what was taken, and the rows of every
node, asked of the store that was made, those that were told. 4. Only then does the store get its name.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from pctstream.core.names import ROOT, node_name, node_path
from pctstream.core.names import Path as NodePath
from pctstream.core.proof import proof
from pctstream.core.routing import Routing
from pctstream.errors import ConfigError, NotReady, StoreDamaged, StoreFailed, UsageError
from pctstream.pairs import CopyBroken, Pair
from pctstream.rocks import Caches, RocksKV, mark
from pctstream.snapshots.manifest import Entry, Manifest
from pctstream.snapshots.moment import LAST, answered_for, only, without
from pctstream.snapshots.proven import damaged, incoming
from pctstream.stamp import stamped
from pctstream.store import Store

WRITE_BYTES = 1 << 20
"""Of keys and values in one WriteBatch."""
CACHE_BYTES = 32 << 20
DRAFT = "restoring"


def _nothing() -> None: ...


def stores_in(folder: Path, shard: int) -> list[Path]:
    """The directories in ``folder`` (`shards`) that are, or were, stores of a shard."""
    found = [folder / str(shard), *sorted(folder.glob(f"{shard}.[0-9]*"))]
    return [one for one in found if one.is_dir()]


def unused(folder: Path, shard: int) -> None:
    """UsageError while a worker has a store of the shard open."""
    for one in stores_in(folder, shard):
        try:
            RocksKV(one, CACHE_BYTES).close()
        except StoreFailed as error:
            if "lock" in str(error).lower():
                raise UsageError(f"a worker has {one} open: stop the workers first") from None


def removed(folder: Path, shard: int) -> None:
    """Nothing of the shard stays."""
    for one in stores_in(folder, shard):
        shutil.rmtree(one)
        mark(one).unlink(missing_ok=True)
    (folder / f"{shard}.current").unlink(missing_ok=True)


def restored(
    manifest: Manifest, log: Routing, shard: int, final: Path, clear: Callable[[], None] = _nothing
) -> int:
    """Make the store ``final`` of a shard; how many rows are in it. Unreadable where the snapshot is
    damaged. ``clear`` makes room for it: only when all is there and right.
    """
    _swept(final.parent, shard)  # 1
    # a name of its own: a worker that has lost the shard may still be making one
    draft = final.with_name(f"{shard}.{DRAFT}-{uuid.uuid4().hex[:8]}")
    wanted = answered_for(log, shard)
    kv = RocksKV(draft, Caches(CACHE_BYTES))
    try:
        held: list[Pair] = []
        for entry, nodes in _files(manifest, wanted, shard):
            for pairs in _read(manifest, entry, nodes, shard):  # 2
                held += [pair for pair in pairs if pair[0].startswith(LAST)]
                kv.write([pair for pair in pairs if not pair[0].startswith(LAST)])
        kv.write(held)
        stamped(kv, manifest.tree, shard, draft)
        rows = _proven(manifest, Store(kv), wanted, shard)  # 3
        kv.close()
        clear()
        draft.rename(final)  # 4
    except BaseException:
        with suppress(NotReady):  # closed already
            kv.close()
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return rows


def _swept(folder: Path, shard: int) -> None:
    """What others left unfinished is removed, unless they are at it still."""
    for left in folder.glob(f"{shard}.{DRAFT}-*"):
        try:
            RocksKV(left, CACHE_BYTES).close()
        except StoreDamaged:
            pass  # then its lock was free
        except StoreFailed:
            continue
        shutil.rmtree(left, ignore_errors=True)
        mark(left).unlink(missing_ok=True)


def _files(
    manifest: Manifest, wanted: set[NodePath], shard: int
) -> Iterator[tuple[Entry, set[NodePath]]]:
    """The files to be read, and which nodes are taken from each."""
    own = manifest.entry(shard)
    taken: dict[int, set[NodePath]] = {shard: {ROOT}}
    for path in wanted - {ROOT}:
        if holder := manifest.holder(path, shard):
            taken.setdefault(holder.shard, set()).add(path)
    for number, nodes in sorted(taken.items()):
        entry = manifest.entry(number)
        if entry.schema != own.schema:
            raise ConfigError(
                f"the snapshot {manifest.folder} was taken while workers were upgraded (schemas "
                f"{own.schema} and {entry.schema}): use another one"
            )
        yield entry, nodes


def _read(
    manifest: Manifest, entry: Entry, nodes: set[NodePath], shard: int
) -> Iterator[list[Pair]]:
    """What is taken of a file, some at a time; all of it is read, and it must be what was written."""
    file = manifest.folder / entry.file
    coming = incoming(file)
    others = {node_path(name) for name in entry.nodes} - nodes - {ROOT}
    some: list[Pair] = []
    try:
        for pairs in coming:
            kept = (
                without(pairs, manifest.tree, others)
                if entry.shard == shard
                else only(pairs, manifest.tree, nodes)
            )
            some += kept
            size = sum(len(value) for _, value in some)
            if size >= WRITE_BYTES:
                yield some
                some = []
    except CopyBroken as error:
        raise damaged(file, error) from None
    if (coming.pairs, coming.hash) != (entry.pairs, entry.hash):
        raise damaged(file, "it is another file than the one that was written")
    yield some


def _proven(manifest: Manifest, store: Store, wanted: set[NodePath], shard: int) -> int:
    """The rows that the snapshot told of are in the store."""
    count = 0
    for path in sorted(wanted):
        holder = manifest.entry(shard) if path == ROOT else manifest.holder(path, shard)
        if holder is None:
            continue
        found = proof(rows for _, rows in store.live(path))
        told = holder.nodes[node_name(path)]
        if found.to_json() != told:
            raise damaged(
                manifest.folder / holder.file,
                f"{node_name(path)} has {found.rows:,} rows ({found.hash}), "
                f"not {told['count']:,} ({told['hash']})",
            )
        count += found.rows
    return count
