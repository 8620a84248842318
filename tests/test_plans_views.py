"""Plans over HTTP without a broker: what is sent to `.control` is read back as its record at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import orjson
import pytest
from core.test_ledger import Log
from fastapi import FastAPI

from pctstream import config
from pctstream.core.effects import Parcel
from pctstream.http import moves, plans, problem
from pctstream.metrics import Metrics
from pctstream.tables import ReadModel

LOADS = {"N0,0": 20.0, "N0,1": 20.0, "N0,2": 5.0, "N0,3": 5.0}


class Near:
    """A worker as far as plans need one, whose orders become records without a broker."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.cfg = config.load(None, {}, {"shards.count": 3, "shards.rows_per_s": 1.0})
        self.model, self.writer, self.metrics = ReadModel(), self, Metrics()
        self.shards: dict[int, Any] = {}
        self.orders: list[dict[str, Any]] = []

    @property
    def routing(self) -> Any:
        return self._log.routing

    def fatal(self, reason: str) -> None:
        raise AssertionError(reason)

    def send(self, parcels: Sequence[Parcel], acked: Callable[[str | None], None]) -> None:
        for parcel in parcels:
            assert parcel.topic == "pct.control"
            order = orjson.loads(parcel.value)
            self.orders.append(order)
            name = order["id"]
            answer = self._log.give(order)
            self.routing.orders.answers[name] = answer
        acked(None)

    def told(self, loads: dict[str, float]) -> None:
        for name, rate in loads.items():
            owner = self.routing.owners[0, int(name[-1])]
            self.model.fold({"kind": "portion", "portion": name, "owner": owner, "worker": "w",
                             "epoch": 1, "offset": 1, "time": time.time(), "rate": rate,
                             "rows": 100, "bytes": 1000, "marks": [], "nodes": {}})  # fmt: skip


class Views:
    def __init__(self, *workers: Near) -> None:
        self._apps = []
        for worker in workers:
            app = FastAPI()
            problem.add(app)
            moves.add(app, worker)  # type: ignore[arg-type]
            plans.add(app, worker)  # type: ignore[arg-type]
            self._apps.append(app)

    def ask(self, method: str, path: str, body: Any = None, worker: int = 0) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._apps[worker])
            async with httpx.AsyncClient(transport=transport, base_url="http://w") as client:
                return await client.request(method, path, json=body)

        return asyncio.run(one())

    def get(self, path: str, worker: int = 0) -> Any:
        answer = self.ask("GET", path, worker=worker)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_plan_is_made_at_one_worker_and_applied_at_another(log: Log) -> None:
    here, there = Near(log), Near(log)
    here.told(LOADS)
    views = Views(here, there)
    plan = views.ask("POST", "/v1/plans", {"reason": "skewed"}).json()
    contract = {"id", "epoch", "moves", "before", "after", "bound", "not_moved", "as_of"}
    assert contract <= plan.keys()
    assert {"portion", "from", "to", "rows", "bytes", "why"} == plan["moves"][0].keys()
    assert {"max_load", "mean"} == plan["before"].keys() == plan["after"].keys()
    assert {"max_load", "gap"} == plan["bound"].keys()
    assert plan["before"]["max_load"] == pytest.approx(40 / (50 / 3))
    assert plan["after"]["max_load"] == pytest.approx(20 / (50 / 3))
    assert (plan["dry_run"], plan["applied"], log.routing.moves.all()) == (True, False, [])
    listed = views.get("/v1/plans", worker=1)["plans"]
    assert [(p["id"], p["reason"]) for p in listed] == [(plan["id"], "skewed")]

    applied = views.ask("POST", f"/v1/plans/{plan['id']}/apply", worker=1).json()
    assert applied["applied"]
    assert [s["stage"] for s in applied["stages"]] == ["PLANNED"] * len(plan["moves"])
    assert views.get(f"/v1/moves/{applied['made'][0]}")["plan"] == plan["id"]
    again = views.ask("POST", f"/v1/plans/{plan['id']}/apply")
    assert (again.status_code, "moving already" in again.json()["detail"]) == (409, True)
    for move in applied["made"]:
        log.done(move)
    again = views.ask("POST", f"/v1/plans/{plan['id']}/apply")
    assert (again.status_code, "make it again" in again.json()["detail"]) == (409, True)


def test_one_that_is_no_trial_is_applied_at_once(log: Log) -> None:
    here = Near(log)
    here.told(LOADS)
    plan = Views(here).ask("POST", "/v1/plans", {"dry_run": False}).json()
    assert plan["applied"]
    assert [o["do"] for o in here.orders] == ["plan"]
    assert {m.plan for m in log.routing.moves.all()} == {plan["id"]}


def test_who_may_not_move_is_named_with_why(log: Log) -> None:
    here = Near(log)
    here.told(LOADS)
    views = Views(here)
    assert views.ask("POST", "/v1/portions/N0,0/pin").status_code == 200
    started = views.ask("POST", "/v1/moves", {"portion": "N0,1", "to": 2}).json()
    log.give({"do": "move", "portion": "N0,2", "to": 0})
    log.done(log.routing.moves.all()[-1].id)
    plan = views.ask("POST", "/v1/plans").json()
    why = {stay["portion"]: stay["why"] for stay in plan["not_moved"]}
    assert why["N0,0"] == "it is pinned"
    assert why["N0,1"] == f"it is to move to shard 2 ({started['id']})"
    assert why["N0,2"].startswith("it has just moved")
    assert {m["portion"] for m in plan["moves"]} <= {"N0,3"}


def test_a_drained_shard_is_planned_empty(log: Log) -> None:
    here = Near(log)
    here.told(LOADS)
    views = Views(here)
    assert views.ask("POST", "/v1/shards/0/drain").json()["drained"]
    plan = views.ask("POST", "/v1/plans", {}).json()
    assert {"N0,0", "N0,1"} <= {m["portion"] for m in plan["moves"]}
    assert all(m["to"] != 0 for m in plan["moves"])


def test_the_history_of_a_policys_move_begins_with_the_score(log: Log) -> None:
    here = Near(log)
    trigger = {"shard": 0, "portion": "N0,0", "load": 2.4, "score": 5.0, "why": "it grows"}
    decision = {"time": 1.0, "answer": "plan", "why": "w", "threshold": 3.0, "tolerance": 1.1,
                "trigger": trigger}  # fmt: skip
    moving = [{"portion": "N0,0", "from": 0, "to": 1, "rows": 1, "bytes": 1, "why": "w"}]
    body = {"epoch": log.routing.epoch, "moves": moving, "before": {"max_load": 2.4},
            "after": {"max_load": 1.2}, "not_moved": []}  # fmt: skip
    order = {"do": "plan", "plan": body, "apply": True, "decision": decision}
    (name,) = log.give(order).moves
    log.done(name)
    history = Views(here).get(f"/v1/moves/{name}")["history"]
    stages = ["TRIGGERED", "PLANNED", "COPYING", "SHADOWING", "VERIFYING", "DONE"]
    assert [h["stage"] for h in history] == stages
    assert history[0]["score"] > history[0]["threshold"]
    times = [h["time"] for h in history]
    assert times == sorted(times)


def test_what_cannot_be_asked_is_refused(log: Log) -> None:
    views = Views(Near(log))
    for body, status in (({"dry_run": 1}, 422), ({"reason": 3}, 422), ({"when": 1}, 422)):
        assert views.ask("POST", "/v1/plans", body).status_code == status
    assert views.ask("GET", "/v1/plans/p99").status_code == 404
    assert views.ask("POST", "/v1/plans/p99/apply").status_code == 404
    assert views.get("/v1/plans") | {"as_of": 0} == {
        "plans": [], "decisions": [], "next": None, "as_of": 0
    }  # fmt: skip
