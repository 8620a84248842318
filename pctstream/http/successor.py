"""Questions that come here for a successor of this tree are passed on to its workers (`core.successor`).

    GET /v1/... without `pct-tree`, or with the name of its successor -> one of its workers -> its answer
    with any other name -> answered here

Workers and commands of this tree say its name with all they ask, so among themselves nothing changes.
What is passed on says so, and is passed on once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI, Request, Response

from pctstream import trust
from pctstream.core.successor import HEADER, Successor
from pctstream.errors import NotFound, NotReady
from pctstream.http import problem
from pctstream.http.body import TEXT_MAX, body, json_object, short, taken
from pctstream.http.connections import AT_ONCE, IDLE_S
from pctstream.http.moves import ordered

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker

HERE = "/v1/successor"
"""Always asked of this tree."""
PASSED = "pct-passed-on"
"""By which tree: whoever is asked so is that tree, or nobody."""
ANSWER_S = 30.0
LOOK_S = 5.0
"""Its workers are asked this often where they all are."""
KEPT = ("accept", "content-type", "authorization")
"""Headers of a question that go with it."""
BACK = ("content-type", "retry-after", "vary", "www-authenticate")
"""Headers of an answer that come back with it."""
ORDER_BODY = taken(
    {
        "tree": {"type": "string"}, "urls": {"type": "array", "items": {"type": "string"}},
        "reason": {"type": "string", "maxLength": TEXT_MAX},
    },
    ["tree"],
)  # fmt: skip


class Passing:
    """Of one worker, in the server's event loop."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._own = worker.cfg.tree.name
        self._client: httpx.AsyncClient | None = None
        self._found: dict[str, list[str]] = {}
        """Tree -> where its workers were last seen."""
        self._looked = 0.0
        self._looking: asyncio.Task[None] | None = None

    @property
    def now(self) -> Successor | None:
        return self._worker.routing.orders.successor

    async def answer(self, request: Request) -> Response | None:
        """The successor's; None: this one is asked."""
        path, wanted = request.url.path, request.headers.get(HEADER)
        if not path.startswith("/v1/") or path == HERE or wanted == self._own:
            return None
        if PASSED in request.headers:
            return problem.problem(NotFound(f"this is the tree {self._own}, not {wanted}"))
        to = self.now
        return await self._pass_on(to, request) if to and wanted in (None, to.tree) else None

    async def _pass_on(self, to: Successor, request: Request) -> Response:
        content = await body(request)
        url = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
        headers = {k: v for k, v in request.headers.items() if k in KEPT}
        headers |= {HEADER: to.tree, PASSED: self._own}
        last: Response | None = None
        why = ""
        for worker in self._workers(to):
            try:
                said = await self._http().request(
                    request.method, worker + url, content=content, headers=headers
                )
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                why = f"{worker}: {error or type(error).__name__}"
                # who may have begun to do what was asked is not asked twice
                if request.method == "GET" or isinstance(error, httpx.ConnectError):
                    continue
                break
            self._seen(to, worker)
            kept = {k: v for k, v in said.headers.items() if k in BACK}
            last = Response(said.content, said.status_code, kept)
            if said.status_code != 503 or request.method != "GET":
                break
        if last is not None:
            last.headers[HEADER] = to.tree
            return last
        return problem.problem(
            NotReady(f"no worker of {to.tree}, which answers in its place, answers: {why}")
        )

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            verify = trust.trusted(self._worker.cfg.http.ca_file)
            limits = httpx.Limits(max_connections=AT_ONCE, keepalive_expiry=IDLE_S)
            self._client = httpx.AsyncClient(limits=limits, verify=verify, timeout=ANSWER_S)
        return self._client

    def _workers(self, to: Successor) -> Iterable[str]:
        """Where to ask: who answered last first, then who was seen, then as it was recorded."""
        return list(dict.fromkeys([*self._found.get(to.tree, ()), *to.urls]))

    def _seen(self, to: Successor, worker: str) -> None:
        others = [url for url in self._found.get(to.tree, ()) if url != worker]
        self._found[to.tree] = [worker, *others]
        if time.monotonic() - self._looked > LOOK_S:
            self._looked = time.monotonic()
            self._looking = asyncio.create_task(self._look(to, worker))

    async def _look(self, to: Successor, worker: str) -> None:
        """Where its workers are now: they may be others than were recorded."""
        headers = trust.calling(self._worker.cfg)["headers"] | {HEADER: to.tree, PASSED: self._own}
        try:
            said = await self._http().get(f"{worker}/v1/shards", headers=headers)
            urls = [str(shard["url"]) for shard in said.json()["shards"]]
        except (httpx.HTTPError, httpx.InvalidURL, LookupError, TypeError, ValueError):
            return
        self._found[to.tree] = list(dict.fromkeys([worker, *urls]))


def add(app: FastAPI, worker: Worker) -> Passing:
    """The two calls about it."""
    passing, own = Passing(worker), worker.cfg.tree.name

    def view() -> dict[str, Any]:
        now = passing.now
        tree, urls, since, reason = (own, (), None, "") if now is None else now
        return {
            "here": own, "tree": tree, "urls": urls, "since": since, "reason": reason,
            "as_of": {"time": time.time(), "epoch": worker.routing.epoch},
        }  # fmt: skip

    @app.get(HERE)
    async def successor() -> dict[str, Any]:
        """Which tree answers where this one is asked: itself (`here`), or its successor."""
        return view()

    @app.post(HERE, status_code=202, openapi_extra=ORDER_BODY)
    async def succeed(request: Request) -> dict[str, Any]:
        """From now on another tree answers here; with this tree's own name, this one again."""
        asked = json_object(await body(request), ("tree", "urls", "reason"))
        await ordered(worker, {"do": "succeed", **asked, "reason": short(asked, "reason")})
        return view()

    return passing
