"""What of the logs may go once a snapshot has it, and cutting it off.

A pipe is cut up to where the snapshot has its node, if the shard of then is all who reads it now and no
move of it is open: then the store that the snapshot was taken of, and the snapshot, both have what goes.
What is read by others too is left for the next snapshot.

The ingest log is cut only if asked for: `verify` compares with it, and counts what it cannot as
`unverifiable` from then on; and a lost directory of ids is made again from it, so from then on a lost store
of N0 needs the snapshot too. It is cut up to what N0 had *routed* in the snapshot and has committed: rows
stored at N0 (it covers, it is a sink, or hands down still) keep their log. With bridged topics it is not
cut: which of their rows were replaced stands only there.

What is read again while N0, or a trunk node, is re-opened stays in its input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from pctstream.core.block import Source
from pctstream.core.names import ROOT, Path, topic_path
from pctstream.core.routing import Routing
from pctstream.refusal import error_of
from pctstream.snapshots.manifest import Entry, Manifest, Place

TIMEOUT_S = 30.0
_NEVER = 1 << 62
Inputs = Mapping[int, Iterable[Mapping[str, Any]]]
"""Of each shard, what `/v1/shards` says of its inputs."""


def pipe_cuts(manifest: Manifest, log: Routing, inputs: Inputs) -> dict[Source, int]:
    """Of each pipe that may be cut, the first offset that stays."""
    readers: dict[Source, dict[int, Mapping[str, Any]]] = {}
    for shard, entries in inputs.items():
        for entry in entries:
            source = Source(str(entry["topic"]), int(entry["partition"]))
            readers.setdefault(source, {})[shard] = entry
    moving = {move.portion for move in log.moves.unfinished}
    cuts = {}
    for one in manifest.shards:
        for place in one.inputs:
            path = topic_path(manifest.tree, place.topic)
            if path is None or path == ROOT or path in moving:
                continue
            if log.owners.get(path) == one.shard and _alone(one, place, readers):
                cuts[place.source] = min(place.taken + 1, _read_again(log, path, 0))
    return {source: offset for source, offset in cuts.items() if offset > 0}


def _alone(entry: Entry, place: Place, readers: Mapping[Source, Any]) -> bool:
    """Whether the shard of then reads this pipe, nobody else does, and it is not behind the snapshot."""
    found: Mapping[int, Mapping[str, Any]] = readers.get(place.source, {})
    if set(found) != {entry.shard}:
        return False
    now = found[entry.shard]
    return not now["error"] and max(now["stored"], now["routed"]) >= place.taken


def ingest_cuts(
    manifest: Manifest, log: Routing, committed: Mapping[Source, int]
) -> dict[Source, int]:
    """The same of the ingest partitions; ``committed``: everything up to there is routed."""
    cuts: dict[Source, int] = {}
    if ROOT not in log.splits:
        return cuts
    for one in manifest.shards:
        place = one.place(Source(f"{manifest.tree}.P0", one.shard))
        if place is None or place.routed < place.stored:
            continue
        cut = min(place.routed, committed.get(place.source, -1)) + 1
        cut = min(cut, _read_again(log, ROOT, one.shard))
        if cut > 0:
            cuts[place.source] = cut
    return cuts


def _read_again(log: Routing, path: Path, partition: int) -> int:
    """The first offset of a node's input that is read again while it is re-opened."""
    opening = log.reopened.open.get(path)
    return _NEVER if opening is None else opening.starts.get(partition, 0)


def cut(admin: AdminClient, cuts: Mapping[Source, int]) -> dict[Source, int]:
    """Have the broker forget what lies before; where each log begins now."""
    if not cuts:
        return {}
    asked = [TopicPartition(*source, offset) for source, offset in cuts.items()]
    begins = {}
    for place, future in admin.delete_records(asked, request_timeout=TIMEOUT_S).items():
        try:
            found = future.result(TIMEOUT_S + 5)
        except KafkaException as error:
            raise error_of(error.args[0], f"cut {place.topic}") from None
        begins[Source(place.topic, place.partition)] = int(found.low_watermark)
    return begins
