"""The tree is a function of the rows: whatever the cut, the speed, the moments, the deaths (R0)."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
import pytest
from broker.deep import (
    DEEP,
    below_root,
    end,
    nested,
    nodes,
    oracle,
    routing,
    same,
    shape_of,
    stored,
    told_covers,
    wait_tree,
)
from broker.system import System, produce, records, wait_for
from sim.recursion import Tree

from pctstream.client import Producer
from pctstream.core import life
from pctstream.core.names import ROOT, level
from pctstream.settled import wait_applied

Make = Callable[..., System]
ROWS = 5000
SEED = int(os.environ.get("PCT_KILL_SEED") or random.SystemRandom().randrange(10**6))
KILLS = int(os.environ.get("PCT_KILLS", "3"))
WAYS: dict[str, dict[str, object]] = {
    "idle": {"tree.level_idle_s": 0.4},
    "rows": {"tree.level_rows": 300, "blocks.rows": 64},
    "timeout": {"tree.level_timeout_s": 1.0, "tree.cut": 2, "blocks.linger_ms": 1},
}
"""What closes the levels of the three systems, apart from all nodes having ended."""


def fed_in(one: System, way: str, rows: np.ndarray) -> None:
    """Large blocks at once; one message a row, in bursts that are awaited; small blocks."""
    if way == "idle":
        one.feed(rows)
    for part in np.split(rows, [700, 2000, 2100]) if way == "rows" else []:
        produce(one, part, np.zeros(len(part)))
        wait_applied(one.cfg, one.urls)
    if way == "timeout":
        with Producer(one.broker, one.tree, block_rows=90) as producer:
            for i, row in enumerate(rows):
                producer.add(row, id=str(i))


@pytest.fixture(scope="module")
def expected() -> Tree:
    """Filled in by whoever grows the systems; they differ in nothing it depends on."""
    return {}


@pytest.fixture(scope="module")
def grown(
    broker: Any, expected: Tree, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, System]]:
    """Three systems of one ingest partition that were fed the same rows; stopped."""
    systems = {}
    for way, own in WAYS.items():
        given = {"shards.count": 1, **DEEP, **own}
        folder = tmp_path_factory.mktemp(way)
        systems[way] = System(broker.bootstrap, f"t{os.getpid()}-growth-{way}", folder, given)
        systems[way].start(0, ready=False)
    rows = nested(ROWS)
    expected.update(oracle(systems["idle"], rows))
    try:
        for way, one in systems.items():
            one.wait_ready()
            fed_in(one, way, rows)
        covers = {path: {node["cover"]} for path, node in expected.items() if node["cover"]}
        for one in systems.values():
            wait_tree(one, expected)
            wait_for("every cover to be told", lambda one=one: told_covers(one) == covers)
    finally:
        for one in systems.values():
            end(one)
    yield systems
    for one in systems.values():
        end(one)


@pytest.mark.timeout(200)
def test_the_rows_make_a_tree_of_three_levels(grown: dict[str, System], expected: Tree) -> None:
    """And the levels were closed otherwise in each system, so that there is something to show."""
    shape = shape_of(expected)
    print(shape)
    assert all(shape[level, life.SPLITTING] for level in (0, 1, 2))
    assert {state for _, state in shape} == {life.SPLITTING, life.COVERING, life.SINK, life.LEAF}
    for way, one in grown.items():
        closed = [level["closed_by"] for level in routing(one).levels]
        print(way, closed)
        assert len(closed) == 3
        assert way in closed


@pytest.mark.parametrize("way", WAYS)
def test_the_same_tree_bit_for_bit(grown: dict[str, System], expected: Tree, way: str) -> None:
    """Names, prototypes, the leaf of every row: at cut 1, at cut 2, and as plain recursion has it."""
    one = grown[way]
    same(stored(one), below_root(expected))
    hashes = {path: {node["cover"]} for path, node in expected.items() if node["cover"]}
    assert told_covers(one) == hashes
    assert routing(one).covers[ROOT].hash == expected[ROOT]["cover"]


@pytest.mark.timeout(200)
def test_a_shard_rebuilt_from_its_pipes(grown: dict[str, System], expected: Tree) -> None:
    one = grown["timeout"]
    before = told_covers(one)
    shutil.rmtree(one.folder / "shards")
    one.start(0)
    wait_tree(one, expected)
    assert [n["history"][0]["mode"] for n in nodes(one).values()] == [0] * len(expected)
    end(one)
    same(stored(one), below_root(expected))
    assert told_covers(one) == before


@pytest.mark.timeout(200)
def test_killed_at_random_instants_while_levels_grow(system: Make) -> None:
    print(f"PCT_KILL_SEED={SEED}")
    chance = random.Random(SEED)
    given = {k.replace(".", "__"): v for k, v in DEEP.items()}
    one = system(**given | {"shards__count": 1, "tree__cut": 2, "tree__level_idle_s": 0.3})
    rows = nested(ROWS, seed=1)
    one.start(0)
    for trial, part in enumerate(np.array_split(rows, KILLS)):
        one.feed(part)
        deepest = min(trial, one.cfg.tree.max_level - 1)
        wait_for("a level to kill it in", lambda n=deepest: len(levels(one)) > n)
        # the instant is the point of the trial, not something to wait for
        time.sleep(chance.uniform(0.0, 0.6))
        print("killed with", levels(one))
        one.kill(0)
        one.start(0)
    tree = oracle(one, rows)
    wait_tree(one, tree)
    verdict = one.verify()
    assert verdict.sound
    assert verdict.applied == len(rows)
    assert one.get("/v1/tree")["rows"] == len(rows)
    end(one)
    same(stored(one), below_root(tree))


def levels(one: System) -> list[int]:
    """The number of nodes of each level."""
    return [level["nodes"] for level in one.get("/v1/tree")["levels"]]


def sphere(count: int, seed: int) -> np.ndarray:
    """Uniform points f32[count, 64] on the unit sphere."""
    rows = np.random.default_rng(seed).normal(size=(count, 64))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.timeout(200)
def test_points_on_a_sphere_end_in_sinks_that_are_listed_and_counted(system: Make) -> None:
    """Y rows without a cover, at N0 of one system and one level below in the other."""
    most = 800
    given = {"tree__sink_rows": most, "tree__gap": 100, "tree__epsilon_ratio": 0.2,
             "tree__level_idle_s": 0.5, "shards__count": 2}  # fmt: skip
    wide, small = system(**given, tree__epsilon=1.6), system(**given, tree__epsilon=0.3)
    for one in (wide, small):
        one.start(0, ready=False)
    for part in np.split(sphere(2400, 0), [1450, 1750]):
        for one in (wide, small):
            one.wait_ready()
            one.feed(part, [f"{one.fed + i}" for i in range(len(part))])
            wait_for("sinks, and no others", lambda one=one: ended(one, most))
            told = nodes(one).values()
            print([(node["name"], node["state"], node["rows"]) for node in told])
            for node in (n for n in told if n["state"] == life.SINK):
                assert (node["limit"], node["children"], node["mode"]) == ("sink_rows", [], 0)
                assert [entry["mode"] for entry in node["history"]] == [0]
            assert one.get("/v1/tree")["rows"] == one.fed
    assert {level(path) for path, n in nodes(wide).items() if n["state"] == life.SINK} == {1}
    assert [n["state"] for n in nodes(small).values()] == [life.SINK]
    told_sink = next(
        m.value or b"" for m in records(small, "routing") if b'"sink"' in (m.value or b"")
    )
    assert orjson.loads(told_sink)["rows"] == most, "N0 scanned Y rows, not one more"
    for one in (wide, small):
        assert one.verify().sound
        leaves = [n for n in nodes(one).values() if n["state"] != life.SPLITTING]
        assert sum(n["rows"] for n in leaves) == one.fed
        assert all(n["state"] == life.SINK for n in leaves)
        end(one)


def ended(one: System, most: int) -> bool:
    """All rows are there, and of the nodes that did not split exactly those with ``most`` are sinks."""
    wait_applied(one.cfg, one.urls)
    leaves = [n for n in nodes(one).values() if n["state"] != life.SPLITTING]
    return sum(n["rows"] for n in leaves) == one.fed and all(
        (n["state"] == life.SINK) == (n["rows"] >= most) for n in leaves
    )
