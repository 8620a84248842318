"""The drift agent: sees the portions' densities change, and says where they are going.

It runs on the worker that holds partition 0 of `.control`, in a thread of its own, beside the tree's
author. Twice a window it shows the last records of the read model to a `Lookout`; when a window is over
it has the scores made, tells them on `.state`, and calls `decided`. It keeps nothing: who takes over goes
on from the records of densities and scores, and what came in between is spread over that time.

A step that fails ends nothing but itself: rows do not wait for forecasts. The agent says so and begins
again from what it told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pctstream.agents.forecasts import Forecasts
from pctstream.core.drift import DriftScore
from pctstream.core.lookout import Lookout
from pctstream.core.names import Path, node_path
from pctstream.tables import Record

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker

Decided = Callable[[float, Mapping[Path, DriftScore]], None]
BEGIN_S = 0.25
AGAIN = 4.0
"""Windows after a failure."""


class DriftAgent:
    """A thread that looks out while this worker is the one to do so.

    ``decided`` is called in it after each window, with the broker's time at which the window ended, in
    seconds, and the scores of all portions.
    """

    def __init__(self, worker: Worker, decided: Decided | None = None) -> None:
        self._worker = worker
        self._decided = decided
        self._scores: dict[Path, DriftScore] = {}
        self._forecasts = Forecasts(self, worker)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """After the step under way, which may fit for a second."""
        self._stopping.set()
        self._thread.join(10.0)

    def scores(self) -> Mapping[Path, DriftScore]:
        """Of the last window, by portion; `parts["level_then"]` is the rate at the horizon, in rows/s.
        Empty as long as no window is over. Any thread may ask."""
        return self._scores

    def _run(self) -> None:
        worker = self._worker
        while not worker.followed.caught_up:
            if self._stopping.wait(BEGIN_S):
                return
        worker.metrics.registry.register(self._forecasts)
        try:
            while not self._stopping.is_set():
                try:
                    self._look_out()
                except Exception as error:
                    worker.tell(f"the drift agent failed, and begins again: {error!r}")
                    self._stopping.wait(AGAIN * worker.cfg.drift.window_s)
        finally:
            worker.metrics.registry.unregister(self._forecasts)

    def _look_out(self) -> None:
        worker, drift = self._worker, self._worker.cfg.drift
        settings = {"window_s": drift.window_s, "horizon": drift.horizon, "model": drift.model}
        lookout = Lookout(settings, int(time.time()), 2 * worker.cfg.kafka.heartbeat_s)
        lookout.restore(worker.model.of("density", "drift"))
        while not self._stopping.wait(drift.window_s / 2):
            if worker.fenced:
                continue  # another one may be looking out by now
            shards, portions = worker.reporter.all_shards(), worker.model.portions()
            if not lookout.look(shards, portions, time.monotonic()):
                continue
            scores = {node_path(name): score for name, score in lookout.step().items()}
            self._tell(lookout.take_records())
            self._scores = scores
            if self._decided is not None:
                self._decided((lookout.number + 1) * drift.window_s, scores)

    def _tell(self, records: Sequence[Record]) -> None:
        worker = self._worker
        parcels = [worker.reporter.parcel({**record, "worker": worker.name}) for record in records]
        if parcels and not worker.fenced:
            worker.writer.send(parcels, self._acked)

    def _acked(self, reason: str | None) -> None:
        if reason is not None:
            self._worker.fatal(reason)
