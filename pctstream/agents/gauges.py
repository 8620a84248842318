"""What a worker is like at the moment of a scrape (CONTRACT: Metrics).

Each worker tells of what is hosted here, so that sums over the workers are those of the tree: of a
node, the worker of its portion tells; of N0, the one that hosts shard 0. Nothing is kept between two
scrapes, so a node or shard that went elsewhere is gone from the next one.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pctstream.agents.bridge import NODE
from pctstream.agents.placement import seen
from pctstream.catalogue import BY_NAME
from pctstream.core import life
from pctstream.core.moves import STAGES
from pctstream.core.names import ROOT, Path, level, node_name, node_path
from pctstream.core.reopener import missed
from pctstream.errors import StoreFailed
from pctstream.faded import faded_nodes
from pctstream.holding import holding
from pctstream.metrics import LABELLED_NODES_MAX
from pctstream.rocks import RocksKV
from pctstream.tables import Record, nodes_of

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker
    from pctstream.pipes.room import Room

CACHE_BYTES = 1 << 20
Samples = Iterable[tuple[tuple[object, ...], float]]


def told(name: str, samples: Samples) -> Metric:
    """A metric of the catalogue with these samples: (label values, value)."""
    what = BY_NAME[name]
    family: GaugeMetricFamily | CounterMetricFamily
    if what.kind == "counter":
        family = CounterMetricFamily(name.removesuffix("_total"), what.help, labels=what.labels)
    else:
        family = GaugeMetricFamily(name, what.help, labels=what.labels)
    for values, value in samples:
        family.add_metric([str(v) for v in values], value)
    return family


def one(name: str, value: float) -> Metric:
    """A metric without labels."""
    return told(name, [((), value)])


def named(rows: dict[str, float]) -> dict[str, float]:
    """The largest with their names, the sum of the rest as "other" (Prometheus' memory)."""
    first = sorted(rows, key=lambda name: -rows[name])[:LABELLED_NODES_MAX]
    shown = {name: rows[name] for name in first}
    if len(rows) > len(first):
        shown["other"] = sum(rows.values()) - sum(shown.values())
    return shown


class Gauges(Collector):
    """Asked by the registry at every scrape."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """Every gauge."""
        worker = self._worker
        yield one("pct_ready", not worker.ready)
        yield one("pct_epoch", worker.routing.epoch)
        yield one("pct_fenced", worker.fenced)
        yield one("pct_hosted_shards", len(worker.shards))
        yield one("pct_ack_wait_seconds", worker.monitor.unacked_s())
        held = worker.inputs.reader.held()
        yield told("pct_inputs_paused", [((who,), n) for who, n in held.items()])
        stalled = sorted({s.node for s in worker.monitor.stalled()})
        names = dict.fromkeys(stalled[:LABELLED_NODES_MAX], 1.0)
        if len(stalled) > len(names):
            names["other"] = float(len(stalled) - len(names))
        yield told("pct_node_stalled", [((n,), value) for n, value in names.items()])
        yield from self._room()
        yield from self._shards()
        yield from self._moves()
        yield from self._nodes()
        yield from self._regions()

    def _room(self) -> Iterator[Metric]:
        room, caches = self._worker.room, self._worker.hosting.caches
        yield one("pct_store_cache_bytes", caches.blocks.get_usage())
        yield one("pct_in_flight_rows", room.rows)
        yield one("pct_in_flight_bytes", room.bytes)
        free = shutil.disk_usage(self._worker.cfg.store.dir).free
        yield one("pct_disk_free_bytes", free)
        sizes = self._worker.hosting.sizes(self._worker.shards.copy())
        yield told("pct_store_bytes", [((shard,), size) for shard, size in sizes.items()])

    def _moves(self) -> Iterator[Metric]:
        worker = self._worker
        here, loads = worker.shards.copy(), seen(worker).relative()
        yield told("pct_shard_load_ratio", [((s,), v) for s, v in loads.items() if s in here])
        # of the whole tree, told by the worker that tells of N0
        stages = Counter(move.stage for move in worker.routing.moves.all() if 0 in here)
        yield told("pct_moves", [((stage,), stages[stage]) for stage in STAGES if 0 in here])

    def _shards(self) -> Iterator[Metric]:
        records = list(self._worker.reporter.shards().values())
        for kind in ("rows", "bytes"):
            yield told(f"pct_shard_{kind}", [((r["shard"],), r[kind]) for r in records])
        lag: Counter[tuple[str, int]] = Counter()
        for record in records:
            for entry in record["inputs"]:
                kind = {"N0": "ingest", NODE: "bridge"}.get(entry["node"], "pipe")
                done = max(entry["stored"], entry["routed"])
                lag[kind, record["shard"]] += max(0, entry["end"] - 1 - done)
        yield told("pct_lag_messages", lag.items())
        broken = {r["shard"]: sum(e["error"] is not None for e in r["inputs"]) for r in records}
        warm = self._worker.standby.records() if self._worker.standby.shards else []
        yield told("pct_standby_lag_messages", [((r["shard"],), r["lag"]) for r in warm])
        yield told("pct_standby_level", [((r["shard"],), r["level"]) for r in warm])
        yield told("pct_standby_bytes", [((r["shard"],), r["bytes"]) for r in warm])
        yield told("pct_inputs_broken", [((shard,), n) for shard, n in broken.items()])

    def _nodes(self) -> Iterator[Metric]:
        nodes = self._known()
        states = Counter((level(p), n["state"]) for p, n in nodes.items() if n["state"])
        yield told("pct_nodes", states.items())
        shown = named({node_name(p): float(n["rows"]) for p, n in nodes.items()})
        yield told("pct_node_rows", [((n,), r) for n, r in shown.items()])
        yield from self._missed(nodes, shown)
        faded = {
            node_name(p): w for p, w in faded_nodes(self._worker.model.portions().values()).items()
        }
        yield told("pct_node_faded_rows", [((n,), faded[n]) for n in shown if n in faded])
        limits = Counter(n["limit"] for n in nodes.values() if n["limit"])
        yield told("pct_limit_reached", [((limit,), n) for limit, n in limits.items()])
        yield told("pct_cover_size", [((at,), n) for at, n in enumerate(self._sizes(nodes))])
        beyond: Counter[int] = Counter()
        for path, node in nodes.items():
            beyond[level(path)] += node["uncovered"]
        yield told("pct_uncovered_rows_total", [((at,), n) for at, n in beyond.items()])

    def _missed(
        self, nodes: Mapping[Path, Mapping[str, Any]], shown: Iterable[str]
    ) -> Iterator[Metric]:
        """What covers miss: by the rows that their nodes routed, else by their scans."""
        log, covers = self._worker.routing, self._worker.model.covers()
        bounds: dict[str, float] = {}
        root = missed(log, self._worker.reporter.all_shards())
        for path, node in nodes.items():
            if path == ROOT and root is not None:
                bounds[node_name(path)] = root
            elif node.get("miss_bound") is not None:
                bounds[node_name(path)] = node["miss_bound"]
            elif cover := log.covers.get(path) or covers.get(path):
                bounds[node_name(path)] = cover.miss_bound[0]
        limit = log.shape.miss_limit if log.tree else 0.0
        yield told("pct_miss_bound_ratio", [((n,), bounds[n]) for n in shown if n in bounds])
        yield told("pct_miss_limit_ratio", [((), limit)] if limit else [])

    def _sizes(self, nodes: Mapping[Path, Mapping[str, Any]]) -> list[int]:
        """By level: its nodes, and those above that rows lie at, of these; folded ones are no entries."""
        known = {p: n for p, n in nodes.items() if n["state"]}
        log = self._worker.routing
        folded = {p for p, n in known.items() if n.get("folded") or log.folds(p)}
        kept = [p for p in known if not any(p[:depth] in folded for depth in range(2, len(p) + 1))]
        deepest = max([self._deepest(), *map(level, known)])
        # those above the cut hand theirs down
        stay = {p for p in holding(known) if not log.above.has(p)}
        ends = [p for p in kept if p in stay or known[p]["state"] != life.SPLITTING]
        at, ended = Counter(map(level, kept)), Counter(map(level, ends))
        return [at[n] + sum(ended[above] for above in range(n)) for n in range(deepest + 1)]

    def _regions(self) -> Iterator[Metric]:
        surveyor = self._worker.surveyor
        depths = surveyor.depths() if surveyor is not None else {}
        yield told("pct_regions", [((depth,), n) for depth, n in sorted(depths.items())])
        lacking: Counter[str] = Counter()
        left_out = 0
        for _, survey in surveyor.surveys() if surveyor is not None else ():
            lacking.update(survey.index.unplaced())
            left_out += len(survey.index.left_out())
        taken = [((), surveyor.ration.taken)] if surveyor is not None else []
        yield told("pct_spatial_bytes", taken)
        yield told("pct_spatial_left_out_nodes", [((), left_out)] if surveyor is not None else [])
        yield told("pct_unplaced_rows", [((why,), n) for why, n in sorted(lacking.items())])

    def _deepest(self) -> int:
        """Of the whole tree, -1 without one: a leaf here counts for levels that are elsewhere."""
        records = self._worker.model.portions().values()
        return max((level(node_path(n["name"])) for r in records for n in nodes_of(r)), default=-1)

    def _known(self) -> dict[Path, dict[str, Any]]:
        """The nodes hosted here."""
        worker, log = self._worker, self._worker.routing
        records: list[Record] = list(worker.reporter.portions().values())
        nodes = {node_path(n["name"]): n for record in records for n in nodes_of(record)}
        roots = [s.root for s in list(worker.shards.values()) if s.root is not None]
        if roots and log.tree:
            nodes[ROOT] = {
                "state": log.states[ROOT] if 0 in worker.shards else "",
                "rows": sum(root.rows for root in roots),
                "uncovered": sum(root.uncovered for root in roots),
                "limit": log.limits.get(ROOT, "") if 0 in worker.shards else "",
            }
        return nodes


class Waits(Collector):
    """Counted by a worker's room; a total (`totals.Totals`)."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def collect(self) -> Iterator[Metric]:
        """Seconds by limit."""
        waited = self._room.waited.items()
        yield told("pct_read_waits_seconds_total", [((limit,), s) for limit, s in waited])


def expose(worker: Worker) -> None:
    """Let the worker's metrics show all of this, and go on from the totals of its lives before.

    A database of them that cannot be opened or read costs the totals and nothing else.
    """
    worker.metrics.count(Waits(worker.room))
    worker.metrics.registry.register(Gauges(worker))
    folder = FilePath(worker.cfg.store.dir) / "workers" / worker.name / "totals"
    try:
        worker.metrics.keep(RocksKV(folder, CACHE_BYTES), worker.tell)
    except (StoreFailed, ValueError) as error:
        worker.tell(f"totals begin at 0: {error}")
