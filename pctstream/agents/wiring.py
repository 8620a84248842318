"""Shards and their inputs joined: the same for those that a worker hosts and for its warm copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from pctstream.agents.inputs import Inputs
from pctstream.agents.shard import Shard, Turn
from pctstream.core.names import Path

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker


def wire(
    worker: Worker, shards: Mapping[int, Shard], inputs: Inputs, copy: Callable[[Shard, Path], None]
) -> None:
    """Every node the routing gives these shards is restored, has its agent and its input; ``copy`` is
    called for what one lacks."""
    fresh = []
    for shard in shards.values():
        synced = shard.sync(worker.routing)
        fresh += [(shard, path) for path in synced.fresh]
        for path in synced.gone:
            inputs.drop(shard, path)
            shard.drop(path)
        for path in synced.lacking:
            copy(shard, path)
    if fresh:
        worker.run_agents([(path, shard.number) for shard, path in fresh])
    for shard in shards.values():
        adopt(worker, shard)
    inputs.add(fresh)


def anew(worker: Worker, shard: Shard, path: Path, inputs: Inputs) -> None:
    """A node restored from its store, and its input read again from there."""
    with shard.lock:  # a turn under way ends first: what it writes is in the store then
        if path not in shard.nodes:
            return
        shard.restore(path, worker.routing)
    adopt(worker, shard)
    inputs.again(shard, path)


def adopt(worker: Worker, shard: Shard) -> None:
    """What the routing and the portions' owners have said so far, to the nodes."""
    for path, node in sorted(shard.nodes.items()):
        worker.enqueue(Turn(shard, node, partial(shard.adopt, path, worker.routing)))
    for record in worker.model.portions().values():
        worker.followed.owner_applied(shard, record)
