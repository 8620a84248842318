"""The data plane of one worker: its shards, what feeds them, and what they tell the others.

Faust says which shards are here (`assign`); the routing log says which nodes they have (`_sync`). One
thread does all of this wiring, so that it happens in one order; rows never wait for it.

    Follower(.routing) -> Routing -> _sync: nodes restored, agents started, inputs added
    Reader -> Turn(feed) -> node agent -> Performer -> Store, Writer -> Turn(delivered)
    Follower(.state)  -> ReadModel -> Turn(owner_applied)
    twice a window: Reporter -> .state
    Watch: who stands still, restarts
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from pctstream.agents.bridge import Bridge
from pctstream.agents.crash import crash_points
from pctstream.agents.expiry import Expiry
from pctstream.agents.fence import Fence
from pctstream.agents.followed import Followed
from pctstream.agents.gauges import expose
from pctstream.agents.hosting import Hosting
from pctstream.agents.inputs import Inputs
from pctstream.agents.keeper import Keeper
from pctstream.agents.monitor import Watch
from pctstream.agents.move import Carrier
from pctstream.agents.node import NodeAgents
from pctstream.agents.passing import Passes
from pctstream.agents.perform import Limits, Performer
from pctstream.agents.readiness import obstacle
from pctstream.agents.report import Reporter
from pctstream.agents.shard import Shard, Turn
from pctstream.agents.standby import Standbys
from pctstream.agents.tree import settings
from pctstream.agents.wiring import anew, wire
from pctstream.config import Config
from pctstream.core.names import Path
from pctstream.core.routing import Routing
from pctstream.errors import DeliveryFailed, PctError, StoreFailed
from pctstream.metrics import Metrics
from pctstream.pipes import client
from pctstream.pipes.priority import lower
from pctstream.pipes.room import Room
from pctstream.pipes.writer import Writer
from pctstream.store import Store
from pctstream.tables import ReadModel

if TYPE_CHECKING:
    from pctstream.agents.surveyor import Surveyor

TICK_S = 0.25
TOPIC_CHECK_S = 3.0
COMMIT_S = 2.0
CATCH_UP_S = 60.0
START_S = 60.0


class Worker:
    """Hosts shards; everything here but Faust."""

    def __init__(self, cfg: Config, name: str, url: str, agents: NodeAgents) -> None:
        self.cfg, self.name, self.url = cfg, name, url
        self.metrics = Metrics()
        self.routing, self.model = Routing(), ReadModel()
        self.generation: Callable[[], int] = lambda: -1
        self._began = time.time()
        self.shards: dict[int, Shard] = {}
        self.agents = agents
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._closing = threading.Event()
        self.hosting = Hosting(cfg, self.tell, self.fatal, self.routing)
        self.assigned: set[int] | None = None
        self.rounds, self.hosted_in = 0, -1  # of the wiring; generation that gave it its shards
        self.monitor, self.standby = Watch(self), Standbys(self)
        self.rejoin: Callable[[], None] = lambda: None
        self.coming: Callable[[int, Path], None] = lambda shard, path: None
        self.surveyor: Surveyor | None = None
        times = cfg.kafka.session_timeout_s, cfg.kafka.heartbeat_s
        self.fence = Fence(*times, lambda: self.generation())

    # life

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin following the logs; shards come by `assign`."""
        self._loop, cfg, name = loop, self.cfg, self.name
        self.writer = Writer(client.producer(cfg, self.name), self.fatal)
        self.room = room = Room(cfg.limits.rows_in_flight, cfg.limits.bytes_in_flight, self.tell)
        self.inputs = Inputs(
            cfg, self.routing, self.metrics, self.enqueue, self.fatal, name, room, self.writer.busy
        )
        self.carrier = Carrier(self)
        self._performer = Performer(
            self.writer, self.inputs.reader, self.metrics, self.enqueue, self.fatal,
            Limits(cfg.blocks.rows, cfg.blocks.bytes), crash_points(), self.inputs.identity, room,
            self.carrier.prove, Passes(self.agents.between), self.restore,
        )  # fmt: skip
        wait = partial(self.fence.wait, self._closing)
        self.bridge = Bridge(cfg, self.writer, self.metrics, wait, self.fatal, name, room)
        self.reporter = Reporter(self)
        self.standby.start()
        expose(self)
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="turn", initializer=lower)
        self.agents.bind(self.take, self._pool)
        self.followed = Followed(self)
        self._survey()
        self._thread = threading.Thread(target=self._run, name="wiring", daemon=True)
        self._thread.start()
        self.monitor.start(loop)
        self.keeper, self.expiry = (
            Keeper((self.shards, self.standby.shards), self.tell),
            Expiry(self),
        )
        self.keeper.start()
        self.expiry.start()

    def _survey(self) -> None:
        if self.cfg.spatial.enabled:
            from pctstream.agents.surveyor import Surveyor

            self.surveyor = Surveyor(self)
            self.surveyor.start()

    def stop(self) -> None:
        """Let go of everything, in the order it depends on each other."""
        self._closing.set()
        self.monitor.stop()
        self.expiry.stop()
        self.keeper.close()
        if self.surveyor is not None:
            self.surveyor.stop()
        self._thread.join(15.0)
        self.inputs.reader.close()
        self.standby.close()
        self.bridge.close()
        self.carrier.close()
        self.writer.close()
        self.followed.close()
        self.agents.unbind()
        self._pool.shutdown(wait=True)
        for shard in self.shards.values():
            shard.close()
        self.metrics.close()

    def fatal(self, reason: str, code: int = 1) -> None:
        """End this process: nothing after this moment may count as done (R2)."""
        if self._closing.is_set():
            return
        self.tell(reason)
        os._exit(code)

    def tell(self, what: str) -> None:
        """One line on stderr."""
        os.write(2, f"pctstream worker {self.name}: {what}\n".encode())

    def assign(self, shards: set[int], warm: Collection[int] = ()) -> None:
        """These shards are this worker's now, and no others; of the ``warm`` ones it keeps copies."""
        self.fence.fall()
        self._order(partial(self._assign, shards, frozenset(warm), self.generation()))

    def host(self) -> dict[str, Any]:
        """Who tells on `.state`: of a shard's hosts the later one counts (`tables.newer`). Of which
        generation the shards are, not of which the group is: they may have to be let go of."""
        return {"worker": self.name, "generation": self.hosted_in, "began": self._began}

    @property
    def fenced(self) -> bool:
        return self.fence.up

    @property
    def ready(self) -> str | None:
        """None when this worker serves, else why it does not."""
        return obstacle(self)

    def enqueue(self, turn: Turn) -> None:
        """Put a turn on its node's channel, from any thread."""
        self.agents.post(self._loop, turn)

    def take(self, turn: Turn) -> None:
        """What a node agent does with a turn, in a thread."""
        self.fence.wait(self._closing)
        try:
            performer = self.standby.performer if turn.shard.standby else self._performer
            with self.metrics.apply_seconds.time(), turn.shard.lock:
                performer.take(turn)
        except (StoreFailed, DeliveryFailed) as error:
            self.fatal(str(error))
        except Exception:
            self.monitor.raised(turn.shard, turn.node.path)
            raise
        finally:
            if turn.load is not None:
                turn.load.leave()

    # wiring, on one thread

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.put(order)

    def _run(self) -> None:
        tasks: list[tuple[float, Callable[[], None]]] = [
            (TOPIC_CHECK_S, lambda: self.inputs.check(self.shards.values())),
            (TOPIC_CHECK_S, lambda: self.bridge.look(self.shards)),
            (COMMIT_S, lambda: self.inputs.commit(self.shards.values())),
            (COMMIT_S, self.bridge.commit),
            (COMMIT_S, self.metrics.save),
            (TICK_S, self.reporter.tick),
            (TICK_S, self.carrier.tick),
            (TICK_S, self._open),
            (TICK_S, self.inputs.read),
            (TICK_S, self.standby.tick),
        ]
        due = [0.0] * len(tasks)
        try:
            self.followed.wait(CATCH_UP_S)
            self.routing.check(settings(self.cfg))
            while not self._closing.is_set():
                self.rounds += 1
                with contextlib.suppress(queue.Empty):
                    self._orders.get(timeout=TICK_S)()
                now = time.monotonic()
                for i, (interval, act) in enumerate(tasks):
                    if now - due[i] >= interval:
                        due[i] = now
                        act()
        except PctError as error:
            self.fatal(str(error), error.exit_code)
        except Exception as error:
            self.fatal(f"wiring failed: {error!r}")

    def _assign(self, shards: set[int], warm: frozenset[int], generation: int) -> None:
        self.assigned = shards
        for number in set(self.shards) - shards:
            shard = self.shards.pop(number)
            self.inputs.remove(shard)
            self.bridge.drop(number)
            shard.close()
        for number in shards:
            self.standby.yield_to_owner(number)
        self.standby.assign(warm)
        self.hosted_in = generation
        self._open()

    def _open(self) -> None:
        """Open the shards that are to be here and whose stores nobody else holds."""
        missing = sorted((self.assigned or set()) - set(self.shards))
        for number in missing:
            store = self.hosting.open(number)
            if store is not None:
                self.shards[number] = self.made(number, store)
        if missing:
            self._sync()

    def made(self, number: int, store: Store) -> Shard:
        """A shard over its store."""
        if self.surveyor is not None:
            store.placing = self.surveyor.places.entry
        tree = self.cfg.tree
        return Shard(number, tree.name, store, tree.sink_rows, fpr=self.cfg.bloom.fpr)

    def _sync(self) -> None:
        wire(self, self.shards, self.inputs, self.carrier.copy)
        self.standby.sync()

    def run_agents(self, nodes: Sequence[tuple[Path, int]]) -> None:
        """Agents for these nodes at these shards; back when they run."""
        asyncio.run_coroutine_threadsafe(self.agents.start(nodes), self._loop).result(START_S)

    def resync(self) -> None:
        """Something came to a shard that it lacked, from any thread."""
        self._order(self._sync)

    def restore(self, shard: Shard, path: Path) -> None:
        """Have a node restored from its store and its input read again, from any thread."""
        self._order(partial(self._restore, shard, path))

    def restart(self, shard: Shard, path: Path) -> None:
        """The same, and its agent started anew unless it has a turn in hand."""
        asyncio.run_coroutine_threadsafe(self.agents.restart(path, shard.number), self._loop)
        self.restore(shard, path)

    def _restore(self, shard: Shard, path: Path) -> None:
        if self.shards.get(shard.number) is shard:
            anew(self, shard, path, self.inputs)
