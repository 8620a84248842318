"""The tree as the views show it: the routing joined with what the shards report."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from pctstream.core import life
from pctstream.core.names import ROOT, Path, agent_name, level, node_name, pipe_name, pipe_topic
from pctstream.core.routing import Routing
from pctstream.core.solver import NodeSummary
from pctstream.tables import Record


class TreeView:
    """One moment of the tree."""

    def __init__(
        self, log: Routing, shards: Mapping[int, Record], portions: Mapping[str, Record]
    ) -> None:
        self._log = log
        self._shards = shards
        self._portions = portions
        self._tree = str(log.tree.get("tree", ""))

    @property
    def paths(self) -> list[Path]:
        """Every node, level by level."""
        return sorted(self._log.states, key=lambda p: (len(p), p))

    @property
    def root_rows(self) -> int:
        """Rows that are at N0 and in no portion yet, however old each record is (R2).

        The rows a shard held when N0 split are the first that each child gets of its partition: of h
        held for a child, those beyond the number that arrived there are still at N0.
        """
        return sum(self._held(s) for s in self._shards.values())

    def _held(self, record: Record) -> int:
        root = record["root"]
        if self._log.states.get(ROOT) != life.SPLITTING:
            return int(root["rows"])
        arrived = [self._arrived(child, record["shard"]) for child in self._log.children(ROOT)]
        if root["state"] != life.SPLITTING:
            return max(0, int(root["stored_rows"]) - sum(arrived))
        return sum(max(0, h - n) for h, n in zip(root["held"], arrived, strict=False))

    def _arrived(self, child: Path, partition: int) -> int:
        record = self._portions.get(node_name(child))
        if record is None:
            return 0
        counts = {p: n for topic, p, _, _, n in record["marks"] if topic == f"{self._tree}.P0"}
        return int(counts.get(partition, 0))

    def rows(self, path: Path) -> int:
        """Rows in the subtree of a node."""
        if path == ROOT:
            return self.root_rows + sum(int(p["rows"]) for p in self._portions.values())
        record = self._portions.get(node_name(path))
        return int(record["rows"]) if record else 0

    @property
    def dimension(self) -> int:
        """Of every row; 0 until it is known."""
        return self._log.dimension

    @property
    def metric(self) -> str:
        return self._log.metric

    def epsilon(self, number: int) -> float | None:
        """The epsilon of the covers found at a level; None before the first."""
        covers = self._log.covers
        found = [covers[p].epsilon for p in self.paths if level(p) == number and p in covers]
        return found[0] if found else None

    def summaries(self) -> dict[Path, NodeSummary]:
        """Every node as the solver's views take it, parents before children."""
        found = {}
        for path in self.paths:
            above = self._log.covers.get(path[:-1])
            record = self._portions.get(node_name(path))
            found[path] = NodeSummary(
                path,
                self.rows(path),
                float(record["radius"]) if record else None,
                above.centroids[path[-1]] if above else None,
            )
        return found

    def structure(self, number: int) -> Hashable:
        """Equal for two moments whose entries at a level, and their centres, are the same.

        N0's centre moves with the rows of its children: it is an entry at level 0, and at every
        level while it holds rows.
        """
        held = self.root_rows
        root = (held, self.rows(ROOT)) if number == 0 or held else None
        return self._log.seq, root

    def overview(self) -> dict[str, Any]:
        """GET /v1/tree."""
        log = self._log
        states = list(log.states.values())
        return {
            "name": self._tree,
            "dimension": log.dimension,
            "metric": log.metric,
            "epoch": log.epoch,
            "rows": self.rows(ROOT) if log.tree else 0,
            "state": "growing" if life.COVERING in states or not states else "grown",
            "levels": [self._level(n) for n in sorted({level(p) for p in log.states})],
        }

    def _level(self, number: int) -> dict[str, Any]:
        paths = [p for p in self.paths if level(p) == number]
        states = [self._log.states[p] for p in paths]
        held = self.root_rows if number == 0 else sum(self.rows(p) for p in paths)
        return {
            "level": number,
            "epsilon": self.epsilon(number),
            "nodes": len(paths),
            "covering": states.count(life.COVERING),
            "waiting": states.count(life.WAITING),
            "splitting": states.count(life.SPLITTING),
            "sinks": states.count(life.SINK),
            "leaves": states.count(life.LEAF),
            "rows": held,
            "closed_by": "ended" if states and life.COVERING not in states else None,
        }

    def node(self, path: Path) -> dict[str, Any]:
        """GET /v1/nodes/NAME."""
        log = self._log
        state = log.states[path]
        cover = log.covers.get(path)
        record = self._portions.get(node_name(path))
        root = [s["root"] for s in self._shards.values()]
        return {
            "name": node_name(path),
            "pipe": pipe_name(path),
            "topic": pipe_topic(self._tree, path),
            "agent": agent_name(path),
            "level": level(path),
            "state": state,
            "mode": life.MODES[state],
            "epsilon": cover.epsilon if cover else None,
            "rows": self.rows(path),
            "held": self.root_rows if path == ROOT else self.rows(path),
            "prototypes": len(cover.prototypes) if cover else 0,
            "gap": cover.gap if cover else None,
            "limit": log.limits.get(path),
            "radius": record["radius"] if record else None,
            "mean_distance": record["mean_distance"] if record else None,
            "children": [node_name(c) for c in log.children(path)],
            "uncovered": sum(int(r["uncovered"]) for r in root) if path == ROOT else 0,
            "miss_bound": _bound(cover),
            "entropy": (
                {"before": cover.entropy_before, "after": cover.entropy_after} if cover else None
            ),
            "portion": node_name(path) if path in log.owners else None,
            "shard": log.owners.get(path),
            "lag": self._lag(node_name(path)),
            "last_progress": self._progress(path),
            "history": log.history.get(path, []),
        }

    def _lag(self, name: str) -> int:
        inputs = [i for s in self._shards.values() for i in s["inputs"] if i["node"] == name]
        return sum(max(0, i["end"] - 1 - max(i["stored"], i["routed"])) for i in inputs)

    def _progress(self, path: Path) -> float | None:
        record = self._portions.get(node_name(path))
        if record is not None:
            return float(record["time"])
        times = [float(s["time"]) for s in self._shards.values()]
        return max(times) if times and path == ROOT else None

    def portion(self, path: Path) -> dict[str, Any]:
        """GET /v1/portions/NAME."""
        record = self._portions.get(node_name(path))
        total = self.rows(ROOT)
        rows = int(record["rows"]) if record else 0
        return {
            "portion": node_name(path),
            "owner": self._log.owners[path],
            "shadow": None,
            "rows": rows,
            "bytes": int(record["bytes"]) if record else 0,
            "rate": float(record["rate"]) if record else 0.0,
            "share": rows / total if total else 0.0,
            "drift_score": None,
        }


def _bound(cover: Any) -> dict[str, float] | None:
    if cover is None:
        return None
    p, confidence = cover.miss_bound
    return {"p": p, "confidence": confidence}
