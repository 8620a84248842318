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

from pctstream.catalogue import BY_NAME

ROOT = Path(__file__).parents[2]
LOCAL = runpy.run_path(str(ROOT / "dashboards" / "local.py"))
BOARDS: dict[str, dict[str, Any]] = {
    file.stem: json.loads(file.read_text("utf-8"))
    for file in sorted((ROOT / "dashboards/grafana/boards").glob("*.json"))
}
PICKED = {"job": "pctstream", "instance": ".*", "portion": ".*", "horizon": "6s",
          "__rate_interval": "1m"}  # fmt: skip
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

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.prometheus, timeout=10)

    def ask(self, expr: str) -> dict[Labels, float]:
        """The answer to a query of the dashboard, NaN left out."""
        expr = re.sub(r"\$(\w+)", lambda name: PICKED[name[1]], expr)
        answer = self.client.get("/api/v1/query", params={"query": expr})
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
                                   "spatial.x": "dim:0", "spatial.y": "dim:1",
                                   "store.standby": 1, "tree.half_life_s": 3600.0}  # fmt: skip
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
        both.client.close()
    finally:
        asking.send_signal(signal.SIGTERM)
        asking.wait(20)
        one.stop()


def busy(one: System) -> bool:
    """Rows come and questions of every kind, so that there is something to show."""
    one.feed(mixture(50, seed=one.fed))
    zero = [0.0] * 16
    asked = {
        "/v1/search": [{"vector": zero, "k": 3}, {"vector": zero, "k": 3, "recall": 0.9}],
        "/v1/range": [{"vector": zero, "radius": 1.0}],
        "/v1/spatial/search": [{"box": [-1, -1, 1, 1]}, {"point": [0, 0], "k": 2}],
    }
    for path, bodies in asked.items():
        for body in bodies:
            answer = httpx.post(f"{one.urls[0]}{path}", json=body, timeout=10)
            assert answer.status_code == 200, (path, body, answer.text)
    return one.get("/v1/rows/0") is not None


def move(one: System) -> None:
    """One portion goes to the other shard."""
    portion = one.get("/v1/portions")["portions"][0]
    order = {"portion": portion["portion"], "to": 1 - portion["owner"], "reason": "a test"}
    begun = httpx.post(f"{one.urls[0]}/v1/moves", json=order, timeout=10)
    assert begun.status_code == 202, begun.text
    wait_for("the move", lambda: one.get("/v1/moves")["moves"][0]["stage"] == "DONE", 30)


def exposed(one: System) -> list[str]:
    return [httpx.get(f"{url}/metrics", timeout=5).text for url in one.urls]


def by(watched: Watched, expr: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The answer, keyed by the values of these labels."""
    found = watched.ask(expr)
    return {tuple(dict(key)[label] for label in labels): v for key, v in found.items()}


def expression(title: str) -> str:
    panels = (panel for board in BOARDS.values() for panel in board["panels"])
    return str(next(p for p in panels if p["title"] == title)["targets"][0]["expr"])


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
    refused = expression("Dead letters")
    wait_for("the refused row", lambda: by(watched, refused, "code") == {("dimension",): 1.0})
    assert by(watched, expression("Workers ready")) == {(): 2.0}
    assert set(watched.ask(expression("Nodes that stand still")).values()) == {0.0}
    shown = expression("Files by shard")  # a scrape may have come late
    wait_for("files of both", lambda: len(by(watched, shown, "shard")) == 2)
    files = by(watched, shown, "shard")
    held = {shard: sum(f.stat().st_size for f in (one.folder / "shards" / shard).iterdir())
            for (shard,) in files}  # fmt: skip
    assert set(held) == {"0", "1"}
    assert all(0.3 < size / held[shard] < 3 for (shard,), size in files.items()), (files, held)
    hosted = by(watched, expression("Shards hosted"), "instance")
    assert len(hosted) == 2 and sum(hosted.values()) == 2.0
    assert by(watched, expression("Inputs broken")) == {(): 0.0}
    stages = by(watched, expression("Rows by stage"), "stage")
    assert set(stages) == {("bridged",), ("read",), ("stored",), ("routed",), ("applied",)}
    assert all(rate > 0 for stage, rate in stages.items() if stage != ("bridged",)), stages


def test_every_query_of_the_dashboards_is_answered(watched: Watched) -> None:
    refused = expression("Dead letters")
    wait_for("the refused row", lambda: by(watched, refused, "code") == {("dimension",): 1.0})
    move(watched.system)
    asked = {
        (uid, panel["title"], target["expr"])
        for uid, board in BOARDS.items() for panel in board["panels"] for target in panel["targets"]
    }  # fmt: skip

    def unanswered() -> set[tuple[str, str, str]]:
        busy(watched.system)
        asked.difference_update([one for one in asked if watched.ask(one[2])])
        return asked

    try:
        wait_for("an answer to each", lambda: not unanswered(), 45)
    except AssertionError:
        pytest.fail(f"no answer to {sorted(asked)}")
    url = f"{watched.prometheus}/api/v1/label/job/values"
    assert httpx.get(url, params={"match[]": "pct_ready"}).json()["data"] == ["pctstream"]
    rules = httpx.get(f"{watched.prometheus}/api/v1/rules").json()["data"]["groups"]
    (group,) = rules
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
    assert len(group["rules"]) > 20


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


def test_what_is_exposed_is_what_the_catalogue_declares(watched: Watched) -> None:
    found: dict[str, set[str]] = {}
    for text in exposed(watched.system):
        for family in text_string_to_metric_families(text):
            name = family.name + ("_total" if family.type == "counter" else "")
            if name.startswith("process_"):
                continue
            assert (family.type, family.documentation) == (BY_NAME[name].kind, BY_NAME[name].help)
            used = {label for sample in family.samples for label in sample.labels} - {"le"}
            found.setdefault(name, set()).update(used)
    assert set(found) == set(BY_NAME)
    beyond = {name: used - set(BY_NAME[name].labels) for name, used in found.items()}
    assert not any(beyond.values()), beyond


def test_who_names_metrics_gets_those_alone(watched: Watched) -> None:
    url = f"{watched.system.urls[0]}/metrics"
    asked = [("name[]", "pct_rows_total"), ("name[]", "pct_ready"), ("name[]", "pct_none")]
    text = httpx.get(url, params=asked, timeout=10.0).text
    found = {family.name for family in text_string_to_metric_families(text)}
    assert found == {"pct_rows", "pct_ready"}


def test_totals_survive_a_worker_that_is_killed(watched: Watched) -> None:
    one = watched.system

    def read(number: int) -> float:
        url = f"http://127.0.0.1:{one.ports[number]}/metrics"
        text = httpx.get(url, params={"name[]": "pct_rows_total"}, timeout=10).text
        (family,) = text_string_to_metric_families(text)
        return sum(sample.value for sample in family.samples)

    before = read(1)
    assert before > 0
    one.kill(1)
    one.start(1, ready=False)
    wait_for("its answer", lambda: read(1) >= before)
