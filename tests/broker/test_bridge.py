"""Other people's topics: any number of partitions, bridges that die, partitions that appear."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from broker.system import System, mixture, records, wait_for
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions, NewTopic


@pytest.fixture
def bridged(broker: Any, tree_name: str, tmp_path: Path) -> Iterator[System]:
    """Eight shards; the two foreign topics are not there yet."""
    names = (f"{tree_name}-few", f"{tree_name}-many")
    one = System(broker.bootstrap, tree_name, tmp_path, {
        "shards.count": 8, "tree.epsilon": 8.0, "tree.gap": 500, "tree.max_level": 1,
        "ingest.topics": names,
    })  # fmt: skip
    yield one
    one.stop()


def make(one: System, name: str, partitions: int) -> None:
    for future in one.admin.create_topics([NewTopic(name, partitions)]).values():
        future.result(10)


def to(one: System, topic: str, rows: np.ndarray, partitions: int) -> None:
    """Rows as another producer would have them: float32 and JSON, its own headers, its own keys."""
    producer = Producer({"bootstrap.servers": one.broker, "linger.ms": 20})
    call = uuid.uuid4().hex[:8]  # an id that came before would replace a row
    for i, row in enumerate(rows):
        value = row.astype("<f4").tobytes()
        if i % 3 == 0:
            value = orjson.dumps(
                {"id": f"{call}-{i}", "embedding": row.tolist(), "payload": {"n": i}}
            )
        producer.produce(
            topic, value, f"{call}-{i}".encode(), i % partitions, timestamp=1_600_000_000_000,
            headers=[("pct-type", b"theirs"), ("trace", b"1")],
        )  # fmt: skip
        if i % 1000 == 0:
            producer.poll(0)
    producer.produce(topic, b"no row", b"bad", 0)
    assert producer.flush(30) == 0


def lag(one: System) -> int:
    """Messages that are not copied yet, as every worker knows it."""
    inputs = [i for s in one.get("/v1/shards")["shards"] for i in s["inputs"]]
    return sum(i["end"] - 1 - i["routed"] for i in inputs if i["node"] == "bridge")


def test_two_topics_into_eight_shards_while_bridges_die(bridged: System) -> None:
    few, many = bridged.cfg.ingest.topics
    make(bridged, many, 20)
    bridged.start(0, 1, PCT_CRASH_AT="after-copied:4")
    fed = 0
    while any(worker.poll() is None for worker in bridged.workers.values()):
        to(bridged, many, mixture(500, seed=fed), 20)
        fed += 500
        assert fed < 100_000, "a bridge passes here with every unit"
    assert [bridged.died(number) for number in (0, 1)] == [-9, -9]
    bridged.start(0, 1)
    make(bridged, few, 3)
    to(bridged, few, mixture(2000), 3)
    bridged.admin.create_partitions([NewPartitions(few, 4)])[few].result(10)
    to(bridged, few, mixture(2000), 4)
    fed += 4000
    verdict = bridged.verify()
    assert (verdict.lost, verdict.duplicated, verdict.altered) == (0, 0, 0)
    assert verdict.applied == fed
    bad = (fed - 4000) // 500 + 2
    assert verdict.dead_lettered == bad
    copies = [m.origin for m in records(bridged, "P0")]
    assert None not in copies
    assert len(copies) > len(set(copies)) == fed + bad, "a bridge that died copies a part again"
    letters = {(m.key or b"").decode() for m in records(bridged, "dlq")}
    assert {o.rsplit("/", 3)[0] for o in letters} == {few, many}
    assert lag(bridged) == 0
    answer = httpx.get(f"{bridged.urls[0]}/metrics").text
    assert 'kind="bridge"' in answer


def test_a_foreign_topic_made_again_stops_alone(bridged: System) -> None:
    few, many = bridged.cfg.ingest.topics
    make(bridged, few, 3)
    make(bridged, many, 1)
    bridged.start(0)
    to(bridged, few, mixture(1000), 3)
    wait_for("the copies", lambda: len(records(bridged, "P0")) == 1001)
    for future in bridged.admin.delete_topics([few]).values():
        future.result(10)
    wait_for("not ready", lambda: bridged.get("/readyz") is None)
    make(bridged, few, 3)
    to(bridged, few, mixture(10), 3)
    to(bridged, many, mixture(500), 1)
    wait_for("the other topic", lambda: len(records(bridged, "P0")) == 1502)
    copied = {message.origin for message in records(bridged, "P0")}
    bridged.kill(0)
    bridged.start(0, ready=False)
    url = f"http://127.0.0.1:{bridged.ports[0]}/readyz"
    said = wait_for("the reason after a restart", lambda: _reason(url, "made again"))
    assert few in said
    # what was not committed yet may be copied once more, but nothing of the new topic
    assert {message.origin for message in records(bridged, "P0")} == copied


def _reason(url: str, part: str) -> str:
    text = httpx.get(url, timeout=5.0).text
    return text if part in text else ""
