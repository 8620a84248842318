"""Noise that gives way to a few places, on a real broker: a sink splits, and search stays exact."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from broker.brute import NEAREST, searched
from broker.deep import EVER, below_root, end, nodes, oracle, same, sizes_told, stored
from broker.system import System, wait_for

from pctstream.core import life

Y = 600
SINKING: dict[str, object] = {
    "shards.count": 1, "tree.epsilon": 60.0, "tree.epsilon_ratio": 0.05, "tree.gap": 60,
    "tree.sink_rows": Y, "tree.kmeans_iterations": 3, "tree.max_level": 2, "tree.level_idle_s": 0.4,
    "tree.level_rows": EVER, "tree.miss_limit": 0.0,
}  # fmt: skip
NOISE, ALL = 2000, 6000


def stream() -> tuple[np.ndarray, np.ndarray]:
    """Rows f32[n, 4] of two groups far apart, and the group int[n] of each. Both are noise; behind NOISE
    rows the first group has four places instead."""
    rng = np.random.default_rng(5)
    far = np.where(np.arange(2)[:, None], 100.0, -100.0) * np.ones((2, 4))
    places = rng.uniform(-10, 10, (4, 4))
    group = rng.integers(0, 2, ALL)
    around = rng.uniform(-12, 12, (ALL, 4))
    calm = (np.arange(ALL) >= NOISE) & (group == 0)
    around[calm] = places[rng.integers(0, 4, calm.sum())] + rng.normal(0, 0.2, (calm.sum(), 4))
    return (far[group] + around).astype(np.float32), group


def asked(one: System, rows: np.ndarray) -> None:
    """Exact answers are those of brute force, and every row is behind one entry of each level's cover."""
    rng = np.random.default_rng(len(rows))
    for query in rows[rng.integers(0, len(rows), 6)] + np.float32(0.01):
        wanted = np.sort(np.linalg.norm(rows.astype(float) - query.astype(float), axis=1))[:NEAREST]
        found = wait_for("an exact answer", lambda q=query: searched(one, q))
        np.testing.assert_allclose([r["distance"] for r in found], wanted, rtol=1e-6)

    def counted(level: int) -> bool:
        cover = one.get(f"/v1/levels/{level}/cover")
        held = sum(entry["rows"] for entry in cover["cover"])
        return bool(held == len(rows) and abs(sum(e["w"] for e in cover["cover"]) - 1) < 1e-9)

    for level in (1, 2):
        wait_for(f"the cover of level {level}", lambda n=level: counted(n))


@pytest.fixture
def one(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("sinks")
    system = System(broker.bootstrap, f"t{os.getpid()}-sinks", folder, SINKING)
    yield system
    system.stop()


def told(one: System, rows: int) -> dict[str, dict[str, Any]]:
    """The nodes of level 1 by name, once all rows are told, and the cover of each that has one."""
    found = nodes(one)
    level = {name: n for name, n in found.items() if n["level"] == 1}
    if any(n["state"] == life.SPLITTING and not n["prototypes"] for n in level.values()):
        return {}
    return level if sum(n["rows"] for n in level.values()) == rows else {}


@pytest.mark.timeout(240)
def test_a_sink_splits_where_its_rows_come_to_have_a_cover(one: System) -> None:
    rows, group = stream()
    one.start(0, ready=False)
    one.wait_ready(120.0)
    one.feed(rows[:NOISE])
    one.settle()
    before = wait_for("two sinks", lambda: told(one, NOISE), 60.0)
    assert [(n["state"], n["limit"]) for n in before.values()] == [(life.SINK, "sink_rows")] * 2
    asked(one, rows[:NOISE])

    # the first group has had 2 Y rows and 30: in the middle of a scan
    scanning = int(np.flatnonzero(group == 0)[2 * Y + 29]) + 1
    one.feed(rows[NOISE:scanning])
    one.settle()
    during = wait_for("all rows to be told", lambda: told(one, scanning), 60.0)
    assert {n["state"] for n in during.values()} == {life.SINK}
    assert sorted(n["scanning"] for n in during.values()) == [False, True]
    asked(one, rows[:scanning])
    one.kill(0)
    one.start(0, ready=False)
    one.wait_ready(120.0)
    asked(one, rows[:scanning])

    half = (scanning + ALL) // 2
    one.feed(rows[scanning:half])
    one.kill(0)
    one.start(0, ready=False)
    one.wait_ready(120.0)
    one.feed(rows[half:])
    one.settle()
    after = wait_for("all rows to be told", lambda: told(one, ALL), 60.0)
    assert sorted(n["state"] for n in after.values()) == [life.SINK, life.SPLITTING]
    split = next(n for n in after.values() if n["state"] == life.SPLITTING)
    assert (split["limit"], split["prototypes"], len(split["children"])) == (None, 4, 4)
    assert split["cover_rows"] >= 60
    assert split["held"] == 2 * Y + split["cover_rows"], "rows of before stay where they were"
    assert [entry["mode"] for entry in split["history"]] == [0, 2]
    asked(one, rows)
    entries = {e["node"] for e in one.get("/v1/levels/2/cover")["cover"]}
    assert {split["name"], *split["children"]} <= entries
    wait_for("the sizes of covers", lambda: sizes_told(one, 3))
    verdict = one.verify()
    assert (verdict.lost, verdict.duplicated, verdict.applied) == (0, 0, ALL)
    expected = oracle(one, rows)
    end(one)
    same(stored(one), below_root(expected))
