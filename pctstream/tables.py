"""The read model: what every worker knows of every shard, folded from `<tree>.state`.

A record on `.state` is absolute: it says how things are, true at its ``offset``, and is keyed by its
entity (`shard:3`, `portion:N0,3`). A record that is older than the one already held is ignored
(`newer`). A shard that lost its store starts below where it was: what its next host tells counts, by
the group's generation, and, because a static member that is back soon makes none, by when its process
began. A portion's record has all its nodes, so that their counts are of one moment; a
cover is told once, and again where its node has re-opened, in pieces (`cover:N0,3,1:0`). Densities are
told in chunks (`density:N0,3:7`; of a leaf by its slot, `density:12:1`), scores whole (`drift:N0,3`): the
`offset` of both is the window behind their last. A shard tells of its regions, the coarsest so many, and
of its density map in one record (`regions:3`). What all nodes held at a time is one record in its place
of the pyramid of times (`moment:4.2`, `core/moments.py`). Of a warm copy its worker tells how far it is
(`standby:3:worker-1`).

Two readers fold it: the state agent into Faust's tables, a worker's own share of them; and the
follower of every worker into `ReadModel`, complete, because any worker answers for the whole tree, also
while the group is rebalancing or another worker is dead. A Faust global table would be that copy, but
its own documentation warns of endless recovery with several instances.
"""

from __future__ import annotations

import base64
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any

import orjson

from pctstream.core import life
from pctstream.core.chunks import windows_of
from pctstream.core.cover import Cover
from pctstream.core.names import Path, level, node_path
from pctstream.errors import DataLoss

Record = Mapping[str, Any]
NAMES = ("nodes", "portions", "density", "regions", "drift", "metrics")

WHEN = ("offset", "epoch", "generation", "began", "time")
GROUP_KEPT_S = 86_400.0
"""How much later a record counts whatever it says: the broker forgets a group that was empty for a
week (`offsets.retention.minutes`) and counts its generations anew."""


def key_of(record: Record) -> str:
    """The record's key on `.state`."""
    if record["kind"] == "shard":
        return f"shard:{record['shard']}"
    if record["kind"] == "standby":
        return f"standby:{record['shard']}:{record['worker']}"
    if record["kind"] == "cover":
        return f"cover:{record['node']}:{record['piece']}"
    if record["kind"] == "density":
        return f"density:{record['slot']}:{record['chunk']}"
    if record["kind"] == "regions":
        return f"regions:{record['shard']}"
    if record["kind"] == "moment":
        return f"moment:{record['slot']}"
    if record["kind"] == "move":
        return f"move:{record['move']}:{record['shard']}"
    return f"{record['kind']}:{record['portion']}"


def newer(record: Record, held: Record | None) -> bool:
    """Whether the record replaces the held one: a later owner, else a later host of it, else a later
    place in the logs, else as far grown there. (An old host that wakes tells of the same place before
    its level opened.)

    >>> newer({"epoch": 3, "offset": 9}, {"epoch": 3, "offset": 8})
    True
    >>> newer({"epoch": 2, "offset": 99}, {"epoch": 3, "offset": 8})
    False
    >>> newer({"epoch": 3, "generation": 5, "offset": 1}, {"epoch": 3, "generation": 4, "offset": 8})
    True
    >>> newer({"epoch": 3, "began": 60.0, "offset": 1}, {"epoch": 3, "began": 50.0, "offset": 8})
    True
    """
    if held is None or record.get("time", 0.0) - held.get("time", 0.0) > GROUP_KEPT_S:
        return True
    return _place(record) >= _place(held)


def _place(record: Record) -> tuple[float, ...]:
    if "author" in record:
        return record["author"], record["offset"]
    host = record.get("generation", -1), record.get("began", 0.0)
    return record["epoch"], *host, record["offset"], _steps(record.get("nodes", record))


def _steps(nodes: Mapping[str, Any]) -> int:
    """How many steps of their lives a portion's nodes, or a node, have gone."""
    history, state = nodes.get("history", ()), nodes.get("state", "")
    if isinstance(state, str):
        return len(history) + (state == life.SINK)
    return sum(map(len, history)) + list(state).count(life.SINK)


def entries(record: Record) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(table, key, value) of what a record says."""
    if record.get("kind") == "portion":
        name = record["portion"]
        if not record.get("trunk"):
            yield "portions", name, dict(record)
        where = _when(record) | {"shard": record["owner"]}
        for node in nodes_of(record):
            yield "nodes", node.pop("name"), node | where
        return
    if record.get("kind") in ("density", "drift"):
        chunk = f":{record['chunk']}" if record["kind"] == "density" else ""
        yield record["kind"], record.get("node", record.get("portion")) + chunk, dict(record)
        return
    if record.get("kind") == "regions":
        yield "regions", str(record["shard"]), dict(record)
        return
    if record.get("kind") != "shard":
        return
    shard = record["shard"]
    root = record["root"] | _when(record)
    yield "nodes", f"N0@{shard}", root | {"shard": shard}
    metrics = record["metrics"] | _when(record)
    yield "metrics", f"shard:{shard}", metrics


def _when(record: Record) -> dict[str, Any]:
    return {k: record[k] for k in WHEN if k in record}


def shown(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of a table as a view shows it: windows as numbers."""
    if "windows" not in entry:
        return entry
    return entry | {"windows": [window._asdict() for window in windows_of(entry)]}


def nodes_of(record: Record) -> Iterator[dict[str, Any]]:
    """The nodes of a portion's record, one after the other, with their names.

    >>> record = {"portion": "N0,3", "nodes": {"path": ["", "1"], "rows": [7, 4]}}
    >>> list(nodes_of(record))
    [{'name': 'N0,3', 'rows': 7}, {'name': 'N0,3,1', 'rows': 4}]
    """
    columns = dict(record["nodes"])
    paths = columns.pop("path")
    for at, path in enumerate(paths):
        name = f"{record['portion']},{path}" if path else record["portion"]
        yield {"name": name} | {column: values[at] for column, values in columns.items()}


def readable(raw: bytes | None) -> dict[str, Any]:
    """The JSON object a record is; empty where it is none, which is nobody's record of ours."""
    try:
        found = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


FIELDS = {
    "shard": ("shard", "worker", "epoch", "offset", "time", "inputs", "root", "metrics"),
    "standby": ("shard", "worker", "generation", "epoch", "offset", "time", "lag", "level", "errors",
                "bytes"),
    "portion": ("portion", "owner", "worker", "epoch", "offset", "time", "marks", "nodes"),
    "cover": ("node", "hash", "worker", "piece", "pieces", "data"),
    "density": ("node", "leaf", "slot", "author", "worker", "chunk", "first", "offset", "window_s", "at",
                "counters", "open", "windows"),
    "drift": ("portion", "author", "worker", "offset", "time", "score", "parts", "forecast",
              "history"),
    "regions": ("shard", "worker", "epoch", "offset", "time", "rows", "regions", "map"),
    "moment": ("slot", "worker", "epoch", "offset", "time", "depth", "names", "rows", "radius"),
    "move": ("move", "shard", "worker", "epoch", "offset", "time", "whole", "at", "end", "proofs"),
}  # fmt: skip
"""What a record of each kind must say to be one."""


def told(raw: bytes | None) -> dict[str, Any]:
    """A record of `.state`; empty where it is none of these kinds: of a later version, or nobody's.

    >>> told(b'{"kind": "weather"}'), told(b'{"kind": "shard", "shard": 3}'), told(b"[]")
    ({}, {}, {})
    """
    found = readable(raw)
    wanted = FIELDS.get(str(found.get("kind")))
    return found if wanted and all(field in found for field in wanted) else {}


class ReadModel:
    """The last record of every entity, and the tables they make."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: defaultdict[str, dict[str, Record]] = defaultdict(dict)
        """By kind, then by key: there are few shards and portions, and they are asked for often."""
        self._pieces: dict[tuple[str, str], dict[int, bytes]] = {}
        self._covers: dict[Path, Cover] = {}
        self._hashes: dict[Path, dict[int, str]] = {}
        self._within: dict[Path, int] = {}
        """The level of the portion that told of a node's cover."""
        self.disputed: dict[Path, str] = {}
        """Nodes for which somebody found another cover than the one known (R10)."""

    def fold(self, record: Record) -> Record | None:
        """Take one record of `.state`; itself if it counted."""
        if record["kind"] == "cover":
            self._cover(record)
            return record
        key = key_of(record)
        with self._lock:
            known = self._records[record["kind"]]
            if not newer(record, known.get(key)):
                return None
            known[key] = record
        return record

    def _cover(self, record: Record) -> None:
        path, found = node_path(record["node"]), str(record["hash"])
        size = int(record.get("prototypes", 0))
        depth = str(record.get("portion", "")).count(",")
        with self._lock:
            if depth < self._within.get(path, 0):
                return  # by a portion that was promoted since
            if depth > self._within.get(path, 0):
                self._within[path] = depth
                for known_by in (self._hashes, self._covers, self.disputed):
                    known_by.pop(path, None)
            # a node that re-opens has a larger cover each time: of one size there is one
            if self._hashes.setdefault(path, {}).setdefault(size, found) != found:
                self.disputed[path] = f"{record['node']} by {record['worker']}"
                return
            known = self._covers.get(path)
            if known and size <= known.k:
                return
            pieces = self._pieces.setdefault((record["node"], found), {})
            pieces[int(record["piece"])] = base64.b64decode(record["data"])
            if len(pieces) == int(record["pieces"]):
                del self._pieces[record["node"], found]
                with suppress(DataLoss):
                    self._covers[path] = Cover.from_pieces([pieces[i] for i in sorted(pieces)])

    def covers(self) -> dict[Path, Cover]:
        """The covers of nodes below the cut, as their shards found them."""
        with self._lock:
            return dict(self._covers)

    def covers_of(self, portion: Path) -> dict[Path, Cover | None]:
        """Those told of nodes of a portion, as of nodes of it; None: as of nodes of a lower one, that
        its children are by now."""
        depth = level(portion)
        with self._lock:
            known = [(p, c, self._within.get(p, 0)) for p, c in self._covers.items()]
        return {
            path: cover if within <= depth else None
            for path, cover, within in known
            if path[: depth + 1] == portion and within in (0, *range(depth, len(path)))
        }

    def held(self, key: str) -> Record | None:
        with self._lock:
            return self._records[key.partition(":")[0]].get(key)

    def of(self, *kinds: str) -> list[Record]:
        """The last records of these kinds."""
        with self._lock:
            return [record for kind in kinds for record in self._records[kind].values()]

    def shards(self) -> dict[int, Record]:
        return {r["shard"]: r for r in self.of("shard")}

    def standbys(self, shard: Record) -> list[Record]:
        """The warm copies of a shard: what their workers told of them in its host's generation."""
        found = [r for r in self.of("standby") if r["shard"] == shard["shard"]]
        since, host = shard.get("generation", -1), shard["worker"]
        return [r for r in found if r["generation"] >= since and r["worker"] != host]

    def portions(self) -> dict[str, Record]:
        return {r["portion"]: r for r in self.of("portion")}

    def moves(self) -> dict[tuple[str, int], Record]:
        """What the shards that take part in moves told of them last."""
        return {(r["move"], r["shard"]): r for r in self.of("move")}

    def forget_moves(self, but: Collection[str]) -> None:
        """Only what is told of these moves is of use any more."""
        with self._lock:
            moves = self._records["move"]
            self._records["move"] = {k: r for k, r in moves.items() if r["move"] in but}

    def table(self, name: str) -> dict[str, dict[str, Any]]:
        """A table as it is, keys in order."""
        records = self.of(*FIELDS)
        rows = [(k, v) for r in records for table, k, v in entries(r) if table == name]
        return dict(sorted(rows))
