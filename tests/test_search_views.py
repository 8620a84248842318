"""Search, range and rows over HTTP against brute force, on a tree that stands still (no broker)."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from typing import Any

import numpy as np
import orjson
import pytest
from standing import Client, Standing

from pctstream.agents.views import Views
from pctstream.http.asking import ATTEMPTS, Outcome, hosted, insisted

RNG = np.random.default_rng(12)
CENTRES = RNG.normal(0, 6, (10, 5)).astype(np.float32)


def rows_of(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = CENTRES[rng.integers(0, len(CENTRES), n)] + rng.normal(0, 1, (n, 5))
    return np.round(rows, 1).astype(np.float32)


def far(rows: np.ndarray, query: Any) -> np.ndarray:
    squares = (rows.astype(np.float64) - np.array(query)) ** 2
    return np.sqrt(np.cumsum(squares, axis=1)[:, -1])


def brute(rows: np.ndarray, ids: list[str], query: Any, k: int) -> list[tuple[float, str]]:
    return sorted(zip(far(rows, query).tolist(), ids, strict=True))[:k]


def told(results: list[dict[str, Any]]) -> list[tuple[float, str]]:
    return [(one["distance"], one["id"]) for one in results]


@pytest.fixture(scope="module")
def grown() -> tuple[Standing, Client, np.ndarray, list[str]]:
    tree = Standing(5)
    tree.split(CENTRES)
    rows = np.concatenate([rows_of(3000), rows_of(500)])  # 500 are there twice
    ids = [f"r{i * 7919 % 3500:04}" for i in range(3500)]
    payloads = [{"n": i % 10, "even": i % 2 == 0} if i % 3 else None for i in range(3500)]
    for i in range(0, 3500, 350):
        some = slice(i, i + 350)
        tree.feed(tree.block(rows[some], ids[some], payloads[some]))
    return tree, Client(tree), rows, ids


def test_exact_answers_over_shards_are_brute_force(grown: Any) -> None:
    _, client, rows, ids = grown
    rng = np.random.default_rng(1)
    for i in range(60):
        query = (
            rows[rng.integers(3500)].astype(float).tolist()
            if i % 2
            else rng.normal(0, 6, 5).tolist()
        )
        k = int(rng.choice([1, 5, 10, 100]))
        found = client.post("search", vector=query, k=k)
        assert told(found["results"]) == brute(rows, ids, query, k)
        assert found["exact"] and not found["partial"] and found["expected_recall"] == 1.0
    found = client.post("search", vectors=rows[:20].astype(float).tolist(), k=3, explain=True)
    for query, results in zip(rows[:20], found["results"], strict=True):
        assert told(results) == brute(rows, ids, query, 3)
    assert found["explain"]["rows_scanned"] < 20 * 3500
    assert {r["node"] for r in results} <= {f"N0,{i}" for i in range(10)}
    assert client.counted[-1][0] == "exact"


def test_of_thousands_of_equal_rows_the_first_by_id_and_origin_are_told() -> None:
    tree = Standing(5)
    tree.split(CENTRES)
    rng = np.random.default_rng(3)
    rows = CENTRES[rng.integers(0, 2, 6000)]
    rows[::100] += np.float32(0.5)
    ids = [None if i % 3 == 0 else f"{'ät'[i % 2]}{i * 7919 % 6000}" for i in range(6000)]
    for i in range(0, 6000, 600):
        tree.feed(tree.block(rows[i : i + 600], ids[i : i + 600], None))
    called = [f"t.P0/0/{i}/0" if name is None else name for i, name in enumerate(ids)]
    client = Client(tree)
    for query in (CENTRES[0], CENTRES[1] + 0.5, (CENTRES[0] + CENTRES[1]) / 2):
        for k in (1, 10, 100, 1000):
            found = client.post("search", vector=query.astype(float).tolist(), k=k)
            assert told(found["results"]) == brute(rows, called, query.astype(float), k)


def test_what_is_included(grown: Any) -> None:
    _, client, rows, ids = grown
    found = client.post("search", vector=rows[4].astype(float).tolist(), k=4,
                        include=["vector", "payload"])  # fmt: skip
    for one in found["results"]:
        i = ids.index(one["id"])
        assert one["vector"] == rows[i].tolist()
        assert one["payload"] == ({"n": i % 10, "even": i % 2 == 0} if i % 3 else None)
        assert one["origin"] == f"t.P0/0/{i}/0"


def test_ranges_are_brute_force(grown: Any) -> None:
    _, client, rows, ids = grown
    for i in range(40):
        query, radius = rows[i].astype(float).tolist(), float(np.sort(far(rows, rows[i]))[i * 5])
        found = client.post("range", vector=query, radius=radius, limit=1000)
        wanted = [pair for pair in brute(rows, ids, query, 3500) if pair[0] <= radius]
        assert told(found["results"]) == wanted
        assert found["exact"] and not found["truncated"]
        cut = client.post("range", vector=query, radius=radius, limit=max(1, len(wanted) // 2))
        assert told(cut["results"]) == wanted[: max(1, len(wanted) // 2)]
        assert cut["truncated"] == (len(wanted) > 1)


def test_filters_are_exact(grown: Any) -> None:
    _, client, rows, ids = grown
    query = rows[0].astype(float).tolist()
    keep = [i for i in range(3500) if i % 3 and i % 10 >= 7]
    found = client.post("search", vector=query, k=50, filter={"n": {"gte": 7}}, exact=False)
    assert told(found["results"]) == brute(rows[keep], [ids[i] for i in keep], query, 50)
    assert found["exact"]
    refused = client.ask("POST", "/v1/search", json={"vector": query, "filter": {"weight": 3}})
    assert refused.status_code == 422 and "weight" in refused.json()["detail"]


def test_an_approximate_answer_says_what_it_expects(grown: Any) -> None:
    tree, client, rows, ids = grown
    asked = {"vectors": rows[:32].astype(float).tolist(), "k": 5, "recall": 0.9}
    first = client.post("search", **asked)
    assert first["expected_recall"] == 1.0
    tree.search._behind.submit(int).result(60)  # what was to be learnt is learnt
    second = client.post("search", **asked, explain=True)
    assert not second["exact"]
    assert 0.9 <= second["expected_recall"] <= 1.0
    truth = [brute(rows, ids, query, 5) for query in rows[:32]]
    hits = [
        len({*map(tuple, told(r))} & {*t}) for r, t in zip(second["results"], truth, strict=True)
    ]
    assert sum(hits) >= 0.85 * 5 * 32
    assert second["explain"]["rows_scanned"] < 0.15 * 32 * 3500
    assert client.counted[-1][0] == "approximate"


def test_shards_that_hold_little_are_left_out_once_that_is_learnt() -> None:
    """A stray in every portion makes its ball so wide that it is near everything."""
    tree = Standing(5)
    tree.split(CENTRES)
    rows, strays = rows_of(4000, 5), (CENTRES * np.float32(3.0)).astype(np.float32)
    every, ids = np.concatenate([strays, rows]), [f"r{i:04}" for i in range(4010)]
    tree.feed(tree.block(every, ids, [{"n": 1}] * 4010))
    client = Client(tree)
    queries = rows_of(96, 6)
    asked = {"vectors": queries[:32].astype(float).tolist(), "k": 10, "recall": 0.95}
    truth = [brute(every, ids, query, 10) for query in queries]

    def left_out(found: dict[str, Any]) -> float:
        return sum(len(one["shards"]) for one in found["explain"]["left_out"]) / 32

    client.post("search", **asked)
    tree.search._behind.submit(int).result(60)  # which cells hold how much is learnt
    before = client.post("search", **asked, explain=True)
    assert left_out(before) < 0.5
    assert client.learn(10)
    assert {kind for kind, _, _ in client.counted} == {"approximate", "learning"}
    hits, left, expected = [], 0.0, []
    for first in range(0, 96, 32):
        some = {**asked, "vectors": queries[first : first + 32].astype(float).tolist()}
        found = client.post("search", **some, explain=True)
        assert not found["exact"] and not found["partial"]
        assert "learnt" in found["explain"]["left_out"][0]["why"]
        left += left_out(found) / 3
        expected.append(found["expected_recall"])
        for results, right in zip(found["results"], truth[first : first + 32], strict=True):
            hits.append(len({one["id"] for one in results} & {name for _, name in right}) / 10)
    assert left > 2.5
    assert np.mean(hits) >= 0.95 and np.mean(np.sort(hits)[:9]) >= 0.7
    assert all(0.95 <= one <= 1.0 for one in expected)
    exact = client.post("search", vector=queries[0].astype(float).tolist(), k=10)
    assert exact["exact"] and told(exact["results"]) == truth[0]
    filtered = client.post("search", **asked, explain=True, filter={"n": {"exists": True}})
    assert not any("learnt" in one["why"] for one in filtered["explain"]["left_out"])
    tree.shards[1].nodes.clear()
    assert not client.learn(10)  # not from answers that are not whole


def test_a_row_by_its_id(grown: Any) -> None:
    _, client, rows, ids = grown
    for i in (0, 1777, 3499):
        found = client.ask("GET", f"/v1/rows/{ids[i]}").json()
        assert found["vector"] == rows[i].tolist()
        assert found["origin"] == f"t.P0/0/{i}/0"
        assert found["payload"] == ({"n": i % 10, "even": i % 2 == 0} if i % 3 else None)
        assert found["bloom"] == {"asked": 1, "skipped": 3}
    tree = grown[0]
    tree.lookups[:] = 0
    for i in range(500):
        assert client.ask("GET", f"/v1/rows/nobody{i}").status_code == 404
    asked, skipped, fooled = tree.lookups.tolist()
    assert (asked + skipped, asked) == (2000, fooled)
    assert asked <= 1.5 * 0.01 * 2000


def test_a_shard_that_does_not_answer_makes_it_partial(grown: Any) -> None:
    tree, client, rows, ids = grown
    query = rows[9].astype(float).tolist()
    tree.away = {2}
    try:
        found = client.post("search", vector=query, k=20, explain=True)
        assert found["partial"] and not found["exact"] and found["expected_recall"] is None
        assert found["explain"]["no_answer"] == [2]
        assert all(one["shard"] != 2 for one in found["results"])
        near = [one for one in brute(rows, ids, query, 3500) if one in told(found["results"])]
        assert near == told(found["results"])
        assert client.ask("GET", "/v1/rows/nobody").status_code == 503
    finally:
        tree.away = set()


def test_shards_are_asked_where_they_are_those_of_one_worker_together() -> None:
    class Spread(Standing):
        def urls(self) -> dict[int, str]:
            return {0: "stale", 1: "a", 2: "b", 3: "a"}

    tree = Spread(5)
    assert hosted(tree, [3, 0, 1, 2]) == ([3, 0, 1, 2], {})
    tree.away = {1, 2, 3}
    assert hosted(tree, [3, 0, 1, 2]) == ([0], {"a": [3, 1], "b": [2]})
    assert hosted(tree, [7, 2]) == ([], {"b": [2]}) and hosted(tree, []) == ([], {})


def test_a_question_is_put_again_while_somebody_is_missing_and_there_is_time() -> None:
    def asked(lacking: list[bool], seconds: float) -> tuple[bool, int]:
        left, tries = list(lacking), 0

        async def once() -> Outcome:
            nonlocal tries
            tries += 1
            return Outcome([], [], {1} if left.pop(0) else set())

        outcome = asyncio.run(insisted(once, time.monotonic() + seconds))
        return bool(outcome.missing), tries

    assert asked([False], 60.0) == (False, 1)
    assert asked([True, True, False], 60.0) == (False, 3)
    assert asked([True] * 9, 60.0) == (True, ATTEMPTS)
    assert asked([True] * 9, 0.0) == (True, 1)


def test_rows_are_found_wherever_they_are_and_once() -> None:
    tree, rows = Standing(5), rows_of(400, 3)
    ids: list[str | None] = [f"r{i:03}" if i % 2 else None for i in range(400)]
    names = [name or f"t.P0/0/{i}/0" for i, name in enumerate(ids)]
    client = Client(tree)

    def right() -> None:
        for query in rows[:10].astype(float).tolist():
            found = client.post("search", vector=query, k=30)
            assert told(found["results"]) == brute(rows, names, query, 30)
            assert found["exact"]
        assert client.ask("GET", "/v1/rows/t.P0/0/4/0").json()["vector"] == rows[4].tolist()

    block = tree.block(rows, ids, None)
    for number in range(4):
        tree.hold(number, block.take(np.arange(number, 400, 4)))
    right()
    assert client.post("search", vector=[0] * 5, k=1)["results"][0]["node"] == "N0"
    tree.split(CENTRES)
    right()
    tree.feed(block.slice(0, 200))
    right()
    tree.feed(block.slice(200, 400))
    right()
    for shard in tree.shards.values():
        for path, node in list(shard.nodes.items()):
            if len(path) == 2:
                for other in tree.shards.values():
                    effects = other.root.owner_applied(path, node.marks)  # type: ignore[union-attr]
                    tree.perform(other, (0,), effects)
    assert all(s.root.stored_rows == 0 for s in tree.shards.values())  # type: ignore[union-attr]
    right()
    right()


def test_rows_that_come_are_found_at_once_and_a_lost_node_is_read_again() -> None:
    tree = Standing(5)
    tree.split(CENTRES)
    client, rows = Client(tree), rows_of(2600, 4)
    for i in range(0, 2600, 13):
        some = [f"r{j}" for j in range(i, i + 13)]
        tree.feed(tree.block(rows[i : i + 13], some, None))
        query = rows[i + 12].astype(float).tolist()
        ids = [f"r{j}" for j in range(i + 13)]
        if i % 5 == 0:
            assert told(client.post("search", vector=query, k=3)["results"]) == brute(
                rows[: i + 13], ids, query, 3
            )
    for shard in tree.shards.values():
        for path in list(shard.nodes):
            shard.restore(path, tree.log)
            tree.perform(shard, path, shard.adopt(path, tree.log))
    assert told(client.post("search", vector=query, k=9)["results"]) == brute(rows, ids, query, 9)


def test_what_does_not_fit_into_memory_is_read_from_the_store() -> None:
    tree = Standing(5, limit=20_000)
    tree.split(CENTRES)
    rows, ids = rows_of(3000, 6), [f"r{i}" for i in range(3000)]
    tree.feed(tree.block(rows, ids, [{"a": i} for i in range(3000)]))
    client = Client(tree)
    query = rows[0].astype(float).tolist()
    assert told(client.post("search", vector=query, k=50)["results"]) == brute(rows, ids, query, 50)
    found = client.post("search", vector=query, k=5, filter={"a": {"lt": 100}})
    assert told(found["results"]) == brute(rows[:100], ids[:100], query, 5)
    assert tree.search.nbytes <= 20_000


def test_as_much_is_in_memory_as_fits_together() -> None:
    limit = 50_000  # one portion of a shard, not two
    tree = Standing(5, limit=limit)
    tree.split(CENTRES)
    rows, ids = rows_of(3000, 6), [f"r{i}" for i in range(3000)]
    tree.feed(tree.block(rows, ids, None))
    client = Client(tree)
    for k in (1000, 10):
        for query in rows[:3].astype(float).tolist():
            found = client.post("search", vector=query, k=k, explain=True)
            assert found["exact"] and told(found["results"]) == brute(rows, ids, query, k)
            said = found["explain"]
            assert said["rows_scanned"] + said["rows_skipped"] == 3000
            assert 0 < tree.search.nbytes <= limit


def test_a_portion_that_is_not_there_yet_keeps_no_other_from_answering() -> None:
    tree, rows, ids = Standing(5), rows_of(2000, 8), [f"r{i}" for i in range(2000)]
    tree.split(CENTRES)
    tree.feed(tree.block(rows, ids, None))
    shard = tree.shards[1]
    coming, *others = [portion.path for portion in shard.portions]
    assert others
    nodes = np.argmin(((rows[:, None] - CENTRES) ** 2).sum(axis=2), axis=1)
    there = nodes != coming[1]
    query = CENTRES[others[0][1]].astype(float).tolist()
    shard.lost.add(coming)
    found = Client(tree).post("search", vector=query, k=30)
    assert found["partial"] and not found["exact"]
    left = [name for name, here in zip(ids, there, strict=True) if here]
    assert told(found["results"]) == brute(rows[there], left, query, 30)


def test_only_portions_that_may_have_a_nearer_row_are_read() -> None:
    tree, rng, centres = Standing(5), np.random.default_rng(9), 10.0 * CENTRES
    tree.split(centres)
    client, names = Client(tree), [f"r{i}" for i in range(4000)]
    rows = (centres[rng.integers(0, 10, 4000)] + rng.normal(0, 1, (4000, 5))).astype(np.float32)
    read: list[int] = []
    for i in range(0, 4000, 400):
        some, upto = slice(i, i + 400), slice(0, i + 400)
        tree.feed(tree.block(rows[some], names[some], None))
        for k in (1, 30, 1000):  # the last has to ask of more than one portion
            query = rows[i].astype(float).tolist()
            found = client.post("search", vector=query, k=k, explain=True)
            assert found["exact"]
            assert told(found["results"]) == brute(rows[upto], names[upto], query, k)
            said = found["explain"]
            assert said["rows_scanned"] + said["rows_skipped"] == i + 400
            read.append(tree.search.nbytes)
        near = client.post("range", vector=rows[i].astype(float).tolist(), radius=3.0)
        assert near["exact"] and told(near["results"]) == [
            one for one in brute(rows[upto], names[upto], rows[i], 4000) if one[0] <= 3.0
        ]
    assert 3 * read[0] < read[2], "one portion of ten; then all"
    assert read[3] < read[5], "also of what came then"


def test_rows_that_will_be_asked_for_are_read_before_if_they_fit_and_somebody_asks() -> None:
    for limit in (1 << 30, 20_000):
        tree = Standing(5, limit=limit)
        tree.split(CENTRES)
        tree.feed(tree.block(rows_of(3000, 6), [f"r{i}" for i in range(3000)], None))
        shard = tree.shards[1]
        views, path = Views(tree.shards, tree.log, limit, lambda: None), shard.portions[0].path
        views.prepare(shard, path, threading.Event())
        assert views.nbytes == 0, "nobody asks"
        views.of(shard, shard.portions[1].path)
        views.prepare(shard, path, threading.Event())
        rows = shard.portions[0].held_rows
        held = views.nbytes // (4 * 5)
        assert held >= rows if limit > 20_000 else held == 0
        views.prepare(shard, (0, 99), threading.Event())  # not here


def test_cosine_distances_are_one_minus_cos() -> None:
    tree = Standing(3, "cosine")
    rows = np.random.default_rng(1).normal(size=(500, 3))
    unit = (rows / np.linalg.norm(rows, axis=1)[:, None]).astype(np.float32)
    tree.split(unit[:6])
    tree.feed(tree.block(unit, [str(i) for i in range(500)], None))
    client = Client(tree)
    query = [3.0, -1.0, 2.0]
    cos = unit @ (np.array(query) / np.linalg.norm(query))
    found = client.post("search", vector=query, k=500)
    assert [one["distance"] for one in found["results"]] == pytest.approx(
        np.sort(1 - cos), abs=1e-6
    )
    radius = found["results"][40]["distance"]
    again = client.post("range", vector=query, radius=radius)
    assert len(again["results"]) == 41


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("search", {}, "vector"), ("search", {"vector": [1] * 5, "vectors": []}, "vector"),
    ("search", {"vector": [1, 2]}, "vector"), ("search", {"vector": "abcde"}, "vector"),
    ("search", {"vector": [1, 2, 3, 4, "x"]}, "vector"), ("search", {"vector": [1e39] * 5}, "vector"),
    ("search", {"vectors": [[1] * 5, [1]]}, "vectors[1]"), ("search", {"vectors": []}, "vectors"),
    ("search", {"vectors": [[1] * 5] * 65}, "vectors"), ("search", {"vector": [True] * 5}, "vector"),
    *[("search", {"vector": [1] * 5, "k": k}, "k must") for k in (0, -1, 10**9, 1.5, "3", True, None)],
    ("search", {"vector": [1] * 5, "kk": 3}, "kk"), ("search", {"vector": [1] * 5, "recall": 0}, "recall"),
    ("search", {"vector": [1] * 5, "recall": 0.9, "exact": True}, "recall"),
    ("search", {"vector": [1] * 5, "exact": 1}, "exact"),
    ("search", {"vector": [1] * 5, "include": ["id"]}, "include"),
    ("search", {"vector": [1] * 5, "include": [[]]}, "include"),
    ("search", {"vector": [1] * 5, "explain": "yes"}, "explain"),
    ("search", {"vector": [1] * 5, "filter": {"a": []}}, "filter.a"),
    ("search", {"vector": [1] * 5, "filter": None}, "filter"),
    ("range", {"radius": 1}, "vector"), ("range", {"vector": [1] * 5}, "radius"),
    ("range", {"vector": [1] * 5, "radius": -1}, "radius"),
    ("range", {"vector": [1] * 5, "radius": 1, "limit": 10_001}, "limit"),
    ("range", {"vector": [1] * 5, "radius": 1, "k": 3}, "k"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "asked", "named"), BAD)
def test_a_question_that_cannot_be_meant_names_the_field(
    grown: Any, what: str, asked: dict[str, Any], named: str
) -> None:
    answer = grown[1].ask("POST", f"/v1/{what}", json=asked)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert named in answer.json()["detail"]


def test_a_body_that_is_no_question(grown: Any) -> None:
    client = grown[1]
    deep = b'{"vector": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    for raw in (b"", b"[]", b'{"vector": [NaN, 1, 1, 1, 1]}', deep, b"\xff"):
        assert client.ask("POST", "/v1/search", content=raw).status_code == 422
    assert client.ask("POST", "/v1/search", content=b" " * (10 << 20)).status_code == 413
    for raw in (b"{}", b"3", orjson.dumps({"seconds": 1, "asks": [{"shard": 0, "question": 3}]})):
        assert client.ask("POST", "/v1/shards/search", content=raw).status_code == 422


def test_a_tree_without_rows_has_none() -> None:
    empty = Client(Standing(0))
    found = empty.post("search", vector=[1.0, 2.0])
    assert found["results"] == [] and found["exact"]
    assert empty.ask("GET", "/v1/rows/a").status_code == 404
    assert math.isfinite(found["expected_recall"])
