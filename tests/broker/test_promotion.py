"""60 % of a stream in one portion: promoted while rows flow and its worker dies, its children are apart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest
from broker.brute import Asked
from broker.system import System, meanwhile, wait_for
from confluent_kafka import Producer as KafkaProducer

from pctstream.client import Producer

SHARDS, TOLERANCE = 4, 1.10
HEAVY, LIGHT = 24, 8
"""Places in the heavy portion, and others that are portions each."""
ROUND = 5 * HEAVY + 10 * LIGHT
"""Rows: 60 % at the heavy one's places."""
BASE, ALTERED, LOOKS = 20, 60, 3
"""Rounds before it is promoted; ids that change, are deleted; exact searches at least meanwhile."""


def places() -> np.ndarray:
    """Where rows come from, f32[200, 8]: those of one round, one after the other."""
    chance = np.random.default_rng(5)
    heavy = chance.normal(size=(HEAVY, 8))
    heavy *= 30.0 / np.linalg.norm(heavy, axis=1)[:, None]
    light = chance.normal(size=(LIGHT, 8))
    light *= 400.0 / np.linalg.norm(light, axis=1)[:, None]
    return np.concatenate([np.repeat(heavy, 5, axis=0), np.repeat(light, 10, axis=0)])


@dataclass
class Stream:
    """Rows of the same shares in every round; of those of the beginning it is known which are left."""

    one: System
    known: dict[str, np.ndarray] = field(default_factory=dict)
    rounds: int = 0

    def round(self, producer: Producer) -> None:
        chance = np.random.default_rng(self.rounds)
        rows = (places() + chance.normal(size=(ROUND, 8))).astype(np.float32)
        first = self.rounds < BASE
        for i in chance.permutation(ROUND).tolist():
            name = f"{self.rounds}-{i}"
            producer.add(rows[i], id=name, payload={"first": int(first)})
            if first:
                self.known[name] = rows[i]
        self.rounds += 1

    def flow(self, over: threading.Event) -> None:
        """Until it is over."""
        with Producer(self.one.broker, self.one.tree) as producer:
            while not over.wait(0.2):
                self.round(producer)
                producer.flush()


def portions(one: System) -> dict[str, dict[str, float]]:
    return {p["portion"]: p for p in one.get("/v1/portions")["portions"]}


def uneven(one: System) -> float:
    """Maximum through mean of the rows by shard."""
    rows = np.zeros(SHARDS)
    for portion in portions(one).values():
        rows[int(portion["owner"])] += portion["rows"]
    return float(rows.max() / rows.mean())


@pytest.mark.timeout(420)
def test_a_heavy_portion_is_spread_while_rows_flow_and_its_worker_dies(
    system: Callable[..., System],
) -> None:
    one = system(
        shards__count=SHARDS, tree__epsilon=120.0, tree__gap=300, tree__epsilon_ratio=0.12,
        tree__level_idle_s=1.0, tree__max_level=3, tree__kmeans_iterations=0, tree__balance=False,
    )  # fmt: skip
    stream = Stream(one)
    one.start(0, 1, ready=False, PCT_CRASH_AT="after-promoted")
    one.wait_ready(120)
    with Producer(one.broker, one.tree) as producer:
        while stream.rounds < BASE:
            stream.round(producer)
    wait_for("portions", lambda: portions(one))
    one.settle()
    heavy = max(portions(one), key=lambda name: portions(one)[name]["rows"])
    share = portions(one)[heavy]["rows"] / (BASE * ROUND)
    assert 0.5 < share < 0.7, f"{heavy} has {share:.0%}"
    wait_for("it to have split", lambda: one.get(f"/v1/nodes/{heavy}")["state"] == "splitting")
    # rows of it that have left by then, or leave meanwhile
    gone = [name for name in stream.known if int(name.split("-")[1]) < 5 * HEAVY][:ALTERED]
    deleting = KafkaProducer(
        {"bootstrap.servers": one.broker, "partitioner": "murmur2_random", "linger.ms": 5}
    )
    for name in gone:
        deleting.produce(f"{one.tree}.P0", value=None, key=name.encode())
        del stream.known[name]
    assert deleting.flush(30) == 0
    one.settle()
    before = uneven(one)
    assert before > 2.0

    asked = Asked(one, stream.known, first=True)
    with meanwhile(stream.flow), meanwhile(asked.ask):
        wait_for("rates", lambda: portions(one)[heavy]["rate"] > 0)
        said = httpx.post(f"{one.urls[0]}/v1/portions/{heavy}/promote", json={}, timeout=30)
        assert said.json()["promoting"], said.text
        victim = wait_for("its worker to die", lambda: dead(one), 60)[0]
        seen = asked.exact
        one.start(victim, ready=False)
        wait_for("its children to be portions", lambda: children(one, heavy), 60)
        one.wait_ready(120)
        wait_for("all to be handed down", lambda: one.get(f"/v1/nodes/{heavy}")["held"] == 0, 60)
        wait_for("exact answers", lambda: asked.exact > seen + LOOKS, 60)
    assert not asked.wrong, asked.wrong[0]
    found = one.verify()
    assert found.sound, found
    after = uneven(one)
    print(f"{heavy}: {share:.0%} of the rows; max / mean {before:.2f} -> {after:.2f}; "
          f"{len(children(one, heavy))} children; {asked.exact} exact answers, {found}")  # fmt: skip
    assert heavy not in portions(one)
    assert after <= TOLERANCE
    refused = httpx.post(f"{one.urls[0]}/v1/portions/{heavy}/promote", json={}, timeout=30)
    assert refused.status_code == 409, refused.text
    for url in one.urls:
        asked.look(url)
    assert not asked.wrong, asked.wrong[0]


def dead(one: System) -> list[int]:
    """Workers that have died."""
    return [n for n, worker in one.workers.items() if worker.poll() is not None]


def children(one: System, heavy: str) -> list[str]:
    return [name for name in portions(one) if name.startswith(f"{heavy},")]
