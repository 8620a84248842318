"""The tree agent's decisions: what is the next record of `<tree>.routing`? (DESIGN 4.3, R5)

The author looks at what the routing log already says and at rows read from the ingest log, and
answers with records to append. It keeps nothing that matters: an author that dies is done again by
the next one from the same log, and the first accepted record wins.

Rows are sampled from all ingest partitions **in turn**: row k of each before row k+1 of any, a
partition at its end is skipped. So a stream whose partitions differ gives the cover of the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pctstream.core import life, placement, records
from pctstream.core.block import Vectors
from pctstream.core.cover import Cover, FindCover, auto_epsilon, refine
from pctstream.core.folder import Folder
from pctstream.core.levels import Levels
from pctstream.core.marks import Marks
from pctstream.core.names import ROOT, Path, level, node_name
from pctstream.core.news import news
from pctstream.core.reopener import Reopener
from pctstream.core.routing import Routing
from pctstream.core.unit import Unit

Portions = Mapping[str, Mapping[str, Any]]
"""What was told last of each portion and trunk node, by its name."""
FEW = 10_000.0
"""Rows a second: where fewer come, what came in one window is chance, and the rows that lie there say
more of where the next ones go (a portion of 1 % has 100 of so many, give or take 10)."""


class Turns:
    """Rows of several partitions, merged in turn.

    >>> turns = Turns([0, 1], 1)
    >>> turns.put(0, np.array([[1.0], [2.0], [3.0]], np.float32))
    >>> turns.put(1, np.array([[10.0]], np.float32))
    >>> turns.take(at_end={0, 1}).ravel().tolist()
    [1.0, 10.0, 2.0, 3.0]
    """

    def __init__(self, partitions: Sequence[int], dimension: int) -> None:
        self._rows: dict[int, list[Vectors]] = {p: [] for p in partitions}
        self._marks = {p: Marks() for p in partitions}
        self._dimension = dimension

    def put(self, partition: int, rows: Vectors) -> None:
        """Rows read from a partition, in its order."""
        if len(rows):
            self._rows[partition].append(rows)

    def add(self, unit: Unit) -> None:
        """The same from a unit of the ingest log; a bridged row that comes again is one row."""
        fresh = news(unit, unit.prev, self._marks[unit.source.partition])
        self._marks[unit.source.partition] = fresh.marks
        if fresh.rows is not None:
            self.put(unit.source.partition, fresh.rows.plain.vectors)

    def take(self, at_end: set[int]) -> Vectors:
        """All rows whose turn has come; a partition without rows holds the rest unless at its end."""
        buffers = {p: np.concatenate(r) for p, r in self._rows.items() if r}
        out: list[Vectors] = []
        while buffers and all(p in buffers or p in at_end for p in self._rows):
            rounds = min(len(b) for b in buffers.values())
            lanes = np.stack([b[:rounds] for _, b in sorted(buffers.items())], axis=1)
            out.append(lanes.reshape(-1, self._dimension))
            buffers = {p: b[rounds:] for p, b in buffers.items() if len(b) > rounds}
        self._rows = {p: [buffers[p]] if p in buffers else [] for p in self._rows}
        return np.concatenate(out) if out else np.zeros((0, self._dimension), np.float32)

    def buffered(self, partition: int) -> int:
        """Rows of a partition that wait for their turn."""
        return sum(len(r) for r in self._rows[partition])


class Author:
    """Finds N0's cover from sampled rows and writes it down."""

    def __init__(self, settings: Mapping[str, Any], capacities: Mapping[int, float], name: str):
        self._settings = settings
        self._capacities = capacities
        self.name = name
        self._rows: list[Vectors] = []
        self._find: FindCover | None = None
        self._result: Cover | None = None
        limits = {
            name: int(settings[name]) for name in ("prototypes", "topics") if name in settings
        }
        limits["nodes"] = int(settings.get("nodes", 10**9)) - 1
        self._limit = min(limits, key=lambda name: limits[name])
        self._most = limits[self._limit]
        self.levels = Levels(settings, name)
        self.reopener = Reopener(settings, capacities, name)
        self.folder = Folder(name)

    def wants(self, log: Routing) -> str:
        """ "dimension", "rows", "append", "topics", "level" or "nothing": what the next step needs."""
        if not log.tree:
            return "dimension"
        state = log.states[ROOT]
        if state == life.WAITING:
            return "topics"
        if state == life.SPLITTING:
            return "level"
        if state != life.COVERING:
            return "nothing"
        return "rows" if self._find is None or self._find.state == "covering" else "append"

    def first_record(self, dimension: int) -> dict[str, Any]:
        """Record 0: what can never change."""
        return records.tree_record(self._settings, dimension, self.name)

    def sample(self, rows: Vectors, idle: bool = False) -> None:
        """Scan more rows, in turn order; ``idle``: no more are to be had at the moment."""
        if len(rows):
            self._rows.append(rows)
        if not self._rows:
            return
        if self._find is None:
            seen = sum(len(r) for r in self._rows)
            fanout = int(self._settings["fanout"])
            epsilon = self._settings["epsilon"]
            if epsilon == "auto":
                # 64 rows a prototype show where a cover of that size lies
                if seen < 64 * fanout and not (idle and seen >= 4 * fanout):
                    return
                epsilon = auto_epsilon(np.concatenate(self._rows)[: 64 * fanout], fanout)
            self._find = FindCover(
                self._rows[0].shape[1],
                float(epsilon),
                int(self._settings["gap"]),
                int(self._settings["sink_rows"]),
                str(self._settings["stop"]),
                self._most,
            )
            for held in self._rows:
                self._find.feed(held)
        elif len(rows):
            self._find.feed(rows)

    def records(self, log: Routing) -> list[dict[str, Any]]:
        """The records that end the covering: the cover in pieces, or the sink."""
        assert self._find is not None
        if self._find.state == "sink":
            why = self._limit if self._find.reason == "prototypes" else "sink_rows"
            return [records.sink_record(ROOT, self._find.rows, why, log.seq + 1, self.name)]
        if self._result is None:
            scanned = np.concatenate(self._rows)[: self._find.rows]
            self._result = refine(
                scanned,
                self._find.prototypes,
                self._find.epsilon,
                int(self._settings["kmeans_iterations"]),
                int(self._settings["gap"]),
                bool(self._settings.get("balance", False)),
            )
            self._rows = []
        return records.cover_records(ROOT, self._result, log.seq + 1, self.name)

    def split(
        self, log: Routing, path: Path = ROOT, portions: Portions | None = None
    ) -> dict[str, Any]:
        """The record that opens a node's children, once their topics exist. Those of a portion that is
        promoted are placed by what is told of the ``portions``."""
        cover = log.covers[path]
        children: list[Path] = [(*path, i) for i in range(cover.k)]
        if path in log.promotions.asked and portions and node_name(path) in portions:
            weights, loads = weighed(log, path, portions)
            owners = placement.apart(weights, loads, self._capacities)
        else:
            owners = placement.first_owners(children, self._capacities)
        return records.split_record(path, cover, owners, log.seq + 1, self.name)

    def trunk(
        self, log: Routing, covers: Mapping[Path, Cover], portions: Portions | None = None
    ) -> tuple[str, Path]:
        """ "append", "topics", "refuse" or "nothing", and for which trunk node below N0.

        ``covers`` are those that shards have found. One node after the other, in the order of their
        names; each only once its level has closed. A portion that is to be promoted is one of them; of
        the others of ``portions`` it is told whether it has split.
        """
        for path in sorted(log.owners):
            asked = path in log.promotions.asked
            if level(path) >= min(log.cut, len(log.levels)) and not asked:
                continue
            if asked and log.states[path] != life.WAITING:
                state = root_state(path, portions or {})
                if state not in ("", life.SPLITTING):
                    return "refuse", path
                if not state:
                    continue
            if log.states[path] == life.WAITING:
                return "topics", path
            if log.states[path] == life.COVERING and path in covers:
                return "append", path
        return "nothing", ROOT

    def trunk_records(self, log: Routing, path: Path, cover: Cover) -> list[dict[str, Any]]:
        """The cover of a trunk node in pieces; or that it is a sink, where pipes would be too many."""
        if len(log.owners) + cover.k > int(self._settings.get("topics", 10**9)):
            if path in log.promotions.asked:
                return [records.not_promoted_record(path, "topics", log.seq + 1, self.name)]
            return [records.sink_record(path, cover.rows, "topics", log.seq + 1, self.name)]
        return records.cover_records(path, cover, log.seq + 1, self.name)

    def not_promoted(self, log: Routing, path: Path, portions: Portions) -> dict[str, Any]:
        """The record that a portion has no children that could be portions."""
        return records.not_promoted_record(path, root_state(path, portions), log.seq + 1, self.name)


def root_state(path: Path, portions: Portions) -> str:
    """What was told last of the life of a portion's root; empty before anything was."""
    record = portions.get(node_name(path))
    if record is None:
        return ""
    told = record["nodes"]["state"]
    # nothing came to it, and if it is folded nothing will
    return str(told[0]) if told else life.COVERING


def weighed(
    log: Routing, path: Path, portions: Portions
) -> tuple[dict[Path, float], dict[int, float]]:
    """Of a portion's children, and of the shards without it: rows per second, and `FEW` more that are
    divided as the rows are."""
    told = {p: portions[node_name(p)] for p in log.portions if node_name(p) in portions}
    stored = sum(float(record["rows"]) for record in told.values())
    weights = {
        p: float(record["rate"]) + (FEW * float(record["rows"]) / stored if stored else 0.0)
        for p, record in told.items()
    }
    loads: dict[int, float] = {}
    for other, weight in weights.items():
        if other != path:
            loads[log.owners[other]] = loads.get(log.owners[other], 0.0) + weight
    nodes = dict(zip(told[path]["nodes"]["path"], told[path]["nodes"]["rows"], strict=True))
    rows = {(*path, i): float(nodes.get(str(i), 0)) for i in range(log.covers[path].k)}
    whole = sum(rows.values())
    share = weights[path] / whole if whole else 0.0
    return {child: n * share for child, n in rows.items()}, loads
