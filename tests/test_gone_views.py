"""Searches and rows by id while rows are replaced and deleted, against a dict."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from standing import SHARDS, Client, Standing

from pctstream.agents.ration import Ration
from pctstream.agents.spatial import ShardIndex
from pctstream.core import kernels
from pctstream.core.block import Block
from pctstream.core.changes import Changes
from pctstream.core.ids import Below
from pctstream.core.names import ROOT, Path
from pctstream.core.places import Places
from pctstream.core.proof import proof
from pctstream.settings import SpatialSettings

CENTRES = np.random.default_rng(5).normal(0, 6, (8, 4)).astype(np.float32)
IDS = 300


class Told:
    """Rows and deletes for a tree, and the dict that they make."""

    def __init__(self, tree: Standing) -> None:
        self.tree = tree
        self.rows: dict[str, np.ndarray] = {}
        self._rng = np.random.default_rng(0)
        self._below = Below()
        self._units = 0

    def block(self, count: int) -> Block:
        rng = self._rng
        vectors = CENTRES[rng.integers(0, 8, count)] + rng.normal(0, 1, (count, 4))
        vectors = vectors.astype(np.float32)
        names = [str(i) for i in rng.integers(0, IDS, count)]
        gone = rng.random(count) < 0.25
        vectors[gone] = 0
        for name, row, out in zip(names, vectors, gone, strict=True):
            self.rows.pop(name, None)
            if not out:
                self.rows[name] = row
        block = self.tree.block(vectors, names, [{"n": int(n) % 3} for n in names])
        changes = Changes.deletes(gone)
        return Block(
            block.sources, block.source, block.offset, block.index, block.vectors,
            pa.array(names), block.times, block.payloads, changes,
        )  # fmt: skip

    def feed(self, count: int) -> None:
        """To the portions, as N0 would send it."""
        tree, block = self.tree, self.block(count)
        centroids = tree.log.covers[ROOT].centroids
        child = kernels.nearest(block.vectors, kernels.transpose(centroids), len(centroids))
        if block.changes is not None:
            child[block.changes.bare == 1] = -1
        entries, to = self._below.turned(self._units, block, child)
        self._units += 1
        for i in sorted(set(to.tolist())):
            tree._feed(tree.shards[tree.log.owners[0, i]], (0, i), entries.keep(to == i))

    def brute(self, query: np.ndarray, k: int, wanted: Any = None) -> list[tuple[float, str]]:
        found = [
            (float(np.sqrt(np.cumsum((row.astype(float) - query) ** 2)[-1])), name)
            for name, row in self.rows.items()
            if wanted is None or int(name) % 3 == wanted
        ]
        return sorted(found)[:k]


def told(found: dict[str, Any]) -> list[tuple[float, str]]:
    return [(one["distance"], one["id"]) for one in found["results"]]


def same(client: Client, truth: Told, looks: int = 6) -> None:
    rng = np.random.default_rng(len(truth.rows))
    for look in range(looks):
        query = rng.normal(0, 6, 4)
        k = (1, 10, 60)[look % 3]
        assert told(client.post("search", vector=query.tolist(), k=k)) == truth.brute(query, k)
        some = client.post("search", vector=query.tolist(), k=k, filter={"n": 1})
        assert told(some) == truth.brute(query, k, 1)
        name = str(rng.integers(0, IDS))
        answer = client.ask("GET", f"/v1/rows/{name}")
        assert answer.status_code == (200 if name in truth.rows else 404)
        if name in truth.rows:
            assert answer.json()["vector"] == truth.rows[name].tolist()


@pytest.mark.parametrize("limit", [1 << 30, 1])
def test_what_has_left_is_not_found_and_its_successor_is(limit: int) -> None:
    tree = Standing(4, limit=limit)
    tree.split(CENTRES)
    client, truth = Client(tree), Told(tree)
    for round_ in range(4):
        for _ in range(4):
            truth.feed(100)
        same(client, truth)
        if round_ % 2:  # what a node knows of places is found again in its store
            for shard in tree.shards.values():
                for path in [p for p in shard.nodes if p != ROOT]:
                    shard.restore(path, tree.log)
    portions = [p for s in tree.shards.values() for p in s.portions]
    assert sum(p.held_rows for p in portions) == len(truth.rows)
    live = [rows for s in tree.shards.values() for p in s.portions for _, rows in _live(s, p.path)]
    assert proof(live).rows == len(truth.rows)


def _live(shard: Any, path: Path) -> Any:
    return shard.store.live(path)


def test_at_n0_too_while_it_covers_and_after_a_restart() -> None:
    tree = Standing(4)
    client, truth = Client(tree), Told(tree)
    for _ in range(5):
        tree.hold(1, truth.block(80))
        same(client, truth, 4)
        tree.shards[1].restore(ROOT, tree.log)
    assert [tree.shards[n].root.rows for n in range(SHARDS)] == [0, len(truth.rows), 0, 0]  # type: ignore[union-attr]


def test_what_has_left_is_out_of_the_spatial_index_also_when_it_is_read_in_anew() -> None:
    tree = Standing(4)
    tree.split(CENTRES)
    truth = Told(tree)
    settings = SpatialSettings(enabled=True, x="dim:0", y="dim:1")
    shards = list(tree.shards.values())
    first = [
        ShardIndex(shard, Places("dim:0", "dim:1"), settings, Ration(1 << 30)) for shard in shards
    ]
    for _ in range(6):
        truth.feed(150)
        later = [
            ShardIndex(shard, Places("dim:0", "dim:1"), settings, Ration(1 << 30))
            for shard in shards
        ]
        for indexes in (first, later):
            found = []
            for index in indexes:
                assert index.refresh(sorted(index.shard.nodes), time.monotonic() + 60)
                with index.look() as one:
                    found += list(zip(*(a.tolist() for a in _positions(one)), strict=True))
            assert sorted(found) == sorted(
                (float(row[0]), float(row[1])) for row in truth.rows.values()
            )


def _positions(index: Any) -> Any:
    found = index.box((-1e9, -1e9, 1e9, 1e9))
    return found.x, found.y
