"""A place that nobody comes to any more, on a real broker: its node is folded, nothing is lost or moved."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx
import numpy as np
import pytest
from broker.deep import (
    EVER,
    below_root,
    by_markers,
    end,
    nodes,
    oracle,
    placed,
    routing,
    same,
    sizes_told,
    stored,
)
from broker.system import System, wait_for
from confluent_kafka import Producer as KafkaProducer

from pctstream.client import Producer
from pctstream.core.names import ROOT, node_name

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


# above the cut

ABOVE: dict[str, object] = {
    "shards.count": 2, "tree.epsilon": 20.0, "tree.gap": 300, "tree.max_level": 1, "tree.level_idle_s": 0.4,
    "tree.miss_limit": 0.1, "tree.miss_cooldown": 1024, "tree.half_life_s": 20.0, "tree.fold_share": 0.03,
}  # fmt: skip
PLACES = np.array([[0, 0], [100, 0], [0, 100], [100, 100], [60, 140]], np.float32)
"""Nobody comes to the last one for a while; then the one before it is the nearest."""
QUIET, CHANGED, DELETED = 4, 60, 30


def rows_at(places: list[int], count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (PLACES[rng.choice(places, count)] + rng.normal(0, 0.5, (count, 2))).astype(np.float32)


class Fed:
    """What was fed, by its id, a row each hundredth of a second."""

    def __init__(self, one: System) -> None:
        self._one, self.rows, self._count = one, dict[str, np.ndarray](), 0

    def feed(self, rows: np.ndarray, names: list[str] | None = None) -> None:
        with Producer(self._one.broker, self._one.tree, block_rows=50) as producer:
            for row in rows:
                name = names.pop(0) if names else f"r{self._count}"
                self.rows[name], self._count = row, self._count + 1
                producer.add(row, id=name, time=self._count * STEP_S)

    def delete(self, names: list[str]) -> None:
        producer = KafkaProducer(
            {"bootstrap.servers": self._one.broker, "partitioner": "murmur2_random"}
        )
        for name in names:
            producer.produce(f"{self._one.tree}.P0", value=None, key=name.encode())
            self.rows.pop(name)
        assert producer.flush(30) == 0

    def same(self) -> None:
        """The tree counts these, and exact searches of all places find them, as brute force does."""
        names, one = sorted(self.rows), self._one
        vectors = np.array([self.rows[name] for name in names], np.float64)
        wait_for("the tree to count", lambda: one.get("/v1/tree")["rows"] == len(names))
        for query in PLACES.astype(np.float64) + 0.01:
            away = np.sqrt(np.cumsum((vectors - query) ** 2, axis=1)[:, -1]).tolist()

            def exact(query: np.ndarray = query) -> Any:
                body = {"vector": query.tolist(), "k": 20}
                said = httpx.post(f"{one.urls[0]}/v1/search", json=body, timeout=60).json()
                return said["results"] if said["exact"] else None

            hits = [(hit["distance"], hit["id"]) for hit in wait_for("an exact answer", exact)]
            assert hits == sorted(zip(away, names, strict=True))[:20]


def turned(one: System) -> Any:
    """Who of N0's children is folded, once every partition of its input is routed by the newest epoch."""
    log = routing(one)
    inputs = [i for s in one.get("/v1/shards")["shards"] for i in s["inputs"] if i["node"] == "N0"]
    came = {i["epoch"] for i in inputs} == {max(log.reopened.epochs[ROOT])}
    return came and len(inputs) == 2 and set(log.reopened.folded.get(ROOT, ()))


def by_place(one: System) -> None:
    """R4: every row in the stores lies where the markers before it in its partition say."""
    wanted, found = by_markers(one), placed(one)
    assert len(found) >= len(wanted) - CHANGED - DELETED, "what has left may be purged"
    assert {origin: wanted[origin] for origin in found} == found


@pytest.mark.timeout(420)
def test_n0_folds_a_child_that_nobody_comes_to_and_finds_it_again(
    broker: Any, tmp_path: Any
) -> None:
    one = System(broker.bootstrap, f"t{os.getpid()}-above", tmp_path, ABOVE)
    try:
        folds_above(one)
    finally:
        one.stop()


def folds_above(one: System) -> None:
    one.start(0, 1)
    fed = Fed(one)
    fed.feed(rows_at([0, 1, 2, 3, QUIET], FIRST, 1))
    children = wait_for("N0 to split", lambda: one.get("/v1/nodes/N0")["children"])
    one.settle()
    log = routing(one)
    away = np.linalg.norm(log.covers[ROOT].centroids - PLACES[QUIET], axis=1)
    child = int(away.argmin())
    quiet = node_name((*ROOT, child))
    here = [name for name, row in fed.rows.items() if np.linalg.norm(row - PLACES[QUIET]) < 10]
    assert not log.reopened.folded and len(children) == 5

    rows = (rows_at([0, 1, 2, 3], 1000, seed) for seed in count(2))

    def folded() -> bool:
        fed.feed(next(rows))
        return bool(routing(one).reopened.folded)

    wait_for("the record", folded, 120)
    one.kill(1)  # its markers may be on their way
    one.start(1, ready=False)
    for _ in range(3):
        fed.feed(next(rows))
    one.wait_ready()
    one.settle()
    assert wait_for("every partition to be routed without it", lambda: turned(one)) == {child}
    told = {node["name"]: node for node in nodes(one).values()}
    assert {name for name, node in told.items() if node["folded"]} == {quiet}
    kept = told[quiet]["rows"]
    assert kept == len(here)

    # its rows leave by their ids, as always; what comes goes to the nearest of the others
    fed.feed(rows_at([0], CHANGED, 20), here[:CHANGED])
    fed.delete(here[CHANGED : CHANGED + DELETED])
    fed.feed(rows_at([QUIET], 30, 21))
    assert one.verify().sound
    fed.same()
    left = kept - CHANGED - DELETED
    wait_for("them to leave", lambda: one.get(f"/v1/nodes/{quiet}")["rows"] == left)
    cover = {entry["node"]: entry for entry in one.get("/v1/levels/1/cover")["cover"]}
    assert quiet not in cover and sum(e["rows"] for e in cover.values()) == len(fed.rows)

    # where the stream comes back, N0 finds a child with the next number
    for seed in range(30, 36):
        fed.feed(rows_at([0, 1, 2, 3, QUIET], 1000, seed))
    wait_for("a new child", lambda: len(one.get("/v1/nodes/N0")["children"]) == 6, 120)
    assert child in wait_for("every partition to be routed by it", lambda: turned(one))
    fed.feed(rows_at([QUIET], 100, 40))
    one.settle()
    wait_for("its rows to be told of", lambda: one.get("/v1/nodes/N0,5")["rows"] >= 100)
    assert one.verify().sound
    assert one.get(f"/v1/nodes/{quiet}")["rows"] == left
    end(one)
    by_place(one)

    shutil.rmtree(one.folder / "shards")
    one.start(0, 1)
    one.settle()
    fed.feed(rows_at([0, 1, 2, 3, QUIET], 200, 41))
    assert one.verify().sound
    fed.same()
    end(one)
    by_place(one)
