"""Four faults, four outcomes: nothing is skipped, nothing is lost, and somebody is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import httpx
from broker.system import System, mixture, wait_for
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pctstream import topics

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
