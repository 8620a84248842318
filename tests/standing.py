"""A tree that stands still on shards in memory, asked over HTTP without a broker or a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import numpy as np
import orjson
import pyarrow as pa
from fastapi import FastAPI
from sim.memory import MemoryKV

from pctstream.agents.blooms import Blooms
from pctstream.agents.search import Search
from pctstream.agents.shard import Shard
from pctstream.core import kernels, records
from pctstream.core.balls import Balls
from pctstream.core.block import Block, Source
from pctstream.core.cover import refine
from pctstream.core.effects import Apply, Effect, RouteHeld
from pctstream.core.handing import HandsDown
from pctstream.core.names import ROOT, Path
from pctstream.core.routing import Routing
from pctstream.core.unit import Unit
from pctstream.http import problem, search
from pctstream.http.learning import Learning
from pctstream.kv import KV
from pctstream.store import Store

SHARDS = 4
INGEST = "t.P0"


def in_memory(shard: int) -> KV:
    """A shard's database."""
    return MemoryKV()


class Standing:
    """Routing, shards and stores; rows go where the product would bring them."""

    def __init__(
        self, dimension: int, metric: str = "euclidean", limit: int = 1 << 30,
        kv: Callable[[int], KV] = in_memory,
    ) -> None:  # fmt: skip
        self.log = Routing()
        settings = {
            "tree": "t",
            "dimension": dimension,
            "metric": metric,
            "cut": 1,
            "shards": SHARDS,
            "sink_rows": 10**6,
        }
        self._fold(records.tree_record(settings, dimension, "a"))
        self.shards = {n: Shard(n, "t", Store(kv(n)), 10**6) for n in range(SHARDS)}
        self.search_ = Search(self.shards, self.log, limit)
        self.away: set[int] = set()
        """Shards that nobody hosts."""
        self.offset = 0
        self.lookups = np.zeros(3, np.int64)
        self.sync()

    def _fold(self, record: dict[str, Any]) -> None:
        assert self.log.fold(record, self.log.seq + 1, 1.0)

    def sync(self) -> None:
        for shard in self.shards.values():
            shard.sync(self.log)
            for path in sorted(shard.nodes):
                self.perform(shard, path, shard.adopt(path, self.log))

    def split(self, centres: np.ndarray) -> None:
        """N0 has this cover; its portions go to the shards in turn."""
        cover = refine(centres, centres, 1e-3, 0, 1)
        for record in records.cover_records(ROOT, cover, self.log.seq + 1, "a"):
            self._fold(record)
        owners = {(0, i): i % SHARDS for i in range(len(centres))}
        self._fold(records.split_record(ROOT, cover, owners, self.log.seq + 1, "a"))
        self.sync()

    def perform(self, shard: Shard, path: Path, effects: Sequence[Effect]) -> None:
        node = shard.nodes[path]
        for effect in effects:
            if isinstance(effect, Apply):
                shard.apply(effect)
            elif isinstance(effect, RouteHeld):
                assert isinstance(node, HandsDown)
                for last, rows in shard.store.segments(path):
                    for sent in node.reroute(last, rows):
                        self.perform(shard, path, node.delivered(sent.ticket))  # type: ignore[union-attr]
                self.perform(shard, path, node.rerouted())

    def block(
        self, rows: np.ndarray, ids: Sequence[str | None] | None, payloads: Sequence[Any] | None,
    ) -> Block:  # fmt: skip
        n, first = len(rows), self.offset
        self.offset += n
        texts = (
            None if payloads is None else [p if p is None else orjson.dumps(p) for p in payloads]
        )
        return Block(
            (Source(INGEST, 0),), np.zeros(n, np.int32), np.arange(first, first + n),
            np.zeros(n, np.int32), rows, None if ids is None else pa.array(ids, pa.string()), None,
            None if texts is None else pa.array(texts, pa.binary()),
        )  # fmt: skip

    def hold(self, number: int, block: Block) -> None:
        """Rows at N0 of a shard."""
        self._feed(self.shards[number], ROOT, block)

    def feed(self, block: Block) -> None:
        """Rows to the portions that they belong to."""
        centroids = self.log.covers[ROOT].centroids
        child = kernels.nearest(block.vectors, kernels.transpose(centroids), len(centroids))
        for i in sorted(set(child.tolist())):
            shard = self.shards[self.log.owners[0, i]]
            self._feed(shard, (0, i), block.keep(child == i))

    def _feed(self, shard: Shard, path: Path, block: Block) -> None:
        node = shard.nodes[path]
        unit = Unit(node.source, node.taken, node.taken + 1, block)
        self.perform(shard, path, node.feed(unit))

    # what `asking.Hosts` wants

    @property
    def routing(self) -> Routing:
        return self.log

    @property
    def search(self) -> Search:
        return self.search_

    @property
    def count(self) -> int:
        return SHARDS

    def host(self) -> dict[str, Any]:
        return {"worker": self.name, "generation": self.generation(), "began": 0.0}

    def generation(self) -> int:
        return 1

    def urls(self) -> Mapping[int, str]:
        return {}

    def here(self) -> set[int]:
        return set(self.shards) - self.away

    def balls(self) -> Balls:
        radii = {(0, i): n.subtree.counts.radius[0] for s in self.shards.values()
                 for (_, *rest), n in s.nodes.items() for i in rest}  # fmt: skip
        rows = sum(n.rows for s in self.shards.values() for p, n in s.nodes.items() if p != ROOT)
        return Balls.of(dict(self.log.covers), radii, dict(self.log.owners), self.log.above, rows)

    def blooms(self, shard: int) -> Blooms | None:
        return self.shards[shard].blooms if shard in self.shards else None

    def reported(self, shard: int, path: Path) -> int:
        return -1

    def looked_up(self, asked: int, skipped: int, fooled: int) -> None:
        self.lookups += np.array([asked, skipped, fooled])

    def calling(self) -> dict[str, Any]:
        return {"headers": {}, "verify": True}


class Client:
    """Asks the search views of a tree without a socket."""

    def __init__(self, tree: Standing) -> None:
        self._app = FastAPI()
        self.counted: list[tuple[str, float, int]] = []
        problem.add(self._app)
        count = lambda *seen: self.counted.append(seen)  # noqa: E731
        as_of = lambda: {"time": 0.0, "epoch": tree.log.epoch}  # noqa: E731
        # on a busy machine nothing is late
        self.asking = search.add(self._app, tree, as_of, count, seconds=60.0)
        self.learning = Learning(self.asking, tree, count)

    def ask(self, method: str, url: str, **more: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://tree") as client:
                return await client.request(method, url, **more)

        return asyncio.run(one())

    def learn(self, k: int) -> bool:
        """What an approximate question has begun behind it."""
        return asyncio.run(self.learning.learn(k))

    def post(self, what: str, **asked: Any) -> dict[str, Any]:
        answer = self.ask("POST", f"/v1/{what}", json=asked)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found
