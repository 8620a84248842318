"""The client against the search views of a tree that stands still, and against servers that are ill."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pyarrow as pa
import pytest
from standing import Client as Asked
from standing import Standing
from test_search_views import CENTRES, brute, rows_of

from pctstream import errors
from pctstream.client import AsyncClient, Client, Hits
from pctstream.client.attempts import KINDS, Refusal
from pctstream.client.checks import check_ids, checked
from pctstream.core.encodings import to_npz
from pctstream.core.fields import ID_BYTES
from pctstream.core.solver import LevelCover

ROWS, N = rows_of(800), 800
IDS = [f"r/{i:03} ä" for i in range(N)]


@pytest.fixture(scope="module")
def app() -> Any:
    tree = Standing(5)
    tree.split(CENTRES)
    tree.feed(tree.block(ROWS, IDS, [{"n": i % 5} if i % 2 else None for i in range(N)]))
    return Asked(tree)._app


def through(app: Any) -> httpx.MockTransport:
    """A transport for the waiting client: each request in an event loop of its own."""

    def answer(request: httpx.Request) -> httpx.Response:
        async def one() -> httpx.Response:
            inner = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=inner) as client:
                again = client.build_request(
                    request.method, request.url, content=request.content, headers=request.headers
                )
                found = await client.send(again)
                return httpx.Response(
                    found.status_code, content=found.content, headers=found.headers
                )

        return asyncio.run(one())

    return httpx.MockTransport(answer)


def test_search_range_and_row_are_those_of_brute_force(app: Any) -> None:
    with Client("http://tree", transport=through(app), timeout_s=60) as tree:
        query = ROWS[3]
        wanted = brute(ROWS, IDS, query, N)
        found = tree.search(query, k=7, include=["vector", "payload"], explain=True)
        assert list(zip(found.distances.tolist(), found.ids, strict=True)) == wanted[:7]
        assert found.exact and not found.partial and found.expected_recall == 1.0 and found.explain
        assert found.vectors is not None and found.vectors.dtype == np.float32
        at = [IDS.index(i) for i in found.ids]
        assert (found.vectors == ROWS[at]).all()
        assert found.payloads == [{"n": i % 5} if i % 2 else None for i in at]
        many = tree.search_many(ROWS[:4].tolist(), k=2, filter={"n": {"gte": 0}})
        assert [len(one) for one in many] == [2] * 4 and many[0].vectors is None
        assert tree.search(query, 2, recall=0.9).expected_recall is not None
        near = tree.range(query, wanted[9][0], limit=5)
        assert near.ids == [i for _, i in wanted[:5]] and near.truncated
        assert tree.range(query, 1e9, limit=N).truncated is False
        row = tree.row(IDS[5])
        assert row.id == IDS[5] and (row.vector == ROWS[5]).all() and row.payload == {"n": 0}
        assert row.bloom == {"asked": 1, "skipped": 3}


def test_errors_have_their_kinds(app: Any) -> None:
    with Client("tree:1", transport=through(app)) as tree:
        with pytest.raises(errors.NotFound, match="nobody"):
            tree.row("nobody")
        with pytest.raises(errors.QueryRefused, match="k must be"):
            tree.search(ROWS[0], k=0)
        with pytest.raises(errors.QueryRefused, match="weight"):
            tree.search(ROWS[0], filter={"weight": 1})
        with pytest.raises(ValueError, match="axes"):
            tree.search(ROWS)
        with pytest.raises(errors.NotFound):  # no such view in this app
            tree.tree()
    assert {errors.NotReady, errors.Busy, errors.Late, errors.TooLarge} <= set(KINDS.values())


def test_the_same_from_an_event_loop(app: Any) -> None:
    async def ask() -> None:
        inner = httpx.ASGITransport(app=app)
        async with AsyncClient("http://tree", transport=inner, timeout_s=60) as tree:
            found = await asyncio.gather(*(tree.search(row, k=3) for row in ROWS[:20]))
            for row, hits in zip(ROWS, found, strict=False):
                assert hits.ids == [i for _, i in brute(ROWS, IDS, row, 3)]
            assert (await tree.row(IDS[7])).vector.tolist() == ROWS[7].tolist()
            with pytest.raises(errors.NotFound):
                await tree.row("nobody")

    asyncio.run(ask())


Answer = Callable[[httpx.Request], httpx.Response]


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"title": code, "detail": f"it is {code}", "status": status}
    return httpx.Response(status, content=orjson.dumps(body), headers=headers)


def served(*answers: Answer) -> tuple[Answer, list[httpx.Request]]:
    """A server that gives these answers, the last for ever; and what it was asked."""
    asked: list[httpx.Request] = []
    left = itertools.chain(answers, itertools.repeat(answers[-1]))

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return next(left)(request)

    return answer, asked


TREE = {"name": "t", "dimension": 2, "metric": "euclidean", "epoch": 1, "rows": 3,
        "state": "grown", "levels": [], "stalled": [], "as_of": {}, "new_in_2030": 1}  # fmt: skip


def good(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=orjson.dumps(TREE))


def not_ready(_: httpx.Request) -> httpx.Response:
    return problem(503, "not-ready", **{"retry-after": "0.01"})


def test_what_may_succeed_is_tried_again_and_nothing_else() -> None:
    answer, asked = served(not_ready, not_ready, good)
    with Client("http://a", transport=httpx.MockTransport(answer), token="s") as tree:
        assert tree.tree().rows == 3
    assert len(asked) == 3
    assert {r.headers["authorization"] for r in asked} == {"Bearer s"}
    answer, asked = served(lambda _: problem(422, "query"))
    tree = Client("http://a", transport=httpx.MockTransport(answer))
    with pytest.raises(errors.QueryRefused):
        tree.tree()
    assert len(asked) == 1
    # an order may have been taken: it is not given twice
    answer, asked = served(not_ready)
    with Client("http://a", transport=httpx.MockTransport(answer), timeout_s=5) as tree:
        with pytest.raises(errors.NotReady):
            tree.start_move("N0,1", 2)
        assert len(asked) == 1
        with pytest.raises(errors.NotReady, match="it is not-ready"):
            Client("http://a", transport=httpx.MockTransport(answer), timeout_s=0.3).tree()
    assert len(asked) > 2


def test_where_nobody_answers_the_next_worker_is_asked() -> None:
    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    def by_host(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return good(request) if request.url.host == "b" else gone(request)

    asked: list[str] = []
    with Client(["http://a", "http://b"], transport=httpx.MockTransport(by_host)) as tree:
        assert tree.tree().state == "grown"
        assert tree.tree().state == "grown"
    assert asked == ["a", "b", "b"]
    tree = Client("http://a", transport=httpx.MockTransport(gone), timeout_s=0.2)
    with pytest.raises(errors.NotReady, match="no worker answers at http://a"):
        tree.tree()


def test_pages_and_covers() -> None:
    portions = [
        {"portion": f"N0,{i}", "owner": i, "shadow": None, "rows": i, "bytes": 0, "rate": 0.0,
         "share": 0.0, "drift_score": None} for i in range(5)
    ]  # fmt: skip

    def paged(request: httpx.Request) -> httpx.Response:
        begin = int(request.url.params.get("cursor", 0))
        after = str(begin + 2) if begin + 2 < 5 else None
        page = {"portions": portions[begin : begin + 2], "next": after, "as_of": {}}
        return httpx.Response(200, content=orjson.dumps(page))

    answer, asked = served(paged)
    with Client("http://a", transport=httpx.MockTransport(answer)) as tree:
        assert [p.rows for p in tree.portions()] == [0, 1, 2, 3, 4]
    assert len(asked) == 3
    made = LevelCover(
        1, None, ((0, 1), (0, 2)), np.array([[1.5, 2.5], [0.0, 0.0]], np.float32),
        np.array([0.25, 0.75]), np.array([1, 3]), np.array([1.0, 3.0]), np.array([np.nan, 2.0]),
        np.array([np.nan, 0.004]),
    )  # fmt: skip
    raw = to_npz(made, {"time": 1.0, "epoch": 4})
    answer, asked = served(lambda _: httpx.Response(200, content=raw))
    with Client("http://a", transport=httpx.MockTransport(answer)) as tree:
        cover = tree.cover(1)
        assert tree.cover(1, at=0.5).time == 1.0
    assert "at" not in asked[0].url.params and asked[1].url.params["at"] == "0.5"
    assert asked[0].headers["accept"] == "application/x-npz"
    assert (cover.nodes, cover.total, cover.epoch, cover.epsilon) == (["N0,1", "N0,2"], 4, 4, None)
    assert cover.x.tolist() == [[1.5, 2.5], [0.0, 0.0]] and cover.w.sum() == 1.0
    assert np.isnan(cover.miss_bound[0]) and cover.miss_bound[1] == 0.004
    answer, asked = served(lambda _: httpx.Response(200, content=b"<html>"))
    with Client("http://a", transport=httpx.MockTransport(answer)) as tree:
        with pytest.raises(Refusal, match="does not answer as a tree"):
            tree.cover(1)
        with pytest.raises(Refusal, match="does not answer as a tree"):
            tree.portions()


def test_an_id_that_the_tree_would_refuse_is_refused_at_once() -> None:
    assert checked([1.0], "x" * ID_BYTES, None, None).id == "x" * ID_BYTES
    for bad in ("x" * (ID_BYTES + 1), "ä" * (ID_BYTES // 2 + 1), ""):
        with pytest.raises(errors.RowRefused, match="an id") as refused:
            checked([1.0], bad, None, None)
        assert refused.value.code == "id"
        with pytest.raises(errors.RowRefused, match="an id"):
            check_ids(pa.array(["a", None, bad]))
    check_ids(pa.array([None, "a"], pa.string()))
    check_ids(pa.array([1, 2]))
    check_ids(pa.array([], pa.string()))


def test_the_front_page_names_what_there_is() -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    shown = text.split("```python\n")[1].split("```")[0]
    compile(shown, "README.md", "exec")
    names = set(re.findall(r"tree\.(\w+)\(", shown)) | set(re.findall(r"near\.(\w+)", shown))
    assert names == {"search", "row", "cover", "ids", "distances", "exact"}
    assert all(hasattr(Client, n) or n in Hits.__slots__ for n in names)
    assert {n for n in vars(Client) if n[0] != "_"} == {n for n in vars(AsyncClient) if n[0] != "_"}
