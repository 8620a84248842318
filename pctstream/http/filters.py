"""The Bloom filters of the other workers' shards, as copies that are never older than they may be.

A worker that is asked for an id pulls from each other worker what came to its filters since it last did,
unless that was a moment ago, and while ids are asked for every `EVERY_S` in any case, so that little is
left to pull. Pulled, not pushed: who is asked for no ids costs nobody anything, and a copy's age
is known to whoever relies on it. A copy denies an id only if

- it is younger than `BELIEVED_S`: a node that let go of its rows goes on saying "maybe" for longer than
  that (`agents.blooms`), so two copies of different moments cannot both miss a row on its way down;
- it is true for as much of the node's input as its owner has told of on `.state`: what somebody could
  see to be applied is never denied, nor is a new owner believed before it is as far as the old one was.

Otherwise the answer is "maybe", and the shard is asked.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response

from pctstream.agents.blooms import HOLD_S, Blooms
from pctstream.core.bloom import Bloom
from pctstream.core.names import Path, node_name
from pctstream.core.published import Part, pack, unpack
from pctstream.errors import QueryRefused, Unreadable

EVERY_S = 0.5
IDLE_S = 30.0
"""Nobody asked for an id for so long: nothing is pulled."""
BELIEVED_S = 0.5 * HOLD_S
PULL_S = 1.0
PULL_BYTES = 16 << 20
"""Of one answer: what does not fit comes with the next, and is "maybe" until then."""

Post = Callable[[str, Any, float], Awaitable[bytes | None]]


class Shards(Protocol):
    """What is known of the shards (`http.hosts`)."""

    def urls(self) -> Mapping[int, str]: ...
    def here(self) -> set[int]: ...
    def blooms(self, shard: int) -> Blooms | None: ...
    def reported(self, shard: int, path: Path) -> int: ...


@dataclass(slots=True)
class Copy:
    """Of one node's filter on one shard."""

    bloom: Bloom
    made: str
    seq: int
    offset: int


class Filters:
    """All filters as this worker knows them; for one event loop."""

    def __init__(self, shards: Shards, post: Post) -> None:
        self._shards = shards
        self._post = post
        self._copies: dict[str, dict[tuple[int, str], Copy]] = {}
        self._asked: dict[str, float] = {}
        """When each worker was asked for what it has answered."""
        self._pulls: dict[str, asyncio.Task[None]] = {}
        self._following: asyncio.Task[None] | None = None
        self._used = 0.0

    async def fresh(self, since: float, seconds: float) -> bool:
        """Every copy of a moment ``since`` then (monotonic), as far as the others answer within so many
        seconds; whether some were older."""
        self._used = time.monotonic()
        urls = self._others()
        stale = {url for url in urls if self._asked.get(url, -math.inf) < since}
        if stale:
            pulls = [asyncio.create_task(self._as_of(url, since)) for url in stale]
            await asyncio.wait(pulls, timeout=min(seconds, PULL_S))
        if urls and (self._following is None or self._following.done()):
            self._following = asyncio.create_task(self._follow())
        return bool(stale)

    async def _as_of(self, url: str, since: float) -> None:
        """A pull that was begun before may answer as of before: then one more."""
        await self._pulling(url)
        if self._asked.get(url, -math.inf) < since:
            await self._pulling(url)

    def denies(self, shard: int, path: Path, hash_: int) -> bool | None:
        """True: this node there surely has no row of that name; None: it is not known."""
        least = self._shards.reported(shard, path)
        if shard in self._shards.here():
            blooms = self._shards.blooms(shard)
            might = None if blooms is None else blooms.might(path, hash_, least)
            return None if might is None else not might
        url = self._shards.urls().get(shard, "")
        copy = self._copies.get(url, {}).get((shard, node_name(path)))
        old = time.monotonic() - self._asked.get(url, -math.inf) > BELIEVED_S
        if copy is None or old or copy.offset < least:
            return None
        return not copy.bloom.has(hash_)

    def close(self) -> None:
        """Pull nothing more."""
        for task in (self._following, *self._pulls.values()):
            if task is not None:
                with suppress(RuntimeError):  # its loop is closed
                    task.cancel()

    def _others(self) -> set[str]:
        here = self._shards.here()
        return {url for shard, url in self._shards.urls().items() if shard not in here}

    async def _follow(self) -> None:
        while time.monotonic() - self._used < IDLE_S:
            await asyncio.sleep(EVERY_S)
            urls = self._others()
            for url in set(self._copies) - urls:
                del self._copies[url]
            if urls:
                await asyncio.wait([self._pulling(url) for url in urls])

    def _pulling(self, url: str) -> asyncio.Task[None]:
        """One pull at a time from each."""
        task = self._pulls.get(url)
        if task is None or task.done():
            task = self._pulls[url] = asyncio.create_task(self._pull(url))
        return task

    async def _pull(self, url: str) -> None:
        copies = self._copies.setdefault(url, {})
        known = [[shard, node, c.made, c.seq] for (shard, node), c in copies.items()]
        asked = time.monotonic()
        raw = await self._post(
            f"{url}/v1/shards/filters", {"seconds": PULL_S, "known": known}, PULL_S
        )
        if raw is None:
            return
        try:
            parts = unpack(raw)
        except Unreadable:
            self._copies[url] = {}
            return
        told = {(part.shard, part.node) for part in parts}
        for gone in set(copies) - told:  # of which nothing was said this time, whyever
            del copies[gone]
        for part in parts:
            _take(copies, part)
        self._asked[url] = asked


def _take(copies: dict[tuple[int, str], Copy], part: Part) -> None:
    key = part.shard, part.node
    held = copies.get(key)
    try:
        if part.since < 0:
            copies[key] = Copy(part.bloom(), part.made, part.seq, part.offset)
        elif held is not None and (held.made, held.seq) == (part.made, part.since):
            held.bloom.add(part.hashes())
            held.seq, held.offset = part.seq, part.offset
        else:
            copies.pop(key, None)
    except Unreadable:
        copies.pop(key, None)


def add(
    app: FastAPI, shards: Shards, asked: Callable[[Request], Awaitable[dict[str, Any]]]
) -> None:
    """The call by which other workers pull; ``asked`` reads what a worker asks."""

    @app.post("/v1/shards/filters", include_in_schema=False)
    async def filters(request: Request) -> Response:
        said = await asked(request)
        known: dict[int, dict[str, tuple[str, int]]] = {}
        try:
            for shard, node, made, seq in said["known"]:
                known.setdefault(int(shard), {})[str(node)] = str(made), int(seq)
        except (LookupError, TypeError, ValueError):
            raise QueryRefused("not the question of a worker") from None
        here = sorted(shards.here())
        packed = await asyncio.to_thread(lambda: pack(_news(shards, here, known), PULL_BYTES))
        return Response(packed, media_type="application/octet-stream")


def _news(
    shards: Shards, here: Iterable[int], known: dict[int, dict[str, tuple[str, int]]]
) -> Iterator[Part]:
    """What is known already comes first: it is little, and must not wait behind what is whole."""
    for whole in (False, True):
        for shard in here:
            blooms = shards.blooms(shard)
            if blooms is not None:
                yield from blooms.news(shard, known.get(shard, {}), whole)
