"""Behind the questions: rows of the tree are asked as questions, and where their neighbours lie is learnt.

Begun by an approximate question for which nothing is known, one at a time. Rows are drawn from all shards
by lot, and asked exactly of all shards, some at once; between them this worker rests, so that they take no
more than a small share of its time. They are counted as questions of the kind `learning`.
"""

from __future__ import annotations

import asyncio
import base64
import heapq
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response

from pctstream.agents.sight import Drawn
from pctstream.core import across
from pctstream.core.answers import Question
from pctstream.core.names import node_path
from pctstream.core.promoted import home
from pctstream.errors import PctError, QueryRefused
from pctstream.http.asking import Asking, Hosts, hosted, tally
from pctstream.http.body import answered
from pctstream.http.choosing import Learnt

SAMPLE = 256
"""Rows that are asked, of the whole tree."""
LEAST = SAMPLE // 2
"""So many must have had a whole answer."""
AT_ONCE = 8
SHARE = 0.1
"""Of the time."""
PIECE_S, REST_S = 2.0, 5.0
"""So long an answer is waited for; so long it rests when there was none."""

Asked = Callable[[Request], Awaitable[dict[str, Any]]]
Count = Callable[[str, float, int], None]
"""(kind, seconds, rows scanned)"""


class Learning:
    """Of one worker."""

    def __init__(self, asking: Asking, hosts: Hosts, count: Count) -> None:
        self._asking, self._hosts, self._count = asking, hosts, count
        self._rests_until = 0.0
        asking.choosing.unknown = self.begin

    def begin(self, k: int) -> None:
        """Have it learnt for so many neighbours, unless something is being learnt."""
        if not self._asking.behind and time.monotonic() >= self._rests_until:
            task = asyncio.get_running_loop().create_task(self._try(k))
            self._asking.behind.add(task)
            task.add_done_callback(self._asking.behind.discard)

    async def _try(self, k: int) -> None:
        if not await self.learn(k):
            self._rests_until = time.monotonic() + REST_S

    async def learn(self, k: int) -> bool:
        """Whether enough rows had whole answers."""
        balls = self._hosts.balls()
        rows = await self._drawn()
        sample: list[across.Asked] = []
        for begin in range(0, len(rows), AT_ONCE):
            start = time.monotonic()
            sample += await self._answered(rows[begin : begin + AT_ONCE], k)
            await asyncio.sleep((time.monotonic() - start) / SHARE)
        if len(sample) < max(1, min(LEAST, len(rows))):
            return False
        found = await self._asking.run(across.learn, balls, sample, k)
        self._asking.choosing.learnt[k] = Learnt(found, balls.rows)
        return True

    async def _answered(self, some: list[Drawn], k: int) -> list[across.Asked]:
        """These rows as questions, with the k nearest others; none if the answer is not whole."""
        log, start = self._hosts.routing, time.monotonic()
        queries = np.array([row.vector for row in some], np.float64)
        asked = Question(queries, k + 1, np.full(len(some), np.inf))
        outcome = await self._asking.ask(asked, start + PIECE_S)
        self._count("learning", time.monotonic() - start, tally(outcome).rows)
        found = []
        for row, query, hits in zip(some, queries, outcome.hits, strict=True):
            others = [hit for hit in hits if hit.origin != row.origin][:k]
            paths = [node_path(hit.portion) for hit in others]
            above = log.above
            near = [None if above.has(path) else path for path in paths]
            if others and outcome.exact:
                own = home(dict(log.covers), above, query, log.reopened.folded)
                away = [hit.distance for hit in others]
                found.append(across.Asked(query, own, near, away))
        return found

    async def _drawn(self) -> list[Drawn]:
        """By lot from all shards; none where one does not answer."""
        shards, deadline = range(self._hosts.count), time.monotonic() + PIECE_S
        here, away = hosted(self._hosts, shards)
        found = [await draw(self._asking, self._hosts, shard, SAMPLE, deadline) for shard in here]
        for url, some in away.items():
            body = {"seconds": PIECE_S, "shards": some, "rows": SAMPLE}
            said = await self._asking.post(f"{url}/v1/shards/draw", body, PIECE_S)
            found += [from_json(one) for one in said["drawn"]] if said else [None]
        if len(here) + sum(map(len, away.values())) < len(shards) or None in found:
            return []
        return heapq.nsmallest(SAMPLE, (row for rows in found for row in rows or ()))


async def draw(
    asking: Asking, hosts: Hosts, shard: int, count: int, deadline: float
) -> list[Drawn] | None:
    """Rows of a shard of this worker; None if it does not answer."""
    try:
        rng = np.random.default_rng()
        rows: list[Drawn] = await asking.run(hosts.search.draw, shard, count, rng, deadline)
        return rows
    except PctError:
        return None


def to_json(rows: list[Drawn] | None) -> Any:
    """What `from_json` reads again.

    >>> rows = [Drawn(0.5, "t/0/1/0", (0.1, 2.0))]
    >>> from_json(to_json(rows)) == rows
    True
    """
    if rows is None:
        return None
    vectors = np.array([row.vector for row in rows], "<f8").tobytes()
    return {
        "rows": [(row.lot, row.origin) for row in rows],
        "vectors": base64.b64encode(vectors).decode(),
    }


def from_json(said: Any) -> list[Drawn] | None:
    """The rows that another worker has drawn."""
    if said is None or not said["rows"]:
        return None if said is None else []
    vectors = np.frombuffer(base64.b64decode(said["vectors"]), "<f8").reshape(len(said["rows"]), -1)
    pairs = zip(said["rows"], vectors.tolist(), strict=True)
    return [Drawn(lot, origin, tuple(vector)) for (lot, origin), vector in pairs]


def add(app: FastAPI, hosts: Hosts, asking: Asking, asked: Asked) -> None:
    """What one worker asks another."""

    @app.post("/v1/shards/draw", include_in_schema=False)
    async def draw_(request: Request) -> Response:
        said = await asked(request)
        try:
            shards, count = list(map(int, said["shards"])), min(SAMPLE, int(said["rows"]))
        except (LookupError, TypeError, ValueError):
            raise QueryRefused("not the question of a worker") from None
        found = [await draw(asking, hosts, shard, count, said["until"]) for shard in shards]
        return answered({"drawn": [to_json(rows) for rows in found]})
