"""The solver's views of a tree that grew: the same from every worker and from a shell."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from broker.system import System, mixture, wait_for

ROWS = 4000


@pytest.fixture(scope="module")
def grown(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Two workers, four shards, one level of portions over a mixture, at rest."""
    # an epsilon so small that no node of level 1 ends: the tree stays as it is
    settings: dict[str, object] = {
        "shards.count": 4, "tree.epsilon": 8.0, "tree.gap": 500, "tree.epsilon_ratio": 0.01,
        "tree.moment_s": 1.0,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("solver")
    one = System(broker.bootstrap, f"t{os.getpid()}-solver", folder, settings)
    one.start(0, 1)
    one.feed(mixture(ROWS))
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.settle()
    for number in (0, 1):
        wait_for("all rows", lambda n=number: one.get("/v1/levels/1/cover", n)["rows"] == ROWS)
    yield one
    one.stop()


def post(one: System, level: int, number: int, **asked: Any) -> httpx.Response:
    url = f"http://127.0.0.1:{one.ports[number]}/v1/levels/{level}/neighbors"
    return httpx.post(url, json=asked, timeout=30.0)


def typed(one: System, *words: str) -> subprocess.CompletedProcess[str]:
    """A command as a user types it."""
    command = [sys.executable, "-m", "pctstream", "query", *words, "--http", one.urls[0]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_weights_of_a_level_are_the_shares_of_a_recount(grown: System) -> None:
    tree = grown.get("/v1/tree")
    for level in (0, 1, 6):
        found = grown.get(f"/v1/levels/{level}/cover")
        assert found["rows"] == tree["rows"] == ROWS
        assert sum(e["w"] for e in found["cover"]) == pytest.approx(1.0, abs=1e-6)
        other = grown.get(f"/v1/levels/{level}/cover", 1)
        assert [e["node"] for e in other["cover"]] == [e["node"] for e in found["cover"]]
    rows = mixture(ROWS).astype(np.float64)
    x = np.array([e["x"] for e in found["cover"]])
    nearest = ((rows[:, None] - x[None]) ** 2).sum(-1)
    recount = np.bincount(nearest.argmin(axis=1), minlength=len(x)) / ROWS
    assert np.abs(recount - [e["w"] for e in found["cover"]]).sum() <= 0.01
    far = np.sqrt(nearest.min(axis=1))
    for i, entry in enumerate(found["cover"]):
        assert far[nearest.argmin(axis=1) == i].max() <= entry["radius"] * (1 + 1e-6)
    root = grown.get("/v1/levels/0/cover")["cover"][0]
    assert root["x"] == pytest.approx(rows.mean(axis=0), abs=0.5)


def test_arrow_and_npz_say_what_json_says(grown: System) -> None:
    url = f"{grown.urls[0]}/v1/levels/1/cover"
    found = httpx.get(url, timeout=10.0).json()
    kinds = ("application/vnd.apache.arrow.stream", "application/x-npz")
    arrow, npz = (httpx.get(url, headers={"Accept": kind}, timeout=10.0) for kind in kinds)
    assert pa.ipc.open_stream(arrow.content).read_all().to_pylist() == found["cover"]
    arrays = np.load(io.BytesIO(npz.content), allow_pickle=False)
    assert arrays["node"].tolist() == [e["node"] for e in found["cover"]]
    assert arrays["x"].tolist() == [e["x"] for e in found["cover"]]
    assert arrays["w"].tolist() == [e["w"] for e in found["cover"]]


def test_neighbours_are_brute_force_on_the_published_cover(grown: System) -> None:
    cover = grown.get("/v1/levels/1/cover")["cover"]
    names, x = [e["node"] for e in cover], np.array([e["x"] for e in cover])
    rng = np.random.default_rng(5)
    for i in range(40):
        node = int(rng.integers(len(x)))
        centre = x[node] if i % 2 else x[node] + rng.normal(0, 5, x.shape[1])
        away = np.sqrt(((x - centre) ** 2).sum(axis=1))
        r = float(rng.choice(away)) if i % 4 < 2 else float(rng.uniform(0, away.max()))
        asked = {"node": names[node]} if i % 2 else {"center": centre.tolist()}
        answer = post(grown, 1, i % 2, **asked, max_distance=r).json()
        assert answer["as_of"]["epoch"] > 0
        found = {n["node"]: n["distance"] for n in answer["neighbors"]}
        near = {names[j]: d for j, d in enumerate(away.tolist()) if d <= r}
        assert found == pytest.approx(near, rel=1e-5, abs=1e-5)


def test_a_question_that_cannot_be_meant(grown: System) -> None:
    assert post(grown, 1, 0, center=[1.0], max_distance=1).status_code == 422
    assert post(grown, 1, 0, node="N0,999", max_distance=1).status_code == 404
    assert post(grown, 7, 0, node="N0", max_distance=1).status_code == 404
    url = f"{grown.urls[0]}/v1/levels/x/cover"
    answer = httpx.get(url, timeout=10.0)
    assert answer.headers["content-type"] == "application/problem+json"


def test_from_a_shell(grown: System) -> None:
    cover = grown.get("/v1/levels/1/cover")["cover"]
    shown = typed(grown, "cover", "1")
    assert shown.returncode == 0, shown.stderr
    first, head, *lines = shown.stdout.splitlines()
    assert f"{ROWS:,} rows" in first
    assert head.split() == ["node", "weight", "rows", "radius", "centre"]
    assert [line.split()[0] for line in lines] == [e["node"] for e in cover]
    told = json.loads(typed(grown, "cover", "1", "--json").stdout)
    assert told["cover"] == cover
    near = ("neighbors", "1", "--max-distance", "1e3", "--json")
    around = json.loads(typed(grown, *near, "--node", "N0.3").stdout)["neighbors"]
    assert (around[0]["node"], around[0]["distance"], len(around)) == ("N0,3", 0.0, len(cover))
    numbers = ",".join(map(str, cover[3]["x"]))
    assert json.loads(typed(grown, *near, "--center", numbers).stdout)["neighbors"] == around
    plain = typed(grown, "neighbors", "1", "--node", "N0,3", "--max-distance", "0").stdout
    assert [line.split()[:2] for line in plain.splitlines()[2:]] == [["N0,3", "0"]]


def test_a_shell_is_told_what_is_wrong_by_the_exit_code(grown: System) -> None:
    missing = typed(grown, "neighbors", "1", "--node", "N0,999", "--max-distance", "1")
    assert (missing.returncode, missing.stderr) == (1, "pctstream: no node N0,999\n")
    for words in (
        ["neighbors", "1", "--max-distance", "1"],
        ["neighbors", "1", "--center", "1,2", "--max-distance", "1"],
        ["neighbors", "1", "--center", "a", "--max-distance", "1"],
        ["neighbors", "1", "--node", "N0", "--max-distance=-1"],
        ["cover", "x"],
    ):
        refused = typed(grown, *words)
        assert refused.returncode == 2, (words, refused.stderr)
        assert "Traceback" not in refused.stderr


def test_two_trees_side_by_side(grown: System) -> None:
    """The tree beside itself: what is said of both is what its views say."""
    words = ("compare", grown.urls[1], "--http", grown.urls[0], "--sample", "6")
    command = [sys.executable, "-m", "pctstream", *words]
    told = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    one, other = json.loads(told.stdout)["trees"]
    assert one["levels"] == other["levels"] and one["rows"] == other["rows"] == ROWS
    cover = grown.get("/v1/levels/1/cover")["cover"]
    root, w = grown.get("/v1/nodes/N0"), np.array([e["w"] for e in cover])
    level = one["levels"][1]
    assert level["entries"] == len(cover) and level["epsilon"] == root["epsilon"]
    assert level["radius"] == max(e["radius"] for e in cover)
    assert level["even"] == pytest.approx(np.exp(-(w * np.log(w)).sum()) / len(w))
    assert level["uncovered"] == pytest.approx(root["uncovered"] / ROWS)
    assert level["miss_bound"] == root["miss_bound"]["p"]
    assert one["search"]["questions"] == 6
    assert 0 < one["search"]["rows_scanned"] <= ROWS and one["search"]["shards_asked"] >= 1
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert shown.count(f"{ROWS:,} rows") == 2 and "6 questions" in shown


def test_the_tree_as_it_was_outlives_all_its_workers(grown: System) -> None:
    """Last here: the tree does not stay as it is."""
    begun = grown.get("/v1/levels/1/cover")["as_of"]["time"]
    wait_for(
        "a moment",
        lambda: grown.get(f"/v1/levels/1/cover?at={time.time()}")["as_of"]["time"] > begun,
    )
    then = time.time()
    was = grown.get(f"/v1/levels/1/cover?at={then}")
    assert was["rows"] == ROWS and was["as_of"]["at"] == then >= was["as_of"]["time"]
    assert [e["w"] for e in was["cover"]] == [
        e["w"] for e in grown.get("/v1/levels/1/cover")["cover"]
    ]
    grown.feed(mixture(ROWS, seed=1)[: ROWS // 2], [f"later {i}" for i in range(ROWS // 2)])
    grown.settle()
    both = ROWS + ROWS // 2

    def later() -> Any:
        return grown.get(f"/v1/levels/1/cover?at={time.time()}")["rows"] == both

    wait_for("a later moment", later)

    def as_then(number: int) -> Any:
        """Which moment answers may change: the older it is the fewer are kept."""
        found = grown.get(f"/v1/levels/1/cover?at={then}", number)
        assert found["as_of"]["time"] <= was["as_of"]["time"] and found["rows"] <= ROWS
        return found["cover"] if found["as_of"]["time"] == was["as_of"]["time"] else None

    told = [as_then(0), as_then(1)]
    assert all(cover in (None, was["cover"]) for cover in told)
    far = httpx.get(f"{grown.urls[0]}/v1/levels/1/cover?at=1e9", timeout=10.0)
    assert (far.status_code, far.json()["title"]) == (410, "gone")
    shown = typed(grown, "cover", "1", "--at", str(then))
    assert shown.returncode == 0 and ", as of 20" in shown.stdout.splitlines()[0], shown.stderr
    assert typed(grown, "cover", "1", "--at", "1970-01-02").returncode == 1
    assert typed(grown, "cover", "1", "--at", "yesterday").returncode == 2
    kept = grown.get(f"/v1/levels/1/cover?at={then}", 0)
    for number in (0, 1):
        grown.kill(number)
    grown.start(0, 1)
    again = [grown.get(f"/v1/levels/1/cover?at={then}", number) for number in (0, 1)]
    for found in again:
        assert found["as_of"]["time"] <= kept["as_of"]["time"]
        if found["as_of"]["time"] == kept["as_of"]["time"]:
            assert found["cover"] == kept["cover"]
    assert again[0]["rows"] > 0
