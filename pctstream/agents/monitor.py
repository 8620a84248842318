"""The monitor of a worker: looks at its nodes, says who stands still, restarts what it can.

A thread of its own, which waits for nothing a node could hold: `core.monitor` judges, here is acted.

- **Heartbeat.** Every shard's record goes to `.state` at least once a heartbeat; mostly the reports
  do, and the monitor sends one where they are late. While one is not acked no second is sent, and the
  broker is the reason for whatever stands still.
- **Restart.** A node that makes no progress is restored from its store, its input is read again from
  there, and its Faust agent is started anew if it has nothing in hand.
- **A turn that never comes back** cannot be taken back: its thread may still write. If nothing at all
  was carried out on its shard meanwhile, the worker ends, as it does when a store fails, and starts
  again from its watermarks. A turn that is long but does things (a root routing a million held rows)
  is left alone.
- **What no restart cures**, for a minute, ends the worker too, and so does a reader or an event loop that
  does not come round: whoever started it starts it again, and sees that it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pctstream.agents.shard import Shard
from pctstream.core import life
from pctstream.core.block import Source
from pctstream.core.monitor import GIVE_UP_S, Monitor, Sight, Stalled
from pctstream.core.names import Path, node_name, node_path
from pctstream.core.vitals import Vitals
from pctstream.tables import Record

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker

Turns = dict[tuple[int, Path], float]
"""Shard and node of a turn under way: seconds."""
TICK_S = 0.25
STOP_S = 2.0
STANDBY_S = 0.5
"""Between two records of a shard that has warm copies: what was routed since the last is routed again by
one that takes over, and dropped."""
WORKING_S = 1.0
"""A turn that carried something out so recently is work, however long it takes."""
WIRING_S = 600.0
GROWTH_S = 600.0
"""A portion that sees its rows again may refine a cover of thousands: the longest it may take."""


class Watch:
    """Watches one worker; its questions may be asked from any thread."""

    def __init__(self, worker: Worker) -> None:
        kafka = worker.cfg.kafka
        self._worker = worker
        self._patience_s = kafka.session_timeout_s
        self._heartbeat_s = kafka.heartbeat_s
        standby = worker.cfg.store.standby
        self._beat_s = min(STANDBY_S, kafka.heartbeat_s) if standby else kafka.heartbeat_s
        self._monitor = Monitor(worker.name, kafka.heartbeat_s, kafka.session_timeout_s)
        self._lock = threading.Lock()
        self._told_at = -math.inf
        self._unacked: deque[float] = deque()
        self._pulses: dict[int, tuple[int, float]] = {}
        self._vitals = Vitals(kafka.heartbeat_s)
        self._loop_rounds, self._asked_loop = 0, False
        self._ticked = math.inf
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._ticked = loop, time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        self._closing.set()
        self._thread.join(STOP_S)

    def heard(self, record: Record) -> None:
        """A record of `.state` arrived, whether or not it counts."""
        if record.get("kind") != "shard":
            return
        nodes = {str(i["node"]): i.get("stalled") for i in record["inputs"]}
        with self._lock:
            self._monitor.heard(int(record["shard"]), str(record["worker"]), nodes)

    def raised(self, shard: Shard, path: Path) -> None:
        """A node's agent raised: it is restored at once, or later if that did not help before."""
        self._worker.metrics.restarts.inc()
        if shard.standby:
            return self._worker.standby.raised(shard, path)
        name = node_name(path)
        with self._lock:
            if not self._monitor.watches(shard.number, name):
                past = _life(self._past(shard.number, name))
                self._monitor.adopt(shard.number, name, Sight((-1, -1), 0), *past)
            wait = self._monitor.raised(shard.number, name)
        return None if wait else self._worker.restore(shard, path)

    def stalled(self) -> list[Stalled]:
        """Every node of the tree that stands still."""
        with self._lock:
            return self._monitor.stalled()

    def own(self) -> list[Stalled]:
        """Those of them that are here."""
        return [s for s in self.stalled() if s.shard in self._worker.shards]

    def known(self, shard: int, node: str) -> dict[str, Any]:
        """What a shard's record says of one of its nodes."""
        with self._lock:
            if self._monitor.watches(shard, node):
                moved, restarts, why = self._monitor.known(shard, node)
            else:
                # not looked at since it came: what its host before said still holds
                moved, restarts, why = *_life(self._past(shard, node)), None
        return {"moved": moved, "restarts": restarts, "stalled": why}

    def told(self) -> Callable[[str | None], None]:
        """The shards' records are being sent: what is to be called once they are acked."""
        self._told_at = time.monotonic()
        self._unacked.append(self._told_at)

        def acked(reason: str | None) -> None:
            self._unacked.popleft()
            if reason is not None:
                self._worker.fatal(reason)

        return acked

    def dead(self) -> str | None:
        """Why this process is not alive though it answers: a part of it does nothing any more."""
        silent = time.monotonic() - self._ticked
        still = {"the monitor": silent, **self._vitals.still}
        found = [f"{p} has done nothing for {s:.0f} s" for p, s in still.items() if s > _alive_s(p)]
        return "; ".join(found) or None

    def _feel(self, now: float) -> None:
        """Whether reader, wiring and event loop come round."""
        self._ticked = now
        if not self._asked_loop:
            self._asked_loop = True
            with contextlib.suppress(RuntimeError):  # it is closed: the worker ends
                self._loop.call_soon_threadsafe(self._loop_came_round)
        rounds = self._worker.inputs.reader.rounds()
        parts = {"the event loop": self._loop_rounds, "the wiring": self._worker.rounds}
        self._vitals.look(now, {**parts, **{f"the {name}": n for name, n in rounds.items()}})
        for part, seconds in self._vitals.still.items():
            if part != "the wiring" and seconds > max(GIVE_UP_S, 2 * self._patience_s):
                self._worker.fatal(f"{part} has done nothing for {seconds:.0f} s: this worker ends")

    def _loop_came_round(self) -> None:
        self._loop_rounds += 1
        self._asked_loop = False

    def _run(self) -> None:
        while not self._closing.wait(TICK_S):
            try:
                self._tick(time.monotonic())
            except Exception as error:
                self._worker.fatal(f"the monitor failed: {error!r}")

    def _tick(self, now: float) -> None:
        worker = self._worker
        worker.fence.beat()
        self._feel(now)
        shards = dict(worker.shards)
        busy = worker.agents.in_hand()
        quiet = self._quiet(shards, busy, now)
        reader, full = worker.inputs.reader, worker.room.full()
        ends = reader.ends()
        with self._lock:
            self._monitor.tick(now)
            self._monitor.host({n: set(map(node_name, s.nodes)) for n, s in shards.items()})
            for shard in shards.values():
                for path, node in list(shard.nodes.items()):
                    at, source = node.position, shard.source(path)
                    done = at.routed if node.mode == life.SPLITTING else at.stored
                    lag = ends.get(source, -1) - 1 - done
                    if (quiet_s := quiet.get((shard.number, path))) is not None:
                        # at work; or not, and then its position in memory is ahead of what is done
                        lag = 0 if quiet_s < WORKING_S else max(1, lag)
                    # a shard that grows a portion is at work, though nothing is taken meanwhile
                    lag = 0 if shard.growing else lag
                    # nor does one wait in vain for what a worker that has enough has not read yet
                    place = shard.number, source
                    enough = full or reader.behind(place)
                    lag = 0 if enough and reader.unread(place, node.taken) else lag
                    held = self._held(source, (shard.number, path), busy, now)
                    sight = Sight((at.stored, at.routed), lag, held)
                    self._look(shard.number, node_name(path), sight)
            due = self._monitor.due()
        for number, name in due:
            worker.metrics.restarts.inc()
            why = self.known(number, name)["stalled"] or "its agent raised"
            worker.tell(f"{name} on shard {number} is restored: {why}")
            worker.restart(shards[number], node_path(name))
        self._beat(now)
        self._end(quiet, now)

    def _look(self, shard: int, node: str, sight: Sight) -> None:
        if self._monitor.watches(shard, node):
            return self._monitor.look(shard, node, sight, time.time())
        past = self._past(shard, node)
        moved_at, restarts = _life(past)
        same = (past.get("stored"), past.get("routed")) == sight.at
        at = moved_at if same and moved_at else time.time()
        return self._monitor.adopt(shard, node, sight, at, restarts)

    def _past(self, shard: int, node: str) -> dict[str, Any]:
        """What the shard's record said last of one of its nodes."""
        told = self._worker.model.held(f"shard:{shard}")
        inputs: list[dict[str, Any]] = told["inputs"] if told else []
        return next((i for i in inputs if i["node"] == node), {})

    def _quiet(self, shards: dict[int, Shard], busy: Turns, now: float) -> Turns:
        """For each turn in hand: for how long nothing was carried out on its shard meanwhile."""
        still = {}
        for number, shard in shards.items():
            pulses, since = self._pulses.get(number, (-1, now))
            since = since if pulses == shard.pulses else now
            self._pulses[number] = shard.pulses, since
            still[number] = now - since
        quiet = {turn: min(s, still.get(turn[0], 0.0)) for turn, s in busy.items()}
        growing = {number for number, shard in shards.items() if shard.growing}
        return {t: 0.0 if t[0] in growing and s < GROWTH_S else s for t, s in quiet.items()}

    def _held(self, source: Source, node: tuple[int, Path], busy: Turns, now: float) -> str:
        """Why a restart of this node would not help."""
        if self._broker_silent(now):
            return "the broker acknowledges nothing"
        if self._worker.fenced:
            return "its worker has not rejoined the group"
        if self._worker.inputs.reader.asked((node[0], source)):
            return "it is full and waits for the tree's decision"
        for (shard, path), seconds in busy.items():
            # its turn cannot be taken back, and who shares its lock or its agent waits for it
            if seconds > self._patience_s and (shard == node[0] or path == node[1]):
                return f"a turn of {node_name(path)} on shard {shard} has not come back"
        return ""

    def unacked_s(self) -> float:
        """How long the oldest report has waited for the broker."""
        now = time.monotonic()
        return now - next(iter(list(self._unacked)), now)

    def _broker_silent(self, now: float) -> bool:
        return self.unacked_s() > self._heartbeat_s

    def _beat(self, now: float) -> None:
        if not self._unacked and now - self._told_at >= self._beat_s:
            self._worker.reporter.beat()

    def _end(self, quiet: Turns, now: float) -> None:
        if self._worker.fenced or self._broker_silent(now):
            return
        with self._lock:
            beyond = self._monitor.beyond()
        for stalled in beyond:
            self._worker.fatal(
                f"{stalled.node} on shard {stalled.shard} does not get on, {stalled.why}: this worker "
                "ends and starts again from its watermarks"
            )
        for (shard, path), seconds in quiet.items():
            if seconds > 2 * self._patience_s:
                self._last_words(shard, path)
                self._worker.fatal(
                    f"a turn of {node_name(path)} on shard {shard} has not come back for "
                    f"{seconds:.0f} s: this worker ends and starts again from its watermarks"
                )

    def _last_words(self, shard: int, path: Path) -> None:
        """Count the restart that is to come where the next process finds it: its turn has not come back
        for twice the patience, so whoever is slow to take down the words has as long as that once more."""
        with self._lock:
            self._monitor.raised(shard, node_name(path))
        self._worker.reporter.beat()
        deadline = time.monotonic() + self._patience_s
        while self._unacked and time.monotonic() < deadline:
            self._closing.wait(TICK_S)


def _life(past: dict[str, Any]) -> tuple[float, int]:
    """When a node moved last (0.0: not known) and how often it was restarted, by its record."""
    return float(past.get("moved", 0.0)), int(past.get("restarts", 0))


def _alive_s(part: str) -> float:
    """For how long a part may do nothing: the wiring opens stores and waits for an absent broker."""
    return WIRING_S if part == "the wiring" else GIVE_UP_S / 2
