"""Rows that are gone before anybody read them, a log that forgets, a worker that does not get on: each
ends the worker with its own code and a sentence, and nothing of it is silent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from broker.system import System, free_port, mixture, produce, wait_for
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pctstream.config import to_env

STUCK = str(Path(__file__).parent / "stuck.py")


@pytest.fixture
def grown(system: Callable[..., System]) -> Iterator[System]:
    one = system(shards__count=2, tree__epsilon=8.0, tree__gap=500)
    one.start(0)
    one.feed(mixture(3000))
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.settle()
    yield one


def cut(one: System, partition: int) -> int:
    """The log loses all it has, as by retention; its new start."""
    place = TopicPartition(f"{one.tree}.P0", partition, -1)
    return int(next(iter(one.admin.delete_records([place]).values())).result(10).low_watermark)


def configure(one: System, topic: str, key: str, value: str) -> None:
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in one.admin.incremental_alter_configs([resource]).values():
        future.result(10)


def up(one: System) -> tuple[int, str]:
    """`pctstream up` over the same stores, which must end by itself."""
    words = ["up", "--workers", "1", "--http", f"127.0.0.1:{free_port()}"]
    env = {**os.environ, **to_env(one.cfg), "PCT_DATA_DIR": str(one.folder)}
    done = subprocess.run([sys.executable, "-m", "pctstream", *words], env=env, text=True,
                          capture_output=True, timeout=100, check=False)  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.timeout(200)
def test_unread_rows_that_are_gone_end_the_worker_with_code_5(grown: System) -> None:
    one = grown
    one.workers[0].send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    # else the fetch that it had asked for before would bring them
    wait_for("its last fetch is over", lambda: time.monotonic() > stopped + 0.5)
    produce(one, mixture(50, seed=1), np.full(50, 1))
    start = cut(one, 1)
    produce(one, mixture(1, seed=2), np.full(1, 1))
    one.workers[0].send_signal(signal.SIGCONT)
    sentence = f"{one.tree}.P0[1] begins at offset {start}, and nobody has read what came from"
    assert one.died(0) == 5
    assert sentence in one.log(0)
    code, said = up(one)
    assert code == 5
    assert sentence in said
    assert "worker-0 ended with code 5: stopping" in said
    # who would rather go on without it may, but it is not ready and says why
    one.start(0, ready=False, PCT_INGEST__ON_LOSS='"stop"')
    url = f"http://127.0.0.1:{one.ports[0]}"

    def told() -> Any:
        answer = httpx.get(f"{url}/readyz", timeout=5)
        return answer.status_code == 503 and sentence in answer.json()["detail"]

    wait_for("not ready for that reason", told)
    assert httpx.get(f"{url}/livez", timeout=5).status_code == 200
    before = one.get("/v1/tree")["rows"]
    produce(one, mixture(50, seed=3), np.zeros(50, np.int64))
    wait_for("the other input goes on", lambda: one.get("/v1/tree")["rows"] == before + 50)


@pytest.mark.timeout(200)
def test_a_compacted_log_and_a_worker_that_does_not_get_on(grown: System) -> None:
    one = grown
    one.kill(0)
    configure(one, f"{one.tree}.P0", "cleanup.policy", "compact")
    one.start(0, ready=False)
    assert one.died(0) == 2
    assert f"the topic {one.tree}.P0 is compacted" in one.log(0)
    configure(one, f"{one.tree}.P0", "cleanup.policy", "delete")
    one.start(0, program=[STUCK])
    produce(one, mixture(10, seed=4), np.zeros(10, np.int64))
    url = f"http://127.0.0.1:{one.ports[0]}"
    wait_for("not ready", lambda: httpx.get(f"{url}/readyz", timeout=5).status_code == 503)
    assert one.died(0) == 1
    assert "N0 on shard 0 does not get on" in one.log(0)
    one.start(0)
    assert one.verify().applied == one.fed + 10
