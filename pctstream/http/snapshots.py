"""A shard hosted here as it is at one moment, for whoever takes a snapshot (`snapshots.taking`)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from pctstream.agents.throttle import Throttle
from pctstream.core.block import ARROW
from pctstream.errors import NotReady
from pctstream.http import problem
from pctstream.http.moves import GIVES_WAY_S
from pctstream.snapshots.moment import taken

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker


def add(app: FastAPI, worker: Worker) -> None:
    """The route."""

    @app.get("/v1/shards/{number}/snapshot")
    def snapshot(number: int) -> Any:
        """Everything that the store of a shard hosted here holds, but portions that others answer for:
        an Arrow stream of keys and values."""
        shard = worker.shards.get(number)
        if shard is None or shard.root is None:
            return problem.problem(NotReady(f"{worker.name} has not opened shard {number}"))
        # whoever takes it holds the rate; here it gives way to what this worker has to do
        throttle = Throttle(worker.cfg.moves.bytes_per_s, lambda: bool(worker.room.full()))

        def pieces() -> Iterator[bytes]:
            moment = shard.store.frozen()
            try:
                for piece in taken(moment, worker.cfg.tree.name, number, worker.routing):
                    if worker.shards.get(number) is not shard:
                        return  # without its end it is none, and the new host waits for the store
                    yield piece
                    wait = throttle.spend(len(piece))
                    if throttle.share < 1.0:
                        time.sleep(min(wait, GIVES_WAY_S))
            finally:
                moment.close()

        return StreamingResponse(pieces(), media_type=ARROW)
