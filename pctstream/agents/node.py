"""The node agents: one Faust agent on an in-memory channel for N0 and for every portion's root.

Readers and the writer put turns on a node's channel; its agent takes them one after the other, so a
node is never in two places at once. A turn runs in a thread (`lanes`), because kernels, RocksDB and
Arrow let go of the interpreter there and Faust's heartbeats must go on.

N0 is at every shard, so it has an agent at each (`N0`, `N0@1`): with one for all, what N0 had to do
at one shard waited for the turns of all others.

A turn that raises ends the agent; Faust's supervisor starts it again. The turn in its hand is gone,
so the node is restored from its store and its input read again first (R6).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from faust.channels import Channel
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from pctstream.agents.lanes import Lanes
from pctstream.agents.shard import Node, Shard, Turn
from pctstream.core.names import ROOT, Path, agent_name, pipe_topic

Take = Callable[[Turn], None]
RETRY_S = 0.05


def named(path: Path, shard: int) -> str:
    """The agent that takes the turns of a node at a shard; at shard 0 it is called as the node is.

    >>> named((0,), 3), named((0,), 0), named((0, 7), 3)
    ('N0@3', 'N0', 'N0.7')
    """
    return f"{agent_name(path)}@{shard}" if path == ROOT and shard else agent_name(path)


class Anew(Exception):
    """Put on a channel instead of a turn, it ends the agent; its supervisor starts it again."""


class PipeChannel(Channel[Turn | Anew]):
    """A channel that a group rebalance neither suspends nor clears, as Faust's own would be.

    Its depth is bounded by the reader, which hands out only so many rows; acks must always fit.
    """

    def __init__(self, app: Any, *, topic: str = "", **options: Any) -> None:
        super().__init__(app, **options)
        self._topic = topic

    def _clone_args(self) -> Any:
        return {**super()._clone_args(), "topic": self._topic}

    @property
    def queue(self) -> Any:
        if self._queue is None:
            flow = FlowControlEvent(initially_suspended=False)
            self._queue = ThrowableQueue(maxsize=0, flow_control=flow)
        return self._queue

    def get_topic_name(self) -> str:
        """So that `faust agents` lists the pipe."""
        return self._topic


class NodeAgents:
    """The agents of a worker's nodes, declared and started as nodes appear."""

    def __init__(self, app: Any, tree: str) -> None:
        self._app = app
        self._tree = tree
        self._channels: dict[str, Any] = {}
        self._agents: dict[str, Any] = {}
        self._early: list[Turn] = []
        self._posted: deque[Turn] = deque()
        self._awake = False
        self._lanes: Lanes | None = None

    def bind(self, take: Take, pool: Executor) -> None:
        """Who takes the turns, and the threads they run in."""
        self._lanes = Lanes(take, pool)

    def between(self, shard: Shard, _: Node) -> None:
        """In the middle of a turn of this node, others of its shard have theirs (`Lanes.between`)."""
        if self._lanes is not None:
            self._lanes.between(shard.number)

    def unbind(self) -> None:
        """Nobody takes turns any more."""
        self._lanes = None

    def declare(self, path: Path, shard: int) -> Any:
        """The agent of this node, at this shard."""
        name = named(path, shard)
        if name in self._agents:
            return self._agents[name]
        channel = PipeChannel(self._app, topic=pipe_topic(self._tree, path))

        async def node(turns: AsyncIterator[Turn | Anew]) -> None:
            async for turn in turns:
                if isinstance(turn, Anew):
                    raise turn
                if self._lanes is None:
                    continue  # the worker ends: what waits is read again by the next one
                await self._lanes.run(turn)

        node.__name__ = node.__qualname__ = name
        node.__doc__ = f"Takes what comes through {pipe_topic(self._tree, path)}."
        self._channels[name] = channel
        self._agents[name] = self._app.agent(channel, name=name)(node)
        return self._agents[name]

    async def start(self, nodes: Sequence[tuple[Path, int]]) -> None:
        """Agents for these nodes at these shards, running."""
        for path, shard in nodes:
            await self.declare(path, shard).maybe_start()
        self._again()

    def post(self, loop: asyncio.AbstractEventLoop, turn: Turn) -> None:
        """Queue a turn, from any thread: those that come together wake the loop once."""
        self._posted.append(turn)
        if not self._awake:
            self._awake = True
            loop.call_soon_threadsafe(self._put_posted)

    def _put_posted(self) -> None:
        self._awake = False  # before the last look: who posts after it wakes the loop again
        while self._posted:
            self.put(self._posted.popleft())

    def put(self, turn: Turn) -> None:
        """Queue a turn; on the event loop's thread only."""
        name = named(turn.node.path, turn.shard.number)
        subscribers = self._channels[name]._subscribers
        if not subscribers or any(
            named(early.node.path, early.shard.number) == name for early in self._early
        ):
            # Faust is still starting this agent: the turn must not be lost, nor overtaken
            self._early.append(turn)
            asyncio.get_running_loop().call_later(RETRY_S, self._again)
            return
        for subscriber in subscribers:
            subscriber.queue.put_nowait(turn)

    def in_hand(self) -> dict[tuple[int, Path], float]:
        """For each turn under way, its shard and node: for how many seconds by now."""
        now, busy = time.monotonic(), self._lanes.in_hand() if self._lanes else {}
        return {place: now - since for place, since in busy.items()}

    async def restart(self, path: Path, shard: int) -> None:
        """Start the agent anew unless it has a turn in hand."""
        name = named(path, shard)
        busy = self._lanes.in_hand() if self._lanes else {}
        if any(named(of, at) == name for at, of in busy):
            return
        for subscriber in self._channels[name]._subscribers:
            subscriber.queue.put_nowait(Anew())
        for actor in list(self._agents[name]._actors):
            if actor.actor_task is not None and actor.actor_task.done() and not actor.crashed:
                # it ended without an error (Faust's `cancel` does that): nobody would start it again
                await actor.crash(Anew())

    def _again(self) -> None:
        early, self._early = self._early, []
        for turn in early:
            self.put(turn)
