"""A broker and three workers that faults befall, and what must hold after each.

1. Rows flow. 2. The fault strikes, in the middle of them. 3. Whoever ended is started again, as `up` does.
4. All workers are ready within the time stated, the rest of the rows is fed. 5. `verify`: every row that
was fed is there once, of each id the newest. 6. The history begins as it did before, and no node has
another cover.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from broker.deep import nodes
from broker.system import System, records, wait_for
from chaos.disk import Disk
from chaos.fault import Breach, Fault, Outcome, Void
from chaos.flow import Flow
from chaos.proxy import Proxy

from pctstream import ports
from pctstream.broker import LocalBroker
from pctstream.commands.up import STOP_S
from pctstream.core.names import node_name
from pctstream.deep import verify_pipes
from pctstream.errors import PctError

WORKERS = 3
SETTINGS: dict[str, object] = {
    "shards.count": 6, "tree.epsilon": 8.0, "tree.gap": 500, "moves.grace_s": 1.0,
    "tree.level_idle_s": 3.0,
}  # fmt: skip
NAMED = ("prototypes", "epsilon", "cover_rows", "gap")


class Behind(LocalBroker):
    """A broker with a second listener, whose clients come through a proxy."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        inner = ports.in_a_row(1, ports.anywhere())
        assert inner is not None
        self._inner = inner
        self.proxy = Proxy(inner)

    @property
    def proxied(self) -> str:
        return f"127.0.0.1:{self.proxy.port}"

    def _properties(self, controller: int) -> str:
        own = f"PLAINTEXT://127.0.0.1:{self.port}"
        inner, outer = f"BEHIND://127.0.0.1:{self._inner}", f"BEHIND://{self.proxied}"
        names = ",".join(f"{n}:PLAINTEXT" for n in ("PLAINTEXT", "CONTROLLER", "BEHIND"))
        return (
            f"{super()._properties(controller)}\n"
            f"listeners={own},{inner},CONTROLLER://127.0.0.1:{controller}\n"
            f"advertised.listeners={own},{outer}\nlistener.security.protocol.map={names}\n"
        )


class Site:
    """One system, one run."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self._say, self._slowest = folder, say, 0.0
        self.broker = Behind(folder / "kafka")
        data = folder / "data"
        data.mkdir()
        self.disk = Disk(data / "shards")
        self.broker.start()
        self.one = System(self.broker.bootstrap, "chaos", data, SETTINGS)
        self.flow = Flow(self.broker.bootstrap, "chaos")

    def grow(self, rows: int) -> None:
        """The tree of the first rows."""
        self.one.start(*range(WORKERS))
        self.flow.upto(rows)
        self.flow.wait()
        wait_for("portions", lambda: self.one.get("/v1/portions")["portions"])
        self.check(deep=True)

    def close(self, keep: bool) -> None:
        """End everything; ``keep`` the stores, too, if they lie on a disk of their own."""
        self.flow.close()
        self.one.stop()
        self.broker.stop()
        self.broker.proxy.close()
        self.disk.close(self.folder / "stores" if keep else None)

    # a trial

    def trial(self, fault: Fault, rows: int, outcome: Outcome) -> None:
        """One strike of a fault while ``rows`` rows flow; fills the outcome, raises Void or Breach."""
        history = [m.value for m in records(self.one, "routing")]
        covers, applied = self.covers(), self.applied()
        self.flow.upto(self.flow.fed + rows)
        wait_for("rows come through", lambda: self.applied() > applied)
        outcome.wanted += fault.count
        self._slowest = 0.0
        seen = fault.strike(self)
        outcome.seen += seen
        self.mend(fault.ready_s + 60.0)
        took = self._slowest
        outcome.ready_s = max(outcome.ready_s, took)
        self._say(f"   {seen} seen, ready after {took:.1f} s")
        if seen != fault.count:
            raise Void(f"{fault.name}: {seen} of {fault.count} seen")
        if took > fault.ready_s:
            raise Breach(f"ready after {took:.0f} s, promised {fault.ready_s:.0f} s")
        self.flow.wait()
        verdict = self.check(fault.deep)
        outcome.lost += verdict.lost
        outcome.duplicated += verdict.duplicated
        if [m.value for m in records(self.one, "routing")][: len(history)] != history:
            raise Breach("the history is another one")
        now = self.covers()
        other = {name for name, cover in covers.items() if now.get(name) != cover}
        if other:
            raise Breach(f"nodes with another cover: {sorted(other)}")

    def check(self, deep: bool = False) -> Any:
        """Every row that was fed is there, once."""
        try:
            verdict = self.one.verify()
        except (AssertionError, PctError) as error:
            raise Breach(f"not settled: {error}") from None
        if not verdict.sound or verdict.ingested != self.flow.fed:
            raise Breach(f"{verdict} of {self.flow.fed} rows fed")
        if deep:
            found = verify_pipes(self.one.cfg, self.one.cfg.shards.count, self.shards)
            if any(found.values()):
                raise Breach(f"pipes and stores: {found}")
        return verdict

    def mend(self, within_s: float) -> None:
        """Start whoever ended until all are ready."""
        began = time.monotonic()
        deadline = began + within_s
        while not all(self.ready(n) for n in range(WORKERS)):
            if time.monotonic() > deadline:
                said = [self.one.log(n)[-600:] for n in range(WORKERS) if not self.ready(n)]
                raise Breach(f"not ready within {within_s:.0f} s: {said}")
            for number, worker in list(self.one.workers.items()):
                if worker.poll() is not None:
                    self._say(f"   worker {number} ended ({worker.poll()}): started again")
                    self.one.start(number, ready=False)
            time.sleep(0.1)
        self.took(time.monotonic() - began)

    def took(self, seconds: float) -> None:
        """So long it was until all went on."""
        self._slowest = max(self._slowest, seconds)

    def end(self, number: int) -> int:
        """SIGTERM, and SIGKILL if that takes long, as `up` does; the exit code."""
        worker = self.one.workers[number]
        worker.terminate()
        try:
            return worker.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._say(f"   worker {number} did not end within {STOP_S:.0f} s of SIGTERM")
            worker.kill()
            return worker.wait()

    # questions

    def ready(self, number: int) -> bool:
        try:
            return self.one.get("/readyz", number) is not None
        except httpx.HTTPError:
            return False

    def shards(self) -> list[dict[str, Any]]:
        return list(self.one.get("/v1/shards")["shards"])

    def applied(self) -> int:
        """Rows that the portions' shards say they have."""
        return sum(int(p["rows"]) for p in self.one.get("/v1/portions")["portions"])

    def covers(self) -> dict[str, tuple[Any, ...]]:
        """What is told of the cover of each node that has one."""
        found = {node_name(path): node for path, node in nodes(self.one).items()}
        return {n: tuple(f[k] for k in NAMED) for n, f in found.items() if f["prototypes"]}

    def hosted(self, number: int) -> list[int]:
        """The shards of a worker."""
        return [s["shard"] for s in self.shards() if s["worker"] == f"worker-{number}"]

    def told(self, words: str) -> int:
        """How often workers said this: another one may have taken a shard meanwhile."""
        logs = self.one.folder.glob("worker-*.log")
        return sum(log.read_text(errors="replace").count(words) for log in logs)
