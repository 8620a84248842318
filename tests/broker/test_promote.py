"""A second tree grows on the rows of the first, takes its place and gives it back, while workers die."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from broker.system import System, mixture, wait_for

ROWS = 3000


@pytest.fixture
def both(broker: Any, tree_name: str, tmp_path: Path) -> Iterator[tuple[System, System]]:
    """A tree, and a finer one that reads its ingest topic; the first without a worker that dies."""
    systems = []
    for name, topics, epsilon, shards in (
        (tree_name, (), 8.0, 4), (f"{tree_name}-finer", (f"{tree_name}.P0",), 3.0, 2),
    ):  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        systems.append(System(broker.bootstrap, name, folder, {
            "shards.count": shards, "tree.epsilon": epsilon, "tree.gap": 200, "tree.max_level": 1,
            "ingest.topics": topics,
        }))  # fmt: skip
    yield systems[0], systems[1]
    for one in systems:
        one.stop()


def command(one: System, *words: str) -> subprocess.CompletedProcess[str]:
    every = [sys.executable, "-m", "pctstream", *words, "--http", one.urls[-1]]
    env = {"PCT_TREE__NAME": one.tree, "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(every, capture_output=True, text=True, timeout=60, env=env)


def found(url: str, rows: np.ndarray) -> str:
    """Which tree answers there; what it finds is what brute force does."""
    at = rows[7] + np.float32(0.01)
    said = httpx.post(f"{url}/v1/search", json={"vector": at.tolist(), "k": 5}, timeout=30.0)
    assert said.status_code == 200, said.text
    answer = said.json()
    assert answer["exact"] and not answer["partial"]
    away = np.linalg.norm(rows.astype(np.float64) - at.astype(np.float64), axis=1)
    assert [int(one["id"]) for one in answer["results"]] == np.argsort(away)[:5].tolist()
    return str(httpx.get(f"{url}/v1/tree", timeout=30.0).json()["name"])


def test_a_second_tree_takes_the_place_of_the_first(both: tuple[System, System]) -> None:
    first, finer = both
    rows = mixture(ROWS)
    first.start(0, 1)
    first.feed(rows)
    first.settle()
    finer.start(0, 1)
    wait_for("the finer tree to grow", lambda: finer.get("/v1/tree")["rows"] == ROWS)
    wait_for("it to have grown", lambda: finer.get("/v1/tree")["state"] == "grown")
    url, there = first.urls[0], finer.urls[0]
    assert found(url, rows) == first.tree and found(there, rows) == finer.tree

    trees = json.loads(command(first, "compare", there, "--json").stdout)["trees"]
    assert [t["name"] for t in trees] == [first.tree, finer.tree]
    assert trees[0]["rows"] == trees[1]["rows"] == ROWS
    assert trees[1]["levels"][1]["entries"] > trees[0]["levels"][1]["entries"]

    told = command(first, "promote", there)
    assert told.returncode == 0, told.stderr
    assert finer.tree in told.stdout and "--back" in told.stdout
    for asked in first.urls:
        assert found(asked, rows) == finer.tree, "the same address"

    first.kill(1)
    first.start(1)
    finer.kill(0)
    # half of its shards are nobody's for a moment: answers are partial until they are taken over
    name = httpx.get(f"{first.urls[1]}/v1/tree", timeout=30.0).json()["name"]
    assert name == finer.tree, "a worker that began anew has read of it"
    finer.start(0)
    more = mixture(500, seed=3)
    first.feed(more)
    everything = np.concatenate([rows, more])
    wait_for("the rows that came since", lambda: first.get("/v1/tree")["rows"] == ROWS + 500)
    assert found(url, everything) == finer.tree
    assert finer.verify().sound

    told = command(first, "promote", "--back")
    assert told.returncode == 0, told.stderr
    for asked in first.urls:
        assert found(asked, everything) == first.tree
    assert first.verify().sound
