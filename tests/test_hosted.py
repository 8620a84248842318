"""What a worker tells of its shards is of the generation of the group that gave them."""

from __future__ import annotations

from pathlib import Path

import faust

from pctstream import config
from pctstream.agents.node import NodeAgents
from pctstream.agents.worker import Worker
from pctstream.tables import newer


def worker(folder: Path, name: str) -> Worker:
    cfg = config.load(None, {}, {"store.dir": str(folder), "kafka.broker": "127.0.0.1:1"})
    agents = NodeAgents(faust.App(name, broker="kafka://127.0.0.1:1"), cfg.tree.name)
    return Worker(cfg, name, "http://127.0.0.1:1", agents)


def told(one: Worker) -> dict[str, object]:
    return {"kind": "shard", "shard": 3, "epoch": 2, "offset": 5, **one.host()}


def test_who_has_to_let_go_of_a_shard_does_not_tell_of_it_as_a_new_host(tmp_path: Path) -> None:
    """Seen: after a rebalance the old host told once more, under the new number; it had begun later
    than the new one, so nobody believed the new one ever after."""
    new, old = worker(tmp_path, "worker-1"), worker(tmp_path, "worker-2")
    group = 9
    for one in (new, old):
        one.generation = lambda: group
        one.assign(set())
        one._orders.get()()
    assert told(old)["generation"] == 9
    group = 10
    new.assign(set())
    new._orders.get()()
    late = told(old)
    assert newer(told(new), late)
    assert not newer(late, told(new))
    old.assign(set())
    old._orders.get()()
    assert told(old)["generation"] == 10
