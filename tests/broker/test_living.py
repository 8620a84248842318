"""A stream that goes elsewhere, on a real broker: a node re-opens, and nothing else gives way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from broker.deep import EVER, below_root, end, nodes, oracle, same, stored, told_covers
from broker.system import System, wait_for

from pctstream.core.names import node_name, node_path

LIVING: dict[str, object] = {
    "shards.count": 1, "tree.epsilon": 60.0, "tree.epsilon_ratio": 0.05, "tree.gap": 60,
    "tree.sink_rows": 900, "tree.kmeans_iterations": 3, "tree.max_level": 2, "tree.level_idle_s": 0.4,
    "tree.level_rows": EVER, "tree.miss_limit": 0.1, "tree.miss_cooldown": 1024,
}  # fmt: skip
FIRST, THEN = 4000, 9000


def stream() -> np.ndarray:
    """Rows f32[n, 4] of two groups far apart, each of four places; after FIRST of them one group has
    four places more, and those of before become rare."""
    places = np.random.default_rng(7)
    far = np.where(np.arange(2)[:, None], 100.0, -100.0) * np.ones((2, 4))
    near = places.normal(0, 8, (8, 4))
    rng = np.random.default_rng(8)
    group = rng.integers(0, 2, FIRST + THEN)
    place = rng.integers(0, 4, FIRST + THEN)
    later = (np.arange(FIRST + THEN) >= FIRST) & (group == 0) & (rng.random(FIRST + THEN) < 0.8)
    rows = far[group] + near[place + 4 * later] + rng.normal(0, 0.3, (FIRST + THEN, 4))
    return rows.astype(np.float32)


@pytest.fixture(scope="module")
def one(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("living")
    system = System(broker.bootstrap, f"t{os.getpid()}-living", folder, LIVING)
    yield system
    system.stop()


def test_a_node_re_opens_where_the_stream_goes_and_nothing_else_gives_way(one: System) -> None:
    rows = stream()
    one.start(0, ready=False)
    one.wait_ready(120.0)
    one.feed(rows[:FIRST])
    one.settle()

    def handing() -> list[dict[str, Any]]:
        return [n for n in nodes(one).values() if n["level"] == 1 and n["children"]]

    split = wait_for(
        "both portions to have split", lambda: len(handing()) == 2 and handing(), 120.0
    )
    before = {n["name"]: n for n in split}
    assert {n["reopened"] for n in split} == {0}
    assert all(0 < n["miss_bound"]["p"] <= 3 / 60 for n in split)

    one.feed(rows[FIRST : FIRST + THEN // 2])
    one.kill(0)
    one.start(0, ready=False)
    one.wait_ready(120.0)
    one.feed(rows[FIRST + THEN // 2 :])
    one.settle()
    expected = oracle(one, rows)

    def told() -> Any:
        now = {n["name"]: n for n in nodes(one).values()}
        kept = [n for n in now.values() if len(n["children"]) == n["prototypes"]]
        grown = {len(expected[path].get("prototypes", ())) for path in expected}
        whole = {node_name(path) for path in expected} == now.keys() and len(kept) == len(now)
        return now if whole and {n["prototypes"] for n in now.values()} == grown else None

    after = wait_for("all nodes to be told", told, 120.0)
    grown = {name: n for name, n in after.items() if n["reopened"]}
    assert grown, "a node re-opened"
    for name, node in grown.items():
        kept = before[name]["children"]
        assert node["children"][: len(kept)] == kept, "old children keep their names"
        assert len(node["children"]) > len(kept)
        assert [entry["mode"] for entry in node["history"]][-2:] == [0, 2]
        assert node["miss_bound"]["p"] <= 0.1 and node["miss_bound"]["confidence"] == 0.95
    cover = one.get("/v1/levels/1/cover")
    assert cover["confidence"] == 0.95
    for entry in cover["cover"]:
        assert entry["miss_bound"] == after[entry["node"]]["miss_bound"]["p"]
        assert entry["radius"] >= 0
    metric = httpx.get(f"{one.urls[0]}/metrics", timeout=10).text
    assert "pct_miss_limit_ratio 0.1" in metric

    for query in rows[np.random.default_rng(1).integers(0, len(rows), 6)] + np.float32(0.01):
        wanted = np.sort(np.linalg.norm(rows.astype(float) - query.astype(float), axis=1))[:5]
        body = {"vector": query.tolist(), "k": 5, "exact": True}
        answer = httpx.post(f"{one.urls[0]}/v1/search", json=body, timeout=15).json()
        assert answer["exact"]
        np.testing.assert_allclose([r["distance"] for r in answer["results"]], wanted, rtol=1e-6)

    verdict = one.verify()
    assert (verdict.lost, verdict.duplicated) == (0, 0)
    assert {node_path(name) for name in grown} <= told_covers(one).keys(), "and none is disputed"
    end(one)
    same(stored(one), below_root(expected))
