"""A stream drifts: N0's cover grows while rows flow and a worker dies; old ids change and go after it."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from broker.system import System, meanwhile, mixture, wait_for
from confluent_kafka import Producer as KafkaProducer

from pctstream.client import Producer

FIRST, SLICE = 3000, 60
CHANGED, DELETED, LOOKS = 200, 100, 12
Rows = dict[str, np.ndarray]


def far(rows: int, seed: int) -> np.ndarray:
    """Rows of places that no row of the beginning is near to."""
    return mixture(rows, centres=5, seed=seed) + np.float32(200.0)


@contextmanager
def flowing(one: System, rows: Rows) -> Iterator[None]:
    """New rows from far places, one slice after the other, until the end of the block."""

    def run(stopping: threading.Event) -> None:
        with Producer(one.broker, one.tree, block_rows=50) as producer:
            for at in itertools.count():
                for i, row in enumerate(far(SLICE, seed=at)):
                    rows[f"f{at}-{i}"] = row
                    producer.add(row, id=f"f{at}-{i}")
                if stopping.wait(0.3):
                    return

    with meanwhile(run):
        yield


def portions(one: System, number: int = 0) -> dict[str, int]:
    """Rows by portion."""
    return {p["portion"]: p["rows"] for p in one.get("/v1/portions", number)["portions"]}


def epochs(one: System) -> list[int]:
    """By which epoch each partition of N0's input is routed."""
    shards = one.get("/v1/shards", 0)["shards"]
    return [i["epoch"] for s in shards for i in s["inputs"] if i["node"] == "N0"]


def same(one: System, rows: Rows) -> None:
    """Exact searches, at either worker, are a scan of the rows; so are rows by their id."""
    chance = random.Random(3)
    names = sorted(rows)
    vectors = np.array([rows[n] for n in names], np.float64)
    for look in range(LOOKS):
        query = vectors[chance.randrange(len(names))]
        away = np.sqrt(np.cumsum((vectors - query) ** 2, axis=1)[:, -1]).tolist()
        url = one.urls[look % 2]

        def exact(url: str = url, query: np.ndarray = query) -> Any:
            asked = {"vector": query.tolist(), "k": 20}
            said = httpx.post(f"{url}/v1/search", json=asked, timeout=30).json()
            return said["results"] if said["exact"] else None

        found = wait_for("an exact answer", exact, 30)
        told = [(r["distance"], r["id"]) for r in found]
        assert told == sorted(zip(away, names, strict=True))[:20]
        name = chance.choice(names)
        said = httpx.get(f"{url}/v1/rows/{name}", timeout=30).json()
        assert said["vector"] == rows[name].tolist()


@pytest.mark.timeout(420)
def test_n0_grows_with_a_stream_that_drifts(system: Callable[..., System]) -> None:
    one = system(
        shards__count=4, tree__epsilon=8.0, tree__gap=300, tree__epsilon_ratio=0.3,
        tree__miss_limit=0.05, tree__miss_cooldown=2000, tree__level_idle_s=1.0,
    )  # fmt: skip
    one.start(0, 1, ready=False)
    one.wait_ready(120)
    base = mixture(FIRST, centres=8)
    rows: Rows = {str(i): row for i, row in enumerate(base)}
    one.feed(base)
    before = wait_for("N0 to split", lambda: portions(one))
    one.settle()
    assert len(set(epochs(one))) == 1

    with flowing(one, rows):
        wait_for("the cover to grow", lambda: len(portions(one)) > len(before), 60)
        one.kill(1)
        one.start(1, ready=False)
        newest = wait_for("the epoch", lambda: one.get("/v1/tree", 0)["epoch"])
        one.wait_ready(120)
        wait_for("every partition to be routed by it", lambda: min(epochs(one)) >= newest, 60)
        print("every partition is routed by", newest)
    found = one.verify()
    assert found.sound, found
    new = {name: n for name, n in portions(one).items() if name not in before}
    print(f"{len(before)} children, {len(new)} more: {new}")
    assert sum(new.values()) > SLICE

    # an id whose newest row goes to a new child leaves the old one, and one that is deleted is gone
    moved = dict(zip([str(i) for i in range(CHANGED)], far(CHANGED, seed=10_000), strict=True))
    one.feed(np.array(list(moved.values())), list(moved))
    rows |= moved
    producer = KafkaProducer(
        {"bootstrap.servers": one.broker, "partitioner": "murmur2_random", "linger.ms": 5}
    )
    for name in [*map(str, range(CHANGED, CHANGED + DELETED)), "f0-0", "3"]:
        producer.produce(f"{one.tree}.P0", value=None, key=name.encode())
        rows.pop(name)
    assert producer.flush(30) == 0
    found = one.verify()
    assert found.sound, found
    wait_for("the tree to count", lambda: one.get("/v1/tree")["rows"] == len(rows), 15)
    same(one, rows)
    root = one.get("/v1/nodes/N0")
    assert root["reopened"] >= 1
    assert root["miss_bound"]["p"] < 0.05
