"""A real Prometheus asks two workers: every query of the dashboard has an answer, and a true one."""

from __future__ import annotations

import json
import math
import os
import re
import runpy
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from broker.system import System, free_port, mixture, produce, wait_for
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
LOCAL = runpy.run_path(str(ROOT / "dashboards" / "local.py"))
BOARD: dict[str, Any] = json.loads((ROOT / "dashboards/grafana/pctstream.json").read_text("utf-8"))
ROWS = 4000
Labels = frozenset[tuple[str, str]]


def program(name: str) -> str:
    found = LOCAL["program"](name)
    if found is None:
        pytest.skip(f"no {name}: it is in Debian's package prometheus")
    return str(found)


@dataclass
class Watched:
    """A system and the Prometheus that asks it."""

    system: System
    prometheus: str

    def ask(self, expr: str) -> dict[Labels, float]:
        """The answer to a query of the dashboard, NaN left out."""
        expr = expr.replace("$job", "pctstream").replace("$__rate_interval", "1m")
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": expr}, timeout=10)
        assert answer.status_code == 200, (expr, answer.text)
        found = {
            frozenset(series["metric"].items()): float(series["value"][1])
            for series in answer.json()["data"]["result"]
        }
        return {labels: value for labels, value in found.items() if not math.isnan(value)}


@pytest.fixture(scope="module")
def watched(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Two workers, two shards, a tree of one level, one row refused; asked every second."""
    program("prometheus")
    folder = tmp_path_factory.mktemp("watched")
    settings: dict[str, object] = {"shards.count": 2, "tree.epsilon": 8.0, "tree.gap": 500,
                                   "tree.epsilon_ratio": 0.01, "spatial.enabled": True,
                                   "spatial.x": "dim:0", "spatial.y": "dim:1"}  # fmt: skip
    one = System(broker.bootstrap, f"t{os.getpid()}-watched", folder, settings)
    one.start(0, 1, ready=False)
    (folder / "workers.json").write_text(json.dumps({"workers": one.urls}))
    listen = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        asking = subprocess.Popen(
            [sys.executable, str(ROOT / "dashboards/local.py"), "--data-dir", str(folder),
             "--listen", listen, "--interval", "1s"], stdout=log, stderr=log,
        )  # fmt: skip
    try:
        one.wait_ready()
        both = Watched(one, f"http://{listen}")
        wait_for("both are asked", lambda: by(both, expression("Workers ready")) == {(): 2.0})
        one.feed(mixture(ROWS))
        wait_for("portions", lambda: one.get("/v1/portions")["portions"])
        one.settle()
        produce(one, np.zeros((1, 3), np.float32), np.zeros(1))
        yield both
    finally:
        asking.send_signal(signal.SIGTERM)
        asking.wait(20)
        one.stop()


def searched(one: System) -> bool:
    """Ask for rows, so that there is a time to answer."""
    body = {"vector": [0.0] * 16, "k": 3}
    return httpx.post(f"{one.urls[0]}/v1/search", json=body, timeout=10).status_code == 200


def exposed(one: System) -> list[str]:
    return [httpx.get(f"{url}/metrics", timeout=5).text for url in one.urls]


def by(watched: Watched, expr: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The answer, keyed by the values of these labels."""
    found = watched.ask(expr)
    return {tuple(dict(key)[label] for label in labels): v for key, v in found.items()}


def expression(title: str) -> str:
    panel = next(p for p in BOARD["panels"] if p["title"] == title)
    return str(panel["targets"][0]["expr"])


def test_every_query_of_the_dashboard_is_answered(watched: Watched) -> None:
    refused = expression("Dead letters")
    wait_for("the refused row", lambda: by(watched, refused, "code") == {("dimension",): 1.0})
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            wait_for(
                f"{panel['title']}: {target['expr']}",
                lambda e=target["expr"]: searched(watched.system) and watched.ask(e),
            )
    url = f"{watched.prometheus}/api/v1/label/job/values"
    assert httpx.get(url, params={"match[]": "pct_ready"}).json()["data"] == ["pctstream"]


def test_the_answers_are_what_the_views_say(watched: Watched) -> None:
    one = watched.system
    tree = one.get("/v1/tree")
    wait_for("rows", lambda: watched.ask(expression("Rows")) == {frozenset(): ROWS})
    assert tree["rows"] == ROWS
    states = Counter((str(n["level"]), n["state"]) for n in one.get("/v1/nodes")["nodes"])
    wait_for("nodes", lambda: by(watched, expression("Nodes"), "level", "state") == states)
    for level in tree["levels"]:
        entries = len(one.get(f"/v1/levels/{level['level']}/cover")["cover"])
        assert by(watched, expression("Cover size"), "level")[str(level["level"]),] == entries
    assert by(watched, expression("Dead letters"), "code") == {("dimension",): 1.0}
    assert by(watched, expression("Workers ready")) == {(): 2.0}
    assert set(watched.ask(expression("Nodes that stand still")).values()) == {0.0}
    stages = by(watched, expression("Rows by stage"), "stage")
    assert set(stages) == {("bridged",), ("read",), ("stored",), ("routed",), ("applied",)}
    assert all(rate > 0 for stage, rate in stages.items() if stage != ("bridged",)), stages


def test_promtool_finds_nothing_to_say(watched: Watched, tmp_path: Path) -> None:
    promtool = program("promtool")
    shipped = ["check", "config", "--syntax-only", str(ROOT / "dashboards" / "prometheus.yml")]
    local = ["check", "config", str(watched.system.folder / "prometheus" / "prometheus.yml")]
    for words in (shipped, local):
        done = subprocess.run([promtool, *words], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stdout + done.stderr
    for text in exposed(watched.system):
        done = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=30
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_metric_is_in_the_list_with_its_labels(watched: Watched) -> None:
    listed = re.findall(
        r"^\| `(pct_\w+)(?:\{([\w,]+)\})?` \|", (ROOT / "docs/metrics.md").read_text("utf-8"), re.M
    )
    labels = {name: set(filter(None, names.split(","))) for name, names in listed}
    assert len(labels) == len(listed), "a metric twice"
    found: dict[str, set[str]] = {}
    for text in exposed(watched.system):
        for family in text_string_to_metric_families(text):
            name = family.name + ("_total" if family.type == "counter" else "")
            used = {label for sample in family.samples for label in sample.labels} - {"le"}
            found.setdefault(name, set()).update(used)
    found = {name: used for name, used in found.items() if not name.startswith("process_")}
    assert set(found) == set(labels), "docs/metrics.md is the list"
    assert {name: names for name, names in found.items() if not names <= labels[name]} == {}


def test_who_names_metrics_gets_those_alone(watched: Watched) -> None:
    url = f"{watched.system.urls[0]}/metrics"
    asked = [("name[]", "pct_rows_total"), ("name[]", "pct_ready"), ("name[]", "pct_none")]
    text = httpx.get(url, params=asked, timeout=10.0).text
    found = {family.name for family in text_string_to_metric_families(text)}
    assert found == {"pct_rows", "pct_ready"}
