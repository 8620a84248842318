"""A successor answers in place of a tree; what is asked by name is not passed on."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from pctstream.config import Config
from pctstream.core.orders import check
from pctstream.core.records import order_record, tree_record
from pctstream.core.routing import Routing
from pctstream.core.successor import HEADER, Successor
from pctstream.errors import QueryRefused
from pctstream.http import problem, successor
from pctstream.http.successor import PASSED


class Standing:
    """What the calls need of a worker of the tree "pct"."""

    def __init__(self) -> None:
        self.cfg, self.routing = Config(), Routing()
        self.routing.fold(tree_record({"tree": "pct"}, 2, "a"), 0, 0.0)

    def order(self, **said: Any) -> str:
        """The order's record, and why it was refused."""
        seq, name = self.routing.seq + 1, f"o{self.routing.seq}"
        what = {"do": "succeed", "id": name, **said}
        self.routing.fold(order_record(what, seq, seq, "a"), seq, 7.0)
        return self.routing.orders.answers[name].refused

    def app(self) -> FastAPI:
        app = FastAPI()
        problem.add(app)
        passing = successor.add(app, self)  # type: ignore[arg-type]

        @app.middleware("http")
        async def first(request: Request, go_on: Any) -> Response:
            return await passing.answer(request) or await go_on(request)

        @app.api_route("/v1/tree", methods=["GET", "POST"])
        async def tree() -> dict[str, str]:
            return {"name": "pct"}

        return app


class Other:
    """Workers of another tree: they tell what they were asked."""

    def __init__(self) -> None:
        self.app, self.asked = FastAPI(), []
        self.servers: list[Server] = []
        self.urls: list[str] = []

        @self.app.api_route("/v1/{path:path}", methods=["GET", "POST"])
        async def any_(path: str, request: Request) -> Any:
            self.asked.append((path, dict(request.headers), await request.body()))
            if path == "shards":
                return {"shards": [{"url": url} for url in self.urls]}
            status = 404 if path == "nothing" else 200
            return Response(b'{"name": "finer"}', status, media_type="application/json")

    def start(self) -> str:
        server, url = served(self.app)
        self.servers.append(server)
        self.urls.append(url)
        return url


def served(app: FastAPI) -> tuple[Server, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    server.thread = threading.Thread(target=server.run, daemon=True)
    server.thread.start()
    until = time.monotonic() + 20.0
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    return server, f"http://127.0.0.1:{port}"


class Server(uvicorn.Server):
    """One that is served in a thread."""

    thread: threading.Thread

    def end(self) -> None:
        self.should_exit = True
        self.thread.join(20.0)


@contextmanager
def asked(tree: Standing) -> Iterator[httpx.Client]:
    server, url = served(tree.app())
    with httpx.Client(base_url=url, timeout=30.0) as client:
        yield client
    server.end()


@pytest.fixture
def other() -> Iterator[Other]:
    one = Other()
    yield one
    for server in one.servers:
        server.end()


def test_the_successor_answers_until_the_way_back(other: Other) -> None:
    tree, url = Standing(), other.start()
    with asked(tree) as client:
        assert client.get("/v1/tree").json() == {"name": "pct"}
        assert not tree.order(tree="finer", urls=[url], reason="rounder")
        found = client.get(
            "/v1/tree?level=1", headers={"Authorization": "Bearer s", "Cookie": "c=1"}
        )
        assert (found.json(), found.headers[HEADER]) == ({"name": "finer"}, "finer")
        path, headers, _ = other.asked[0]
        assert (path, headers[HEADER], headers[PASSED]) == ("tree", "finer", "pct")
        assert headers["authorization"] == "Bearer s" and "cookie" not in headers
        assert client.post("/v1/search", json={"k": 1}).status_code == 200
        assert [b for p, _, b in other.asked if p == "search"] == [b'{"k":1}']
        assert client.get("/v1/nothing").status_code == 404
        assert client.get("/v1/successor").json()["tree"] == "finer"
        # by name, and what says that it was passed on, is answered here
        assert client.get("/v1/tree", headers={HEADER: "pct"}).json() == {"name": "pct"}
        assert client.get("/v1/tree", headers={HEADER: "any"}).json() == {"name": "pct"}
        assert client.get("/v1/tree", headers={HEADER: "finer"}).json() == {"name": "finer"}
        lost = client.get("/v1/tree", headers={HEADER: "finer", PASSED: "pct"})
        assert lost.status_code == 404 and "not finer" in lost.json()["detail"]
        assert not tree.order(tree="pct")
        assert client.get("/v1/tree").json() == {"name": "pct"}
        assert client.get("/v1/successor").json()["since"] is None


def test_another_of_its_workers_answers_where_one_is_gone(other: Other) -> None:
    tree, first = Standing(), other.start()
    second = other.start()
    tree.order(tree="finer", urls=[first])
    with asked(tree) as client:
        assert client.get("/v1/tree").json() == {"name": "finer"}
        until = time.monotonic() + 20.0
        while "shards" not in [p for p, *_ in other.asked] and time.monotonic() < until:
            client.get("/v1/successor")
        other.servers[0].end()
        assert client.get("/v1/tree").json() == {"name": "finer"}, f"nobody knows {second}"
        other.servers[1].end()
        silent = client.get("/v1/tree")
        assert silent.status_code == 503 and silent.headers["retry-after"] == "1"
        assert "finer" in silent.json()["detail"]
        assert client.post("/v1/tree").status_code == 503


def test_every_reader_of_the_history_says_the_same() -> None:
    tree = Standing()
    tree.order(tree="finer", urls=["http://h:1", "http://h:2"])
    wanted = Successor("finer", ("http://h:1", "http://h:2"), 7.0)
    assert tree.routing.orders.successor == wanted
    assert tree.order(tree="finer", urls=["h"]).startswith("urls")
    assert tree.routing.orders.successor == wanted, "what is refused changes nothing"


@pytest.mark.parametrize(
    "said",
    [{}, {"tree": ""}, {"tree": "x y", "urls": ["http://h:1"]}, {"tree": "b"},
     {"tree": "b", "urls": []}, {"tree": "b", "urls": "http://h"},
     {"tree": "b", "urls": ["file:///etc"]}, {"tree": "b", "urls": ["http://u@h/"]},
     {"tree": "b", "urls": ["http://h:1/path"]}, {"tree": "b", "urls": ["http://h"] * 65}],
)  # fmt: skip
def test_what_names_no_tree_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(QueryRefused):
        check(Standing().routing, {"do": "succeed", **said})
