"""The dashboards as tables of panels: what each shows, why, in which unit, by which queries.

Run it to write `grafana/boards/*.json` again; a test compares them. Every query sums over the workers, since each
tells of what is hosted there, and is bounded to the job that the reader picked.
"""

from __future__ import annotations

import json
from pathlib import Path

from panel import Board, Interval, Panel, Query, Variable, model

FOLDER = Path(__file__).parent / "grafana" / "boards"
JOB = 'job="$job"'
RATE = "[$__rate_interval]"
NONE_YET = " or on() vector(0)"
"""For what has no samples as long as nothing is wrong: the panel then says 0."""


def total(metric: str, by: str = "", labels: str = "") -> str:
    """The sum over the workers."""
    where = f"{{{','.join(filter(None, (JOB, labels)))}}}"
    return f"sum {f'by ({by}) ' if by else ''}({metric}{where})"


def rate(metric: str, by: str = "", labels: str = "") -> str:
    """The same of its rate a second."""
    where = f"{{{','.join(filter(None, (JOB, labels)))}}}"
    return f"sum {f'by ({by}) ' if by else ''}(rate({metric}{where}{RATE}))"


def quantile(of: float, metric: str, by: str = "") -> str:
    """A quantile of a histogram."""
    return (
        f"histogram_quantile({of}, {rate(f'{metric}_bucket', ', '.join(filter(None, ('le', by))))})"
    )


def halves(metric: str) -> tuple[Query, ...]:
    """How long most take, and the slowest."""
    return tuple(Query(quantile(q, metric), name) for q, name in ((0.5, "p50"), (0.99, "p99")))


# fmt: off
READY = Panel("Workers ready", "Workers that serve, of those that Prometheus is to ask.", "none", (
    Query(total("pct_ready") + NONE_YET, "ready"), Query(f"count(up{{{JOB}}})", "all"),
), "stat")
ROWS = Panel("Rows", "Rows that the tree holds, each in one node.", "short", (
    Query(total("pct_shard_rows"), "rows"),
), "stat")
STALLED = Panel("Nodes that stand still", "Nodes with work that got nowhere for a session timeout, or "
    "whose worker is silent. `pctstream status` names them.", "none", (
    Query(f"count(max by (node) (pct_node_stalled{{{JOB}}})){NONE_YET}", "nodes"),
), "stat", line=1)
BROKEN = Panel("Inputs broken", "Inputs that stopped for good, since their log was cut, made again or lost "
    "its end: rows may be lost. `pctstream status` says which and why.", "none", (
    Query(total("pct_inputs_broken"), "inputs"),
), "stat", line=1)
LIMITS = Panel("Limits reached", "Nodes that stay sinks because of a limit of the configuration "
    "([limits]), by which.", "none", (
    Query(total("pct_limit_reached", "limit") + NONE_YET, "{{limit}}"),
), "stat", line=1)
EPOCH = Panel("Epoch", "Number of the routing record in force; it rises with every split and move, and is "
    "the same at all workers but for a moment.", "none", (
    Query(f"max(pct_epoch{{{JOB}}})", "highest"), Query(f"min(pct_epoch{{{JOB}}})", "lowest"),
), "stat")
STAGES = Panel("Rows by stage", "Rows that passed a stage, a second. A row passes each stage once; "
    "repeats are dropped and not counted.", "rowsps", (
    Query(rate("pct_rows_total", "stage"), "{{stage}}"),
))
LAG = Panel("Lag", "Messages that are in the log and not yet done. Grows while more comes in than is "
    "applied: more workers, or fewer rows.", "short", (
    Query(total("pct_lag_messages", "kind, shard"), "{{kind}} of shard {{shard}}"),
))
APPLY = Panel("Time to apply", "One turn of a node, from its rows decoded to its store written: half "
    "of the turns are shorter than p50, 1 in 100 is longer than p99.", "s", halves("pct_apply_seconds"))
DEAD = Panel("Dead letters", "Rows refused in the life of the tree's workers, by code. They lie in the topic "
    "<tree>.dlq with their reason.", "short", (
    Query(f"{total('pct_dead_letters_total', 'code')} > 0{NONE_YET}", "{{code}}"),
))
DUPLICATES = Panel("Repeats dropped", "Rows a second that came again and were dropped, by what knew them: the "
    "input's watermark (read again after a crash) or a mark (written again by someone).", "rowsps", (
    Query(rate("pct_duplicates_dropped_total", "reason"), "{{reason}}"),
))
LEFT = Panel("Rows that left", "Rows a second that left because of their age, and that were taken off the "
    "disk after they had left.", "rowsps", (
    Query(rate("pct_expired_rows_total"), "expired"), Query(rate("pct_purged_rows_total"), "purged"),
))
SIZE = Panel("Rows a block", "Rows of the blocks that passed a stage: many small ones cost more than few "
    "large ones (blocks.rows, blocks.linger_ms).", "short", (
    Query(f"{rate('pct_rows_total', 'stage')} / {rate('pct_blocks_total', 'stage')}", "{{stage}}"),
))

NODES = Panel("Nodes", "Nodes of each level by state. A level closes when none of it covers any more, "
    "or by rows or time.", "none", (
    Query(total("pct_nodes", "level, state"), "level {{level}} {{state}}"),
), stacked=True)
COVER = Panel("Cover size", "Entries of each level's weighted cover: its nodes and the leaves above "
    "it.", "none", (Query(total("pct_cover_size", "level"), "level {{level}}"),))
UNCOVERED = Panel("Uncovered rows", "Rows a second that lay beyond epsilon of every centre when their node "
    "routed them, by the node's level: where this rises, the stream has gone where no cover is.", "rowsps", (
    Query(rate("pct_uncovered_rows_total", "level"), "level {{level}}"),
))
SHARE = Panel("Uncovered share", "Those rows over all that the tree holds, since it began.", "percentunit", (
    Query(f"{total('pct_uncovered_rows_total', 'level')} / on() group_left() {total('pct_shard_rows')}",
          "level {{level}}"),
))
MISSED = Panel("What covers may miss", "Bound of the mass of rows that a node's cover misses, with 95 % "
    "confidence, from the rows it routed: the ten largest, and the limit beyond which a node looks for more "
    "of its cover (tree.miss_limit).", "percentunit", (
    Query(f"topk(10, max by (node) (pct_miss_bound_ratio{{{JOB}}}))", "{{node}}"),
    Query(f"max (pct_miss_limit_ratio{{{JOB}}})", "limit"),
), "bargauge")
LARGEST = Panel("Largest nodes", "Rows that came to the ten nodes to which most came.", "short", (
    Query(f"topk(10, {total('pct_node_rows', 'node')})", "{{node}}"),
), "bargauge")
FADED = Panel("Heaviest nodes", "Faded rows of the ten nodes below N0 that weigh most: a row counts half after "
    "tree.half_life_s. Empty where weights do not fade.", "short", (
    Query(f"topk(10, {total('pct_node_faded_rows', 'node')})", "{{node}}"),
), "bargauge")
RESTARTS = Panel("Restarts of nodes", "Agents of nodes that were started again in an hour, since they raised "
    "or stood still.", "none", (
    Query(f"sum(increase(pct_node_restarts_total{{{JOB}}}[1h]))", "restarts"),
), "stat", line=3)

PICKED = 'portion=~"$portion"'
SCORES = Panel("Drift scores", "How much the rate of each portion is expected to change until the horizon, "
    "in units of its noise. The line is drift.threshold by default: above it a portion of an "
    "overloaded shard may move.", "none", (
    Query(f"max by (portion) (pct_drift_score{{{JOB},{PICKED}}})", "{{portion}}"),
), line=3.0, width=12)
FORECAST = Panel("Forecast against what came", "The band that was forecast for this moment, one horizon ago, "
    "and the rows a second that came (sums over the portions picked). It is made to hold four of five values; "
    "pick the horizon that is configured: drift.horizon times drift.window_s.", "rowsps", (
    Query(f"sum(pct_portion_rows_per_second{{{JOB},{PICKED}}})", "came"),
    *(Query(f'sum(pct_forecast_rows_per_second{{{JOB},{PICKED},bound="{bound}"}} offset $horizon)', bound)
      for bound in ("mean", "low", "high")),
), band=("low", "high"), width=12)
AHEAD = Panel("Expected at the horizon", "Rows a second that each portion is expected to have at the horizon, "
    "stacked: the load to come.", "rowsps", (
    Query(total("pct_forecast_rows_per_second", "portion", f'{PICKED},bound="mean"'), "{{portion}}"),
), stacked=True)
CAME = Panel("Rows by portion", "Rows a second that came to each portion, as the forecast sees them: smoothed "
    "over the last windows.", "rowsps", (
    Query(total("pct_portion_rows_per_second", "portion", PICKED), "{{portion}}"),
), stacked=True)
MASE = Panel("Error of the forecasts", "Error over that of the naive forecast (nothing changes), by model and "
    "portion: below 1 the model is worth its time.", "none", (
    Query(f"max by (portion, model) (pct_forecast_mase_ratio{{{JOB},{PICKED}}})", "{{portion}} {{model}}"),
), line=1.0)

LOAD = Panel("Load by shard", "Rows a second that come to each shard, over its share of what all carry "
    "together. Above drift.tolerance (1.1) a plan is made, if the drift of a portion asks for "
    "it.", "none", (Query(total("pct_shard_load_ratio", "shard"), "shard {{shard}}"),), line=1.1)
HELD = Panel("Rows by shard", "Rows that each shard holds: those of its portions, and of N0 before its split.", "short", (
    Query(total("pct_shard_rows", "shard"), "shard {{shard}}"),
), stacked=True)
BYTES = Panel("Bytes of rows by shard", "Bytes of the rows in each shard's store, before compression.", "bytes", (
    Query(total("pct_shard_bytes", "shard"), "shard {{shard}}"),
), stacked=True)
DISK = Panel("Files by shard", "Bytes of the files of each shard's store, as they lie on the disk.", "bytes", (
    Query(total("pct_store_bytes", "shard"), "shard {{shard}}"),
), stacked=True)
MOVES = Panel("Moves", "Portions by the stage of their move, done and aborted ones since the tree began. "
    "`pctstream moves list` names them.", "none", (
    Query(total("pct_moves", "stage"), "{{stage}}"),
))
SHADOWED = Panel("Written twice", "Rows a second that are written at two shards while portions move, and "
    "copies and fences of moves that had ended.", "rowsps", (
    Query(rate("pct_shadow_rows_total"), "shadowed"), Query(rate("pct_move_ignored_total"), "ignored"),
))
COPIED = Panel("Bytes copied", "Bytes a second that were copied from other shards; moves.bytes_per_s bounds "
    "it.", "Bps", (Query(rate("pct_move_bytes_total"), "copied"),))
MOVED = Panel("Time of a move", "From planned to done: half of the moves in the last hour took less than p50, "
    "1 in 100 longer than p99.", "s", tuple(
    Query(f"histogram_quantile({q}, sum by (le) (increase(pct_move_seconds_bucket{{{JOB}}}[1h])))", name)
    for q, name in ((0.5, "p50"), (0.99, "p99"))
))

REGIONS = Panel("Regions", "Regions of the spatial index by depth: many deep ones where rows crowd "
    "(docs/spatial.md).", "none", (
    Query(total("pct_regions", "depth"), "depth {{depth}}"),
), stacked=True)
CHANGES = Panel("Changes of regions", "Splits and merges a second that were made.", "ops", (
    Query(rate("pct_region_changes_total", "kind", 'result="made"'), "{{kind}}"),
))
DENIED = Panel("Changes that were denied", "Splits and merges a second that were not made, by why: budget is "
    "spatial.budget_per_min, the others are limits of [spatial].", "ops", (
    Query(rate("pct_region_changes_total", "kind, result", 'result!="made"'), "{{kind}} {{result}}"),
))
UNPLACED = Panel("Rows without a place", "Rows that are stored and not in the spatial index, by why.", "short", (
    Query(total("pct_unplaced_rows", "why") + NONE_YET, "{{why}}"),
))
PLACES = Panel("Memory of the index", "Bytes of the spatial indexes; limits.spatial_bytes bounds them at each "
    "worker.", "bytes", (Query(total("pct_spatial_bytes", "instance"), "{{instance}}"),))
LEFT_OUT = Panel("Nodes left out", "Nodes that the spatial index has no room for: their rows are read from the "
    "store for each question.", "none", (Query(total("pct_spatial_left_out_nodes"), "nodes"),), "stat", line=1)

ANSWERS = Panel("Time to answer", "Questions to the rows (search, range, a row by its id, places): half of them "
    "take less than p50, 1 in 100 takes longer than p99.", "s", halves("pct_query_seconds"), width=12)
SLOWEST = Panel("Time to answer by kind", "The same, 1 in 100 takes longer, by kind of question.", "s", (
    Query(quantile(0.99, "pct_query_seconds", "kind"), "{{kind}}"),
), width=12)
ASKED = Panel("Questions", "Questions a second that were answered, by kind.", "ops", (
    Query(rate("pct_query_seconds_count", "kind"), "{{kind}}"),
))
SCANNED = Panel("Rows looked at", "Rows that were looked at for a question, by kind: few where balls and "
    "filters leave most of them out.", "short", (
    Query(f"{rate('pct_query_rows_scanned_total', 'kind')} / {rate('pct_query_seconds_count', 'kind')}",
          "{{kind}}"),
))
BLOOM = Panel("Bloom filters", "Shards a second that an id was looked up in: asked, skipped since their filter "
    "denied it, asked for nothing.", "ops", (
    Query(rate("pct_bloom_lookups_total", "result"), "{{result}}"),
))

WORKER = 'instance=~"$instance"'
LAGGING = Panel("Lag by kind", "Messages in Kafka that are not done: of the ingest topic, of the child pipes, of "
    "other people's topics.", "short", (Query(total("pct_lag_messages", "kind"), "{{kind}}"),))
ACKS = Panel("Wait for the broker", "Seconds that a worker's oldest report has not been acked: more than a "
    "few, and the broker is gone or stuck.", "s", (
    Query(f"max by (instance) (pct_ack_wait_seconds{{{JOB},{WORKER}}})", "{{instance}}"),
), line=10)
PAUSED = Panel("Inputs paused", "Inputs that are not read for now, by what holds them: the node asked "
    "for it, or too much waits for it already (limits.channel_blocks).", "none", (
    Query(total("pct_inputs_paused", "reason", WORKER), "{{reason}}"),
))
FLIGHT = Panel("Rows in flight", "Rows that were read and are not applied or acked (limits.rows_in_flight).",
    "short", (Query(total("pct_in_flight_rows", "instance", WORKER), "{{instance}}"),))
FLYING = Panel("Bytes in flight", "The same, in bytes of their messages (limits.bytes_in_flight).", "bytes", (
    Query(total("pct_in_flight_bytes", "instance", WORKER), "{{instance}}"),
))
WAITS = Panel("Share of time not reading", "Of each second, how much nothing was read, since a limit was "
    "reached: near 1 the worker is what is slow.", "percentunit", (
    Query(rate("pct_read_waits_seconds_total", "limit, instance", WORKER), "{{limit}} {{instance}}"),
))
HOSTED = Panel("Shards hosted", "Shards whose stores are open, by worker: the Faust group spreads them.", "none", (
    Query(total("pct_hosted_shards", "instance", WORKER), "{{instance}}"),
), stacked=True)
COPIES = Panel("Lag of warm copies", "Messages that the copies of shards have not read (store.standby): one that "
    "is level could take its shard over now.", "short", (
    Query(f"max by (shard) (pct_standby_lag_messages{{{JOB},{WORKER}}})", "copy of {{shard}}"),
    Query(total("pct_standby_level", "", WORKER), "level"),
))
KEPT = Panel("Size of warm copies", "Files of the copies that a worker keeps of other workers' shards.", "bytes", (
    Query(total("pct_standby_bytes", "instance", WORKER), "{{instance}}"),
))
GROUP = Panel("Rebalances", "Rebalances of the Faust group in ten minutes, as the workers saw them.", "none", (
    Query(f"sum by (instance) (increase(pct_rebalances_total{{{JOB},{WORKER}}}[10m]))", "{{instance}}"),
))
FENCED = Panel("Fenced", "Workers that are silent, since they stood still and another may do their work.",
    "none", (Query(total("pct_fenced"), "workers"),), "stat", line=1)
MEMORY = Panel("Memory", "Resident memory of each worker, and the part of it that RocksDB's cache "
    "takes.", "bytes", (
    Query(total("process_resident_memory_bytes", "instance", WORKER), "{{instance}}"),
    Query(total("pct_store_cache_bytes", "instance", WORKER), "cache of {{instance}}"),
))
CORES = Panel("Cores", "Processor time of each worker: 1 is one core.", "none", (
    Query(rate("process_cpu_seconds_total", "instance", WORKER), "{{instance}}"),
))
FREE = Panel("Disk free", "Bytes that are free where a worker keeps its stores; `pctstream doctor` says how "
    "long they last.", "bytes", (
    Query(f"min by (instance) (pct_disk_free_bytes{{{JOB},{WORKER}}})", "{{instance}}"),
))

PORTION = Variable("portion", "Portion", "pct_drift_score")
INSTANCE = Variable("instance", "Worker", "pct_ready")
HORIZON = Interval("horizon", "Horizon", "drift.horizon times drift.window_s", ("30s", "6s", "1m", "2m", "5m"))
BOARDS = (
    Board("pctstream", "pctstream: overview", "What comes in, what it became, and whether all is well.", (
        READY, ROWS, STALLED, BROKEN, LIMITS, EPOCH, STAGES, LAG, APPLY, NODES, LOAD, ANSWERS,
        DEAD, DUPLICATES, LEFT)),
    Board("pctstream-tree", "pctstream: tree", "The probabilistic cover tree, level by level.", (
        ROWS, STALLED, LIMITS, RESTARTS, EPOCH, NODES, COVER, UNCOVERED, SHARE, MISSED, LARGEST, FADED)),
    Board("pctstream-drift", "pctstream: drift and forecast", "Where the stream is going, and how well that "
        "was foreseen.", (SCORES, FORECAST, AHEAD, CAME, MASE), (PORTION, HORIZON)),
    Board("pctstream-shards", "pctstream: shards and moves", "What each shard carries, and portions on their "
        "way.", (LOAD, HELD, BYTES, DISK, MOVES, SHADOWED, COPIED, MOVED)),
    Board("pctstream-spatial", "pctstream: spatial index", "How fine the index of places is, and what that "
        "costs (only where spatial.enabled).", (LEFT_OUT, REGIONS, CHANGES, DENIED, UNPLACED, PLACES)),
    Board("pctstream-search", "pctstream: search", "Questions, and what was looked at for them.", (
        ANSWERS, SLOWEST, ASKED, SCANNED, BLOOM)),
    Board("pctstream-health", "pctstream: Kafka and Faust", "What the workers, their group and the broker are "
        "like.", (READY, BROKEN, FENCED, RESTARTS, LAGGING, ACKS, SIZE, PAUSED, FLIGHT, FLYING, WAITS,
                  HOSTED, COPIES, KEPT, GROUP, MEMORY, CORES, FREE), (INSTANCE,)),
)

# fmt: on


def text(board: Board) -> str:
    """The file of a dashboard."""
    return json.dumps(model(board), indent=1) + "\n"


def file(board: Board) -> Path:
    """Where it lies."""
    return FOLDER / f"{board.uid}.json"


if __name__ == "__main__":
    for one in BOARDS:
        file(one).write_text(text(one), encoding="utf-8")
