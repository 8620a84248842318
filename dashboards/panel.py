"""A Grafana dashboard as typed values, and the JSON model that Grafana reads.

What is said of panels here follows the rules of Grafana's dashboard linter: every panel has a title, a
description, a unit and targets, every target is bounded to the picked job, rates are taken over
`$__rate_interval`, the data source is a variable, nobody edits it in place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

WIDTH = 24
SCHEMA = 39
"""Of Grafana 10.4; later ones migrate it when they load it."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
ALL = {"text": ["All"], "value": ["$__all"]}

Unit = Literal["none", "short", "s", "bytes", "percentunit", "rowsps", "Bps", "ops"]
Kind = Literal["stat", "timeseries", "bargauge"]


@dataclass(frozen=True, slots=True)
class Query:
    """One question to Prometheus, and what its series are called."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: what it shows, and why somebody would look at it."""

    title: str
    why: str
    unit: Unit
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    stacked: bool = False
    line: float = 0.0
    """Where a line is drawn, and a stat turns red; 0: nowhere."""
    band: tuple[str, str] | None = None
    """The legends between which it is filled."""
    width: int = 0
    """In cells of the grid; 0: what its kind usually has."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in cells of the grid."""
        wide, high = (4, 4) if self.kind == "stat" else (8, 8)
        return self.width or wide, high


@dataclass(frozen=True, slots=True)
class Variable:
    """What the reader may pick, beside the data source and the tree."""

    name: str
    label: str
    metric: str
    """The metric whose label of that name has the values."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A length of time that the reader may pick."""

    name: str
    label: str
    why: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    why: str
    panels: tuple[Panel, ...]
    variables: tuple[Variable | Interval, ...] = field(default=())


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
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.why,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _options(panel),
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": query.expr,
             "legendFormat": query.legend}
            | ({} if panel.kind == "timeseries" else {"instant": True})
            for i, query in enumerate(panel.queries)
        ],
    }  # fmt: skip


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.line:
        steps.append({"color": "red", "value": panel.line})
    found: dict[str, Any] = {"unit": panel.unit, "min": 0,
                             "thresholds": {"mode": "absolute", "steps": steps}}  # fmt: skip
    if panel.kind == "timeseries":
        found["custom"] = {"fillOpacity": 10, "showPoints": "never"}
        if panel.stacked:
            found["custom"]["stacking"] = {"mode": "normal"}
        if panel.line:
            found["custom"]["thresholdsStyle"] = {"mode": "line"}
    return found


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    if panel.band is None:
        return []
    low, high = panel.band

    def of(name: str, **custom: object) -> dict[str, Any]:
        properties = [{"id": f"custom.{key}", "value": value} for key, value in custom.items()]
        return {"matcher": {"id": "byName", "options": name}, "properties": properties}

    return [
        of(high, fillBelowTo=low, lineWidth=0, fillOpacity=20),
        of(low, lineWidth=0, fillOpacity=0),
    ]


def _options(panel: Panel) -> dict[str, Any]:
    last = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    if panel.kind == "stat":
        return last | {"textMode": "value_and_name", "colorMode": "value"}
    if panel.kind == "bargauge":
        return last | {"displayMode": "basic", "orientation": "horizontal"}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}


def _picked(variable: Variable | Interval) -> dict[str, Any]:
    if isinstance(variable, Interval):
        first = {"text": variable.choices[0], "value": variable.choices[0]}
        return {"name": variable.name, "label": variable.label, "description": variable.why,
                "type": "custom", "query": ",".join(variable.choices), "current": first,
                "options": [{"text": c, "value": c, "selected": c == variable.choices[0]}
                            for c in variable.choices]}  # fmt: skip
    expr = f'label_values({variable.metric}{{job="$job"}}, {variable.name})'
    return {"name": variable.name, "label": variable.label, "type": "query", "refresh": 2,
            "sort": 3, "multi": True, "includeAll": True, "allValue": ".*", "current": ALL,
            "datasource": SOURCE, "query": {"query": expr, "refId": variable.name}}  # fmt: skip


def model(board: Board) -> dict[str, Any]:
    """The whole dashboard as Grafana's JSON model has it."""
    source = {"name": "datasource", "label": "Data source", "type": "datasource",
              "query": "prometheus"}  # fmt: skip
    job = {"name": "job", "label": "Tree", "type": "query", "refresh": 2, "datasource": SOURCE,
           "query": {"query": "label_values(pct_ready, job)", "refId": "job"}}  # fmt: skip
    others = {"title": "pctstream", "type": "dashboards", "tags": ["pctstream"], "asDropdown": True,
              "includeVars": True, "keepTime": True, "icon": "external link", "targetBlank": False,
              "tooltip": "", "url": ""}  # fmt: skip
    places = placed(board.panels)
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.why,
        "tags": ["pctstream"],
        "schemaVersion": SCHEMA,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "timezone": "browser",
        "links": [others],
        "annotations": {"list": []},
        "templating": {"list": [source, job, *map(_picked, board.variables)]},
        "panels": [
            drawn(i + 1, panel, place)
            for i, (panel, place) in enumerate(zip(board.panels, places, strict=True))
        ],
    }
