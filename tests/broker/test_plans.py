"""Plans on a real broker: made at one worker, applied at the other, done; drains, pins, the ledger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import numpy as np
import pytest
from broker.system import System, mixture, wait_for

from pctstream.client import Producer

ROWS = 3000
A_TURN = 100
"""Rows every tenth of a second."""


class Stream:
    """Rows that come all the time to the portions' centres, so many to each as its weight says."""

    def __init__(self, one: System, weight: Callable[[str], float]) -> None:
        self._one = one
        cover = one.get("/v1/levels/1/cover")["cover"]
        self._names = [entry["node"] for entry in cover]
        self._centres = np.array([entry["x"] for entry in cover], np.float32)
        self.weight = weight
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        rng, count = np.random.default_rng(1), 0
        with Producer(self._one.broker, self._one.tree, linger_s=0.05) as producer:
            while not self._stop.wait(0.1):
                share = np.array([self.weight(name) for name in self._names])
                for which in rng.choice(len(share), A_TURN, p=share / share.sum()):
                    producer.add(self._centres[which], id=f"s{count}")
                    count += 1
                self._one.fed += A_TURN
                producer.seal()

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)


@pytest.fixture
def grown(system: Callable[..., System]) -> Iterator[Callable[..., System]]:
    def make(**settings: object) -> System:
        one = system(shards__count=4, tree__epsilon=8.0, tree__gap=500, tree__epsilon_ratio=0.01,
                     moves__grace_s=0.2, kafka__session_timeout_s=30.0, **settings)  # fmt: skip
        one.start(0, 1)
        one.feed(mixture(ROWS))
        wait_for("portions", lambda: one.get("/v1/portions")["portions"])
        one.settle()
        return one

    yield make


def ask(one: System, number: int, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """POST to a worker."""
    url = f"http://127.0.0.1:{one.ports[number]}{path}"
    return httpx.post(url, json=dict(body or {}), timeout=20)


def typed(one: System, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pctstream", "moves", *words, "--http", one.urls[-1]]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)


def owners(one: System) -> dict[str, int]:
    return {p["portion"]: p["owner"] for p in one.get("/v1/portions")["portions"]}


def loads(one: System) -> dict[int, float]:
    return {s["shard"]: s["load"] for s in one.get("/v1/shards")["shards"]}


def at_rest(one: System) -> bool:
    moves = one.get("/v1/moves")["moves"]
    return all(m["stage"] == "ABORTED" or m["dropped"] for m in moves)


@pytest.mark.timeout(200)
def test_a_plan_is_applied_and_shards_are_drained(grown: Callable[..., System]) -> None:
    one = grown(drift__cooldown_s=1.0, shards__rows_per_s=1.0)
    was = owners(one)
    busy = max(was.values(), key=list(was.values()).count)
    with Stream(one, lambda name: 2.0 if was[name] == busy else 1.0):
        wait_for(
            "the load to show", lambda: loads(one)[busy] > 1.25 and min(loads(one).values()) > 0
        )
        answer = ask(one, 0, "/v1/plans", {"reason": "it is twice as busy"})
        assert answer.status_code == 200, answer.text
        plan = answer.json()
        assert plan["dry_run"], plan
        assert plan["moves"] and not plan["applied"] and owners(one) == was
        assert plan["after"]["max_load"] < plan["before"]["max_load"]
        assert plan["bound"]["max_load"] <= plan["after"]["max_load"]
        seen = wait_for(
            "the plan at the other worker", lambda: one.get(f"/v1/plans/{plan['id']}", 1)
        )
        assert {k: seen[k] for k in ("moves", "reason")} == {
            k: plan[k] for k in ("moves", "reason")
        }

        assert typed(one, "apply", plan["id"]).returncode == 0
        wait_for("its moves to be done", lambda: all(
            s["stage"] == "DONE" for s in one.get(f"/v1/plans/{plan['id']}")["stages"]), 120)  # fmt: skip
        now = owners(one)
        assert {m["portion"]: m["to"] for m in plan["moves"]}.items() <= now.items()
        again = ask(one, 0, f"/v1/plans/{plan['id']}/apply")
        assert again.status_code == 409, again.text
        assert typed(one, "apply", plan["id"]).returncode == 1
        wait_for("a lower load", lambda: max(loads(one).values()) < plan["before"]["max_load"])
        wait_for("rest", lambda: at_rest(one))

        # drained without being asked again, but for what is pinned
        stays = next(p for p in sorted(now) if now[p] == busy)
        assert typed(one, "pin", stays).returncode == 0
        assert typed(one, "drain", str(busy)).returncode == 0
        wait_for(
            "the shard to be empty",
            lambda: [p for p, s in owners(one).items() if s == busy] == [stays],
        )
        wait_for("rest", lambda: at_rest(one))
        held = ask(one, 1, "/v1/plans").json()
        assert {"portion": stays, "why": "it is pinned"} in held["not_moved"]
        assert ask(one, 0, "/v1/moves", {"portion": stays, "to": (busy + 1) % 4}).status_code == 409
        listed = json.loads(typed(one, "list", "--json").stdout)
        by_itself = [p for p in listed["plans"] if p["by"] == "policy"]
        emptied = next(p for p in by_itself if "drained" in p["reason"])
        told = wait_for(
            "what it gained", lambda: one.get(f"/v1/plans/{emptied['id']}", 1)["realised"]
        )
        assert told["done"] == len(emptied["made"])
        said = typed(one, "explain", emptied["id"]).stdout
        assert "realised" in said and f"{busy}: " in said, said
    verdict = one.verify()
    assert verdict.sound and verdict.applied == one.fed, verdict
