"""What a worker counts (`catalogue.py` says what there is). Gauges: `agents.gauges`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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

from pctstream.catalogue import BY_NAME, LOOKUPS, STAGES
from pctstream.kv import KV
from pctstream.totals import Totals

LABELLED_NODES_MAX = 1000
"""Nodes with a label of their own; the rest, smallest first, share "other" (Prometheus' memory)."""


disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """All that one worker counts, and what the performer counts on the way."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counted = CollectorRegistry()
        self.rows = self._counter("pct_rows_total")
        self.blocks = self._counter("pct_blocks_total")
        self._stages = {s: (self.rows.labels(s), self.blocks.labels(s)) for s in STAGES}
        self.dead_letters = self._counter("pct_dead_letters_total")
        self.duplicates = self._counter("pct_duplicates_dropped_total")
        self.restarts = self._counter("pct_node_restarts_total")
        self.shadow_rows = self._counter("pct_shadow_rows_total")
        self.move_bytes = self._counter("pct_move_bytes_total")
        self.move_seconds = self._histogram("pct_move_seconds")
        self.ended_moves = self._counter("pct_move_ignored_total")
        self.apply_seconds = self._histogram("pct_apply_seconds")
        self.expired_rows = self._counter("pct_expired_rows_total")
        self.purged_rows = self._counter("pct_purged_rows_total")
        self.rebalances = self._counter("pct_rebalances_total")
        self.query_seconds = self._histogram("pct_query_seconds")
        self.scanned = self._counter("pct_query_rows_scanned_total")
        self.lookups = self._counter("pct_bloom_lookups_total")
        self._region_changes = self._counter("pct_region_changes_total")
        self._totals = Totals(self._counted)
        self.registry.register(self._totals)
        ProcessCollector(registry=self.registry)

    def _counter(self, name: str) -> Counter:
        """At 0 from the start: Prometheus sees no rise in what appears with its first value."""
        what = BY_NAME[name]
        made = Counter(name, what.help, what.labels, registry=self._counted)
        for values in what.values:
            made.labels(*values)
        return made

    def _histogram(self, name: str) -> Histogram:
        what, counted = BY_NAME[name], self._counted
        made = Histogram(name, what.help, what.labels, registry=counted, buckets=what.buckets)
        for values in what.values:
            made.labels(*values)
        return made

    def keep(self, kv: KV, say: Callable[[str], None]) -> None:
        """Totals go on from what this worker's lives before left in ``kv``."""
        self._totals.keep(kv, say)

    def count(self, counted: Collector) -> None:
        """What it shows are totals too."""
        self._counted.register(counted)

    def save(self) -> None:
        """Keep the totals as they are now."""
        self._totals.save()

    def close(self) -> None:
        """The same, for the last time."""
        self._totals.close()

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
        counted: Any = self._counted.restricted_registry(names)
        families = list(self._totals.of(counted))
        if {name for family in families for name in _names(family)} >= set(names):
            return generate_latest(Some(families))
        # the gauges, which cost most, only where one is named; what is made at a scrape has no name before
        wanted = set(names)
        return generate_latest(
            Some(f for f in self.registry.collect() if not wanted.isdisjoint(_names(f)))
        )


class Some(Collector):
    """Metrics that were picked."""

    def __init__(self, picked: Iterable[Metric]) -> None:
        self._picked = picked

    def collect(self) -> Iterator[Metric]:
        """Those."""
        return iter(self._picked)


def _names(family: Metric) -> set[str]:
    return {family.name, *(sample.name for sample in family.samples)}
