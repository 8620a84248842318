"""A place that nobody comes to any more, on a real broker: its node is folded, nothing is lost or moved."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from broker.deep import EVER, below_root, end, nodes, oracle, same, sizes_told, stored
from broker.system import System, wait_for

from pctstream.client import Producer
from pctstream.core.names import node_name

FIRST, THEN, STEP_S = 4000, 10_000, 0.01
FOLDS: dict[str, object] = {
    "shards.count": 1, "tree.epsilon": 60.0, "tree.epsilon_ratio": 0.05, "tree.gap": 60,
    "tree.sink_rows": 900, "tree.kmeans_iterations": 3, "tree.max_level": 2, "tree.level_idle_s": 0.4,
    "tree.level_rows": EVER, "tree.miss_limit": 0.1, "tree.miss_cooldown": 1024, "tree.moment_s": 0.5,
    "tree.half_life_s": 25.0, "tree.fold_share": 0.03,
}  # fmt: skip


def stream() -> tuple[np.ndarray, np.ndarray]:
    """Rows f32[n, 4] of two groups far apart, each of four places, and which place each is of; after FIRST
    of them the last place of the first group has none."""
    places = np.random.default_rng(7)
    near = places.normal(0, 8, (8, 4))
    rng = np.random.default_rng(8)
    count = FIRST + THEN
    group, place = rng.integers(0, 2, count), rng.integers(0, 4, count)
    place[(np.arange(count) >= FIRST) & (group == 0) & (place == 3)] = 1
    far = np.where(group[:, None], 100.0, -100.0)
    rows = far + near[place + 4 * group] + rng.normal(0, 0.3, (count, 4))
    return rows.astype(np.float32), place + 4 * group


@pytest.fixture
def one(broker: Any, tmp_path: Any) -> Iterator[System]:
    system = System(broker.bootstrap, f"t{os.getpid()}-folding", tmp_path, FOLDS)
    yield system
    system.stop()


def feed(one: System, rows: np.ndarray, start: int, stop: int) -> None:
    """A row each hundredth of a second, by their own times."""
    with Producer(one.broker, one.tree) as producer:
        for i in range(start, stop):
            producer.add(rows[i], id=str(i), time=i * STEP_S)


def found(one: System, rows: np.ndarray, places: np.ndarray) -> None:
    """Exact searches, around a row of each place, are brute force over all rows fed."""
    for place in range(8):
        query = rows[np.flatnonzero(places[: len(rows)] == place)[-1]] + np.float32(0.01)
        away = np.linalg.norm(rows.astype(float) - query.astype(float), axis=1)

        def exact(query: np.ndarray = query) -> Any:
            body = {"vector": query.tolist(), "k": 5, "exact": True}
            answer = httpx.post(f"{one.urls[0]}/v1/search", json=body, timeout=60).json()
            return answer["results"] if answer["exact"] else None

        hits = wait_for("an exact answer", exact)
        assert [int(hit["id"]) for hit in hits] == np.argsort(away)[:5].tolist()


def cover(one: System, at: float | None = None) -> dict[str, dict[str, Any]]:
    """The entries of the lowest level, now or as they were."""
    asked = "" if at is None else f"?at={at}"
    entries = one.get(f"/v1/levels/2/cover{asked}")["cover"]
    assert sum(entry["w"] for entry in entries) == pytest.approx(1.0)
    return {entry["node"]: entry for entry in entries}


@pytest.mark.timeout(420)
def test_a_place_that_nobody_comes_to_is_folded_and_its_rows_are_found(one: System) -> None:
    rows, places = stream()
    one.start(0)
    feed(one, rows, 0, FIRST)
    one.settle()
    wait_for("both portions to split", lambda: len(cover(one)) == 8, 120.0)
    found(one, rows[:FIRST], places)
    assert not any(node["folded"] for node in nodes(one).values())
    feed(one, rows, FIRST, FIRST + THEN // 2)
    one.settle()
    found(one, rows[: FIRST + THEN // 2], places)

    def kept() -> Any:
        moment = one.get("/v1/levels/2/cover?at=1e12")
        return moment["rows"] == FIRST + THEN // 2 and moment["as_of"]["time"]

    then = wait_for("a moment of before", kept)
    feed(one, rows, FIRST + THEN // 2, FIRST + THEN)
    one.kill(0)
    one.start(0)
    one.settle()

    times = np.arange(len(rows)) * STEP_S
    expected = oracle(one, rows, times)
    gone = {node_name((*path, i)) for path, n in expected.items() for i in n.get("folded", ())}
    assert len(gone) == 1, "one place has none"
    (name,) = gone

    def told() -> bool:
        now = {node["name"]: node for node in nodes(one).values()}
        whole = all(now[node_name(p)]["rows"] for p in expected)
        return whole and {n for n, node in now.items() if node["folded"]} == gone

    wait_for("the nodes to say who is folded", told)
    found(one, rows, places)
    before, after = cover(one, then), wait_for("all rows to be told of", lambda: whole_cover(one))
    assert name in before and name not in after, "no entry any more, but it was one"
    assert len(after) == 7
    wait_for("the sizes of covers", lambda: sizes_told(one, 3))
    siblings = [e for e in after if e.rpartition(",")[0] == name.rpartition(",")[0]]
    near = min(siblings, key=lambda e: apart(before[e], before[name]))
    assert after[near]["rows"] == len(expected_rows(expected, near)) + len(
        expected_rows(expected, name)
    )
    assert after[near]["radius"] >= apart(before[near], before[name])
    verdict = one.verify()
    assert (verdict.lost, verdict.duplicated) == (0, 0)

    end(one)
    same(stored(one), below_root(expected))
    shutil.rmtree(one.folder / "shards")
    one.start(0)
    one.settle()
    wait_for("the nodes of a store made again", told, 120.0)
    found(one, rows, places)
    end(one)
    same(stored(one), below_root(expected))


def whole_cover(one: System) -> Any:
    entries = cover(one)
    return entries if sum(e["rows"] for e in entries.values()) == FIRST + THEN else None


def apart(a: dict[str, Any], b: dict[str, Any]) -> float:
    return float(np.linalg.norm(np.array(a["x"]) - np.array(b["x"])))


def expected_rows(tree: Any, name: str) -> Any:
    return next(node["held"] for path, node in tree.items() if node_name(path) == name)
