"""Five faults, five outcomes: nothing is skipped, nothing is lost, and somebody is told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from broker.system import System, mixture, wait_for
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pctstream import topics
from pctstream.broker import LocalBroker
from pctstream.client import Producer

OUTAGES = os.environ.get("PCT_OUTAGES", "kill:0").split()
"""What happens to the broker, one after the other: kill:SECONDS or stop:SECONDS until it is back."""
Make = Callable[..., System]
PART = 6000


def grown(system: Make, *workers: int, **env: str) -> System:
    one = system(shards__count=2, tree__epsilon=8.0, tree__gap=500)
    one.start(*workers, **env)
    one.feed(mixture(PART))
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    return one


def limit_messages(one: System, topic: str, size: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(size),
                        incremental_operation=AlterConfigOpType.SET)  # fmt: skip
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in one.admin.incremental_alter_configs([resource]).values():
        future.result(10)


def test_the_broker_refuses_a_message(system: Make) -> None:
    """The worker ends with a message, goes on from its watermarks when it may, and nothing is lost."""
    one = grown(system, 0)
    one.settle()
    limit_messages(one, f"{one.tree}.P0.0", 100)
    one.feed(mixture(PART, seed=1), [f"b{i}" for i in range(PART)])
    assert one.died(0) == 1
    assert f"{one.tree}.P0.0" in one.log(0)
    limit_messages(one, f"{one.tree}.P0.0", 1_048_588)
    one.start(0)
    verdict = one.verify()
    assert verdict.sound
    assert verdict.applied == 2 * PART


def test_a_node_agent_raises_with_a_block_in_hand(system: Make) -> None:
    """The block is read again and applied once; the agent was restarted, the worker was not."""
    one = grown(system, 0, PCT_RAISE_AT="before-apply:4")
    one.feed(mixture(PART, seed=1), [f"b{i}" for i in range(PART)])
    verdict = one.verify()
    assert verdict.sound
    assert verdict.applied == 2 * PART
    metrics = httpx.get(f"{one.urls[0]}/metrics", timeout=5).text
    assert "pct_node_restarts_total 1.0" in metrics
    assert sum(node["restarts"] for node in one.get("/v1/nodes")["nodes"]) == 1
    assert one.workers[0].poll() is None


def test_a_pipe_topic_is_made_again(system: Make) -> None:
    """That input stops, alone; not ready; verify and status say 5."""
    one = grown(system, 0)
    one.settle()
    topic = f"{one.tree}.P0.0"
    one.admin.delete_topics([topic])[topic].result(10)
    wait_for("the topic is gone", lambda: topic not in one.admin.list_topics(timeout=5).topics)
    topics.apply(one.admin, [topics.pipe_spec(one.cfg, topic)])
    wait_for("not ready", lambda: httpx.get(f"{one.urls[0]}/readyz", timeout=5).status_code == 503)
    assert topic in httpx.get(f"{one.urls[0]}/readyz", timeout=5).json()["detail"]
    broken = [i for s in one.get("/v1/shards")["shards"] for i in s["inputs"] if i["error"]]
    assert [i["topic"] for i in broken] == [topic]
    for command in ("verify", "status"):
        assert pctstream(one, command, "--http", one.urls[0]) == 5
    assert one.workers[0].poll() is None
    # also after a restart: the store remembers which topic it has read
    one.kill(0)
    one.start(0, ready=False)
    wait_for("not ready for that reason", lambda: topic in httpx.get(
        f"{one.urls[0]}/readyz", timeout=5).json().get("detail", ""))  # fmt: skip


def pctstream(one: System, *words: str) -> int:
    command = [sys.executable, "-m", "pctstream", *words, "--data-dir", str(one.folder)]
    env = {"PCT_BROKER": one.broker, "PCT_TREE__NAME": one.tree, "PATH": "/usr/bin:/bin",
           "PCT_SHARDS__COUNT": str(one.cfg.shards.count)}  # fmt: skip
    done = subprocess.run(command, env=env, capture_output=True, timeout=100, check=False)
    assert b"Traceback" not in done.stderr, done.stderr
    return done.returncode


def test_the_disk_refuses_a_write(system: Make) -> None:
    """The worker ends, nothing is skipped; with room again it goes on."""
    one = system(shards__count=2, tree__epsilon=16.0, tree__gap=500)
    one.start(0, file_bytes=1_500_000)
    one.feed(mixture(20_000, dimension=64))
    assert one.died(0) == 1
    assert "disk" in one.log(0)
    one.start(0)
    verdict = one.verify()
    assert verdict.sound
    assert verdict.applied == 20_000


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalBroker]:
    local = LocalBroker(tmp_path / "kafka")
    local.start()
    yield local
    local.kill()


class Feeding(threading.Thread):
    """Rows for a system, in small portions, until told to end."""

    def __init__(self, one: System) -> None:
        super().__init__(daemon=True)
        self._one = one
        self.rows = 0
        self.end = threading.Event()

    def run(self) -> None:
        given = mixture(PART, seed=2)
        with Producer(self._one.broker, self._one.tree, block_rows=100, linger_s=0.1) as producer:
            while not self.end.wait(0.01):
                for _ in range(20):
                    producer.add(given[self.rows % PART], id=f"c{self.rows}")
                    self.rows += 1
                producer.poll()


def test_the_broker_goes_away_under_load(own: LocalBroker, tree_name: str, tmp_path: Path) -> None:
    """Nothing is lost, no worker ends, and all is caught up when it is back."""
    folder = tmp_path / "data"
    folder.mkdir()
    one = System(own.bootstrap, tree_name, folder,
                 {"shards.count": 4, "tree.epsilon": 8.0, "tree.gap": 500})  # fmt: skip
    try:
        one.start(0, 1)
        one.feed(mixture(PART))
        wait_for("portions", lambda: one.get("/v1/portions")["portions"])
        feeding = Feeding(one)
        feeding.start()
        for outage in OUTAGES:
            applied = done(one)
            wait_for("rows come through", lambda n=applied: done(one) > n + 500)
            away(own, *outage.split(":"))
            applied = done(one)
            wait_for("rows come through again", lambda n=applied: done(one) > n + 500)
        feeding.end.set()
        feeding.join(60)
        verdict = one.verify()
        assert [worker.poll() for worker in one.workers.values()] == [None, None], one.log(0)
        assert verdict.sound
        assert verdict.applied == PART + feeding.rows
        one.wait_ready()
    except BaseException:
        print(*(one.log(n) for n in one.workers), sep="\n")
        raise
    finally:
        one.stop()


def away(broker: LocalBroker, how: str, seconds: str) -> None:
    if how == "kill":
        broker.kill()
        time.sleep(float(seconds))
        broker.start()
    else:
        broker.pause()
        time.sleep(float(seconds))
        broker.resume()


def done(one: System) -> int:
    """Rows that the portions' shards say they have."""
    return sum(int(p["rows"]) for p in one.get("/v1/portions")["portions"])
