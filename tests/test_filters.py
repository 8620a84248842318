"""Two workers over one tree that stands still: who is asked for an id, by copies of filters (no broker)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from fastapi import FastAPI
from standing import SHARDS, Standing
from test_search_views import CENTRES, rows_of

from pctstream.core.effects import Apply
from pctstream.core.keys import hashes64
from pctstream.core.names import Path
from pctstream.http import filters, problem, search
from pctstream.http.connections import Connections

OTHER = "http://other"


class Half:
    """A worker that hosts some of the shards of a tree."""

    def __init__(self, tree: Standing, here: set[int], other: str) -> None:
        self._tree, self._here, self._other = tree, here, other
        self.told: dict[tuple[int, Path], int] = {}
        self.lookups = np.zeros(3, np.int64)
        self.pulled = 0
        self.app = FastAPI()
        problem.add(self.app)
        self.asking = search.add(self.app, self, dict, lambda *_: None, seconds=30.0)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tree, name)

    def here(self) -> set[int]:
        return self._here

    def urls(self) -> Mapping[int, str]:
        return {s: "http://me" if s in self._here else self._other for s in range(SHARDS)}

    def reported(self, shard: int, path: Path) -> int:
        return self.told.get((shard, path), -1)

    def looked_up(self, *counts: int) -> None:
        self.lookups += np.array(counts)


class Pair:
    """Two halves; the first is asked."""

    def __init__(self, rows: int = 600) -> None:
        self.tree = Standing(5)
        self.tree.split(CENTRES)
        self.ids = [f"r{i}" for i in range(rows)]
        self.tree.feed(self.tree.block(rows_of(rows), self.ids, None))
        self.a = Half(self.tree, {0, 1}, OTHER)
        self.b = Half(self.tree, {2, 3}, "http://nobody")
        self.reachable = True

    def run(self, act: Callable[[Callable[[str], Awaitable[httpx.Response]]], Awaitable[Any]]) -> Any:  # fmt: skip # noqa: E501
        async def whole() -> Any:
            inner = httpx.AsyncClient(transport=httpx.ASGITransport(app=self.b.app))
            pair = self

            class ToB(Connections):
                async def post(
                    self, url: str, body: bytes, headers: Mapping[str, str], seconds: float
                ) -> bytes | None:
                    if not pair.reachable:
                        return None
                    pair.a.pulled += url.endswith("/v1/shards/filters")
                    answer = await inner.post(url, content=body, headers=dict(headers))
                    return answer.content if answer.status_code == 200 else None

            self.a.asking._connections = ToB(verify=True)
            outer = httpx.ASGITransport(app=self.a.app)
            async with httpx.AsyncClient(transport=outer, base_url="http://me") as client:
                found = await act(lambda name: client.get(f"/v1/rows/{name}"))
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await self.a.asking._connections.close()
            return found

        return asyncio.run(whole())

    def ask(self, *names: str) -> list[httpx.Response]:
        async def act(get: Callable[[str], Awaitable[httpx.Response]]) -> list[httpx.Response]:
            return [await get(name) for name in names]

        return list(self.run(act))


def test_one_shard_is_asked_wherever_the_row_is() -> None:
    pair = Pair()
    found = [answer.json() for answer in pair.ask(*pair.ids[:80])]
    assert [one["id"] for one in found] == pair.ids[:80]
    assert {one["shard"] for one in found} == {0, 1, 2, 3}
    assert all(one["bloom"] == {"asked": 1, "skipped": 3} for one in found)
    assert pair.a.pulled < 40  # a copy serves many questions
    assert [a.status_code for a in pair.ask(*(f"no{i}" for i in range(50)))] == [404] * 50
    assert pair.a.lookups.sum() - pair.a.lookups[2] == 4 * 130


def test_a_row_applied_a_moment_ago_is_not_denied_by_an_old_copy() -> None:
    pair = Pair()

    async def act(get: Callable[[str], Awaitable[httpx.Response]]) -> list[httpx.Response]:
        found = [await get("r1")]
        for i in range(40):
            name = f"new{i}"
            pair.tree.feed(pair.tree.block(rows_of(1, i), [name], None))
            found.append(await get(name))
        return found

    answers = pair.run(act)
    assert {a.status_code for a in answers} == {200}
    assert {a.json()["shard"] for a in answers} == {0, 1, 2, 3}


def test_a_copy_that_is_behind_what_was_told_is_not_believed() -> None:
    pair = Pair()
    path = next(p for p, s in pair.tree.log.owners.items() if s == 3)
    pair.a.told[3, path] = 10**6
    (answer,) = pair.ask("nobody")
    assert answer.status_code == 404
    assert pair.a.lookups.tolist() == [1, 3, 0]  # asked, and nobody was fooled
    pair.a.told.clear()
    mine = next(p for p, s in pair.tree.log.owners.items() if s == 0)
    pair.a.told[0, mine] = 10**6
    pair.ask("nobody")
    assert pair.a.lookups.tolist() == [2, 6, 0]


def test_without_copies_everybody_is_asked_and_silence_is_no_denial() -> None:
    pair = Pair()
    pair.reachable = False
    first, second = pair.ask("r0", "nobody")
    assert second.status_code == 503
    if first.status_code == 200:
        assert first.json()["partial"]
    pair.reachable = True
    assert pair.ask("nobody")[0].status_code == 404


def test_a_copy_is_believed_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()

    async def act(get: Callable[[str], Awaitable[httpx.Response]]) -> list[httpx.Response]:
        await get("nobody")
        pair.reachable = False
        monkeypatch.setattr(filters, "BELIEVED_S", -1.0)
        return [await get("nobody")]

    assert pair.run(act)[0].status_code == 503


def test_a_row_on_its_way_down_is_asked_for_below() -> None:
    pair = Pair()
    tree = pair.tree
    path = next(p for p, s in tree.log.owners.items() if s == 3)
    name = "on-its-way"
    row = CENTRES[path[-1]][None]

    async def act(get: Callable[[str], Awaitable[httpx.Response]]) -> list[httpx.Response]:
        root = tree.shards[2].nodes[0,]
        block = tree.block(row, [name], None)
        tree.shards[2].apply(Apply((0,), root.source, root.position, {}, block))
        await get("nobody")  # copies are made: N0 of shard 2 has it
        tree.shards[2].apply(Apply((0,), root.source, root.position, {}, None, purge=True))
        tree._feed(tree.shards[3], path, block)
        return [await get(name)]

    (answer,) = pair.run(act)
    assert answer.status_code == 200 and answer.json()["shard"] == 3


@pytest.mark.parametrize("shard", [0, 3])
def test_a_filter_that_names_a_shard_for_nothing_is_counted_once(shard: int) -> None:
    pair = Pair()
    path = next(p for p, s in pair.tree.log.owners.items() if s == shard)
    bloom = pair.tree.shards[shard].blooms._kept[path].bloom
    assert bloom is not None
    bloom.add(hashes64(pa.array(["ghost"])))
    assert pair.ask("ghost")[0].status_code == 404
    assert pair.a.lookups.tolist() == [1, 3, 1]
