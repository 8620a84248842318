"""Waiting until everything produced so far has been applied.

0. The ends of the topics that are bridged are taken; their partitions must be copied to there.
1. The ends of the ingest log are taken. 2. Every ingest partition must be stored or routed to its
end: a row held at N0 counts as applied. 3. Only then are the ends of the pipes taken, level by level
to the lowest. 4. Every pipe must be stored or routed to its end. Which pipes there are and their ends
come from the broker, because a view may be late or nobody may answer; positions come from the shards.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TextIO

import httpx
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pctstream.config import Config
from pctstream.core.block import Source
from pctstream.errors import BrokerUnreachable, InputBroken, NotFound, NotReady
from pctstream.pipes import client
from pctstream.pipes.bounds import TIMEOUT_S, ends
from pctstream.rights import pipes, require
from pctstream.topics import described
from pctstream.trust import calling

POLL_S = 0.25
HTTP_TIMEOUT_S = 5.0


def wait_applied(
    cfg: Config, urls: Sequence[str], out: TextIO | None = None, stall_s: float = 60.0
) -> None:
    """Return when all inputs are at their ends; NotReady when nothing moved for ``stall_s``."""
    admin = AdminClient(client.common(cfg, "settled"))
    require(admin, pipes(f"{cfg.tree.name}.P0"), "whoever waits")
    ingest = [s for s in _inputs(admin, cfg) if s.topic == f"{cfg.tree.name}.P0"]
    if not ingest:
        raise NotFound(f"there is no topic {cfg.tree.name}.P0: start `pctstream up`")
    waiting = _Waiting(urls, out, stall_s, cfg)
    waiting.until(foreign_ends(admin, cfg))
    waiting.until(ends(admin, ingest))
    depth, inputs = 2, ingest
    while inputs := [s for s in _inputs(admin, cfg) if s.topic.count(".") == depth]:
        waiting.until(ends(admin, inputs))
        depth += 1


def wait_bridged(
    cfg: Config, urls: Sequence[str], out: TextIO | None = None, stall_s: float = 60.0
) -> dict[Source, int]:
    """The ends of the topics that are bridged, once they are copied to there."""
    admin = AdminClient(client.common(cfg, "settled"))
    ends = foreign_ends(admin, cfg)
    _Waiting(urls, out, stall_s, cfg).until(ends)
    return ends


def foreign_ends(admin: AdminClient, cfg: Config) -> dict[Source, int]:
    """The log end of each partition of the topics that are bridged."""
    found = described(admin, cfg.ingest.topics)
    sources = [Source(name, p) for name, there in found.items() for p in range(there.partitions)]
    return ends(admin, sources)


def _inputs(admin: AdminClient, cfg: Config) -> list[Source]:
    """The ingest partitions and the pipes that there are."""
    ingest = f"{cfg.tree.name}.P0"
    try:
        found = admin.list_topics(timeout=TIMEOUT_S).topics
    except KafkaException as error:
        raise BrokerUnreachable(f"cannot list the topics: {error}; is the broker up?") from None
    inputs = [n for n in found if n == ingest or n.startswith(f"{ingest}.")]
    return [Source(name, p) for name in inputs for p in found[name].partitions]


class _Waiting:
    def __init__(
        self, urls: Sequence[str], out: TextIO | None, stall_s: float, cfg: Config
    ) -> None:
        self._cfg = cfg
        self._urls = list(urls)
        self._out = out
        self._stall_s = stall_s

    def positions(self) -> dict[Source, int]:
        """How far each input is done; InputBroken if one has stopped for good."""
        done: dict[Source, int] = {}
        for shard in self._shards():
            for entry in shard["inputs"]:
                if entry.get("shadow"):
                    continue
                if entry["error"]:
                    raise InputBroken(str(entry["error"]))
                source = Source(entry["topic"], entry["partition"])
                done[source] = max(entry["stored"], entry["routed"])
        return done

    def until(self, ends: dict[Source, int]) -> None:
        """Wait for these ends, telling every five seconds what is left."""
        moved = told = time.monotonic()
        before: dict[Source, int] = {}
        while True:
            done = self.positions()
            left = {s: e - 1 - done.get(s, -1) for s, e in ends.items() if done.get(s, -1) < e - 1}
            if not left:
                return
            now = time.monotonic()
            if done != before:
                moved, before = now, done
            if now - moved > self._stall_s:
                worst = max(left, key=lambda s: left[s])
                raise NotReady(
                    f"nothing moved for {self._stall_s:.0f} s and {len(left)} inputs are behind, "
                    f"{worst.topic}[{worst.partition}] by {left[worst]} messages: see "
                    "`pctstream status`"
                )
            if self._out is not None and now - told >= 5.0:
                told = now
                print(f"waiting: {sum(left.values()):,} messages to apply", file=self._out)
            time.sleep(POLL_S)

    def _shards(self) -> list[dict[str, Any]]:
        """Every shard as its host has it: others tell what they heard last, which may be of a store
        that is gone. Where a host cannot be reached from here, what others heard."""
        for _ in range(2):
            for url in list(self._urls):
                told = self._ask(url)
                if told is not None:
                    own = {u: self._ask(u) for u in {s["url"] for s in told} - {url}}
                    own[url] = told
                    return [s for shard in told for s in _as_hosted(shard, own[shard["url"]])]
                # the next question goes to a worker that answers
                self._urls.append(self._urls.pop(0))
            time.sleep(POLL_S)
        return []

    def _ask(self, url: str) -> list[dict[str, Any]] | None:
        try:
            answer = httpx.get(f"{url}/v1/shards", timeout=HTTP_TIMEOUT_S, **calling(self._cfg))
        except httpx.HTTPError:
            return None
        return list(answer.json()["shards"]) if answer.status_code == 200 else None


def _as_hosted(shard: dict[str, Any], own: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """The shard in its host's own words; nothing where that is not its host any more."""
    if own is None:
        return [shard]
    return [s for s in own if (s["shard"], s["url"]) == (shard["shard"], shard["url"])]
