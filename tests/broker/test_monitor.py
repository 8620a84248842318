"""Nodes that stand still are named by every worker and restarted; nothing is lost by it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from broker.system import SESSION_TIMEOUT_S, System, mixture, produce, wait_for

LOSSY = str(Path(__file__).parent / "lossy.py")
ROWS = 6000


@pytest.fixture(scope="module")
def grown(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Two workers, four shards, a tree of one level; reports alone would be too rare for heartbeats."""
    settings: dict[str, object] = {"shards.count": 4, "tree.epsilon": 8.0, "tree.gap": 500,
                                   "tree.max_level": 1, "drift.window_s": 3.0}  # fmt: skip
    folder = tmp_path_factory.mktemp("monitored")
    one = System(broker.bootstrap, f"t{os.getpid()}-monitor", folder, settings)
    one.start(0, 1)
    one.feed(mixture(ROWS))
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.settle()
    yield one
    one.stop()


def readyz(one: System, number: int) -> tuple[int, set[tuple[str, int]], dict[str, Any]]:
    """Status, the nodes that stand still with their shards, and the whole answer."""
    answer = httpx.get(f"http://127.0.0.1:{one.ports[number]}/readyz", timeout=5)
    body = answer.json()
    return answer.status_code, {(s["node"], s["shard"]) for s in body["stalled"]}, body


def metric(one: System, number: int) -> dict[str, float]:
    text = httpx.get(f"http://127.0.0.1:{one.ports[number]}/metrics", timeout=5).text
    return {
        n: float(v) for n, v in re.findall(r'^pct_node_stalled\{node="(.*)"\} (.*)$', text, re.M)
    }


def status(one: System, number: int, *words: str) -> str:
    command = [sys.executable, "-m", "pctstream", "status", "--http",
               f"http://127.0.0.1:{one.ports[number]}", "--data-dir", str(one.folder), *words]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def hosted(one: System, number: int) -> dict[int, set[str]]:
    """The shards of a worker with their nodes, as the other one knows them."""
    shards = one.get("/v1/shards", 1 - number)["shards"]
    return {s["shard"]: {"N0", *s["portions"]} for s in shards if s["worker"] == f"worker-{number}"}


def test_nobody_stands_still_and_progress_is_when_a_position_moved(grown: System) -> None:
    wait_for("both know of each other", lambda: hosted(grown, 0) and hosted(grown, 1))
    for number in (0, 1):
        assert readyz(grown, number)[:2] == (200, set())
        assert metric(grown, number) == {}
    # a position that moved last may not have been told yet
    before = wait_for("quiet", lambda: (seen := grown.get("/v1/nodes")["nodes"]) and max(
        n["last_progress"] for n in seen) < time.time() - 2.0 and seen)  # fmt: skip
    assert {(n["restarts"], n["stalled"], n["lag"]) for n in before} == {(0, None, 0)}
    began = time.time()
    assert all(n["last_progress"] < began for n in before)
    # reports go on meanwhile, and say nothing of progress
    wait_for("a later report", lambda: min(
        s["time"] for s in grown.get("/v1/shards", 0)["shards"] if s["worker"] == "worker-1"
    ) > began)  # fmt: skip
    again = grown.get("/v1/nodes")["nodes"]
    assert [n["last_progress"] for n in again] == [n["last_progress"] for n in before]
    grown.feed(mixture(500, seed=2), [f"b{i}" for i in range(500)])
    grown.settle()
    rows = {n["name"]: n["rows"] for n in before}
    for number in (0, 1):
        wait_for("progress of those that got rows, and of no other", lambda n=number: all(
            (node["last_progress"] >= began) == (node["rows"] > rows[node["name"]])
            for node in grown.get("/v1/nodes", n)["nodes"]
        ) and grown.get("/v1/tree", n)["rows"] == grown.fed)  # fmt: skip


def test_a_stopped_worker_is_named_within_two_heartbeats_and_cleared(grown: System) -> None:
    nodes = {(n, s) for s, names in hosted(grown, 0).items() for n in names}
    assert len(nodes) > 2
    stopped = time.monotonic()
    grown.workers[0].send_signal(signal.SIGSTOP)
    try:
        code, _, body = wait_for("named", lambda: (a := readyz(grown, 1))[1] == nodes and a, 5.0)
        took = time.monotonic() - stopped
        named = metric(grown, 1)
        told, lines = status(grown, 1, "--json"), status(grown, 1)
    finally:
        grown.workers[0].send_signal(signal.SIGCONT)
    assert took <= 2 * grown.cfg.kafka.heartbeat_s + 1.0
    assert code == 200, "a healthy worker is not to blame"
    assert {s["worker"] for s in body["stalled"]} == {"worker-0"}
    assert all("silent" in s["why"] for s in body["stalled"])
    assert named == {n: 1.0 for n, _ in nodes}
    assert {(s["node"], s["shard"]) for s in json.loads(told)["stalled"]} == nodes
    assert lines.count("STALLED") == len(nodes)
    for number in (0, 1):
        wait_for("cleared", lambda n=number: readyz(grown, n)[:2] == (200, set()))
        assert metric(grown, number) == {}
    assert grown.verify().sound


def test_what_stands_still_is_restarted_and_what_hangs_ends_its_worker(grown: System) -> None:
    """Worker 1 loses a turn, worker 0 hangs in one: each is named, counted, and nothing is lost."""
    grown.settle()
    grown.stop()  # nobody hangs in a turn of what was not routed yet
    lossy = grown.folder / "lossy"
    grown.start(1, ready=False, program=[LOSSY], LOSSY_FROM=str(lossy))
    grown.start(0, ready=False, PCT_HANG_AT="before-routed:1")
    grown.wait_ready()
    wait_for("each has shards", lambda: hosted(grown, 0) and hosted(grown, 1))
    grown.settle()
    lossy.touch()
    mine, other = (min(hosted(grown, n)) for n in (1, 0))
    produce(grown, mixture(1, seed=3), np.full(1, mine))
    produce(grown, mixture(1, seed=4), np.full(1, other))
    code, _, body = wait_for("it is named", lambda: (
        a := readyz(grown, 0)) and ("N0", other) in a[1] and a, SESSION_TIMEOUT_S + 10)  # fmt: skip
    assert code == 503
    assert f"N0 on shard {other} stands still" in body["detail"]
    assert metric(grown, 0)["N0"] == 1.0
    wait_for("the other names it", lambda: ("N0", other) in readyz(grown, 1)[1])
    assert grown.get("/v1/nodes/N0", 0)["stalled"], "views answer while a turn hangs"
    try:
        wait_for("the lost turn is made good", lambda: restarts(grown, 1, mine) == 1)
    except AssertionError:
        print(f"{mine=} {other=}", grown.get("/v1/shards", 1), grown.log(1)[-3000:])
        raise
    wait_for("and its worker is ready", lambda: readyz(grown, 1)[0] == 200)
    assert grown.died(0) == 1
    assert "has not come back" in grown.log(0)
    grown.start(0)
    verdict = grown.verify()
    assert verdict.sound
    assert verdict.applied == grown.fed + 2
    for number in (0, 1):
        wait_for("all tell of two restarts", lambda n=number: (
            restarts(grown, n, other), restarts(grown, n, mine)
        ) == (1, 1) and grown.get("/v1/nodes/N0", n)["restarts"] == 2)  # fmt: skip
        wait_for("cleared", lambda n=number: readyz(grown, n)[:2] == (200, set()))


def restarts(one: System, number: int, shard: int) -> int:
    inputs = one.get(f"/v1/shards/{shard}", number)["inputs"]
    return sum(i["restarts"] for i in inputs if i["node"] == "N0")
