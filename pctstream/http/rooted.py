"""Rows that are at N0 and in no portion yet, from what shards and portions report at different times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from pctstream.core import life
from pctstream.core.names import ROOT, node_name
from pctstream.core.routing import Routing
from pctstream.tables import Record


def at_root(log: Routing, shards: Iterable[Record], portions: Mapping[str, Record]) -> int:
    """The rows a shard held when N0 split are the first that each child gets of its partition: of h
    held for a child, those beyond the number that arrived there are still at N0."""
    arrived = _arrived(log, portions)
    return sum(_held(log, record, arrived) for record in shards)


def _held(log: Routing, record: Record, arrived: Counter[tuple[int, int]]) -> int:
    root = record["root"]
    if log.states.get(ROOT) != life.SPLITTING:
        return int(root["rows"])
    there = [arrived[child[-1], record["shard"]] for child in log.children(ROOT)]
    if root["state"] != life.SPLITTING:
        return max(0, int(root["stored_rows"]) - sum(there))
    return sum(max(0, h - n) for h, n in zip(root["held"], there, strict=False))


def _arrived(log: Routing, portions: Mapping[str, Record]) -> Counter[tuple[int, int]]:
    """(child of N0, shard) -> rows that the child has of those that the shard's N0 had; foreign partition
    p is bridged to ingest partition p mod S."""
    shards, found = int(log.tree["shards"]), Counter[tuple[int, int]]()
    for child in log.children(ROOT):
        record = portions.get(node_name(child))
        for _, partition, _, _, rows in record["marks"] if record else ():
            found[child[-1], partition % shards] += int(rows)
    return found
