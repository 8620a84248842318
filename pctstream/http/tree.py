"""The tree as the views show it: the routing joined with what the shards report."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pctstream.core import life
from pctstream.core.cover import CONFIDENCE, Cover
from pctstream.core.lanes import Float32
from pctstream.core.monitor import Stalled
from pctstream.core.moves import UNDER_WAY
from pctstream.core.names import (
    ROOT,
    Path,
    agent_name,
    level,
    node_name,
    node_path,
    pipe_name,
    pipe_topic,
)  # fmt: skip
from pctstream.core.reopener import missed
from pctstream.core.routing import Routing
from pctstream.core.solver import NodeSummary
from pctstream.faded import faded_nodes
from pctstream.http.inputs import Inputs
from pctstream.http.rooted import at_root
from pctstream.tables import Record, nodes_of


class TreeView:
    """One moment of the tree; ``covers`` are those of the nodes below the cut."""

    def __init__(
        self, log: Routing, shards: Mapping[int, Record], portions: Mapping[str, Record],
        covers: Mapping[Path, Cover], stalled: Sequence[Stalled] = (),
        drift: Mapping[str, Record] | None = None,
    ) -> None:  # fmt: skip
        self._log, self._shards, self._portions = log, shards, portions
        self._covers = {**covers, **log.covers}
        self._stalled, self._drift = stalled, drift or {}
        self._fades, self._tree = bool(log.tree.get("half_life_s")), str(log.tree.get("tree", ""))

    @cached_property
    def _nodes(self) -> dict[Path, dict[str, Any]]:
        """What was reported of each node of the portions."""
        found = {}
        for name, record in self._portions.items():
            if node_path(name) in self._log.owners:
                for node in nodes_of(record):
                    found[node_path(node.pop("name"))] = node
        return found

    @cached_property
    def paths(self) -> list[Path]:
        """Every node, level by level."""
        return sorted({*self._log.states, *self._nodes}, key=lambda p: (len(p), p))

    @cached_property
    def _states(self) -> dict[Path, str]:
        return self._log.states | {path: node["state"] for path, node in self._nodes.items()}

    def state(self, path: Path) -> str | None:
        """Where a node is in its life; None if there is no such node."""
        return self._states.get(path)

    @cached_property
    def root_rows(self) -> int:
        """Rows that are at N0 and in no portion yet, however old each record is (R2)."""
        return at_root(self._log, self._shards.values(), self._portions)

    @cached_property
    def _total(self) -> int:
        return self.root_rows + sum(self.rows(p) for p in self._log.children(ROOT))

    def rows(self, path: Path) -> int:
        """Rows in the subtree of a node."""
        return self._total if path == ROOT else max(0, self._count(path, "rows") - self.gone(path))

    def _count(self, path: Path, name: str) -> int:
        """As it was reported of a node; of a portion's own, those below it are not looked at."""
        if level(path) > self._log.cut:
            return int(self._nodes.get(path, {}).get(name, 0))
        told = self._portions.get(node_name(path), {}).get("nodes", {}).get(name)
        return int(told[0]) if told else 0

    def gone(self, path: Path) -> int:
        """Rows that came to a node and have left since; below a trunk node its children tell."""
        turned = path == ROOT or self._portions.get(node_name(path), {}).get("trunk")
        if path in self._log.splits and turned:
            return sum(self.gone(child) for child in self._log.children(path))
        return self._count(path, "gone")

    @cached_property
    def _faded(self) -> dict[Path, float]:
        return faded_nodes(self._portions.values())

    def faded(self, path: Path) -> float:
        """The rows in the subtree of a node, each by its age; those that N0 or a trunk node still holds
        count whole."""
        if not self._fades:
            return float(self.rows(path))
        if path == ROOT or path in self._log.splits:
            below = self._log.children(path)
            held = max(0, self.rows(path) - sum(map(self.rows, below)))
            return held + sum(map(self.faded, below))
        return self._faded.get(path, 0.0)

    def folded(self, path: Path) -> bool:
        """Whether its siblings get what would come to it."""
        return self._log.folds(path) or bool(self._nodes.get(path, {}).get("folded"))

    def held(self, path: Path) -> int:
        """Rows that lie at the node itself."""
        if path == ROOT:
            return self.root_rows
        if self._states[path] != life.SPLITTING:
            return self.rows(path)
        # below a trunk node the reports are not of one moment
        return max(0, self.rows(path) - sum(self.rows(c) for c in self.children(path)))

    def children(self, path: Path) -> list[Path]:
        """The children a split node has, in order."""
        if path in self._log.splits or self.state(path) != life.SPLITTING:
            return self._log.children(path)
        cover = self._covers.get(path)
        return [(*path, i) for i in range(cover.k)] if cover else []

    @property
    def dimension(self) -> int:
        """Of every row; 0 until it is known."""
        return self._log.dimension

    @property
    def metric(self) -> str:
        return self._log.metric

    def summaries(self) -> dict[Path, NodeSummary]:
        """Every node as the solver's views take it, parents before children."""
        found = {}
        for path in self.paths:
            radius = self._nodes[path]["radius"] if path in self._nodes else None
            centroid = self._centroid(path)
            if path == ROOT or centroid is not None:
                rows, missed = self.rows(path), self.miss_bound(path)
                faded, gone = self.faded(path) if self._fades else None, self.folded(path)
                found[path] = NodeSummary(path, rows, radius, centroid, missed, faded, gone)
        return found

    def _centroid(self, path: Path) -> Float32 | None:
        """Of a node, by its parent's cover; None while the one that has it is not known yet."""
        above = self._covers.get(path[:-1])
        return above.centroids[path[-1]] if above and path[-1] < above.k else None

    def structure(self, number: int) -> Hashable:
        """Equal for two moments whose entries at a level, and their centres, are the same.

        N0's centre moves with the rows of its children: it is an entry at level 0, and at every
        level while it holds rows.
        """
        entries = tuple(
            p for p in self.paths
            if (level(p) == number or self._stands(p, number))
            and (p == ROOT or self._centroid(p) is not None)
        )  # fmt: skip
        folded = frozenset(filter(self.folded, self.paths))
        return entries, folded, self.rows(ROOT) if ROOT in entries else None

    def _stands(self, path: Path, number: int) -> bool:
        """Whether a node above a level is an entry of its cover."""
        return level(path) < number and (not self.children(path) or self.held(path) > 0)

    def overview(self) -> dict[str, Any]:
        """GET /v1/tree."""
        log = self._log
        return {
            "name": self._tree,
            "dimension": log.dimension,
            "metric": log.metric,
            "epoch": log.epoch,
            "rows": self.rows(ROOT) if log.tree else 0,
            "state": "growing" if self._growing or not log.tree else "grown",
            "levels": [self._level(n) for n in sorted({level(p) for p in self.paths})],
        }

    @property
    def _growing(self) -> bool:
        """Whether a level is open that a node may still end, or a node waits for it to close.

        A node that has not ended when its level closes may end any time.
        """
        levels = len(self._log.levels)
        return any(
            state == life.WAITING or (state == life.COVERING and level(path) >= levels)
            for path, state in self._states.items()
        )

    def epsilon(self, number: int) -> float | None:
        """What the nodes of a level cover by; None where that is not known (yet)."""
        if number == 0:
            return self._covers[ROOT].epsilon if ROOT in self._covers else None
        return self._log.gates.epsilons.get(number)

    def _level(self, number: int) -> dict[str, Any]:
        paths = [p for p in self.paths if level(p) == number]
        states = [self._states[p] for p in paths]
        closed = [entry["closed_by"] for entry in self._log.levels if entry["level"] == number]
        return {
            "level": number,
            "epsilon": self.epsilon(number),
            "nodes": len(paths),
            "covering": states.count(life.COVERING),
            "waiting": states.count(life.WAITING),
            "splitting": states.count(life.SPLITTING),
            "sinks": states.count(life.SINK),
            "leaves": states.count(life.LEAF),
            "rows": sum(self.held(p) for p in paths),
            "closed_by": closed[0] if closed else None,
        }

    def node(self, path: Path) -> dict[str, Any]:
        """GET /v1/nodes/NAME."""
        log, cover, state = self._log, self._covers.get(path), self._states[path]
        seen, missed = self._nodes.get(path, {}), self.miss_bound(path)
        portion = at if (at := log.above.portion(path)) in log.owners else None
        piped = portion or path
        return {
            "name": node_name(path),
            "pipe": pipe_name(path),
            "topic": pipe_topic(self._tree, path) if path == piped else None,
            "agent": agent_name(path) if path == piped else None,
            "level": level(path),
            "state": state,
            "mode": life.MODES[state],
            "epsilon": cover.epsilon if cover else self.epsilon(level(path)),
            "rows": self.rows(path),
            "faded": self.faded(path),
            "folded": self.folded(path),
            "held": self.held(path),
            "prototypes": cover.k if cover else 0,
            "gap": cover.gap if cover else None,
            "cover_rows": cover.rows if cover else None,
            "limit": seen.get("limit") or log.limits.get(path),
            "radius": seen.get("radius"),
            "mean_distance": seen.get("mean_distance"),
            "children": [node_name(c) for c in self.children(path)],
            "uncovered": self.uncovered(path),
            "miss_bound": None if missed is None else {"p": missed, "confidence": CONFIDENCE},
            "reopened": seen.get("reopened", 0) or len(log.reopened.generations(path)[1:]),
            "scanning": bool(seen.get("scanning")) or path in log.reopened.open,
            "entropy": cover and {"before": cover.entropy_before, "after": cover.entropy_after},
            "portion": node_name(portion) if portion else None,
            "shard": log.owners.get(portion or path),
            "lag": self._inputs.lag(node_name(piped)),
            "last_progress": self._inputs.moved(node_name(piped)),
            "restarts": self._inputs.restarts(node_name(piped)),
            "stalled": next((s.why for s in self._stalled if s.node == node_name(piped)), None),
            "history": self._history(path),
        }

    def miss_bound(self, path: Path) -> float | None:
        """Of the mass that a node's cover misses: by the rows it routed, else what its scan says."""
        seen, cover = self._nodes.get(path, {}), self._covers.get(path)
        told = missed(self._log, self._shards) if path == ROOT else seen.get("miss_bound")
        return cover.miss_bound[0] if told is None and cover else told

    def uncovered(self, path: Path) -> int:
        """Rows that passed a split node and lay beyond its epsilon."""
        at_root = (int(s["root"]["uncovered"]) for s in self._shards.values())
        return sum(at_root) if path == ROOT else self._count(path, "uncovered")

    def _history(self, path: Path) -> list[dict[str, Any]]:
        if path not in self._nodes:
            return self._log.history.get(path, [])
        names = ("mode", "offset", "time", "epoch")
        return [dict(zip(names, e, strict=True)) for e in self._nodes[path]["history"]]

    @cached_property
    def _inputs(self) -> Inputs:
        return Inputs(self._shards.values())

    def portion(self, path: Path) -> dict[str, Any]:
        """GET /v1/portions/NAME."""
        record = self._portions.get(node_name(path))
        rows, total = self.rows(path), self.rows(ROOT)
        move = self._log.moves.current(path)
        return {
            "portion": node_name(path),
            "owner": self._log.owners[path],
            "shadow": None if move is None or move.stage not in UNDER_WAY else move.target,
            "pinned": path in self._log.orders.pinned,
            "promoting": path in self._log.promotions.asked,
            "rows": rows,
            "bytes": int(record["bytes"]) if record else 0,
            "rate": float(record["rate"]) if record else 0.0,
            "share": rows / total if total else 0.0,
            "drift_score": self._drift.get(node_name(path), {}).get("score"),
        }
