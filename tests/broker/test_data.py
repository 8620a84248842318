"""Real data through two workers and four shards: every id in one node, every total the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from broker.system import System, records, wait_for

from pctstream.core.names import node_path
from pctstream.photographs import patches, photograph
from pctstream.rocks import RocksKV
from pctstream.store import Store

Make = Callable[..., System]
SHARDS = 4


def ids_by_node(one: System) -> Counter[str]:
    """How often each id lies in any node's rows; the workers must be stopped."""
    found: Counter[str] = Counter()
    for shard in range(SHARDS):
        store = Store(RocksKV(one.folder / "shards" / str(shard), 1 << 20))
        for name in store.nodes():
            for _, rows in store.segments(node_path(name)):
                assert rows.ids is not None
                found.update(rows.ids.to_pylist())
        store.close()
    return found


def goes_all_the_way(one: System, rows: np.ndarray) -> None:
    one.start(0, 1)
    one.feed(rows)
    wait_for("portions", lambda: one.get("/v1/portions")["portions"], 100)
    verdict = one.verify()
    assert verdict.sound
    assert verdict.ingested == verdict.applied == len(rows)
    wait_for("the table totals", lambda: sum(
        p["rows"] for p in one.get("/v1/tables/portions")["rows"].values()) == len(rows))  # fmt: skip
    portions = len(one.get("/v1/portions")["portions"])
    told: Counter[int] = Counter()
    for message in records(one, "state"):
        record = orjson.loads(message.value or b"{}")
        if record["kind"] in ("shard", "portion"):  # a cover and a density are told once
            told[int(record["time"] // one.cfg.drift.window_s)] += 1
    assert np.mean(list(told.values())) <= 2 * (portions + SHARDS)
    one.stop()
    ids = ids_by_node(one)
    assert len(ids) == len(rows)
    assert set(ids.values()) == {1}


@pytest.mark.timeout(300)
def test_fashion_mnist(system: Make, shared_data: Path) -> None:
    images = np.load(shared_data / "fashion_mnist.npz")["X"].astype(np.float32) / 255
    one = system(shards__count=SHARDS, tree__epsilon=12.0, drift__window_s=2.0)
    goes_all_the_way(one, images)


@pytest.mark.timeout(300)
def test_beijing_air(system: Make, shared_data: Path) -> None:
    file = np.load(shared_data / "beijing_air.npz")
    rows = ((file["X"][:100_000] - file["mean"]) / file["std"]).astype(np.float32)
    one = system(shards__count=SHARDS, tree__epsilon=4.0, drift__window_s=2.0)
    goes_all_the_way(one, rows)


@pytest.mark.timeout(300)
def test_photographs(system: Make) -> None:
    shown = [patches(photograph(name))[0] for name in ("china", "flower")]
    rows = np.random.default_rng(0).permutation(np.concatenate(shown)[::3]) / np.float32(255)
    one = system(shards__count=SHARDS, tree__epsilon=4.26, drift__window_s=2.0)
    goes_all_the_way(one, rows)
