"""Waiting until what a producer sent is applied, that is: in the store of its portion's owner.

1. Every ingest partition is done as far as this producer's last message there. A row that N0 holds counts:
   it can be found. 2. Level by level, the pipes that there are have ends, asked of the broker, because a
   view may be late; every pipe is done as far as that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka.admin import AdminClient

from pctstream.client import calls
from pctstream.client.asking import Client
from pctstream.core.block import Source
from pctstream.errors import InputBroken, NotReady
from pctstream.pipes.bounds import TIMEOUT_S, ends
from pctstream.rights import pipes, require

POLL_S = 0.1


def wait_applied(
    tree: Client, admin: AdminClient, ingest: str, sent: Mapping[int, int], timeout_s: float
) -> None:
    """Return when all is applied; NotReady when the time is over, InputBroken if it never will be.

    ``sent``: the last offset of each partition of the topic ``ingest``.
    """
    until = time.monotonic() + timeout_s
    require(admin, pipes(ingest), "whoever waits")
    name = ingest.removesuffix(".P0")
    _reach(tree, name, {Source(ingest, p): last for p, last in sent.items()}, until)
    depth = 1
    while True:
        topics: Any = admin.list_topics(timeout=TIMEOUT_S).topics
        below = ingest.count(".") + depth
        there = [
            Source(name, partition)
            for name, found in topics.items()
            if name.startswith(f"{ingest}.") and name.count(".") == below
            for partition in found.partitions
        ]
        if not there:
            return
        _reach(tree, name, {pipe: end - 1 for pipe, end in ends(admin, there).items()}, until)
        depth += 1


def _reach(tree: Client, name: str, wanted: Mapping[Source, int], until: float) -> None:
    while True:
        done: dict[Source, int] = {}
        for shard in tree.send_all(calls.shards(name)):
            for entry in shard.inputs:
                source = Source(entry["topic"], entry["partition"])
                if entry.get("error") and source in wanted:
                    raise InputBroken(str(entry["error"]))
                if not entry.get("shadow"):
                    done[source] = max(entry["stored"], entry["routed"])
        left = sum(max(0, last - done.get(source, -1)) for source, last in wanted.items())
        if not left:
            return
        if time.monotonic() > until:
            raise NotReady(f"{left:,} messages are not applied yet: see `pctstream status`")
        time.sleep(POLL_S)
