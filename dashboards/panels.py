"""The Grafana dashboard as a table of panels: what it shows, why, in which unit, by which queries.

Run it to write `grafana/pctstream.json` again; a test compares the two. Every query is a sum over the
workers, since each tells of what is hosted there, and is bounded to the job that the reader picked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "grafana" / "pctstream.json"
WIDTH = 24
JOB = '{job="$job"}'
NONE_YET = " or on() vector(0)"
"""For what has no samples as long as nothing is wrong: the panel then says 0."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; `queries` are (expression, legend), the expression without its job."""

    title: str
    why: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    stacked: bool = False
    line: float = 0.0
    """Where a line is drawn, 0: nowhere."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in cells of the grid."""
        return (6, 4) if self.kind == "stat" else (8, 8)


PANELS = (
    Panel("Workers ready", "Workers that serve, of those that Prometheus is to ask.", "none", (
        (f"sum(pct_ready{JOB}){NONE_YET}", "ready"),
        (f"count(up{JOB})", "all"),
    ), "stat"),
    Panel("Rows", "Rows that the tree holds, each in one node.", "short", (
        (f"sum(pct_shard_rows{JOB})", "rows"),
    ), "stat"),
    Panel("Nodes that stand still", "Nodes with work that got nowhere for a session timeout, or "
          "whose worker is silent. `pctstream status` names them.", "none", (
        (f"count(max by (node) (pct_node_stalled{JOB})){NONE_YET}", "nodes"),
    ), "stat"),
    Panel("Limits reached", "Nodes that stay sinks because of a limit of the configuration "
          "([limits]), by which.", "none", (
        (f"sum by (limit) (pct_limit_reached{JOB}){NONE_YET}", "{{limit}}"),
    ), "stat"),
    Panel("Rows by stage", "Rows that passed a stage, a second. A row passes each stage once; "
          "repeats are dropped and not counted.", "rowsps", (
        (f"sum by (stage) (rate(pct_rows_total{JOB}[$__rate_interval]))", "{{stage}}"),
    )),
    Panel("Lag", "Messages that are in the log and not yet done. Grows while more comes in than is "
          "applied: more workers, or fewer rows.", "short", (
        (f"sum by (kind, shard) (pct_lag_messages{JOB})", "{{kind}} of shard {{shard}}"),
    )),
    Panel("Time to apply", "One turn of a node, from its rows decoded to its store written: half "
          "of the turns are shorter than p50, 1 in 100 is longer than p99.", "s", tuple(
        (f"histogram_quantile({q}, sum by (le) (rate(pct_apply_seconds_bucket{JOB}"
         "[$__rate_interval])))", legend)
        for q, legend in ((0.5, "p50"), (0.99, "p99"))
    )),
    Panel("Nodes", "Nodes of each level by state. A level closes when none of it covers any more, "
          "or by rows or time.", "none", (
        (f"sum by (level, state) (pct_nodes{JOB})", "level {{level}} {{state}}"),
    ), stacked=True),
    Panel("Cover size", "Entries of each level's weighted cover: its nodes and the leaves above "
          "it.", "none", (
        (f"sum by (level) (pct_cover_size{JOB})", "level {{level}}"),
    )),
    Panel("Uncovered share", "Rows beyond epsilon of every centre when their node routed them, over "
          "all rows; and what the worst cover may miss (with 95 % confidence).", "percentunit", (
        (f"sum by (level) (pct_uncovered_rows_total{JOB}) / on() group_left() "
         f"sum(pct_shard_rows{JOB})", "level {{level}}"),
        (f"max(pct_miss_bound_ratio{JOB})", "worst bound"),
    )),
    Panel("Dead letters", "Rows refused since the workers started, by code. They lie in the topic "
          "<tree>.dlq with their reason.", "short", (
        (f"sum by (code) (pct_dead_letters_total{JOB}) > 0{NONE_YET}", "{{code}}"),
    )),
    Panel("Bytes by shard", "Bytes of the rows in each shard's store, before compression.", "bytes", (
        (f"sum by (shard) (pct_shard_bytes{JOB})", "shard {{shard}}"),
    ), stacked=True),
    Panel("Drift scores", "How much the rate of each portion is expected to change until the horizon, "
          "in units of its noise. The line is drift.threshold by default: above it a portion of an "
          "overloaded shard may move.", "none", (
        (f"sum by (portion) (pct_drift_score{JOB})", "{{portion}}"),
    ), line=3.0),
    Panel("Forecast", "Rows a second that are expected at the horizon, and the band that is to hold "
          "four of five values (sums over the portions).", "rowsps", (
        (f"sum by (bound) (pct_forecast_rows_per_second{JOB})", "{{bound}}"),
    )),
    Panel("Load by shard", "Rows a second that come to each shard, over its share of what all carry "
          "together. Above drift.tolerance (1.1) a plan is made, if the drift of a portion asks for "
          "it.", "none", (
        (f"sum by (shard) (pct_shard_load_ratio{JOB})", "shard {{shard}}"),
    )),
    Panel("Moves", "Portions by the stage of their move, and the rows a second that are written at two "
          "shards meanwhile. `pctstream moves list` names them.", "none", (
        (f"sum by (stage) (pct_moves{JOB})", "{{stage}}"),
        (f"sum(rate(pct_shadow_rows_total{JOB}[$__rate_interval]))", "shadowed rows/s"),
    )),
    Panel("Time to answer", "Questions to the rows (search, range, a row by its id): half of them "
          "take less than p50, 1 in 100 takes longer than p99.", "s", tuple(
        (f"histogram_quantile({q}, sum by (le) (rate(pct_query_seconds_bucket{JOB}"
         "[$__rate_interval])))", legend)
        for q, legend in ((0.5, "p50"), (0.99, "p99"))
    )),
    Panel("Regions", "Regions of the spatial index by depth, and the splits and merges a second that were "
          "made or denied, by why (docs/spatial.md).", "none", (
        (f"sum by (depth) (pct_regions{JOB})", "depth {{depth}}"),
        (f"sum by (kind, result) (rate(pct_region_changes_total{JOB}[$__rate_interval]))",
         "{{kind}} {{result}}"),
    )),
    Panel("Inputs paused", "Inputs that are not read for now, by what holds them: the node asked "
          "for it, or too much waits for it already (limits.channel_blocks).", "none", (
        (f"sum by (reason) (pct_inputs_paused{JOB})", "{{reason}}"),
    )),
)  # fmt: skip


def placed(panels: tuple[Panel, ...]) -> list[dict[str, int]]:
    """Where each panel lies: from left to right, a new line where one does not fit or is higher."""
    places = []
    x = y = line = 0
    for panel in panels:
        width, height = panel.size
        if x + width > WIDTH or (x and height != line):
            x, y = 0, y + line
        places.append({"x": x, "y": y, "w": width, "h": height})
        x, line = x + width, height
    return places


def drawn(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    """A panel as Grafana's JSON model has it."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    custom = {"fillOpacity": 10, "showPoints": "never"}
    if panel.stacked:
        custom["stacking"] = {"mode": "normal"}
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    limits = {"mode": "absolute", "steps": [*steps, {"color": "red", "value": panel.line}]}
    if panel.line:
        custom["thresholdsStyle"] = {"mode": "line"}
    options: dict[str, Any] = (
        {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name"}
        if panel.kind == "stat"
        else {"legend": {"displayMode": "list"}, "tooltip": {"mode": "multi"}}
    )
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.why,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0}
            | ({} if panel.kind == "stat" else {"custom": custom})
            | ({"thresholds": limits} if panel.line else {}),
            "overrides": [],
        },
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": source, "expr": expr, "legendFormat": legend}
            for i, (expr, legend) in enumerate(panel.queries)
        ],
    }


def dashboard() -> dict[str, Any]:
    """The whole dashboard."""
    places = placed(PANELS)
    return {
        "uid": "pctstream",
        "title": "pctstream",
        "description": "A probabilistic cover tree over a stream: what comes in, what it became.",
        "tags": ["pctstream"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource",
                 "query": "prometheus"},
                {"name": "job", "label": "Tree", "type": "query", "refresh": 1,
                 "datasource": {"type": "prometheus", "uid": "${datasource}"},
                 "query": {"query": "label_values(pct_ready, job)", "refId": "job"}},
            ]
        },
        "panels": [
            drawn(i + 1, panel, place)
            for i, (panel, place) in enumerate(zip(PANELS, places, strict=True))
        ],
    }  # fmt: skip


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
