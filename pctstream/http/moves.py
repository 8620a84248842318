"""Moves over HTTP: asked for at any worker, done by the tree agent, answered from `<tree>.routing`."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request

from pctstream.agents.copying import sent
from pctstream.agents.move import order
from pctstream.core.moves import COPYING, Move
from pctstream.core.names import node_name, node_path
from pctstream.core.orders import Answer, check
from pctstream.errors import NotReady, PctError, QueryRefused
from pctstream.http import problem
from pctstream.http.body import TEXT_MAX, body, json_object, page, short, taken
from pctstream.http.frozen import stream

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker

START_BODY = taken(
    {
        "portion": {"type": "string", "examples": ["N0,3"]}, "to": {"type": "integer"},
        "reason": {"type": "string", "maxLength": TEXT_MAX},
        "until": {"type": "string", "maxLength": TEXT_MAX},
    },
    ["portion", "to"],
)  # fmt: skip
ANSWER_S = 10.0
"""An order waits so long for its record."""
POLL_S = 0.05
TRIGGERED = "TRIGGERED"
"""Before PLANNED in the history of a move that the policy made: what it saw."""


async def ordered(worker: Worker, what: dict[str, Any]) -> Answer:
    """Give an order and wait for its answer; NotReady (ask again with the same `id`) if none comes."""
    check(worker.routing, what)
    name = what.setdefault("id", uuid.uuid4().hex)
    worker.writer.send([order(worker.cfg.tree.name, what)], _refused(worker))
    deadline = time.monotonic() + ANSWER_S
    while (answer := worker.routing.orders.answers.get(name)) is None:
        if time.monotonic() > deadline:
            raise NotReady(f"the order {name} waits for the tree agent: see `pctstream moves list`")
        await asyncio.sleep(POLL_S)
    if answer.refused:
        raise _Refused(answer)
    return answer


class _Refused(PctError):
    """An order that its record's readers refused, as they said it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.refused)
        self.code = answer.code
        self.status = answer.status  # type: ignore[misc]


def _refused(worker: Worker) -> Any:
    return lambda reason: None if reason is None else worker.fatal(reason)


def view(worker: Worker, move: Move) -> dict[str, Any]:
    """A move as `/v1/moves/ID` answers: what is written of it and how far its target is."""
    told = worker.model.held(f"move:{move.id}:{move.target}") or {}
    rows = told.get("rows", {"total": 0, "copied": 0})
    size = told.get("bytes", {"total": 0, "copied": 0})
    portion = worker.model.held(f"portion:{node_name(move.portion)}") or {}
    rows = rows | {"total": rows["total"] or int(portion.get("rows", 0))}
    eta = None
    if move.stage == COPYING and size["copied"]:
        spent = time.time() - move.history[-1]["time"]
        left = max(0, size["total"] - size["copied"])
        eta = spent * left / size["copied"]
    if move.proof:
        rows = {"total": move.proof["count"], "copied": move.proof["count"]}
    return move.to_json() | {"rows": rows, "bytes": size, "eta_s": eta,
                             "history": [*_trigger(worker, move), *move.history]}  # fmt: skip


def _trigger(worker: Worker, move: Move) -> list[dict[str, Any]]:
    """What set the plan of a move off, before it was planned; nothing where a person asked."""
    entry = worker.routing.orders.ledger.plans.get(move.plan)
    trigger = entry.decision["trigger"] if entry and entry.decision else None
    if entry is None or entry.decision is None or not trigger:
        return []
    when = min(float(entry.decision["time"]), float(move.history[0]["time"]))
    return [{"stage": TRIGGERED, "time": when, "epoch": entry.plan["epoch"],
             "score": trigger["score"], "threshold": entry.decision["threshold"],
             "portion": trigger["portion"], "load": trigger["load"],
             "tolerance": entry.decision["tolerance"], "why": trigger["why"]}]  # fmt: skip


def add(app: FastAPI, worker: Worker) -> None:
    """The routes."""
    _moves(app, worker)
    _held(app, worker)
    _copy(app, worker)


def _as_of(worker: Worker) -> dict[str, Any]:
    return {"time": time.time(), "epoch": worker.routing.epoch}


def _moves(app: FastAPI, worker: Worker) -> None:
    @app.post("/v1/moves", status_code=202, openapi_extra=START_BODY)
    async def start(request: Request) -> Any:
        """Ask for a portion to move; 202: it is in the log."""
        asked = json_object(await body(request), ("portion", "to", "reason", "until"))
        for field, kind in (("portion", str), ("to", int)):
            if not isinstance(asked.get(field), kind) or isinstance(asked.get(field), bool):
                raise QueryRefused(f"{field}: say which, as in {{'portion': 'N0,3', 'to': 1}}")
        asked |= {field: short(asked, field) for field in ("reason", "until")}
        node_path(asked["portion"])
        answer = await ordered(worker, {"do": "move", **asked})
        return view(worker, worker.routing.moves.of(answer.moves[0])) | {"as_of": _as_of(worker)}

    @app.get("/v1/moves")
    async def moves(stage: str | None = None, limit: int = 1000, cursor: str = "") -> Any:
        """The moves so far, of one stage if asked."""
        found = [m for m in worker.routing.moves.all() if stage in (None, m.stage)]
        some, after = page(found, limit, cursor)
        shown = [view(worker, m) for m in some]
        return {"moves": shown, "next": after, "as_of": _as_of(worker)}

    @app.get("/v1/moves/{name}")
    async def move(name: str) -> Any:
        """One move: stage, rows copied, proof, history."""
        return view(worker, worker.routing.moves.of(name)) | {"as_of": _as_of(worker)}

    @app.post("/v1/moves/{name}/{what}")
    async def change(name: str, what: str) -> Any:
        """A move is paused, resumed or cancelled."""
        if what not in ("pause", "resume", "cancel"):
            raise QueryRefused(f"{what}: a move can be paused, resumed or cancelled")
        await ordered(worker, {"do": what, "move": name})
        return view(worker, worker.routing.moves.of(name)) | {"as_of": _as_of(worker)}


def _held(app: FastAPI, worker: Worker) -> None:
    @app.post("/v1/portions/{name}/{what}")
    async def hold(name: str, what: str) -> Any:
        """A portion is pinned where it is, or let go; or promoted: its children become portions."""
        if what not in ("pin", "unpin", "promote"):
            raise QueryRefused(f"{what}: a portion can be pinned, unpinned or promoted")
        if what == "promote" and worker.cfg.store.standby:
            raise QueryRefused("a warm copy cannot follow a promotion yet: set store.standby to 0")
        await ordered(worker, {"do": what, "portion": name})
        path, log = node_path(name), worker.routing
        return {"portion": name, "pinned": path in log.orders.pinned,
                "promoting": path in log.promotions.asked, "as_of": _as_of(worker)}  # fmt: skip

    @app.post("/v1/shards/{number}/{what}")
    async def drain(number: int, what: str) -> Any:
        """Everything moves off a shard, or it may take portions again."""
        if what not in ("drain", "undrain"):
            raise QueryRefused(f"{what}: a shard can be drained or undrained")
        await ordered(worker, {"do": what, "shard": number})
        return {"shard": number, "drained": what == "drain", "as_of": _as_of(worker)}


def _copy(app: FastAPI, worker: Worker) -> None:
    @app.get("/v1/shards/{number}/portions/{name}/copy")
    def copy(number: int, name: str, move: str = "", standby: int = -1) -> Any:
        """A portion as its source has it, for the worker that takes it, or that keeps a warm copy of the
        shard `standby`: an Arrow stream."""
        path, shard = node_path(name), worker.shards.get(number)
        going = worker.routing.moves.get(move)
        warm = standby >= 0 and worker.routing.owners.get(path) == number
        if not warm and (
            going is None or not going.open or (going.portion, going.source) != (path, number)
        ):
            worker.metrics.ended_moves.inc()
            return problem.problem(QueryRefused(f"{name} is not moving from shard {number}"))
        if shard is None or path not in shard.nodes:
            return problem.problem(NotReady(f"shard {number} has not opened {name} here"))
        source = shard.source(path)
        return stream(worker, shard, lambda moment: sent(moment, path, source))
