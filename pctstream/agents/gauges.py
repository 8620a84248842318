"""What a worker is like at the moment of a scrape (CONTRACT: Metrics).

Each worker tells of what is hosted here, so that sums over the workers are those of the tree: of a
node, the worker of its portion tells; of N0, the one that hosts shard 0. Nothing is kept between two
scrapes, so a node or shard that went elsewhere is gone from the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pctstream.agents.bridge import NODE
from pctstream.agents.placement import seen
from pctstream.core import life
from pctstream.core.moves import STAGES
from pctstream.core.names import ROOT, Path, level, node_name, node_path
from pctstream.metrics import LABELLED_NODES_MAX
from pctstream.tables import Record, nodes_of

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker

Samples = Iterable[tuple[tuple[object, ...], float]]


def gauge(name: str, text: str, labels: str, samples: Samples) -> Metric:
    """A gauge with these samples: (label values, value)."""
    family = GaugeMetricFamily(name, text, labels=labels.split())
    for values, value in samples:
        family.add_metric([str(v) for v in values], value)
    return family


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
        yield gauge("pct_ready", "1: this worker serves.", "", [((), float(not worker.ready))])
        yield gauge("pct_epoch", "Routing in force.", "", [((), worker.routing.epoch)])
        held = worker.inputs.reader.held()
        yield gauge("pct_inputs_paused", "Inputs not read, by who holds them: node or channel.",
                    "reason", [((who,), n) for who, n in held.items()])  # fmt: skip
        stalled = sorted({s.node for s in worker.monitor.stalled()})
        names = dict.fromkeys(stalled[:LABELLED_NODES_MAX], 1.0)
        if len(stalled) > len(names):
            names["other"] = float(len(stalled) - len(names))
        yield gauge("pct_node_stalled", "Nodes that stand still, by name.", "node",
                    [((n,), value) for n, value in names.items()])  # fmt: skip
        yield from self._room()
        yield from self._shards()
        yield from self._moves()
        yield from self._nodes()
        yield from self._regions()

    def _room(self) -> Iterator[Metric]:
        room, caches = self._worker.room, self._worker.hosting.caches
        yield gauge("pct_store_cache_bytes", "Blocks read and rows not flushed, of store.cache_bytes.",
                    "", [((), caches.blocks.get_usage())])  # fmt: skip
        yield gauge("pct_in_flight_rows", "Read and not yet applied or acked.", "",
                    [((), room.rows)])  # fmt: skip
        yield gauge("pct_in_flight_bytes", "The same, in bytes of messages.", "",
                    [((), room.bytes)])  # fmt: skip
        family = CounterMetricFamily(
            "pct_read_waits_seconds", "Nothing was read, by the limit reached.", labels=["limit"]
        )
        for limit, seconds in room.waited.items():
            family.add_metric([limit], seconds)
        yield family

    def _moves(self) -> Iterator[Metric]:
        worker = self._worker
        here, loads = worker.shards.copy(), seen(worker).relative()
        yield gauge("pct_shard_load_ratio", "Load of a shard over its share.", "shard",
                    [((s,), load) for s, load in loads.items() if s in here])  # fmt: skip
        # of the whole tree, told by the worker that tells of N0
        stages = Counter(move.stage for move in worker.routing.moves.all() if 0 in here)
        yield gauge("pct_moves", "Moves of portions.", "stage",
                    [((stage,), stages[stage]) for stage in STAGES if 0 in here])  # fmt: skip

    def _shards(self) -> Iterator[Metric]:
        records = list(self._worker.reporter.shards().values())
        for kind, text in (("rows", "Rows on a shard."), ("bytes", "Content bytes on a shard.")):
            yield gauge(f"pct_shard_{kind}", text, "shard",
                        [((r["shard"],), r[kind]) for r in records])  # fmt: skip
        lag: Counter[tuple[str, int]] = Counter()
        for record in records:
            for entry in record["inputs"]:
                kind = {"N0": "ingest", NODE: "bridge"}.get(entry["node"], "pipe")
                done = max(entry["stored"], entry["routed"])
                lag[kind, record["shard"]] += max(0, entry["end"] - 1 - done)
        yield gauge("pct_lag_messages", "Messages not yet done.", "kind shard", lag.items())

    def _nodes(self) -> Iterator[Metric]:
        log, covers = self._worker.routing, self._worker.model.covers()
        nodes = self._known()
        told = {p: n for p, n in nodes.items() if n["state"]}
        states = Counter((level(p), n["state"]) for p, n in told.items())
        yield gauge("pct_nodes", "Nodes of the tree.", "level state", states.items())
        rows = {node_name(p): float(n["rows"]) for p, n in nodes.items()}
        shown = named(rows)
        yield gauge(
            "pct_node_rows", "Rows in a node.", "node", [((n,), r) for n, r in shown.items()]
        )
        bounds = {
            node_name(p): cover.miss_bound[0]
            for p in nodes
            if (cover := log.covers.get(p) or covers.get(p))
        }
        yield gauge("pct_miss_bound_ratio", "Uncovered mass at 95 %, of the largest nodes.", "node",
                    [((n,), bounds[n]) for n in shown if n in bounds])  # fmt: skip
        limits = Counter(n["limit"] for n in nodes.values() if n["limit"])
        yield gauge("pct_limit_reached", "Nodes that a limit made a sink.", "limit",
                    [((limit,), n) for limit, n in limits.items()])  # fmt: skip
        deepest = max([self._deepest(), *(level(p) for p in told)])
        sizes = [
            sum(level(p) == at or (level(p) < at and n["state"] != life.SPLITTING)
                for p, n in told.items())
            for at in range(deepest + 1)
        ]  # fmt: skip
        yield gauge("pct_cover_size", "Nodes of the level's cover.", "level",
                    [((at,), size) for at, size in enumerate(sizes)])  # fmt: skip
        beyond: Counter[int] = Counter()
        for path, node in nodes.items():
            beyond[level(path)] += node["uncovered"]
        family = CounterMetricFamily("pct_uncovered_rows", "Rows beyond epsilon.", labels=["level"])
        for at, count in beyond.items():
            family.add_metric([str(at)], count)
        yield family

    def _regions(self) -> Iterator[Metric]:
        surveyor = self._worker.surveyor
        depths = surveyor.depths() if surveyor is not None else {}
        yield gauge("pct_regions", "Regions of the spatial index.", "depth",
                    [((depth,), n) for depth, n in sorted(depths.items())])  # fmt: skip
        lacking: Counter[str] = Counter()
        left_out = 0
        for _, survey in surveyor.surveys() if surveyor is not None else ():
            lacking.update(survey.index.unplaced())
            left_out += len(survey.index.left_out())
        yield gauge("pct_spatial_bytes", "Of the spatial indexes, of limits.spatial_bytes.", "",
                    [((), surveyor.ration.taken)] if surveyor is not None else [])  # fmt: skip
        yield gauge("pct_spatial_left_out_nodes", "Read from the store: no room in the index.", "",
                    [((), left_out)] if surveyor is not None else [])  # fmt: skip
        yield gauge("pct_unplaced_rows", "Rows without a position, by why.", "why",
                    [((why,), n) for why, n in sorted(lacking.items())])  # fmt: skip

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
