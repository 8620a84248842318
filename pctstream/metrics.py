"""The Prometheus metrics of a worker (CONTRACT: Metrics): base units, bounded labels."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

LABELLED_NODES_MAX = 1000
"""Nodes with a label of their own; the rest, smallest first, share "other" (Prometheus' memory)."""


class Metrics:
    """All metrics of one worker, and what the performer counts on the way."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self.rows = counter("pct_rows_total", "Rows that passed a stage.", "stage")
        self.blocks = counter("pct_blocks_total", "Blocks that passed a stage.", "stage")
        self.dead_letters = counter("pct_dead_letters_total", "Rows refused.", "code")
        self.duplicates = counter(
            "pct_duplicates_dropped_total", "Rows dropped: applied before.", "reason"
        )
        self.lag = gauge("pct_lag_messages", "Messages not yet done.", "kind", "shard")
        self.nodes = gauge("pct_nodes", "Nodes of the tree.", "level", "state")
        self.node_rows = gauge("pct_node_rows", "Rows in a node.", "node")
        self.restarts = counter("pct_node_restarts_total", "Node agents restarted.")
        self.stalled = gauge("pct_node_stalled", "Nodes that stand still, by name.", "node")
        self.uncovered = gauge("pct_uncovered_rows_total", "Rows beyond epsilon.", "level")
        self.miss_bound = gauge("pct_miss_bound_ratio", "Uncovered mass at 95 %.", "node")
        self.cover_size = gauge("pct_cover_size", "Nodes of the level's cover.", "level")
        self.shard_rows = gauge("pct_shard_rows", "Rows on a shard.", "shard")
        self.shard_bytes = gauge("pct_shard_bytes", "Content bytes on a shard.", "shard")
        self.paused = gauge(
            "pct_inputs_paused", "Inputs not read, by who holds them: node or channel.", "reason"
        )
        self.limits = gauge("pct_limit_reached", "Nodes that a limit made a sink.", "limit")
        self.epoch = gauge("pct_epoch", "Version of the routing in force.")
        self.ready = gauge("pct_ready", "1: this worker serves.")
        self.apply_seconds = Histogram(
            "pct_apply_seconds", "One turn of a node.", registry=registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
        )  # fmt: skip

    def dropped(self, rows: int, reason: str) -> None:
        if rows:
            self.duplicates.labels(reason).inc(rows)

    def dead(self, code: str) -> None:
        self.dead_letters.labels(code).inc()

    def stage(self, stage: str, rows: int) -> None:
        self.rows.labels(stage).inc(rows)
        self.blocks.labels(stage).inc()

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
