"""A question goes to the shards that can matter, in rounds, and comes back as one answer.

1. Nodes above the cut that still hold rows, level by level from the top: of all shards, because what
   leaves a level is in the next one by then. Where a node has let go of all it held, for good, it is
   not asked again. At most times there is nothing to do in this round.
2. Each query goes to the shard that owns the portion a row like it would go to. That one's k-th
   neighbour is as far as anybody needs to look.
3. The other shards. Each proves by its own balls what it need not look at. Only an approximate question
   leaves shards out (`choosing`).

Shards of one worker are asked together, those of this worker without HTTP. A shard that does not answer,
or answers for another epoch or an older generation of the group, is asked again while there is time; if
it still does not, the answer is partial and never called exact.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import orjson

from pctstream.agents.blooms import Blooms
from pctstream.agents.search import Search
from pctstream.core.answers import Answer, Hit, Question, Tally, complete, farthest, nearest
from pctstream.core.balls import Balls
from pctstream.core.names import ROOT, Path, node_name
from pctstream.core.promoted import home
from pctstream.core.routing import Routing
from pctstream.core.wire import answer_from_json, question_to_json
from pctstream.errors import PctError
from pctstream.http.choosing import Choosing
from pctstream.http.connections import Connections

ATTEMPTS = 6
AGAIN_S = 0.05
"""Before the second attempt; twice as long before each later one, so 1.6 s in all: so long, on a machine
that has more to do than it can, a switch reaches one worker after the other, and a shard what it missed."""


class Hosts(Protocol):
    """What is known of the shards: who hosts them, and what they reported."""

    @property
    def routing(self) -> Routing: ...
    @property
    def search(self) -> Search: ...
    @property
    def count(self) -> int: ...
    def generation(self) -> int: ...
    def urls(self) -> Mapping[int, str]: ...
    def here(self) -> set[int]: ...
    def balls(self) -> Balls: ...
    def calling(self) -> dict[str, Any]: ...
    def blooms(self, shard: int) -> Blooms | None: ...
    def reported(self, shard: int, path: Path) -> int: ...
    def looked_up(self, asked: int, skipped: int, fooled: int) -> None: ...


class Lacking(Protocol):
    """Whatever some shards have not answered for."""

    missing: set[int]


T = TypeVar("T", bound=Lacking)


@dataclass(slots=True)
class Outcome:
    """What all shards together said."""

    hits: list[list[Hit]]
    within: list[float]
    missing: set[int] = field(default_factory=set)
    left_out: list[set[int]] = field(default_factory=list)
    """Of each query, the shards it was not put to."""
    why: str = ""
    """Those were left out."""
    answers: list[tuple[int, list[int], Answer]] = field(default_factory=list)
    """(round, which queries, what it said)"""
    expected: float = 1.0
    exact: bool = True


Wanted = dict[int, list[str]]
"""Of each shard the nodes that it must have looked at."""


class Asking:
    """Puts questions to all shards; of one worker."""

    def __init__(self, hosts: Hosts, threads: int = 2) -> None:
        self._hosts = hosts
        self.choosing = Choosing(hosts)
        self.behind: set[asyncio.Task[None]] = set()
        """What goes on beside the questions, and ends with them."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._let_go: set[tuple[int, str]] = set()
        """(shard, node) that hold nothing any more."""
        self._connections: Connections | None = None

    async def ask(self, question: Question, deadline: float) -> Outcome:
        """The answer by ``deadline`` (monotonic seconds), as whole as it can be had."""
        return await insisted(lambda: self._once(question, deadline), deadline)

    async def _once(self, question: Question, deadline: float) -> Outcome:
        log, m = self._hosts.routing, len(question.queries)
        everyone = list(range(m))
        outcome = Outcome([[] for _ in everyone], question.within.tolist())
        outcome.left_out = [set() for _ in everyone]
        for depth in range(log.above.depth):
            wanted = self._above(depth)
            asks = dict.fromkeys(wanted, everyone)
            at_depth = replace(question, depth=depth, recall=1.0)
            await self._round(outcome, 1, at_depth, asks, wanted, deadline)
        wanted = {s: sorted(names) for s, names in nodes_of(self._hosts, -1).items() if names}
        homes = [self._home(log, query) for query in question.queries]
        first: dict[int, list[int]] = {}
        for i, shard in enumerate(homes):
            if shard in wanted:
                first.setdefault(shard, []).append(i)
        choice = self.choosing.choice(question)
        at_home = replace(question, recall=choice.recall) if choice else question
        reach = await self._round(outcome, 2, at_home, first, wanted, deadline)
        near = [set(wanted)] * len(everyone)
        if choice:
            near = [
                {log.owners.get(path, -1) for path in choice.portions(*one)}
                for one in zip(question.queries, outcome.within, reach, strict=True)
            ]
            outcome.left_out = [set(wanted) - near[i] - {homes[i]} for i in everyone]
        asks = {}
        for shard in wanted:
            if some := [i for i in everyone if homes[i] != shard and shard in near[i]]:
                asks[shard] = some
        limited = any(map(math.isfinite, reach))
        bounded = replace(question, recall=1.0, reach=np.array(reach) if limited else None)
        await self._round(outcome, 3, bounded, asks, wanted, deadline)
        if choice and any(outcome.left_out):
            outcome.why = choice.why
            outcome.expected = max(0.0, outcome.expected + choice.expected - 1.0)
        outcome.exact = not (outcome.missing or limited or any(outcome.left_out))
        return outcome

    def _above(self, depth: int) -> Wanted:
        """Shards and their nodes at a level above the cut that may hold rows."""
        found: Wanted = {}
        for shard, nodes in nodes_of(self._hosts, depth).items():
            if names := sorted(name for name in nodes if (shard, name) not in self._let_go):
                found[shard] = names
        return found

    def _home(self, log: Routing, query: Any) -> int:
        path = home(log.covers, log.above, query, log.reopened.folded)
        return -1 if path is None else log.owners.get(path, -1)

    async def _round(
        self, outcome: Outcome, number: int, question: Question, asks: dict[int, list[int]],
        wanted: Wanted, deadline: float,
    ) -> list[float]:  # fmt: skip
        """Ask, and take what is said into the outcome; how far each query was followed."""
        reach = [math.inf] * len(outcome.hits)
        if not asks:
            return reach
        epoch, generation = self._hosts.routing.epoch, self._hosts.generation()
        within = np.array(outcome.within)
        bounded = replace(question, within=within)
        answers = await self._gather({s: bounded.of(some) for s, some in asks.items()}, deadline)
        must = {s: wanted[s] for s in asks}
        outcome.missing |= complete(list(answers.values()), epoch, generation, must)
        for shard, answer in answers.items():
            outcome.answers.append((number, asks[shard], answer))
            outcome.expected = min(outcome.expected, answer.expected)
            self._let_go |= {(shard, name) for name in answer.let_go}
            for i, hits, far in zip(asks[shard], answer.hits, answer.reach, strict=True):
                reach[i] = min(reach[i], far)
                outcome.hits[i] = nearest([*outcome.hits[i], *hits], question.k)
        for i, hits in enumerate(outcome.hits):
            outcome.within[i] = farthest(hits, question.k, outcome.within[i])
        return reach

    async def _gather(self, asks: Mapping[int, Question], deadline: float) -> dict[int, Answer]:
        here, away = hosted(self._hosts, asks)
        waits = [self.local(shard, asks[shard], deadline) for shard in here]
        waits += [
            self._remote(url, {shard: asks[shard] for shard in some}, deadline)
            for url, some in away.items()
        ]
        found = await asyncio.gather(*waits)
        return {answer.shard: answer for answers in found for answer in answers}

    async def local(self, shard: int, question: Question, deadline: float) -> list[Answer]:
        """The answer of a shard of this worker; none if it has none in time."""
        search = self._hosts.search
        try:
            known = search.unasked(shard, question)
            return [known or await self.run(search.ask, shard, question, deadline)]
        except PctError:
            return []

    async def run(self, act: Callable[..., Any], *given: Any) -> Any:
        """In one of the threads in which shards search."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, act, *given)

    async def _remote(
        self, url: str, asks: Mapping[int, Question], deadline: float
    ) -> list[Answer]:
        left = max(0.01, deadline - time.monotonic())
        body = {
            "seconds": left,
            "asks": [{"shard": s, "question": question_to_json(q)} for s, q in asks.items()],
        }
        said = await self.post(f"{url}/v1/shards/search", body, left)
        return [answer_from_json(one) for one in said["answers"]] if said else []

    async def post(self, url: str, body: Any, seconds: float) -> Any:
        """What another worker answers, of JSON; None if it does not, or refuses."""
        raw = await self.bytes_of(url, body, seconds)
        try:
            return None if raw is None else orjson.loads(raw)
        except orjson.JSONDecodeError:
            return None

    async def bytes_of(self, url: str, body: Any, seconds: float) -> bytes | None:
        """The same, as it came."""
        how = self._hosts.calling()
        if self._connections is None:
            self._connections = Connections(how["verify"])
        headers = how["headers"] | {"content-type": "application/json"}
        return await self._connections.post(url, orjson.dumps(body), headers, seconds)

    async def close(self) -> None:
        """Let go of connections and threads."""
        for task in self.behind:
            task.cancel()
        await asyncio.gather(*self.behind, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._connections is not None:
            await self._connections.close()


async def insisted(once: Callable[[], Awaitable[T]], deadline: float) -> T:
    """What ``once`` has found as soon as nobody is missing; what it has then, when the attempts or the
    time (monotonic seconds) are over."""
    attempt = 1
    while True:
        outcome = await once()
        left = deadline - time.monotonic()
        pause = AGAIN_S * 2 ** (attempt - 1)
        if not outcome.missing or attempt == ATTEMPTS or left < 2 * pause:
            return outcome
        attempt += 1
        await asyncio.sleep(pause)


def hosted(hosts: Hosts, shards: Iterable[int]) -> tuple[list[int], dict[str, list[int]]]:
    """Which of these shards this worker has, and which each other one, by its url; in their order.

    Those that nobody has are in neither.
    """
    own, urls = hosts.here(), hosts.urls()
    here: list[int] = []
    away: dict[str, list[int]] = {}
    for shard in shards:
        if shard in own:
            here.append(shard)
        elif shard in urls:
            away.setdefault(urls[shard], []).append(shard)
    return here, away


def nodes_of(hosts: Hosts, depth: int) -> dict[int, set[str]]:
    """Of every shard the nodes of a level above the cut that may hold rows; -1: its portions."""
    log = hosts.routing
    if depth == 0:
        return {shard: {node_name(ROOT)} for shard in range(hosts.count)}
    return {
        shard: {node_name(p) for p in log.nodes_at(depth, shard)} for shard in range(hosts.count)
    }


def tally(outcome: Outcome) -> Tally:
    """What was looked at for all queries together."""
    total = Tally()
    for _, _, answer in outcome.answers:
        for one in answer.tallies:
            total.add(one)
    return total
