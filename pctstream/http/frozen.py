"""What a shard's store holds at one moment, sent piece by piece: it gives way to what the worker has to do.

Whoever receives it holds the rate; here it waits while this worker has no room.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fastapi.responses import StreamingResponse

from pctstream.agents.throttle import Throttle
from pctstream.core.block import ARROW
from pctstream.errors import Misdirected, NotFound, NotReady

if TYPE_CHECKING:
    from pctstream.agents.shard import Shard
    from pctstream.agents.worker import Worker
    from pctstream.store import Store

GIVES_WAY_S = 2.0
"""Between two pieces at most: who receives them takes a longer silence for the end."""


def hosted(worker: Worker, number: int) -> Shard:
    """A shard that is here; NotFound where there is none of this number, Misdirected where this worker does
    not host it, NotReady while it opens it."""
    count = worker.cfg.shards.count
    if not 0 <= number < count:
        raise NotFound(f"no shard {number}: there are 0 to {count - 1}")
    shard = worker.shards.get(number)
    if shard is None:
        host = worker.model.shards().get(number, {}).get("url", "`GET /v1/shards` tells who does")
        raise Misdirected(f"{worker.name} does not host shard {number}: {host}")
    if shard.root is None:
        raise NotReady(f"{worker.name} has not opened shard {number} yet: ask again")
    return shard


def stream(
    worker: Worker, shard: Shard, pieces: Callable[[Store], Iterator[bytes]]
) -> StreamingResponse:
    """An Arrow stream of what ``pieces`` reads from the shard's store as it is when it begins."""
    throttle = Throttle(worker.cfg.moves.bytes_per_s, lambda: bool(worker.room.full()))

    def sent() -> Iterator[bytes]:
        moment = shard.store.frozen()
        try:
            for piece in pieces(moment):
                yield piece
                wait = throttle.spend(len(piece))
                if throttle.share < 1.0:
                    time.sleep(min(wait, GIVES_WAY_S))
        finally:
            moment.close()

    return StreamingResponse(sent(), media_type=ARROW)
