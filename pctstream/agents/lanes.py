"""The lanes of a worker: the turns of one shard, one after the other, in whichever thread is free.

Turns of a shard exclude each other, so two threads for them would only wait for each other; and what
brings one turn brings one for every child. So those of a shard that wait are taken in one go: one change
of thread to begin, one to say that they are done, instead of three for each of them. N0's come first, in
its lane and of all lanes: its rows have the whole way before them, and a node has at most one turn here, so
nothing is overtaken that must not be.

A turn that takes long (a portion sees all its rows again) lets the others of its shard go before, at places
where it holds nothing half done: they are taken in the middle of it, in its thread.

    run(turn) -> the future that its agent awaits        on the event loop
    _drain    -> take(turn)*, then all their futures      in a thread
    between   -> the same for what waits now              in a thread, in the middle of a turn
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

from pctstream.agents.shard import Turn
from pctstream.core.names import ROOT, Path

AT_ONCE, AT_ONCE_S = 16, 0.01
"""So many turns, or so long, before those done are told and other shards may have the thread."""

Done = list[tuple[asyncio.Future[None], BaseException | None]]


class Lanes:
    """Runs turns in threads, those of a shard in the order they came."""

    def __init__(self, take: Callable[[Turn], None], pool: Executor) -> None:
        self._take = take
        self._pool = pool
        self._changed = threading.Lock()
        self._waiting: dict[int, deque[tuple[Turn, asyncio.Future[None]]]] = {}
        self._ready: tuple[deque[int], deque[int]] = deque(), deque()
        """Lanes for which no thread has come yet: those in which N0 has a turn, and others."""
        self._in_hand: dict[tuple[int, Path], float] = {}

    def run(self, turn: Turn) -> asyncio.Future[None]:
        """Have it taken; on the event loop's thread only. What `take` raises is the future's."""
        loop, number = asyncio.get_running_loop(), turn.shard.number
        future: asyncio.Future[None] = loop.create_future()
        self._in_hand[number, turn.node.path] = time.monotonic()
        with self._changed:
            idle = number not in self._waiting
            lane = self._waiting.setdefault(number, deque())
            put = lane.appendleft if turn.node.path == ROOT else lane.append
            put((turn, future))
            if idle:
                self._line_up(number)
            elif turn.node.path == ROOT and number in self._ready[1]:
                self._ready[1].remove(number)
                self._line_up(number)
        if idle:
            self._pool.submit(self._drain, loop)
        return future

    def _line_up(self, number: int) -> None:
        """A lane comes after those that wait already; where N0 has a turn in it, after those alone that
        have one, too."""
        first, _ = self._waiting[number][0]
        self._ready[first.node.path != ROOT].append(number)

    def in_hand(self) -> dict[tuple[int, Path], float]:
        """Since when each turn, of a shard and node, is under way."""
        return dict(self._in_hand)

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        done: Done = []
        with self._changed:
            number = (self._ready[0] or self._ready[1]).popleft()
        until = time.monotonic() + AT_ONCE_S
        while next_one := self._next(number):
            done.append(self._taken(*next_one))
            if len(done) >= AT_ONCE or time.monotonic() > until:
                break
        more = next_one is not None and self._again(number)
        # neither a loop that is closed nor a pool that is shut takes anything: the worker ends
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_tell, done)
            if more:
                self._pool.submit(self._drain, loop)

    def between(self, number: int) -> None:
        """In the middle of a turn of this shard: take the turns of other nodes that wait for it now."""
        with self._changed:
            lane = self._waiting.get(number, deque())
            some = list(lane)
            lane.clear()
        if some:
            done = [self._taken(turn, future) for turn, future in some]
            with contextlib.suppress(RuntimeError):
                some[0][1].get_loop().call_soon_threadsafe(_tell, done)

    def _taken(
        self, turn: Turn, future: asyncio.Future[None]
    ) -> tuple[asyncio.Future[None], BaseException | None]:
        error = None
        try:
            if not future.cancelled():
                self._take(turn)
        except BaseException as raised:
            error = raised
        self._in_hand.pop((turn.shard.number, turn.node.path), None)
        return future, error

    def _next(self, number: int) -> tuple[Turn, asyncio.Future[None]] | None:
        """The first that waits; without one the lane is idle."""
        with self._changed:
            if self._waiting[number]:
                return self._waiting[number].popleft()
            del self._waiting[number]
            return None

    def _again(self, number: int) -> bool:
        """Whether there are more turns in a lane, whose thread others may have first."""
        with self._changed:
            if self._waiting[number]:
                self._line_up(number)
                return True
            del self._waiting[number]
            return False


def _tell(done: Done) -> None:
    for future, error in done:
        if future.cancelled():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
