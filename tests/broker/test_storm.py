"""A living tree under a kill storm: its stream drifts, N0 finds new children and folds old ones, a portion
of 60 % of the rows is promoted, and all the while workers die by kill -9. Exact answers are brute force
before, during and after; nothing is lost or doubled, and every row lies where the markers before it say.

PCT_KILLS says how many die at least (`make chaos`); PCT_KILL_SEED when and who.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest
from broker.brute import Asked
from broker.deep import by_markers, end, placed, routing
from broker.system import System, meanwhile, wait_for
from confluent_kafka import Producer as KafkaProducer

from pctstream.client import Producer
from pctstream.core.names import ROOT

SEED = int(os.environ.get("PCT_KILL_SEED") or random.SystemRandom().randrange(10**6))
KILLS = int(os.environ.get("PCT_KILLS", "3"))
LIVING: dict[str, object] = {
    "shards.count": 4, "tree.epsilon": 120.0, "tree.gap": 300, "tree.epsilon_ratio": 0.12,
    "tree.max_level": 3, "tree.level_idle_s": 1.0, "tree.kmeans_iterations": 0, "tree.balance": False,
    "tree.half_life_s": 20.0, "tree.fold_share": 0.03, "tree.miss_limit": 0.06, "tree.miss_cooldown": 1024,
}  # fmt: skip
HEAVY, LIVE = 24, 7
"""Places of the heavy portion, 60 % of the rows; others at a time, the newest with 12 %."""
SHARE, NEWEST = 0.60, 0.12
SLICE, EVERY_S, STEP_S = 100, 0.2, 0.01
"""Rows come SLICE at a time; each is STEP_S later than the one before by its own time."""
BASE, AGAIN, DELETED = 5000, 20, 50
"""Rows before anybody dies; afterwards every so manieth is a newer one of an id, or deletes one."""
LOOKS, BETWEEN = 30, 10
"""Exact answers before and after, and between two deaths."""


def places() -> np.ndarray:
    """f64[HEAVY + 60, 8]: those of the heavy portion, then others far from it and from each other."""
    chance = np.random.default_rng(5)
    far = chance.normal(size=(HEAVY + 60, 8))
    far /= np.linalg.norm(far, axis=1)[:, None]
    far[:HEAVY] *= 30.0
    far[HEAVY:] *= 500.0
    return far


class Stream:
    """Rows by their ids, as they should be found; those of the beginning never change."""

    def __init__(self, one: System) -> None:
        self.one, self.phase = one, 0
        self.rows: dict[str, np.ndarray] = {}
        self._sent, self._chance = 0, np.random.default_rng(SEED)

    def shares(self) -> np.ndarray:
        """Of each place, by now: with each phase the oldest has no rows any more, and one has come."""
        share = np.zeros(len(places()))
        share[:HEAVY] = SHARE / HEAVY
        live = HEAVY + self.phase + np.arange(LIVE)
        share[live] = (1 - SHARE - NEWEST) / (LIVE - 1)
        share[live[-1]] = NEWEST
        return share

    def send(self, producer: Producer, count: int) -> None:
        where = self._chance.choice(len(places()), count, p=self.shares())
        rows = (places()[where] + self._chance.normal(size=(count, 8))).astype(np.float32)
        for row in rows:
            old = self._sent >= 2 * BASE and self._sent % AGAIN == 0
            name = f"r{self._sent - BASE // 2 if old else self._sent}"
            first = int(self._sent < BASE)
            producer.add(row, id=name, time=self._sent * STEP_S, payload={"first": first})
            self.rows[name] = row
            self._sent += 1
        producer.flush()

    def delete(self, producer: KafkaProducer) -> None:
        """An id that came lately."""
        name = f"r{self._sent - DELETED // 2}"
        if self._sent > 2 * BASE and name in self.rows:
            producer.produce(f"{self.one.tree}.P0", value=None, key=name.encode())
            assert producer.flush(30) == 0
            del self.rows[name]

    def flow(self, over: threading.Event) -> None:
        """Until it is over."""
        deleting = KafkaProducer(
            {"bootstrap.servers": self.one.broker, "partitioner": "murmur2_random"}
        )
        with Producer(self.one.broker, self.one.tree, block_rows=50) as producer:
            while not over.wait(EVERY_S):
                self.send(producer, SLICE)
                if self._sent % (DELETED * SLICE) < SLICE:
                    self.delete(deleting)

    def first(self) -> dict[str, np.ndarray]:
        return {name: row for name, row in self.rows.items() if int(name[1:]) < BASE}


@dataclass
class Storm:
    """Who dies when; what the tree did meanwhile."""

    one: System
    stream: Stream
    heavy: str
    deaths: int = 0
    changes: list[tuple[int, int]] = field(default_factory=list)
    """Of each phase that is over: how many children N0 has by then, and how many of them are folded."""

    def __post_init__(self) -> None:
        self._chance = random.Random(SEED)

    def strike(self) -> None:
        """One dies, sometimes both; they come back, at once or a little later."""
        # the instant is the point of it, not something to wait for
        time.sleep(self._chance.uniform(0.0, 3.0))
        fallen = [n for n, w in self.one.workers.items() if w.poll() is not None]
        assert not fallen, f"worker {fallen} ended by itself: {self.one.log(fallen[0])}"
        for number in self._chance.choice(([0], [1], [0, 1])):
            self.one.kill(number)
            self.deaths += 1
            time.sleep(self._chance.uniform(0.0, 1.0))
        dead = [n for n, w in self.one.workers.items() if w.poll() is not None]
        self.one.start(*dead, ready=False)
        self.one.wait_ready(120)

    def promoted(self) -> bool:
        children = [p["portion"] for p in self.one.get("/v1/portions")["portions"]]
        return any(name.startswith(f"{self.heavy},") for name in children)

    def turn(self) -> None:
        """The next phase, once N0 has found the newest place and folded the one that nobody comes to."""
        log = routing(self.one)
        now = len(log.covers[ROOT].centroids), len(log.reopened.folded.get(ROOT, {}))
        before = self.changes[-1]
        if now[0] > before[0] and now[1] > before[1]:
            self.changes.append(now)
            self.stream.phase += 1

    def over(self) -> bool:
        return self.deaths >= KILLS and len(self.changes) > 1 and self.promoted()


@pytest.mark.timeout(420 + 60 * KILLS)
def test_a_living_tree_under_a_kill_storm(system: Callable[..., System]) -> None:
    print(f"PCT_KILL_SEED={SEED}")
    one = system(**{key.replace(".", "__"): value for key, value in LIVING.items()})
    stream = Stream(one)
    one.start(0, 1, ready=False, PCT_CRASH_AT="after-promoted")
    one.wait_ready(120)
    with Producer(one.broker, one.tree, block_rows=50) as producer:
        stream.send(producer, BASE)
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.settle()
    asked = Asked(one, stream.first(), first=True)
    asked.times(LOOKS)
    told = one.get("/v1/portions")["portions"]
    heavy = max(told, key=lambda p: p["rows"])["portion"]
    wait_for("it to split", lambda: one.get(f"/v1/nodes/{heavy}")["state"] == "splitting")

    storm = Storm(one, stream, heavy)
    storm.changes.append((len(told), 0))
    stream.phase = 1
    with meanwhile(stream.flow), meanwhile(asked.ask):
        wait_for("rates", lambda: any(p["rate"] for p in one.get("/v1/portions")["portions"]))
        said = httpx.post(f"{one.urls[0]}/v1/portions/{heavy}/promote", json={}, timeout=30)
        assert said.json()["promoting"], said.text
        wait_for("one to die of it", lambda: any(w.poll() for w in one.workers.values()), 60)
        for number in [n for n, w in one.workers.items() if w.poll() is not None]:
            one.start(number, ready=False)
        one.wait_ready(120)
        seen = asked.exact
        while not storm.over():
            storm.strike()
            told = asked.exact
            wait_for("exact answers", lambda told=told: asked.exact >= told + BETWEEN, 120)
            storm.turn()
        during = asked.exact - seen
    assert not asked.wrong, asked.wrong[0]
    verdict = one.verify()
    assert verdict.sound, verdict
    wait_for("the tree to count", lambda: one.get("/v1/tree")["rows"] == len(stream.rows))
    after = Asked(one, stream.rows, first=False)
    after.times(LOOKS)
    assert not after.wrong, after.wrong[0]
    end(one)
    lie, wanted = placed(one), by_markers(one)
    assert {origin: wanted[origin] for origin in lie} == lie
    print(f"{storm.deaths} deaths, children and folded {storm.changes}, {heavy} promoted, {during} "
          f"exact answers meanwhile, {len(lie)} rows where they belong, {verdict}")  # fmt: skip
    assert len(lie) >= len(stream.rows)
