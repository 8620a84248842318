"""The solver's views over HTTP, on a tree that stands still (no broker)."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import orjson
import pyarrow as pa
import pytest
from fastapi import FastAPI

from pctstream.core.block import ARROW
from pctstream.core.cover import refine
from pctstream.core.encodings import KINDS, NPZ
from pctstream.core.moments import Moment
from pctstream.core.names import ROOT, node_path
from pctstream.core.records import cover_records, split_record, tree_record
from pctstream.core.routing import Routing
from pctstream.errors import NotAcceptable
from pctstream.http import problem, solver
from pctstream.http.body import chosen
from pctstream.http.tree import TreeView

CHILDREN, DIMENSION, MAX_LEVEL = 12, 4, 6
RNG = np.random.default_rng(8)
CENTRES = RNG.normal(0, 5, (CHILDREN, DIMENSION)).astype(np.float32)
JSON = "application/json"


class Client:
    """Asks an app without a socket."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def ask(self, method: str, url: str, **more: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://tree") as client:
                return await client.request(method, url, **more)

        return asyncio.run(one())

    def get(self, url: str, **more: Any) -> httpx.Response:
        return self.ask("GET", url, **more)

    def post(self, url: str, **more: Any) -> httpx.Response:
        return self.ask("POST", url, **more)


class Standing:
    """A tree that is what a test sets: how far its log is, what portions and shards reported."""

    def __init__(self, metric: str = "euclidean") -> None:
        cover = refine(CENTRES, CENTRES, 1.5, 0, 1)
        owners = {(0, i): i % 2 for i in range(CHILDREN)}
        settings = {"tree": "t", "metric": metric, "max_level": MAX_LEVEL, "shards": 2}
        self.records = [
            tree_record(settings, DIMENSION, "a"),
            *cover_records(ROOT, cover, 1, "a"),
            split_record(ROOT, cover, owners, 2, "a"),
        ]
        self.log = Routing()
        self.shards: dict[int, Any] = {}
        self.portions: dict[str, Any] = {}
        self.moments: list[dict[str, Any]] = []

    def grow(self, held: int = 0) -> None:
        for i, record in enumerate(self.records):
            self.log.fold(record, i, 0.0)
        self.portions = {
            f"N0,{i}": {
                "portion": f"N0,{i}",
                "rows": 10 + i,
                "marks": [],
                "nodes": {
                    "path": [""],
                    "state": ["covering"],
                    "rows": [10 + i],
                    "radius": [0.5 + i],
                },
            }
            for i in range(CHILDREN)
        }
        self.hold(held, "splitting")

    def hold(self, rows: int, state: str) -> None:
        held = [rows] + [0] * (CHILDREN - 1)
        root = {"state": state, "held": held, "rows": rows, "stored_rows": rows}
        self.shards = {0: {"shard": 0, "root": root}}

    def view(self) -> TreeView:
        return TreeView(self.log, self.shards, self.portions, {})

    def client(self) -> Client:
        app = FastAPI()
        problem.add(app)
        solver.add(
            app, MAX_LEVEL, self.view, lambda: {"time": 1.0, "epoch": self.log.epoch},
            lambda: self.moments,
        )  # fmt: skip
        return Client(app)

    def take(self, number: int, time: float, most: int = 1000) -> None:
        """A moment of what the tree is now."""
        moment = Moment.of(number, time, self.log.epoch, self.view().summaries(), most)
        self.moments.append(moment.record())


@pytest.fixture
def tree() -> Standing:
    one = Standing()
    one.grow()
    return one


def near(client: Client, level: int, **asked: Any) -> dict[str, float]:
    answer = client.post(f"/v1/levels/{level}/neighbors", json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["as_of"] == {"time": 1.0, "epoch": 2}
    return {n["node"]: n["distance"] for n in answer.json()["neighbors"]}


def test_the_cover_of_every_level_in_every_form(tree: Standing) -> None:
    client = tree.client()
    for level in range(MAX_LEVEL + 1):
        url = f"/v1/levels/{level}/cover"
        read = client.get(url)
        assert read.headers["content-type"] == JSON
        found = read.json()
        assert found["as_of"] == {"time": 1.0, "epoch": 2}
        assert sum(e["w"] for e in found["cover"]) == pytest.approx(1.0)
        assert found["rows"] == sum(10 + i for i in range(CHILDREN))
        assert found["epsilon"] == (1.5 if level == 0 else None)
        arrow = client.get(url, headers={"Accept": ARROW})
        assert arrow.headers["content-type"] == ARROW
        assert pa.ipc.open_stream(arrow.content).read_all().to_pylist() == found["cover"]
        npz = np.load(io.BytesIO(client.get(url, headers={"Accept": NPZ}).content))
        assert npz["x"].tolist() == [e["x"] for e in found["cover"]]
    assert [e["node"] for e in found["cover"]] == [f"N0,{i}" for i in range(CHILDREN)]
    assert [e["radius"] for e in found["cover"]] == [0.5 + i for i in range(CHILDREN)]


def test_the_cover_as_it_was(tree: Standing) -> None:
    client = tree.client()
    assert client.get("/v1/levels/1/cover", params={"at": 5.0}).status_code == 404
    was = client.get("/v1/levels/1/cover").json()["cover"]
    tree.take(1, 100.0)
    tree.portions["N0,3"]["nodes"] |= {"rows": [5000], "radius": [77.0]}
    tree.take(2, 160.0, most=1)
    now = client.get("/v1/levels/1/cover").json()["cover"]
    assert now != was
    then = client.get("/v1/levels/1/cover", params={"at": 159.0}).json()
    assert then["as_of"] == {"time": 100.0, "epoch": 2, "at": 159.0}
    assert then["cover"] == was
    npz = client.get("/v1/levels/1/cover", params={"at": 159.0}, headers={"Accept": NPZ})
    arrays = np.load(io.BytesIO(npz.content), allow_pickle=False)
    assert (float(arrays["time"]), float(arrays["at"])) == (100.0, 159.0)
    assert arrays["w"].tolist() == [e["w"] for e in was]
    for at, level, status in (
        (99.0, 1, 410),
        (1e9, 1, 410),
        (1e9, 0, 200),
        ("nan", 1, 422),
        ("x", 1, 422),
    ):
        answer = client.get(f"/v1/levels/{level}/cover", params={"at": at})
        assert answer.status_code == status, (at, level, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"


def test_neighbours_of_a_centre_and_of_a_node(tree: Standing) -> None:
    client = tree.client()
    cover = client.get("/v1/levels/1/cover").json()["cover"]
    x = np.array([e["x"] for e in cover])
    for centre in (x[3] + 0.5, np.zeros(DIMENSION)):
        away = np.sqrt(((x - centre) ** 2).sum(axis=1))
        for r in (0.0, 6.0, float(away[7]), 1e9):
            found = near(client, 1, center=centre.tolist(), max_distance=r)
            assert list(found.values()) == sorted(found.values())
            assert found == pytest.approx(
                {e["node"]: d for e, d in zip(cover, away, strict=True) if d <= r}
            )
    assert near(client, 1, node="N0.3", max_distance=0) == {"N0,3": 0.0}
    everyone = near(client, 5, node="N0", max_distance=1e3)
    assert len(everyone) == CHILDREN
    assert near(client, 1, node="N0,11", max_distance=everyone["N0,11"])["N0,11"] == 0.0


def test_rows_that_n0_still_holds_are_an_entry_and_the_index_follows(tree: Standing) -> None:
    client = tree.client()
    assert "N0" not in near(client, 1, node="N0", max_distance=0.0)
    tree.hold(5, "splitting")
    cover = client.get("/v1/levels/1/cover").json()["cover"]
    assert (cover[0]["node"], cover[0]["rows"]) == ("N0", 5)
    assert sum(e["w"] for e in cover) == pytest.approx(1.0)
    assert near(client, 1, node="N0", max_distance=0.0) == {"N0": 0.0}
    before = client.get("/v1/levels/0/cover").json()["cover"][0]["x"]
    tree.portions["N0,4"]["nodes"]["rows"][0] += 1000
    after = client.get("/v1/levels/0/cover").json()["cover"][0]["x"]
    assert before != after
    assert near(client, 0, center=after, max_distance=0.0) == {"N0": 0.0}


def test_before_the_first_row_and_before_the_first_cover() -> None:
    tree = Standing()
    client = tree.client()
    for level in (0, 1):
        found = client.get(f"/v1/levels/{level}/cover").json()
        assert (found["cover"], found["rows"], found["epsilon"]) == ([], 0, None)
        asked = {"center": [1.0, 2.0], "max_distance": 1.0}
        answer = client.post(f"/v1/levels/{level}/neighbors", json=asked)
        assert answer.json()["neighbors"] == []
    tree.log.fold(tree.records[0], 0, 0.0)
    tree.hold(9, "covering")
    (only,) = client.get("/v1/levels/1/cover").json()["cover"]
    assert (only["node"], only["x"], only["w"], only["rows"]) == ("N0", None, 1.0, 9)
    arrow = client.get("/v1/levels/1/cover", headers={"Accept": ARROW}).content
    assert pa.ipc.open_stream(arrow).read_all().to_pylist() == [only]
    answer = client.post("/v1/levels/0/neighbors", json={"node": "N0", "max_distance": 1})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    tree.grow()
    assert near(client, 1, node="N0,2", max_distance=0.0) == {"N0,2": 0.0}


def test_under_cosine_a_centre_is_a_direction() -> None:
    tree = Standing("cosine")
    tree.grow()
    client = tree.client()
    asked = np.array([3.0, 0.0, 0.0, 4.0])
    found = near(client, 1, center=asked.tolist(), max_distance=7.0)
    away = np.sqrt(((CENTRES - asked / 5.0) ** 2).sum(axis=1))
    assert found == pytest.approx({f"N0,{i}": d for i, d in enumerate(away) if d <= 7.0})
    assert found == near(client, 1, center=(asked * 1e20).tolist(), max_distance=7.0)
    zero = client.post("/v1/levels/1/neighbors", json={"center": [0] * 4, "max_distance": 1})
    assert (zero.status_code, zero.json()["type"]) == (422, "about:blank#query")


GOOD = [0.0] * DIMENSION


@pytest.mark.parametrize(("asked", "status"), [
    ({"center": GOOD[1:], "max_distance": 1}, 422),
    ({"center": [], "max_distance": 1}, 422),
    ({"center": [GOOD], "max_distance": 1}, 422),
    ({"center": [*GOOD[1:], "1"], "max_distance": 1}, 422),
    ({"center": [*GOOD[1:], True], "max_distance": 1}, 422),
    ({"center": [*GOOD[1:], None], "max_distance": 1}, 422),
    ({"center": [*GOOD[1:], 1e39], "max_distance": 1}, 422),
    ({"center": "1,2", "max_distance": 1}, 422),
    ({"center": GOOD, "max_distance": -1}, 422),
    ({"center": GOOD, "max_distance": "1"}, 422),
    ({"center": GOOD, "max_distance": True}, 422),
    ({"center": GOOD}, 422),
    ({"max_distance": 1}, 422),
    ({"center": GOOD, "node": "N0", "max_distance": 1}, 422),
    ({"center": GOOD, "max_distance": 1, "k": 3}, 422),
    ({"node": "N0,99", "max_distance": 1}, 404),
    ({"node": "N0,1.2", "max_distance": 1}, 422),
    ({"node": 3, "max_distance": 1}, 422),
    ([], 422),
])  # fmt: skip
def test_what_cannot_be_meant_is_a_problem(tree: Standing, asked: Any, status: int) -> None:
    answer = tree.client().post("/v1/levels/1/neighbors", json=asked)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


def test_bodies_that_are_no_json_or_too_long(tree: Standing) -> None:
    client = tree.client()
    url = "/v1/levels/1/neighbors"
    for raw in (b"", b"{", b'{"center": [NaN], "max_distance": 1}', b"\xff\xff\xff\xff\x00"):
        assert client.post(url, content=raw).status_code == 422
    huge = b'{"center": [1e999, 0, 0, 0], "max_distance": 1}'
    assert client.post(url, content=huge).status_code == 422
    long = orjson.dumps({"node": "N0", "max_distance": 1}) + b" " * (1 << 20)
    assert client.post(url, content=long).status_code == 413

    async def unannounced() -> AsyncIterator[bytes]:
        for start in range(0, len(long), 4096):
            yield long[start : start + 4096]

    assert client.post(url, content=unannounced()).status_code == 413
    assert client.post(url, content=long[: 1 << 20]).status_code == 200


@pytest.mark.parametrize("level", ["-1", "7", "99999999999999999999", "x", "1.5"])
def test_levels_that_are_none(tree: Standing, level: str) -> None:
    client = tree.client()
    ask: list[Callable[[], Any]] = [
        lambda: client.get(f"/v1/levels/{level}/cover"),
        lambda: client.post(
            f"/v1/levels/{level}/neighbors", json={"center": GOOD, "max_distance": 1}
        ),
    ]
    for answer in (one() for one in ask):
        assert answer.status_code == (404 if level.lstrip("-").isdigit() else 422)
        assert answer.headers["content-type"] == "application/problem+json"


def test_what_a_caller_accepts_decides(tree: Standing) -> None:
    assert chosen(None, KINDS) == chosen("*/*", KINDS) == chosen("", KINDS) == JSON
    assert chosen(f"{NPZ}, */*;q=0.1", KINDS) == NPZ
    assert chosen(f"text/html, {ARROW.upper()};q=0.9, {JSON};q=0.2", KINDS) == ARROW
    assert chosen(f"{JSON};q=0, application/*", KINDS) == ARROW
    for none in ("text/html", f"{JSON};q=0", "image/*", f"{JSON};q=x"):
        with pytest.raises(NotAcceptable):
            chosen(none, KINDS)
    answer = tree.client().get("/v1/levels/1/cover", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.json()["title"]) == (406, "not-acceptable")


def test_the_summaries_are_the_interface(tree: Standing) -> None:
    nodes = tree.view().summaries()
    assert list(nodes) == [ROOT, *(node_path(f"N0,{i}") for i in range(CHILDREN))]
    assert nodes[ROOT].rows == sum(n.rows for n in nodes.values()) - nodes[ROOT].rows
    assert nodes[ROOT].centroid is None
    assert [nodes[0, i].centroid.tolist() for i in range(CHILDREN)] == CENTRES.tolist()
