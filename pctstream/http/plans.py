"""Plans over HTTP: made by any worker from what all of them know, kept in the ledger, applied by order."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request

from pctstream.agents.placement import capacities, seen
from pctstream.core.decider import body as kept
from pctstream.core.ledger import Planned
from pctstream.core.plan import plan
from pctstream.core.situation import Features, cooling
from pctstream.errors import NotReady, QueryRefused
from pctstream.http.body import TEXT_MAX, body, json_object, short, taken
from pctstream.http.moves import ordered

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker

FIELDS = ("dry_run", "reason")
PLAN_BODY = taken({"dry_run": {"type": "boolean", "default": True},
                   "reason": {"type": "string", "maxLength": TEXT_MAX}})  # fmt: skip
LOADS_S = 0.25
"""Rates are told twice a window: what is so old is as good, and may be asked for with every row."""
LONG = ("decision", "not_moved", "realised")
"""Left out where all plans are listed."""


def made(worker: Worker, features: Features) -> dict[str, Any]:
    """A plan for the least maximum load, as the ledger keeps it; NotReady before there are portions.

    Pinned portions stay, and those that are moving or moved lately.
    """
    now = seen(worker, features)
    if not now.portions or not now.rooms:
        raise NotReady("the tree has no portions yet: they come with its first split")
    drift = worker.cfg.drift
    held = {**cooling(worker.routing, time.time(), drift.cooldown_s), **now.held}
    found = plan(now.portions, now.rooms, name="", epoch=now.epoch, held=held,
                 threshold=drift.threshold, full=now.full)  # fmt: skip
    return kept(found, held)


def view(worker: Worker, entry: Planned) -> dict[str, Any]:
    """A plan as `/v1/plans/ID` answers: with what was decided and how far its moves are."""
    moves = [move for name in entry.made if (move := worker.routing.moves.get(name))]
    stages = [{"move": m.id, "portion": m.to_json()["portion"], "stage": m.stage} for m in moves]
    return entry.to_json() | {"stages": stages}


class Loads:
    """The relative load of each shard (`core.layout`), worked out once for all who ask at a time."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._known: tuple[float, dict[int, float]] = (-math.inf, {})

    def now(self) -> dict[int, float]:
        """At most `LOADS_S` old; all 0 before there are portions."""
        now, (at, loads) = time.monotonic(), self._known
        if now - at >= LOADS_S:
            there = seen(self._worker)
            every = dict.fromkeys(range(capacities(self._worker.cfg).count), 0.0)
            loads = every | (there.relative() if there.portions else {})
            self._known = now, loads
        return loads


def add(app: FastAPI, worker: Worker) -> None:
    """The routes."""
    features = Features()

    def as_of() -> dict[str, Any]:
        return {"time": time.time(), "epoch": worker.routing.epoch}

    @app.post("/v1/plans", openapi_extra=PLAN_BODY)
    async def create(request: Request) -> Any:
        """Plan the moves for the least maximum load; nothing moves before it is applied."""
        asked = json_object(await body(request) or b"{}", FIELDS)
        dry_run, reason = asked.get("dry_run", True), short(asked, "reason")
        if not isinstance(dry_run, bool):
            raise QueryRefused("dry_run: true or false")
        found = await asyncio.to_thread(made, worker, features)
        order = {"do": "plan", "plan": found, "reason": reason, "apply": not dry_run}
        answer = await ordered(worker, order)
        entry = worker.routing.orders.ledger.of(f"p{answer.seq}")
        return view(worker, entry) | {"dry_run": dry_run, "as_of": as_of()}

    @app.get("/v1/plans")
    async def plans(limit: int = 1000) -> Any:
        """The last plans, newest first."""
        ledger = worker.routing.orders.ledger
        newest = list(ledger.plans.copy().values())[::-1][: max(1, min(limit, 1000))]
        shown = [{k: v for k, v in e.to_json().items() if k not in LONG} for e in newest]
        decided = [d.to_json() for d in list(ledger.decisions.copy().values())[::-1]]
        return {"plans": shown, "decisions": decided, "next": None, "as_of": as_of()}

    @app.get("/v1/plans/{name}")
    async def one(name: str) -> Any:
        """One plan: moves, before and after, the bound, and why others stay."""
        return view(worker, worker.routing.orders.ledger.of(name)) | {"as_of": as_of()}

    @app.post("/v1/plans/{name}/apply")
    async def apply(name: str) -> Any:
        """Begin a plan's moves; 409 if portions changed their owners since."""
        entry = worker.routing.orders.ledger.of(name)
        await ordered(worker, {"do": "apply", "plan": name, "epoch": entry.plan["epoch"],
                               "moves": entry.plan["moves"]})  # fmt: skip
        return view(worker, entry) | {"dry_run": False, "as_of": as_of()}
