"""A row by its id: the filters say which shards may have it, those are asked.

Level by level from the top, as every question: what has left a level is in the next by then. A row that a
filter above suspected, and that is not there, may have gone down since the copies below were made: then
those below are not believed. And that nobody has a row is not said by copies older than the question.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pyarrow as pa
from fastapi import FastAPI, Request, Response

from pctstream.agents.lookup import Row, newest, rows_named
from pctstream.core.keys import hashes64
from pctstream.core.names import node_path
from pctstream.errors import NotFound, NotReady, PctError, QueryRefused
from pctstream.http.asking import Asking, Hosts, hosted, nodes_of
from pctstream.http.body import answered
from pctstream.http.filters import Filters

Asked = Callable[[Request], Awaitable[dict[str, Any]]]
FRESH_S = 0.1
"""A copy of a filter may be so old where it says who may have a row."""
FRESH_SHARE = 0.2
"""Of the time of a question, for what came to the filters."""


class Found(NamedTuple):
    """What was found of an id."""

    rows: list[Row]
    asked: set[int]
    missing: set[int]
    """Shards that did not answer."""
    fooled: int
    """Shards that a filter said "maybe" of, for nothing."""


async def find(
    asking: Asking, hosts: Hosts, filters: Filters, name: str, deadline: float, already: set[int]
) -> Found:
    """All rows of that id, but on the shards that were asked ``already``."""
    hash_ = int(hashes64(pa.array([name], pa.string()))[0])
    found: list[Row] = []
    asked: set[int] = set()
    suspected: set[int] = set()
    missing: set[int] = set()
    for depth in (*range(hosts.routing.above.depth), -1) if hosts.routing.dimension else ():
        must = nodes_of(hosts, depth)
        below: bool = bool(asked)
        some: set[int] = set()
        for shard, nodes in must.items():
            verdicts = [filters.denies(shard, node_path(node), hash_) for node in nodes]
            if not all(verdicts) or (below and nodes):
                some.add(shard)
                if False in verdicts and None not in verdicts:
                    suspected.add(shard)
        some -= already
        told_by = await _ask(asking, hosts, name, depth, some, deadline)
        looked = {one["shard"]: set(one["searched"]) for one in told_by}
        asked |= some
        missing |= {s for s in some if not must[s] <= looked.get(s, {""})}
        found += [row for one in told_by for row in one["rows"]]
    fooled = (suspected & asked) - missing - {row["shard"] for row in found}
    return Found(found, asked, missing, len(fooled))


async def _ask(
    asking: Asking, hosts: Hosts, name: str, depth: int, shards: set[int], deadline: float
) -> list[dict[str, Any]]:
    here, away = hosted(hosts, sorted(shards))
    told = [await _here(asking, hosts, s, name, depth, deadline) for s in here]
    for url, some in away.items():
        left = max(0.01, deadline - time.monotonic())
        body = {"seconds": left, "id": name, "depth": depth, "shards": some}
        said = await asking.post(f"{url}/v1/shards/rows", body, left)
        told += said["found"] if said else []
    return [one for one in told if one is not None]


async def _here(
    asking: Asking, hosts: Hosts, shard: int, name: str, depth: int, deadline: float
) -> dict[str, Any] | None:
    try:
        found = await asking.run(rows_named, hosts.search, shard, name, depth, deadline)
    except PctError:
        return None
    return {"shard": shard, "rows": found[0], "searched": found[1]}


async def row(
    asking: Asking, hosts: Hosts, filters: Filters, name: str, deadline: float
) -> dict[str, Any]:
    """The answer to `GET /v1/rows/ID`; NotFound, or NotReady if somebody did not answer."""
    begun, share = time.monotonic(), FRESH_SHARE * (deadline - time.monotonic())
    await filters.fresh(begun - FRESH_S, share)
    rows, asked, missing, fooled = await find(asking, hosts, filters, name, deadline, set())
    if not rows and await filters.fresh(begun, share):
        more = await find(asking, hosts, filters, name, deadline, asked)
        rows, asked = more.rows, asked | more.asked
        missing, fooled = missing | more.missing, fooled + more.fooled
    skipped = hosts.count - len(asked)
    hosts.looked_up(len(asked), skipped, fooled)
    best = newest(rows)
    bloom = {"asked": len(asked), "skipped": skipped}
    if best is None and missing:
        raise NotReady(f"shards {sorted(missing)} do not answer, and no other has {name!r}")
    if best is None:
        raise NotFound(f"no row {name!r}")
    del best["place"]
    return best | {"bloom": bloom, "partial": bool(missing)}


def add(app: FastAPI, hosts: Hosts, asking: Asking, asked: Asked) -> None:
    """What one worker asks another."""

    @app.post("/v1/shards/rows", include_in_schema=False)
    async def rows(request: Request) -> Response:
        said = await asked(request)
        try:
            name, depth = str(said["id"]), int(said["depth"])
            shards = list(map(int, said["shards"]))
        except (LookupError, TypeError, ValueError):
            raise QueryRefused("not the question of a worker") from None
        found = [await _here(asking, hosts, s, name, depth, said["until"]) for s in shards]
        return answered({"found": [one for one in found if one is not None]})
