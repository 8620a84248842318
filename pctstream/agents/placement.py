"""The policy's agent: asks the `Decider` once per window, and gives the orders that it answers with.

It runs on the worker that holds partition 0 of `.control`, beside the tree's author, which turns its
orders into records like anybody's. It keeps nothing that matters: cool-downs are in the history of
moves, what was seen and decided in the ledger, so one that takes over neither forgets nor repeats.

A step that fails ends nothing but itself: rows do not wait for plans.
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from pctstream.agents.move import order
from pctstream.config import Config
from pctstream.core.decider import Decider
from pctstream.core.names import node_name
from pctstream.core.orders import Answer
from pctstream.core.policy import Tuning
from pctstream.core.situation import Capacities, Features, Situation, situation

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker

ANSWER_S = 10.0
POLL_S = 0.02
AGAIN = 4.0
"""Windows after a failure."""


def seen(worker: Worker, features: Features | None = None) -> Situation:
    """What this worker knows now of all portions and shards; features only if they are asked for."""
    cfg, model, log = worker.cfg, worker.model, worker.routing
    names = [node_name(path) for path in log.portions]
    drift = {name: record for name in names if (record := model.held(f"drift:{name}"))}
    return situation(
        log, model.portions(), drift, features.take(model.covers()) if features else Features(),
        capacities(cfg), time.time(), cfg.drift.window_s,
    )  # fmt: skip


def capacities(cfg: Config) -> Capacities:
    shards = cfg.shards
    return Capacities(shards.count, shards.active, shards.capacity, shards.rows_per_s)


def tuning(cfg: Config) -> Tuning:
    drift = cfg.drift
    return Tuning(drift.threshold, drift.tolerance, drift.cooldown_s, drift.min_gain)


class PlacementAgent:
    """A thread that decides while this worker is the one to do so."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._features = Features()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="placement", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """After the step under way: a plan of many portions takes seconds."""
        self._stopping.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        worker, window_s = self._worker, self._worker.cfg.drift.window_s
        while not self._stopping.is_set():
            try:
                self._decide()
            except Exception as error:
                worker.tell(f"the placement agent failed, and begins again: {error!r}")
                self._stopping.wait(AGAIN * window_s)

    def _decide(self) -> None:
        worker, drift = self._worker, self._worker.cfg.drift
        horizon_s = drift.horizon * drift.window_s
        full = worker.cfg.shards.rows_per_s
        decider = Decider(tuning(worker.cfg), horizon_s, drift.automatic, full, drift.promote)
        while not self._stopping.wait(drift.window_s):
            if worker.fenced or not worker.followed.caught_up or not worker.routing.portions:
                continue  # another one may be deciding by now, or there is nothing to decide
            now = seen(worker, self._features)
            for what in decider.look(worker.routing, now, time.time()):
                answer = self._give(what)
                if what["do"] == "plan":
                    decider.answered(answer)

    def _give(self, what: dict[str, Any]) -> Answer | None:
        """Give an order and wait for its answer; None if there is none in time."""
        worker, name = self._worker, uuid.uuid4().hex
        worker.writer.send([order(worker.cfg.tree.name, what | {"id": name})], self._acked)
        deadline = time.monotonic() + ANSWER_S
        while (answer := worker.routing.orders.answers.get(name)) is None:
            if time.monotonic() > deadline or self._stopping.wait(POLL_S):
                return None
        return answer

    def _acked(self, reason: str | None) -> None:
        if reason is not None:
            self._worker.fatal(reason)
