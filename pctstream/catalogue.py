"""Every metric of pctstream, declared once: what it is, its unit, its labels, what it says.

`metrics.py` makes the counters and histograms of it, `agents/gauges.py` the gauges, the reference in the
docs is printed from it, and tests compare it with what a worker exposes and with the dashboards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pctstream.errors import DEAD_LETTER_CODES

STAGES = ("bridged", "read", "stored", "routed", "applied")
REPEATS = ("watermark", "mark")
LOOKUPS = ("asked", "skipped", "false_positive")
QUESTIONS = ("exact", "approximate", "range", "row", "box", "nearest", "learning")
DENIED = ("budget", "identical", "min_size", "max_size", "depth", "regions", "bytes")
"""Why a split or merge of regions was not made (`core.adjust.Denied`)."""
LIMITS = ("rows_in_flight", "bytes_in_flight")
SHORT_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
LONG_S = (1, 3, 10, 30, 100, 300, 1000, 3000)


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric; ``values`` are those of its labels that are there from the start, at 0."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    labels: tuple[str, ...]
    unit: str
    says: str
    values: tuple[tuple[str, ...], ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def help(self) -> str:
        """What it says, without Markdown."""
        return self.says.replace("`", "")


def _counter(name: str, labels: str, unit: str, says: str, *values: tuple[str, ...]) -> Measure:
    return Measure("counter", name, tuple(labels.split()), unit, says, values)


def _gauge(name: str, labels: str, unit: str, says: str) -> Measure:
    return Measure("gauge", name, tuple(labels.split()), unit, says)


def _times(
    name: str, labels: str, says: str, buckets: tuple[float, ...], *values: tuple[str, ...]
) -> Measure:
    return Measure("histogram", name, tuple(labels.split()), "seconds", says, values, buckets)


def _each(values: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple((value,) for value in values)


# One metric a line, as in a table.
# fmt: off
CATALOGUE = (
    _counter("pct_rows_total", "stage", "rows", "that passed a stage", *_each(STAGES)),
    _counter("pct_blocks_total", "stage", "blocks", "that passed a stage: the pieces in which those rows came", *_each(STAGES)),
    _counter("pct_dead_letters_total", "code", "rows", "refused, by the code in `<tree>.dlq`", *_each(DEAD_LETTER_CODES)),
    _counter("pct_duplicates_dropped_total", "reason", "rows", "dropped, since they were applied before", *_each(REPEATS)),
    _counter("pct_expired_rows_total", "", "rows", "that left because of their age (`ingest.ttl_s`), at their owner"),
    _counter("pct_purged_rows_total", "", "rows", "that had left, taken off the disk of a shard, owner or shadow"),
    _times("pct_apply_seconds", "", "one turn of a node", SHORT_S),
    _times("pct_query_seconds", "kind", "questions answered by this worker, whoever hosts the rows: `exact`, `approximate`, `range`, `row`, `box`, `nearest`; `learning`: rows asked as questions, from which it is learnt where neighbours lie", SHORT_S, *_each(QUESTIONS)),
    _counter("pct_query_rows_scanned_total", "kind", "rows", "that all shards looked at for them", *_each(QUESTIONS)),
    _counter("pct_bloom_lookups_total", "result", "shards", "that an id was looked up in: `asked`; `skipped`, since a Bloom filter denied it; `false_positive`, those of the asked that a filter named for nothing", *_each(LOOKUPS)),
    _gauge("pct_lag_messages", "kind shard", "messages", "in the log and not yet done: `ingest`, `pipe`, or `bridge` for other people's topics"),
    _gauge("pct_inputs_paused", "reason", "inputs", "not read now: held by their `node`, or by a full `channel`"),
    _gauge("pct_inputs_broken", "shard", "inputs", "stopped for good, because their log was cut, made again, or lost its end"),
    _gauge("pct_in_flight_rows", "", "rows", "read and not yet applied or acked (`limits.rows_in_flight`)"),
    _gauge("pct_in_flight_bytes", "", "bytes", "the same, of their messages (`limits.bytes_in_flight`)"),
    _counter("pct_read_waits_seconds_total", "limit", "seconds", "that nothing was read, by the limit that was reached"),
    _gauge("pct_ack_wait_seconds", "", "seconds", "that the oldest report to the broker has not been acked; 0 while none waits"),
    _gauge("pct_store_cache_bytes", "", "bytes", "of `store.cache_bytes`: blocks read and rows not flushed"),
    _gauge("pct_store_bytes", "shard", "bytes", "of the files of a shard's store"),
    _gauge("pct_standby_lag_messages", "shard", "messages", "that a warm copy kept here has not read; -1: not known yet"),
    _gauge("pct_standby_level", "shard", "-", "1 if a warm copy kept here could take over now"),
    _gauge("pct_standby_bytes", "shard", "bytes", "of the files of a warm copy kept here"),
    _gauge("pct_disk_free_bytes", "", "bytes", "free where this worker keeps its stores"),
    _counter("pct_shadow_rows_total", "", "rows", "written at a shard beside their owner"),
    _times("pct_move_seconds", "", "moves that were done: from planned to the new epoch", LONG_S),
    _counter("pct_move_bytes_total", "", "bytes", "copied from other shards"),
    _counter("pct_move_ignored_total", "", "-", "copies and fences of moves that had ended"),
    _gauge("pct_nodes", "level state", "nodes", "of the tree"),
    _gauge("pct_node_rows", "node", "rows", "that came to a node"),
    _gauge("pct_node_faded_rows", "node", "rows", "of a node below N0, each by its age (`tree.half_life_s`); absent where weights do not fade"),
    _counter("pct_node_restarts_total", "", "restarts", "of node agents"),
    _gauge("pct_node_stalled", "node", "nodes", "that stand still, as this worker sees it; absent while none does"),
    _counter("pct_uncovered_rows_total", "level", "rows", "beyond epsilon of every centre when routed"),
    _gauge("pct_miss_bound_ratio", "node", "ratio", "of the mass that the node's cover may miss, with 95 % confidence"),
    _gauge("pct_miss_limit_ratio", "", "ratio", "beyond which a node re-opens (`tree.miss_limit`); absent where none does"),
    _gauge("pct_cover_size", "level", "nodes", "entries of the level's weighted cover"),
    _gauge("pct_limit_reached", "limit", "nodes", "that a limit keeps sinks; absent while none does"),
    _gauge("pct_shard_rows", "shard", "rows", "on a shard"),
    _gauge("pct_shard_bytes", "shard", "bytes", "of the rows on a shard, before compression"),
    _gauge("pct_shard_load_ratio", "shard", "ratio", "rows/s that come to a shard over its share: of `shards.rows_per_s`, or of the most that was seen, or of what comes"),
    _gauge("pct_drift_score", "portion", "noise", "by which a portion's rate is expected to change until the horizon; the rest of the portions: the highest"),
    _gauge("pct_portion_rows_per_second", "portion", "rows/s", "that came to a portion, smoothed over the last windows: what the forecast begins from"),
    _gauge("pct_forecast_rows_per_second", "portion bound", "rows/s", "expected at the horizon: `low`, `mean`, `high` of what holds four of five values"),
    _gauge("pct_forecast_mase_ratio", "portion model", "ratio", "error of a portion's forecasts over that of the naive one, by the model in use; absent until some were graded"),
    _gauge("pct_moves", "stage", "moves", "of portions, by the stage they are in or ended with"),
    _gauge("pct_regions", "depth", "regions", "of the spatial index of the shards here, by depth; absent where `spatial.enabled` is false"),
    _counter("pct_region_changes_total", "kind result", "changes", "`split` or `merge`: `made`, or denied and why: `budget`, `identical`, `min_size`, `max_size`, `depth`, `regions`, `bytes` (there is no room for it)", *((kind, result) for kind in ("split", "merge") for result in ("made", *DENIED))),
    _gauge("pct_spatial_bytes", "", "bytes", "of the spatial indexes here; `limits.spatial_bytes` bounds it"),
    _gauge("pct_spatial_left_out_nodes", "", "nodes", "that the spatial index has no room for: their rows are read from the store for each question"),
    _gauge("pct_unplaced_rows", "why", "rows", "stored and not in the spatial index: a field that is missing or no number, or no position"),
    _counter("pct_rebalances_total", "", "rebalances", "of the Faust group, as this worker saw them"),
    _gauge("pct_hosted_shards", "", "shards", "whose stores are open at this worker"),
    _gauge("pct_fenced", "", "-", "1: this worker is silent, since another may do its work by now"),
    _gauge("pct_epoch", "", "-", "number of the routing record in force"),
    _gauge("pct_ready", "", "-", "1: this worker serves"),
)
# fmt: on

BY_NAME = {measure.name: measure for measure in CATALOGUE}
