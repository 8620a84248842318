"""The dashboards as Grafana's JSON model wants them, and the alerts with their runbook and tests."""

from __future__ import annotations

import copy
import itertools
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from shape import misfits

from pctstream.catalogue import BY_NAME, STAGES
from pctstream.core.moves import STAGES as MOVING

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "dashboards"
SCHEMA = json.loads((FOLDER / "dashboard.schema.json").read_text("utf-8"))
BOARDS: dict[str, dict[str, Any]] = {
    file.stem: json.loads(file.read_text("utf-8"))
    for file in sorted((FOLDER / "grafana" / "boards").glob("*.json"))
}
PANELS = [(board, panel) for board in BOARDS.values() for panel in board["panels"]]
NAMES = [f"{board['uid']}: {panel['title']}" for board, panel in PANELS]
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
NOT_SHOWN: dict[str, str] = {}
"""A metric that is on no panel and in no alert -> why."""
OF_PROMETHEUS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
METRIC = re.compile(r"\b(?:pct_\w+|process_\w+|up)\b(?=[{\[])")


def metrics_of(expr: str) -> set[str]:
    """The metrics that an expression names, as the catalogue has them."""
    named = set(re.findall(r"\bpct_\w+", expr))
    return {
        base if (base := re.sub(r"_(bucket|count|sum)$", "", name)) in BY_NAME else name
        for name in named
    }


def test_the_files_are_what_their_tables_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    made = runpy.run_path(str(FOLDER / "boards.py"))
    sys.modules.pop("panel", None)
    for board in made["BOARDS"]:
        assert made["file"](board).read_text("utf-8") == made["text"](board), "run boards.py"
    assert {board.uid for board in made["BOARDS"]} == set(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_fits_the_schema(name: str) -> None:
    board = BOARDS[name]
    assert misfits(board, SCHEMA) == []
    assert board["uid"] == name and board["title"].startswith("pctstream: ")
    variables = {v["name"]: v for v in board["templating"]["list"]}
    assert list(variables)[:2] == ["datasource", "job"]
    assert (
        variables["datasource"] | {"query": "prometheus", "type": "datasource"}
        == (variables["datasource"])
    )
    used = set(re.findall(r"\$(\w+)", json.dumps(board["panels"]))) - {"__rate_interval"}
    assert used - {"datasource"} == set(variables) - {"datasource"}, "a variable without a use"


def test_the_schema_refuses_what_grafana_would() -> None:
    """Each of these was a mistake that Grafana swallows and then shows nothing."""
    board = BOARDS["pctstream"]

    def broken(*path: Any, value: Any) -> list[str]:
        other = copy.deepcopy(board)
        place: Any = other
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        return misfits(other, SCHEMA)

    assert broken("panels", 0, "gridPos", "w", value=30)
    assert broken("panels", 0, "type", value="graph")
    assert broken("panels", 0, "targets", 0, "datasource", value="Prometheus")
    assert broken("panels", 0, "targets", 0, "expression", value="up")
    assert broken("panels", 0, "fieldConfig", "defaults", "unit", value="rows/s")
    assert broken("panels", 0, "description", value="")
    assert broken("templating", "list", 1, "query", value={"query": "up"})
    assert broken("schemaVersion", value="39")
    assert broken("title", value="renamed") == []


@pytest.mark.parametrize("name", BOARDS)
def test_panels_are_told_apart_and_do_not_overlap(name: str) -> None:
    panels = BOARDS[name]["panels"]
    assert len({p["id"] for p in panels}) == len({p["title"] for p in panels}) == len(panels)
    assert 5 <= len(panels) <= 20
    cells = [
        {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        for g in (p["gridPos"] for p in panels)
    ]
    assert not any(a & b for a, b in itertools.combinations(cells, 2))
    assert all(0 <= x < 24 and y >= 0 for cell in cells for x, y in cell)


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=NAMES)
def test_a_panel_asks_the_picked_tree(board: dict[str, Any], panel: dict[str, Any]) -> None:
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)
    for target in panel["targets"]:
        expr = target["expr"]
        assert METRIC.findall(expr) and len(METRIC.findall(expr)) == expr.count('job="$job"'), expr
        assert metrics_of(expr) <= set(BY_NAME)
        assert ("rate(" in expr) == ("$__rate_interval" in expr)
        grouped = re.search(r"\bby \(([^)]+)\)", expr)
        labels = set(re.findall(r"\w+", grouped[1])) - {"le"} if grouped else set()
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert shown == labels or expr.startswith("count("), expr


def test_every_metric_is_on_a_panel_or_in_an_alert() -> None:
    asked = [target["expr"] for _, panel in PANELS for target in panel["targets"]]
    asked += [rule["expr"] for rule in ALERTS]
    named = set().union(*map(metrics_of, asked))
    assert named <= set(BY_NAME)
    assert set(BY_NAME) - named == set(NOT_SHOWN)


def test_an_alert_says_what_it_is_and_what_to_do() -> None:
    book = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    sections = re.findall(r"^## (\w+)$", book, re.M)
    assert sections == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        name = rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket", "note"}
        notes = rule["annotations"]
        assert notes["summary"] and notes["description"].endswith(".")
        assert notes["runbook_url"] == f"docs/runbook.md#{name.lower()}"
        assert metrics_of(rule["expr"]) <= set(BY_NAME)


def test_the_values_that_are_asked_for_exist() -> None:
    known = {"stage": {*STAGES, *MOVING}, "bound": {"low", "mean", "high"}, "level": {"0"},
             "result": {"made"}, "job": {"$job", "pctstream.*"}}  # fmt: skip
    asked = [target["expr"] for _, panel in PANELS for target in panel["targets"]]
    for expr in [*asked, *(rule["expr"] for rule in ALERTS)]:
        for label, values in re.findall(r'(\w+)[!=]=?~?"([^"]*)"', expr):
            if values != f"${label}":
                assert set(values.split("|")) <= known[label], expr


def test_every_alert_fires_when_it_should_and_not_before() -> None:
    tested = yaml.safe_load((FOLDER / "alerts.test.yml").read_text("utf-8"))["tests"]
    assert [t["name"] for t in tested] == ["all is well", *(r["alert"] for r in ALERTS)]
    promtool = runpy.run_path(str(FOLDER / "local.py"))["program"]("promtool")
    if promtool is None:
        pytest.skip("no promtool: it is in Debian's package prometheus")
    for words in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
        done = subprocess.run(
            [promtool, *words], cwd=FOLDER, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_local_prometheus_runs_the_job_of_the_file(tmp_path: Path) -> None:
    scraping = runpy.run_path(str(FOLDER / "local.py"))["scraping"]
    (shipped,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    targets = ["127.0.0.1:1", "127.0.0.1:2"]
    plain = scraping(targets, None, "1s")
    token = scraping(targets, tmp_path / "token", "1s")
    assert plain["global"]["scrape_interval"] == "1s"
    for document in (plain, token):
        (job,) = document["scrape_configs"]
        assert job["static_configs"] == [{"targets": targets}]
        assert job["job_name"] == shipped["job_name"]
        assert document["rule_files"] == [str(FOLDER / "alerts.yml")]
    assert "authorization" not in plain["scrape_configs"][0]
    given = token["scrape_configs"][0]["authorization"]
    assert given == {"type": "Bearer", "credentials_file": str(tmp_path / "token")}
