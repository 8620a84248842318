"""Search, range and row by id: any worker takes the question and asks the others (`asking`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, Request, Response

from pctstream.core.answers import Hit, told
from pctstream.core.wire import answer_to_json, question_from_json
from pctstream.errors import Busy, QueryRefused, TooLarge
from pctstream.http import filters, learning, rows
from pctstream.http.asking import Asking, Hosts, Outcome, tally
from pctstream.http.body import answered, body
from pctstream.http.explain import explained
from pctstream.http.question import RANGE_BODY, SEARCH_BODY, Asked, range_asked, search_asked

DEADLINE_S = 2.0
AT_ONCE = 512
"""Questions that a worker has in hand; more are refused, so that those in hand are answered in time."""
ASKS_BYTES = 64 << 20
"""Of what one worker asks another."""

Count = Callable[[str, float, int], None]
"""(kind, seconds, rows scanned)"""


class Door:
    """Lets in so many questions at a time, and counts them."""

    def __init__(self, count: Count, seconds: float) -> None:
        self._count = count
        self._seconds = seconds
        self._inside = 0

    async def through(self, kind: str, act: Callable[[float], Any]) -> Any:
        """``act(deadline)`` says what to answer and how many rows were scanned for it."""
        if self._inside >= AT_ONCE:
            raise Busy(f"{AT_ONCE} questions are in hand: ask again")
        self._inside += 1
        start = time.monotonic()
        try:
            answer, scanned = await act(start + self._seconds)
        finally:
            self._inside -= 1
        self._count(kind, time.monotonic() - start, scanned)
        return answer


def add(
    app: FastAPI,
    hosts: Hosts,
    as_of: Callable[[], dict[str, Any]],
    count: Count,
    seconds: float = DEADLINE_S,
) -> Asking:
    """The calls; what they keep open is to be closed."""
    asking = Asking(hosts)
    learning.Learning(asking, hosts, count)
    known = filters.Filters(hosts, asking.bytes_of)
    door = Door(count, seconds)

    @app.post("/v1/search", openapi_extra=SEARCH_BODY)
    async def search(raw: Annotated[bytes, Depends(body)]) -> Response:
        """The k nearest rows, exact or to a recall; one vector or up to 64."""
        log = hosts.routing
        asked, now = search_asked(raw, log.dimension, log.metric), as_of()
        kind = "exact" if asked.question.recall >= 1.0 else "approximate"

        async def act(deadline: float) -> tuple[Response, int]:
            outcome = await _outcome(asking, hosts, asked, deadline)
            results = [[_result(hit, log.metric, asked) for hit in hits] for hits in outcome.hits]
            said = {"results": results if asked.many else results[0], **_verdict(outcome, asked)}
            return answered(said | {"as_of": now}), tally(outcome).rows

        return await door.through(kind, act)  # type: ignore[no-any-return]

    @app.post("/v1/range", openapi_extra=RANGE_BODY)
    async def range_(raw: Annotated[bytes, Depends(body)]) -> Response:
        """The rows within a radius, nearest first."""
        log = hosts.routing
        asked, now = range_asked(raw, log.dimension, log.metric), as_of()

        async def act(deadline: float) -> tuple[Response, int]:
            outcome = await _outcome(asking, hosts, asked, deadline)
            results = [_result(hit, log.metric, asked) for hit in outcome.hits[0]]
            results = [one for one in results if one["distance"] <= asked.radius]
            limit = asked.question.k - 1
            said = {"results": results[:limit], "truncated": len(results) > limit,
                    **_verdict(outcome, asked)}  # fmt: skip
            return answered(said | {"as_of": now}), tally(outcome).rows

        return await door.through("range", act)  # type: ignore[no-any-return]

    @app.get("/v1/rows/{name:path}")
    async def row(name: str) -> Response:
        """The newest row of an id, with its vector and payload."""
        now = as_of()

        async def act(deadline: float) -> tuple[Response, int]:
            found = await rows.row(asking, hosts, known, name, deadline)
            return answered(found | {"as_of": now}), 0

        return await door.through("row", act)  # type: ignore[no-any-return]

    _between_workers(app, hosts, asking)
    return asking


async def from_worker(request: Request) -> dict[str, Any]:
    """What another worker asks, with ``until``: it waits for so long (monotonic seconds).

    QueryRefused if it is not a worker's question, TooLarge as soon as it is more than `ASKS_BYTES`.
    """
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > ASKS_BYTES:
            raise TooLarge(f"a worker's questions may have {ASKS_BYTES:,} bytes")
        pieces.append(piece)
    try:
        found = orjson.loads(b"".join(pieces))
        found["until"] = time.monotonic() + min(DEADLINE_S, float(found["seconds"]))
    except (orjson.JSONDecodeError, LookupError, TypeError, ValueError):
        raise QueryRefused("not the question of a worker") from None
    return dict(found)


def _between_workers(app: FastAPI, hosts: Hosts, asking: Asking) -> None:
    @app.post("/v1/shards/search", include_in_schema=False)
    async def ask(request: Request) -> Response:
        said = await from_worker(request)
        try:
            asks = [(int(a["shard"]), question_from_json(a["question"])) for a in said["asks"]]
        except (LookupError, TypeError, ValueError):
            raise QueryRefused("not the question of a worker") from None
        found = await asyncio.gather(*(asking.local(s, q, said["until"]) for s, q in asks))
        return answered({"answers": [answer_to_json(a) for answers in found for a in answers]})

    rows.add(app, hosts, asking, from_worker)
    filters.add(app, hosts, from_worker)
    learning.add(app, hosts, asking, from_worker)


async def _outcome(asking: Asking, hosts: Hosts, asked: Asked, deadline: float) -> Outcome:
    if not hosts.routing.dimension:
        return Outcome([[] for _ in asked.question.queries], [])  # no row has come yet
    outcome = await asking.ask(asked.question, deadline)
    if asked.question.filter and outcome.answers and not outcome.missing:
        unknown = set.intersection(*(set(a.unknown) for _, _, a in outcome.answers))
        if unknown:
            raise QueryRefused(f"filter: no row has a field {sorted(unknown)[0]!r}")
    return outcome


def _result(hit: Hit, metric: str, asked: Asked) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": hit.id, "distance": told(hit.distance, metric), "node": hit.node,
        "portion": hit.portion, "shard": hit.shard, "origin": hit.origin,
    }  # fmt: skip
    if asked.question.vector:
        found["vector"] = hit.vector
    if asked.question.payload:
        found["payload"] = hit.payload
    return found


def _verdict(outcome: Outcome, asked: Asked) -> dict[str, Any]:
    whole = outcome.exact and not outcome.missing
    expected = 1.0 if whole else None if outcome.missing else outcome.expected
    found: dict[str, Any] = {
        "exact": whole, "expected_recall": expected, "partial": bool(outcome.missing),
    }  # fmt: skip
    if asked.explain:
        found["explain"] = explained(outcome)
    return found
