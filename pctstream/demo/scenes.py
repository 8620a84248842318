"""What happens between ready and the verdict: rows flow, the tree grows, a worker dies and returns."""

from __future__ import annotations

import sys
import time
from typing import Any

from confluent_kafka.admin import AdminClient

from pctstream import config
from pctstream.broker import announced
from pctstream.config import Config
from pctstream.core.block import Source
from pctstream.demo.crowds import crowds
from pctstream.demo.drifting import Drifting
from pctstream.demo.finale import Finale
from pctstream.demo.growth import Watch
from pctstream.demo.stream import Pool, Stream
from pctstream.demo.telling import say, title
from pctstream.errors import BrokerUnreachable, NotReady
from pctstream.pipes import client
from pctstream.pipes.bounds import bounds
from pctstream.running import Running, alive, end
from pctstream.settled import wait_applied

RATE = 2000.0
"""Rows a second: slow enough to watch, and to have a middle in which to kill a worker."""
SEED = 11
VICTIM = 1
KILL_AT = 20_000
"""Rows applied at which it is time for the kill."""
KILL_BY = 40_000
"""Rows sent at which it is, however few of them are applied."""
SOME = 40_000
"""Rows sent before the drift may begin."""
LEFT_AT_LEAST = 0.20
LINE_S = 3.0
BACK_S = 90.0
REST_S = 60.0


class Scenes:
    """What happens between ready and the verdict."""

    def __init__(self, system: Running, pools: tuple[Pool, Pool], epsilon: float) -> None:
        self._system = system
        self._epsilon = epsilon
        self._cfg = self._configured()
        self._admin = AdminClient({**client.common(self._cfg, "demo"), "log_level": 0})
        self._waited = 0
        self._stream = Stream(self._cfg, RATE, pools, SEED)
        self._began = self._told = time.monotonic()

    def play(self) -> int:
        """The exit code."""
        title("rows flow, the tree grows")
        say(f"feeding {RATE:,.0f} rows/s, shuffled, scaled to 0-1, epsilon {self._epsilon}")
        self._began = self._told = time.monotonic()
        self._stream.start()
        watch = Watch(self._system)
        watch.start()
        try:
            self._grow()
            killed_at = self._kill()
            self._return()
            while self._stream.rows < SOME:
                self._step()
            drifting = Drifting(self._system, self._stream, self._cfg.drift)
            wrong = drifting.play(self._check_feed)
            self._stream.end()
            self._check_feed()
            say("no more rows; waiting until every row is applied")
            wait_applied(self._cfg, self._system.urls, sys.stdout)
            self._line()
            finale = Finale(self._system, self._cfg.kafka.broker, self._stream.rows)
            # the tree grows on meanwhile: what is proved does not depend on it
            code = finale.proof()
            wrong += finale.moved(drifting.moves)
            self._rest()
            wrong += finale.look() + finale.search()
            wrong += crowds(self._system, self._stream.rows)
            return verdict(code, self._proved(killed_at), wrong)
        finally:
            watch.end()
            self._stream.end()

    def _configured(self) -> Config:
        system = self._system
        given: dict[str, object] = {"store.dir": str(system.folder)}
        cfg = config.load(None, system.env, given)
        if cfg.kafka.broker:
            return cfg
        broker = announced(system.folder)
        if broker is None:
            raise NotReady(f"the broker is gone:\n{system.said()}")
        return config.load(None, system.env, {**given, "kafka.broker": broker})

    def _check_feed(self) -> None:
        if self._stream.failed is not None:
            raise NotReady(f"feeding failed: {self._stream.failed}") from self._stream.failed

    def _applied(self) -> int:
        """Rows that are in a store."""
        return sum(int(s["rows"]) for s in self._system.shards().values())

    def _waiting(self) -> int:
        """Messages in the inputs of the shards that are not done; a dead worker's, too."""
        inputs = [i for s in self._system.shards().values() for i in s["inputs"]]
        done = {Source(i["topic"], i["partition"]): max(i["stored"], i["routed"]) for i in inputs}
        # the ends as the broker knows them: the last word of a dead worker is old
        try:
            ends = bounds(self._admin, done)
        except BrokerUnreachable:  # topics that were made a moment ago have no leader yet
            return self._waited
        self._waited = sum(max(0, end - 1 - done[source]) for source, (_, end) in ends.items())
        return self._waited

    def _step(self) -> None:
        """A moment later; a line if it is time for one."""
        time.sleep(0.1)
        self._check_feed()
        if time.monotonic() - self._told >= LINE_S:
            self._line()

    def _line(self) -> None:
        self._told = time.monotonic()
        tree = self._system.ask("/v1/tree")
        if tree is None:
            say(f"{self._told - self._began:5.1f} s  no worker answers")
            return
        levels = ", ".join(
            f"level {e['level']}: {e['nodes']} nodes hold {e['rows']:,}" for e in tree["levels"]
        )
        say(f"{self._told - self._began:5.1f} s  {self._applied():>7,} of {self._stream.rows:,} rows "
            f"applied, {self._waiting()} messages wait; {levels}")  # fmt: skip

    def _grow(self) -> None:
        """Until N0 has children and the time for the kill has come."""
        children: list[Any] = []
        while True:
            self._step()
            if not children:
                children = (self._system.ask("/v1/nodes?level=1") or {"nodes": []})["nodes"]
                if children:
                    root = self._system.ask("/v1/nodes/N0")
                    bound = (root or {}).get("miss_bound") or {"p": 1.0, "confidence": 0.0}
                    say(f"N0 has found its cover: {len(children)} prototypes, each farther than "
                        f"{self._epsilon} from the others; at most {bound['p']:.1%} of such rows lie "
                        f"farther from all of them ({bound['confidence']:.0%} sure)")  # fmt: skip
            elif self._applied() >= KILL_AT or self._stream.rows >= KILL_BY:
                return

    def _kill(self) -> int:
        """kill -9 of a worker; the rows that had been sent by then."""
        title(f"kill -9 of worker-{VICTIM}")
        pid = self._system.pids()[VICTIM]
        applied, waiting = self._applied(), self._waiting()
        if pid is None:
            raise NotReady(f"worker-{VICTIM} does not run:\n{self._system.said()}")
        end(pid)
        self._dead, sent = pid, self._stream.rows
        say(f"pid {pid} killed: {applied:,} rows were applied, {waiting} messages waited in the "
            f"inputs, {sent:,} rows were sent, and they go on coming")  # fmt: skip
        return sent

    def _proved(self, sent: int) -> bool:
        """Whether enough rows were still to come when the worker was killed."""
        left = 1.0 - sent / self._stream.rows
        if left >= LEFT_AT_LEAST:
            return True
        say(
            f"this run PROVES NOTHING: the kill left {left:.0%} of the rows, {LEFT_AT_LEAST:.0%} are due"
        )
        return False

    def _return(self) -> None:
        """Until the worker that was killed serves again under another pid."""
        killed = time.monotonic()
        while time.monotonic() - killed < BACK_S:
            self._step()
            pid = (self._system.pids() or [None, None])[VICTIM]
            if pid in (None, self._dead) or not self._system.ask("/readyz", VICTIM):
                continue
            if alive(self._dead):
                raise NotReady(f"pid {self._dead} has survived kill -9")
            title(f"worker-{VICTIM} is back after {time.monotonic() - killed:.1f} s, pid {pid}")
            return
        raise NotReady(f"worker-{VICTIM} did not come back:\n{self._system.said()}")

    def _rest(self) -> None:
        """Until no level is open whose nodes may still split."""
        started = told = time.monotonic()
        while (self._system.ask("/v1/tree") or {}).get("state") != "grown":
            time.sleep(0.25)
            now = time.monotonic()
            if now - started > REST_S:
                say(f"the tree still grows after {REST_S:.0f} s")
                return
            if now - told >= 2 * LINE_S:
                told = now
                say(f"the tree still grows ... ({now - started:.0f} s)")


def verdict(code: int, proved: bool, wrong: list[str]) -> int:
    """The exit code: that of `verify`, or 1 for anything else; and a word for it."""
    title("the verdict")
    for fault in wrong:
        say(f"WRONG: {fault}")
    good = proved and code == 0 and not wrong
    say("nothing lost, nothing doubled, levels 0 to 2 filled, the weights of each sum to 1: all "
        "is well" if good else "this run is NOT a success")  # fmt: skip
    return code or (0 if good else 1)
