"""A shard hosted here as it is at one moment, for whoever takes a snapshot (`snapshots.taking`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from pctstream.http.frozen import hosted, stream
from pctstream.snapshots.moment import taken

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker
    from pctstream.store import Store


def add(app: FastAPI, worker: Worker) -> None:
    """The route."""

    @app.get("/v1/shards/{number}/snapshot")
    def snapshot(number: int) -> Any:
        """Everything that the store of a shard hosted here holds, but portions that others answer for:
        an Arrow stream of keys and values."""
        shard = hosted(worker, number)
        tree, routing = worker.cfg.tree.name, worker.routing

        def pieces(moment: Store) -> Iterator[bytes]:
            for piece in taken(moment, tree, number, routing):
                if worker.shards.get(number) is not shard:
                    return  # without its end it is none, and the new host waits for the store
                yield piece

        return stream(worker, shard, pieces)
