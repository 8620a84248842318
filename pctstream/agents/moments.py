"""The moment agent: at every tick it tells on `.state` what the tree's nodes hold (`core/moments.py`).

It runs beside the tree's author, on the worker that holds partition 0 of `.control`, in a thread of its
own. It keeps nothing: which tick was the last one stands in the read model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pctstream.core.moments import Moment, made_up
from pctstream.core.names import Path
from pctstream.core.solver import NodeSummary

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker

BEGIN_S = 0.25


class MomentAgent:
    """A thread that takes moments while this worker is the one to do so; ``nodes``: all that there are."""

    def __init__(self, worker: Worker, nodes: Callable[[], Mapping[Path, NodeSummary]]) -> None:
        self._worker, self._nodes = worker, nodes
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="moments", daemon=True)
        if worker.cfg.tree.moment_s:
            self._thread.start()

    def stop(self) -> None:
        """After the moment under way."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(10.0)

    def _run(self) -> None:
        worker, every = self._worker, self._worker.cfg.tree.moment_s
        while not worker.followed.caught_up:
            if self._stopping.wait(BEGIN_S):
                return
        told = -1
        while not self._stopping.is_set():
            number = int(time.time() // every)
            if number > told and not worker.fenced:
                try:
                    told = self._take(number, told)
                except Exception as error:
                    told = number
                    worker.tell(f"no moment was taken: {error!r}")
            self._stopping.wait(every - time.time() % every)

    def _take(self, number: int, told: int) -> int:
        """Tell a moment, unless somebody has or there is no row yet; the tick that is now done."""
        worker = self._worker
        held = [int(record["offset"]) for record in worker.model.of("moment")]
        last = max(held, default=number - 1)
        if last >= number:
            return number
        routing, nodes = worker.routing, self._nodes()
        if not any(node.rows for node in nodes.values()):
            return number
        moment = Moment.of(
            made_up(last, number), time.time(), routing.epoch, nodes,
            worker.cfg.limits.moment_nodes,
        )  # fmt: skip
        record = {**moment.record(), "worker": worker.name}
        worker.writer.send([worker.reporter.parcel(record)], self._acked)
        return number

    def _acked(self, reason: str | None) -> None:
        if reason is not None:
            self._worker.fatal(reason)
