"""The read model: what every worker knows of every shard, folded from `<tree>.state`.

A record on `.state` is absolute: it says how things are, true at its ``offset``, and is keyed by its
entity (`shard:3`, `portion:N0,3`). A record that is older than the one already held is ignored
(`newer`). Two readers fold it: the state agent into Faust's tables, a worker's own share of them; and
the follower of every worker into `ReadModel`, complete, because any worker answers for the whole
tree, also while the group is rebalancing or another worker is dead. A Faust global table would be
that copy, but its own documentation warns of endless recovery with several instances.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

Record = Mapping[str, Any]
NAMES = ("nodes", "portions", "metrics")


def key_of(record: Record) -> str:
    """The record's key on `.state`."""
    if record["kind"] == "shard":
        return f"shard:{record['shard']}"
    return f"portion:{record['portion']}"


def newer(record: Record, held: Record | None) -> bool:
    """Whether the record replaces the held one: a later owner, else a later place in the logs.

    >>> newer({"epoch": 3, "offset": 9}, {"epoch": 3, "offset": 8})
    True
    >>> newer({"epoch": 2, "offset": 99}, {"epoch": 3, "offset": 8})
    False
    """
    if held is None:
        return True
    return (record["epoch"], record["offset"]) >= (held["epoch"], held["offset"])


def entries(record: Record) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(table, key, value) of what a record says."""
    if record.get("kind") == "portion":
        name = record["portion"]
        yield "portions", name, dict(record)
        node = {k: record[k] for k in ("rows", "radius", "offset", "epoch", "time")}
        yield "nodes", name, node | {"shard": record["owner"]}
        return
    if record.get("kind") != "shard":
        return
    shard = record["shard"]
    root = record["root"] | {k: record[k] for k in ("offset", "epoch", "time")}
    yield "nodes", f"N0@{shard}", root | {"shard": shard}
    metrics = record["metrics"] | {k: record[k] for k in ("offset", "epoch", "time")}
    yield "metrics", f"shard:{shard}", metrics


def readable(raw: bytes | None) -> dict[str, Any]:
    """The JSON object a record is; empty where it is none, which is nobody's record of ours."""
    try:
        found = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


class ReadModel:
    """The last record of every entity, and the tables they make."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}

    def fold(self, record: Record) -> Record | None:
        """Take one record of `.state`; itself if it counted."""
        key = key_of(record)
        with self._lock:
            if not newer(record, self._records.get(key)):
                return None
            self._records[key] = record
        return record

    def held(self, key: str) -> Record | None:
        with self._lock:
            return self._records.get(key)

    def shards(self) -> dict[int, Record]:
        with self._lock:
            records = list(self._records.values())
        return {r["shard"]: r for r in records if r["kind"] == "shard"}

    def portions(self) -> dict[str, Record]:
        with self._lock:
            records = list(self._records.values())
        return {r["portion"]: r for r in records if r["kind"] == "portion"}

    def table(self, name: str) -> dict[str, dict[str, Any]]:
        """A table as it is, keys in order."""
        with self._lock:
            records = list(self._records.values())
        rows = [(k, v) for r in records for table, k, v in entries(r) if table == name]
        return dict(sorted(rows))
