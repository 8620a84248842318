"""The dashboard, as Grafana's JSON model wants it and as its table of panels says."""

from __future__ import annotations

import itertools
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[1] / "dashboards"
BOARD: dict[str, Any] = json.loads((FOLDER / "grafana" / "pctstream.json").read_text("utf-8"))
UNITS = {"none", "short", "s", "bytes", "percentunit", "rowsps"}
PANELS: list[dict[str, Any]] = BOARD["panels"]


def test_the_file_is_what_its_table_makes() -> None:
    assert runpy.run_path(str(FOLDER / "panels.py"))["dashboard"]() == BOARD


def test_the_dashboard_has_a_name_and_its_variables() -> None:
    assert (BOARD["uid"], BOARD["title"]) == ("pctstream", "pctstream")
    assert BOARD["schemaVersion"] >= 36
    assert "id" not in BOARD, "an id is of one Grafana"
    variables = {v["name"]: v for v in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert set(variables) == {"datasource", "job"}


def test_panels_are_told_apart_and_do_not_overlap() -> None:
    assert len({p["id"] for p in PANELS}) == len({p["title"] for p in PANELS}) == len(PANELS)
    assert 8 <= len(PANELS) <= 20
    cells = [
        {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        for g in (p["gridPos"] for p in PANELS)
    ]
    assert not any(a & b for a, b in itertools.combinations(cells, 2))
    assert all(0 <= x < 24 and y >= 0 for cell in cells for x, y in cell)


@pytest.mark.parametrize("panel", PANELS, ids=[p["title"] for p in PANELS])
def test_a_panel_explains_itself_and_asks_the_picked_tree(panel: dict[str, Any]) -> None:
    assert panel["type"] in {"stat", "timeseries"}
    assert len(panel["description"]) > 30
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    refs = [target["refId"] for target in panel["targets"]]
    assert refs and len(set(refs)) == len(refs)
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
        assert target["legendFormat"]
        expr = target["expr"]
        metrics = re.findall(r"\b(?:pct_\w+|up)\b", expr)
        assert metrics and len(metrics) == expr.count('{job="$job"}'), expr
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert shown == set(re.findall(r"\w+", "".join(re.findall(r"^sum by \(([^)]+)\)", expr))))


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
    assert "authorization" not in plain["scrape_configs"][0]
    given = token["scrape_configs"][0]["authorization"]
    assert given == {"type": "Bearer", "credentials_file": str(tmp_path / "token")}
