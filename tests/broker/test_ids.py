"""Ids against a dict: updates that change shards, deletes, ids that come back, while workers die.

`PCT_IDS=100000` sets how many operations there are; a worker dies at most twelve times meanwhile.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
from broker.system import System, mixture, wait_for
from confluent_kafka import Producer as KafkaProducer

OPERATIONS = int(os.environ.get("PCT_IDS", "2000"))
KILL_EVERY = max(2000, OPERATIONS // 12)
IDS, FIRST, LOOKS = 1500, 2500, 60


class Table:
    """What a dict says should be there, and the messages that should make it so."""

    def __init__(self, one: System) -> None:
        self.rows: dict[str, np.ndarray] = {}
        self.came = 0
        self._chance = random.Random(7)
        self._fresh = mixture(20_000, seed=3)
        self._producer = KafkaProducer(
            {"bootstrap.servers": one.broker, "partitioner": "murmur2_random", "linger.ms": 5}
        )
        self._topic = f"{one.tree}.P0"

    def first(self, one: System) -> None:
        """Rows in blocks, some ids of which come twice while N0 still covers."""
        rows = mixture(FIRST)
        ids = [str(i % IDS) for i in range(FIRST)]
        one.feed(rows, ids)
        self.rows = dict(zip(ids, rows, strict=True))
        self.came += FIRST

    def change(self, operations: int) -> None:
        """Rows anywhere, also far from where the id was before; deletes, in both forms."""
        for _ in range(operations):
            name = str(self._chance.randrange(IDS))
            value: bytes | None = None
            if self._chance.random() < 0.75:
                row = self._fresh[self._chance.randrange(len(self._fresh))]
                self.rows[name] = row
                self.came += 1
                value = json.dumps({"vector": row.tolist()}).encode()
            else:
                self.rows.pop(name, None)
                value = self._chance.choice([None, b'{"deleted": true}'])
            self._producer.produce(self._topic, value=value, key=name.encode())
            self._producer.poll(0)
        assert self._producer.flush(60) == 0


def test_updates_deletes_and_ids_that_come_back_are_those_of_a_dict(
    system: Callable[..., System],
) -> None:
    one = system(shards__count=4, tree__epsilon=8.0, tree__gap=500, tree__epsilon_ratio=0.01)
    one.start(0, 1)
    table = Table(one)
    table.first(one)
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    done, kills = 0, 0
    while done < OPERATIONS:
        step = min(KILL_EVERY // 2, OPERATIONS - done)
        table.change(step)
        done += step
        if done >= KILL_EVERY * kills + KILL_EVERY // 2:
            kills += 1
            one.wait_ready()
            one.kill(kills % 2)
            table.change(50)
            one.start(kills % 2, ready=False)
    print(f"{done} operations, {kills} workers killed")
    one.wait_ready()
    found = one.verify()
    assert found.sound, found
    assert found.superseded == table.came - len(table.rows)
    wait_for("the tree to count", lambda: one.get("/v1/tree")["rows"] == len(table.rows), 15)
    _same(one, table.rows)


def _same(one: System, rows: dict[str, np.ndarray]) -> None:
    """Searches and rows by id, at either worker."""
    chance = random.Random(1)
    names = sorted(rows)
    vectors = np.array([rows[n] for n in names], np.float64)
    with httpx.Client(timeout=30.0) as client:
        for look in range(LOOKS):
            url = one.urls[look % 2]
            name = str(chance.randrange(IDS))
            answer = client.get(f"{url}/v1/rows/{name}")
            if name in rows:
                assert answer.json()["vector"] == rows[name].tolist()
            else:
                assert answer.status_code == 404, answer.text
            if look % 4 == 0:
                query = vectors[chance.randrange(len(names))]
                away = np.sqrt(np.cumsum((vectors - query) ** 2, axis=1)[:, -1]).tolist()
                said = wait_for("an exact answer", lambda u=url, q=query: _exact(client, u, q), 30)
                told = [(one["distance"], one["id"]) for one in said["results"]]
                assert told == sorted(zip(away, names, strict=True))[:20]


def _exact(client: httpx.Client, url: str, query: np.ndarray) -> dict[str, Any] | None:
    asked = {"vector": query.tolist(), "k": 20}
    said: dict[str, Any] = client.post(f"{url}/v1/search", json=asked).json()
    return said if said["exact"] else None
