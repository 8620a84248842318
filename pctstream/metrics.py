"""What a worker counts (CONTRACT: Metrics): base units, bounded labels. Gauges: `agents.gauges`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from pctstream.errors import DEAD_LETTER_CODES

LABELLED_NODES_MAX = 1000
"""Nodes with a label of their own; the rest, smallest first, share "other" (Prometheus' memory)."""

STAGES = ("bridged", "read", "stored", "routed", "applied")
REPEATS = ("watermark", "mark")
LOOKUPS = ("asked", "skipped", "false_positive")
QUESTIONS = ("exact", "approximate", "range", "row", "box", "nearest")
DENIED = ("budget", "identical", "min_size", "max_size", "depth", "regions", "bytes")
"""Why a split or merge of regions was not made (`core.adjust.Denied`)."""

disable_created_metrics()  # type: ignore[no-untyped-call]


def _counter(
    registry: CollectorRegistry, name: str, text: str, label: str, values: Sequence[str]
) -> Counter:
    """At 0 from the start: Prometheus sees no rise in what appears with its first value."""
    made = Counter(name, text, [label], registry=registry)
    for value in values:
        made.labels(value)
    return made


class Metrics:
    """All that one worker counts, and what the performer counts on the way."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        self.rows = _counter(
            registry, "pct_rows_total", "Rows that passed a stage.", "stage", STAGES
        )
        self.blocks = _counter(
            registry, "pct_blocks_total", "Blocks that passed a stage.", "stage", STAGES
        )
        self._stages = {s: (self.rows.labels(s), self.blocks.labels(s)) for s in STAGES}
        self.dead_letters = _counter(
            registry, "pct_dead_letters_total", "Rows refused.", "code", DEAD_LETTER_CODES
        )
        self.duplicates = _counter(
            registry,
            "pct_duplicates_dropped_total",
            "Rows dropped: applied before.",
            "reason",
            REPEATS,
        )
        self.restarts = Counter(
            "pct_node_restarts_total", "Node agents restarted.", registry=registry
        )
        self.shadow_rows = Counter(
            "pct_shadow_rows_total",
            "Rows written at a shard beside their owner.",
            registry=registry,
        )
        self.move_bytes = Counter(
            "pct_move_bytes_total", "Copied from other shards.", registry=registry
        )
        self.move_seconds = Histogram(
            "pct_move_seconds", "From planned to done.", registry=registry,
            buckets=(1, 3, 10, 30, 100, 300, 1000, 3000),
        )  # fmt: skip
        self.ended_moves = Counter(
            "pct_move_ignored_total", "Copies and fences of moves that had ended.",
            registry=registry,
        )  # fmt: skip
        self.apply_seconds = Histogram(
            "pct_apply_seconds", "One turn of a node.", registry=registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
        )  # fmt: skip
        self.expired_rows = Counter(
            "pct_expired_rows_total", "Rows that left because of their age.", registry=registry
        )
        self.purged_rows = Counter(
            "pct_purged_rows_total", "Rows that had left, taken off the disk.", registry=registry
        )
        self._questions(registry)

    def _questions(self, registry: CollectorRegistry) -> None:
        """What is asked, and what keeps the answers short."""
        self.query_seconds = Histogram(
            "pct_query_seconds", "Questions that were answered.", ["kind"], registry=registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
        )  # fmt: skip
        self.scanned = _counter(
            registry, "pct_query_rows_scanned_total", "Rows looked at for them.", "kind", QUESTIONS
        )
        self.lookups = _counter(
            registry,
            "pct_bloom_lookups_total",
            "Shards that an id was looked up in.",
            "result",
            LOOKUPS,
        )
        self._region_changes = Counter(
            "pct_region_changes_total", "Splits and merges of regions, made or denied (why).",
            ["kind", "result"], registry=registry,
        )  # fmt: skip
        for kind in ("split", "merge"):
            for result in ("made", *DENIED):
                self._region_changes.labels(kind, result)
        for kind in QUESTIONS:
            self.query_seconds.labels(kind)

    def query(self, kind: str, seconds: float, scanned: int) -> None:
        """One question that was answered here, and the rows all shards looked at for it."""
        self.query_seconds.labels(kind).observe(seconds)
        self.scanned.labels(kind).inc(scanned)

    def looked_up(self, asked: int, skipped: int, fooled: int) -> None:
        """One id: shards asked, those its filter left out, those of the asked that a filter named for
        nothing."""
        for result, shards in zip(LOOKUPS, (asked, skipped, fooled), strict=True):
            self.lookups.labels(result).inc(shards)

    def region_changes(self, kind: str, result: str, number: int) -> None:
        """Regions were split or merged, or that was denied."""
        if number:
            self._region_changes.labels(kind, result).inc(number)

    def dropped(self, rows: int, reason: str) -> None:
        if rows:
            self.duplicates.labels(reason).inc(rows)

    def expired(self, rows: int) -> None:
        self.expired_rows.inc(rows)

    def purged(self, rows: int) -> None:
        self.purged_rows.inc(rows)

    def dead(self, code: str) -> None:
        self.dead_letters.labels(code).inc()

    def stage(self, stage: str, rows: int) -> None:
        if stage == "shadowed":
            return self.shadow_rows.inc(rows)
        passed, blocks = self._stages[stage]
        passed.inc(rows)
        return blocks.inc()

    def text(self, names: Sequence[str] = ()) -> bytes:
        """The exposition format; of these metrics alone where some are named."""
        if not names:
            return generate_latest(self.registry)
        counted: Any = self.registry.restricted_registry(names)
        known = {name for family in counted.collect() for name in _names(family)}
        # what is made at a scrape has no name before
        return generate_latest(counted if known >= set(names) else Named(self.registry, names))


class Named(Collector):
    """Some metrics of a registry."""

    def __init__(self, registry: CollectorRegistry, names: Sequence[str]) -> None:
        self._registry, self._names = registry, set(names)

    def collect(self) -> Iterator[Metric]:
        """Those that are named."""
        return (f for f in self._registry.collect() if not self._names.isdisjoint(_names(f)))


def _names(family: Metric) -> set[str]:
    return {family.name, *(sample.name for sample in family.samples)}
