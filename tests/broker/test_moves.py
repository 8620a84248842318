"""Portions change their shard while rows come: nothing is lost, one shard answers, both are equal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pyarrow as pa
import pytest
from broker.system import System, mixture, wait_for

PART = 6000


def start(one: System, portion: str, to: int) -> dict[str, Any]:
    answer = httpx.post(f"{one.urls[0]}/v1/moves", json={"portion": portion, "to": to}, timeout=15)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def ended(one: System, move: str, stage: str = "DONE", within_s: float = 60.0) -> dict[str, Any]:
    def over() -> Any:
        found = one.get(f"/v1/moves/{move}")
        return found if found["stage"] in ("DONE", "ABORTED") else None

    found = dict(wait_for(f"{move} to end", over, within_s))
    assert found["stage"] == stage, repr(found)
    return found


def dropped(one: System, move: str) -> None:
    wait_for(f"{move} to let go", lambda: one.get(f"/v1/moves/{move}")["dropped"])


def held(one: System, shard: int, node: str) -> int:
    """Rows of a node in the store of a shard, whoever owns it."""
    record = next(s for s in one.get("/v1/shards")["shards"] if s["shard"] == shard)
    body = httpx.get(f"{record['url']}/v1/shards/{shard}/digest", timeout=30).content
    with pa.ipc.open_stream(body) as reader:
        return sum(b.num_rows for b in reader if b.num_rows and b["node"][0].as_py() == node)


def hosts(one: System) -> dict[int, str]:
    return {s["shard"]: s["worker"] for s in one.get("/v1/shards")["shards"]}


class Feeding:
    """Rows that come all the time, until it is left."""

    def __init__(self, one: System) -> None:
        self._one = one
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        part = 0
        while not self._stop.is_set():
            part += 1
            ids = [f"f{part}-{i}" for i in range(500)]
            self._one.feed(mixture(500, seed=part), ids)
            self._stop.wait(0.1)

    def __enter__(self) -> Feeding:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)


@pytest.fixture
def grown(system: Callable[..., System]) -> Iterator[System]:
    one = system(shards__count=4, tree__epsilon=8.0, tree__gap=500, moves__grace_s=1.0)
    one.start(0, 1)
    one.feed(mixture(PART))
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.settle()
    yield one


@pytest.mark.timeout(200)
def test_a_portion_moves_while_rows_come(grown: System) -> None:
    one = grown
    places = hosts(one)
    portion = max(one.get("/v1/portions")["portions"], key=lambda p: p["rows"])
    name, source = portion["portion"], portion["owner"]
    beside = next(s for s, w in places.items() if w == places[source] and s != source)
    away = next(s for s, w in places.items() if w != places[source])
    with Feeding(one):
        for target in (away, beside, source):
            move = start(one, name, target)
            done = ended(one, move["id"])
            proof = done["proof"]
            assert proof["hash_from"] == proof["hash_to"]
            assert proof["count"] >= portion["rows"]
            stages = [h["stage"] for h in done["history"]]
            assert stages[:5] == ["PLANNED", "COPYING", "SHADOWING", "VERIFYING", "DONE"]
            for number in (0, 1):
                told = wait_for("the epoch", lambda n=number: one.get("/v1/portions", n))
                wait_for("the new owner everywhere", lambda n=number: next(
                    p for p in one.get("/v1/portions", n)["portions"] if p["portion"] == name
                )["owner"] == target)  # fmt: skip
                assert told["as_of"]["epoch"] > 0
            dropped(one, move["id"])
            wait_for("the source holds nothing", lambda: held(one, done["from"], name) == 0)
    verdict = one.verify()
    assert verdict.sound, verdict
    assert verdict.applied == one.fed
    rows = wait_for("all rows", lambda: one.get("/v1/tree")["rows"] == one.fed)
    assert rows
    time.sleep(0)
