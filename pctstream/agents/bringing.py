"""How a portion comes to a warm copy of its shard: from its pipe, else as its owner has it.

A pipe that has all there ever was is read from its beginning (R0). One that was cut, behind a snapshot, is
not enough: then the owner is asked for a copy, like by the target of a move (`copying`), one portion at a
time, in a thread of its own.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import httpx

from pctstream.agents.copying import ANSWER_S, pulled
from pctstream.agents.move import Over
from pctstream.agents.shard import Shard
from pctstream.agents.throttle import Throttle
from pctstream.core.block import Source
from pctstream.core.names import Path, node_name
from pctstream.errors import NotReady, PctError
from pctstream.pairs import CopyBroken

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker

AGAIN_S = 1.0


class Bringer:
    """Brings what the copies of one worker lack."""

    def __init__(
        self, worker: Worker, shards: Mapping[int, Shard], whole: Callable[[Source], bool]
    ) -> None:
        """``shards``: the copies, as they are now; ``whole``: whether a log was never cut."""
        self._worker, self._shards, self._whole = worker, shards, whole
        self._lacking: queue.SimpleQueue[tuple[Shard, Path] | None] = queue.SimpleQueue()
        self._asked: set[tuple[int, Path]] = set()
        self._writing, self._pulling = threading.Lock(), -1
        threading.Thread(target=self._run, name="bringer", daemon=True).start()

    def copy(self, shard: Shard, path: Path) -> None:
        """Have this portion come; asked again and again, it is brought once."""
        key = shard.number, path
        if key not in self._asked:
            self._asked.add(key)
            self._lacking.put((shard, path))

    def cut_off(self, shard: Shard) -> list[str]:
        """Of what is still to come: what nobody but its owner has."""
        paths = [path for number, path in self._asked.copy() if number == shard.number]
        return [
            f"{node_name(p)} was not here yet" for p in paths if not self._whole(shard.source(p))
        ]

    def writes(self, number: int) -> list[str]:
        """Why the store of a copy that was let go of is not quiet: who writes waits for its owner, who may
        be dead."""
        if self._pulling != number:
            return []
        if not self._writing.acquire(timeout=ANSWER_S + AGAIN_S):
            return ["it is still being written"]
        self._writing.release()
        return []

    def close(self) -> None:
        self._lacking.put(None)

    def _run(self) -> None:
        while (lacking := self._lacking.get()) is not None:
            shard, path = lacking
            try:
                with self._writing:
                    self._pulling = shard.number
                    self._bring(shard, path)
            except (httpx.HTTPError, CopyBroken, NotReady):
                time.sleep(AGAIN_S)  # it is asked for again, as long as it is lacking
            except (Over, PctError):
                self._worker.metrics.ended_moves.inc()
            finally:
                self._pulling = -1
                self._asked.discard((shard.number, path))
                if self._lacking.empty():
                    self._worker.resync()

    def _bring(self, shard: Shard, path: Path) -> None:
        if self._shards.get(shard.number) is not shard:
            return
        if self._whole(shard.source(path)):
            shard.from_pipe.add(path)
        elif path in self._worker.routing.owners:
            self._pull(shard, path)

    def _pull(self, shard: Shard, path: Path) -> None:
        worker = self._worker
        owner = worker.routing.owners[path]
        host = worker.model.shards().get(owner)
        throttle = Throttle(worker.cfg.moves.bytes_per_s, lambda: bool(worker.room.full()))

        def copied(rows: int, size: int) -> None:
            if self._shards.get(shard.number) is not shard:
                raise Over
            time.sleep(throttle.spend(size))

        asked = f"standby={shard.number}"
        pulled(worker.cfg, owner, host, shard, path, asked, lambda _, __: None, copied)
