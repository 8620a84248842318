"""A snapshot against the broker's logs: whether they go on where it ends (R1)."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka.admin import AdminClient

from pctstream.core.block import Source
from pctstream.core.names import ROOT, Path, node_name
from pctstream.core.routing import Routing
from pctstream.errors import ConfigError, InputBroken
from pctstream.pipes.bounds import bounds
from pctstream.snapshots.manifest import Manifest, Place
from pctstream.snapshots.moment import answered_for, source_of
from pctstream.topics import topic_ids


def same_tree(admin: AdminClient, manifest: Manifest) -> None:
    """ConfigError where the tree of this name is not the one that the snapshot is of."""
    history = f"{manifest.tree}.routing"
    there = topic_ids(admin, [history]).get(history)
    if there != manifest.history:
        now = "there is none" if there is None else "it was made anew"
        raise ConfigError(
            f"the snapshot {manifest.folder} is of another tree called {manifest.tree}: the topic "
            f"{history} that it was taken with is gone ({now}); its rows do not belong to this one"
        )


def continued(admin: AdminClient, manifest: Manifest, log: Routing, shards: Iterable[int]) -> None:
    """InputBroken where some log does not go on behind what the snapshot has of it."""
    places = [place for shard in shards for place in needed(manifest, log, shard)]
    sources = [place.source for place in places]
    found = bounds(admin, sources)
    ids = topic_ids(admin, {source.topic for source in sources})
    for place in places:
        low, high = found.get(place.source, (0, 0))
        where, at = f"{place.topic}[{place.partition}]", place.taken + 1
        if place.topic_id and ids.get(place.topic) != place.topic_id:
            why = "was deleted, or deleted and made again"
        elif low > at:
            why = f"begins at offset {low} now, and the snapshot has what lies before {at}: it is too old"
        elif high < at:
            why = f"ends at offset {high}, but the snapshot has what lies before {at}: rows are missing"
        else:
            continue
        raise InputBroken(f"{where} {why}; the snapshot {manifest.folder} cannot be caught up")


def needed(manifest: Manifest, log: Routing, shard: int) -> list[Place]:
    """From where each node that a shard answers for is read after a restore; from the beginning where
    the snapshot has nothing of it."""
    tree = manifest.tree
    found = []
    for path in sorted(answered_for(log, shard)):
        source = source_of(tree, path, shard)
        place = place_of(manifest, path, source, shard)
        if place is None and path == ROOT:
            continue  # nothing of it was read then: it begins as one that was never here
        found.append(place or Place(source.topic, source.partition, -1, -1, 0, ""))
    return found


def place_of(manifest: Manifest, path: Path, source: Source, shard: int) -> Place | None:
    """How far the snapshot has a node's input."""
    holder = manifest.entry(shard) if path == ROOT else manifest.holder(path, shard)
    return None if holder is None else holder.place(source)


def missing(manifest: Manifest, owners: Iterable[Path]) -> list[str]:
    """The portions that no file has: they changed hands while it was taken."""
    there = {name for one in manifest.shards for name in one.nodes}
    return sorted(node_name(path) for path in owners if node_name(path) not in there)
