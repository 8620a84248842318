"""A warm standby on a real broker: the owner dies for good, its disk with it, and nothing is read again.

`PCT_STANDBY=300000` feeds so many rows, and prints how long it takes with a standby and without.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from broker.system import System, meanwhile, mixture, wait_for

Make = Callable[..., System]
ROWS = int(os.environ.get("PCT_STANDBY", "12000"))
PART = 2000
FEW = 2000
"""Rows that a copy may lack at the moment of the death: what came within the last half second."""


def grown(system: Make, standby: int) -> System:
    one = system(
        shards__count=4, tree__epsilon=8.0, tree__gap=500, store__standby=standby,
        kafka__session_timeout_s=6.0,
    )  # fmt: skip
    one.apart = True
    one.start(0, 1)
    for _ in range(0, ROWS, PART):
        one.feed(mixture(PART, seed=one.fed))
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.settle()
    hosts = lambda: [s["worker"] for s in one.get("/v1/shards")["shards"]]  # noqa: E731
    wait_for("shards on both", lambda: hosts().count("worker-0") == 2, 120)
    if standby:
        wait_for(
            "level copies", lambda: all(level(s) for s in one.get("/v1/shards")["shards"]), 120
        )
    return one


def level(shard: dict[str, Any]) -> bool:
    return any(copy["level"] and copy["lag"] == 0 for copy in shard["standbys"])


@contextmanager
def rows_flowing(one: System) -> Iterator[None]:
    def run(done: threading.Event) -> None:
        while not done.wait(0.1):
            one.feed(mixture(200, seed=one.fed))

    with meanwhile(run):
        yield


def counted(one: System, number: int, name: str) -> float:
    """A counter of a worker, over all its labels."""
    text = httpx.get(f"http://127.0.0.1:{one.ports[number]}/metrics").text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def applied(one: System, number: int) -> float:
    return counted(one, number, 'pct_rows_total{stage="applied"}')


def all_here(one: System, number: int) -> bool:
    """Every shard is at this worker, and has applied all that was in its logs."""
    shards = one.get("/v1/shards", number)["shards"]
    return all(
        s["worker"] == f"worker-{number}"
        and all(max(i["stored"], i["routed"]) >= i["end"] - 1 >= -1 for i in s["inputs"])
        for s in shards
    )


def taken_over(one: System) -> tuple[float, float]:
    """Worker 0 dies while rows flow: seconds until all is at worker 1, and rows applied once more."""
    rows = sum(p["rows"] for p in one.get("/v1/portions", 1)["portions"])
    before = applied(one, 1)
    with rows_flowing(one):
        wait_for("rows come", lambda: applied(one, 1) > before)
        one.kill(0)
        died = time.monotonic()
        wait_for("worker 1 hosts all", lambda: all_here(one, 1), 300)
        took = time.monotonic() - died
    one.settle()
    return took, applied(one, 1) - before - (one.fed - rows)


@pytest.mark.timeout(600)
def test_a_standby_takes_over_without_replay(system: Make) -> None:
    one = grown(system, standby=1)
    ready = one.get("/readyz", 1)
    assert [copy["shard"] for copy in ready["standbys"]] == [
        s["shard"] for s in one.get("/v1/shards")["shards"] if s["worker"] == "worker-0"
    ]
    assert counted(one, 1, "pct_standby_level") == 2
    took, again = taken_over(one)
    print(f"with a standby: all rows back {took:.1f} s after kill -9, {again:.0f} applied again")
    assert again < FEW
    verdict = one.verify()
    assert (verdict.lost, verdict.duplicated, verdict.altered) == (0, 0, 0)
    assert verdict.applied == one.fed
    # it comes back: its copies are made, then it gets shards again, and nothing is doubled
    one.start(0)
    wait_for("shards on both", lambda: {s["worker"] for s in one.get("/v1/shards", 1)["shards"]}
             == {"worker-0", "worker-1"}, 120)  # fmt: skip
    one.feed(mixture(PART, seed=one.fed))
    verdict = one.verify()
    assert verdict.sound
    assert verdict.applied == one.fed


if "PCT_STANDBY" in os.environ:

    @pytest.mark.timeout(600)
    def test_without_one_all_is_read_again(system: Make) -> None:
        one = grown(system, standby=0)
        took, again = taken_over(one)
        print(f"without: all rows back {took:.1f} s after kill -9, {again:.0f} applied again")
        assert one.verify().sound
