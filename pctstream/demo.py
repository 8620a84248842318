"""`make demo`: the whole system on real data, with a self-check.

1. A broker, two workers, in a temporary directory. 2. Every 8 x 8 patch of a photograph goes in as a
row, shuffled; the tree grows a level. 3. `kill -9` of a worker while at least a fifth of the rows
are still to be applied: else the run has proved nothing and says so. 4. The worker comes back, all
rows are applied. 5. `pctstream verify` compares the log with the stores, row by row. 6. A summary;
the exit code is verify's, or 1.
"""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from confluent_kafka.admin import AdminClient

from pctstream import config, feed, photographs
from pctstream.broker import announced
from pctstream.config import Config
from pctstream.core.block import Source
from pctstream.errors import NotReady, PctError
from pctstream.feed import FeedOptions, FeedResult
from pctstream.files import Choice
from pctstream.pipes import client
from pctstream.pipes.bounds import bounds
from pctstream.running import Running, alive, end
from pctstream.settled import wait_applied

PHOTOGRAPH = "china"
SEED = 7
EPSILON = 4.26
RATE = 8000.0
"""Rows a second: slow enough to watch, so that there is a middle in which to kill a worker."""
VICTIM = 1
KILL_AT = 0.35
LEFT_AT_LEAST = 0.20
LINE_S = 3.0
BACK_S = 90.0
STAY_S = 45.0

SETTINGS = {
    "PCT_TREE__EPSILON": str(EPSILON),
    "PCT_SHARDS__COUNT": "4",
    "PCT_DRIFT__WINDOW_S": "1",
}
KEPT = ("PCT_BROKER", "PCT_JARS", "PCT_KAFKA__")


def main() -> NoReturn:
    """Run it; Ctrl-C and SIGTERM stop everything that was started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        code = demo()
    except KeyboardInterrupt:
        code = 130
    except PctError as error:
        say(f"demo: {error}")
        code = error.exit_code
    sys.exit(code)


def demo() -> int:
    """The scenes in order; the exit code."""
    say("pctstream demo: about 2 minutes, 2 cores, 2 GB of memory, 2 GB of disk under "
        f"{tempfile.gettempdir()};")  # fmt: skip
    say("a Kafka broker of its own (Java 17) unless PCT_BROKER names one; nothing is left behind.")
    started = time.monotonic()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PCT_") or k.startswith(KEPT)}
    env = {**kept, **SETTINGS, "PCT_TREE__NAME": f"demo-{os.getpid()}"}
    with (
        tempfile.TemporaryDirectory(prefix="pctstream-demo-", ignore_cleanup_errors=True) as folder,
        Running(Path(folder), 2, env) as system,  # 1
    ):
        title("a broker and two workers")
        data = Path(folder) / f"{PHOTOGRAPH}.npz"
        total = photographs.write(data, PHOTOGRAPH, SEED)
        say(f"{total:,} patches of 8 x 8 x 3 = 192 numbers: {photographs.CREDITS[PHOTOGRAPH]}")
        system.wait_ready(say)
        say(f"ready; look at {system.urls[0]}/docs and {system.urls[0]}/v1/tree meanwhile")
        code = Scenes(system, data, total).play()
        say(f"the demo took {time.monotonic() - started:.0f} s")
        stay(system)
        title("stopping everything")
    return code


class Scenes:
    """What happens between ready and the verdict."""

    def __init__(self, system: Running, data: Path, total: int) -> None:
        self._system, self._data, self._total = system, data, total
        self._cfg = self._configured()
        self._admin = AdminClient({**client.common(self._cfg, "demo"), "log_level": 0})
        self._stop = threading.Event()
        self._fed: FeedResult | None = None
        self._failed: BaseException | None = None
        self._began = self._told = time.monotonic()
        self._feeder = threading.Thread(target=self._feed, name="feed", daemon=True)

    def play(self) -> int:
        """The exit code."""
        title("rows flow, the tree grows")  # 2
        say(f"feeding {RATE:,.0f} rows/s, shuffled, scaled to 0-1, epsilon {EPSILON}")
        self._began = self._told = time.monotonic()
        self._feeder.start()
        try:
            self._grow()
            proved = self._kill()  # 3
            self._return()  # 4
            while self._feeder.is_alive():
                self._step()
            self._check_feed()
            say("everything is fed; waiting until every row is applied")
            wait_applied(self._cfg, self._system.urls, sys.stdout)
            self._line()
            return self._verdict(proved)  # 5
        finally:
            self._stop.set()
            self._feeder.join(30)

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

    def _feed(self) -> None:
        choice = Choice(ids="id", payload=("x", "y", "image"), scale=1 / 255)
        options = FeedOptions(self._data, choice, rate=RATE)
        try:
            self._fed = feed.run(options, self._cfg, io.StringIO(), self._stop)
        except BaseException as error:
            self._failed = error

    def _check_feed(self) -> None:
        if self._failed is not None:
            raise NotReady(f"feeding failed: {self._failed}") from self._failed

    def _applied(self) -> int:
        """Rows that are in a store."""
        return sum(int(s["rows"]) for s in self._system.shards().values())

    def _waiting(self) -> int:
        """Messages in the inputs of the shards that are not done; a dead worker's, too."""
        inputs = [i for s in self._system.shards().values() for i in s["inputs"]]
        done = {Source(i["topic"], i["partition"]): max(i["stored"], i["routed"]) for i in inputs}
        # the ends as the broker knows them: the last word of a dead worker is old
        ends = bounds(self._admin, done)
        return sum(max(0, end - 1 - done[source]) for source, (_, end) in ends.items())

    def _step(self) -> None:
        """A moment later; a line if it is time for one."""
        time.sleep(0.1)
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
        say(f"{self._told - self._began:5.1f} s  {self._applied():>7,} of {self._total:,} rows "
            f"applied, {self._waiting()} messages wait; {levels}")  # fmt: skip

    def _grow(self) -> None:
        """Until N0 has children and the time for the kill has come."""
        children: list[Any] = []
        while self._feeder.is_alive():
            self._step()
            if not children:
                children = (self._system.ask("/v1/nodes?level=1") or {"nodes": []})["nodes"]
                if children:
                    root = self._system.ask("/v1/nodes/N0")
                    bound = (root or {}).get("miss_bound") or {"p": 1.0, "confidence": 0.0}
                    say(f"N0 has found its cover: {len(children)} prototypes, each farther than "
                        f"{EPSILON} from the others; at most {bound['p']:.1%} of such rows lie "
                        f"farther from all of them ({bound['confidence']:.0%} sure)")  # fmt: skip
            elif self._applied() >= KILL_AT * self._total:
                return
        self._check_feed()

    def _kill(self) -> bool:
        """kill -9 of a worker; False if too few rows were still to be applied."""
        title(f"kill -9 of worker-{VICTIM}")
        pid = self._system.pids()[VICTIM]
        applied, waiting = self._applied(), self._waiting()
        if pid is None:
            raise NotReady(f"worker-{VICTIM} does not run:\n{self._system.said()}")
        end(pid)
        self._dead = pid
        # what the views said is a moment old: what was not fed by now cannot have been applied
        fed = RATE * (time.monotonic() - self._began) + feed.PIECE_ROWS
        left = max(0.0, 1 - max(fed, applied) / self._total)
        say(f"pid {pid} killed: {applied:,} rows were applied, {waiting} messages waited in the "
            f"inputs, and {left:.0%} of the rows were not even fed")  # fmt: skip
        if left >= LEFT_AT_LEAST:
            return True
        say(f"this run PROVES NOTHING: fewer than {LEFT_AT_LEAST:.0%} were surely left")
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

    def _verdict(self, proved: bool) -> int:
        title("verify: the ingest log against what the stores hold, row by row")
        command = [sys.executable, "-m", "pctstream", "verify", "--json"]
        command += ["--data-dir", str(self._system.folder)]
        env = {**self._system.env, "PCT_BROKER": self._cfg.kafka.broker}
        checking = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        started = told = time.monotonic()
        while checking.poll() is None:
            time.sleep(0.1)
            if (now := time.monotonic()) - told >= 2 * LINE_S:
                told = now
                say(f"comparing ... ({now - started:.0f} s)")
        said = json.loads((checking.stdout and checking.stdout.read()) or "{}")
        say(json.dumps(said))
        tree = self._system.ask("/v1/tree") or {"rows": -1}
        whole = said.get("ingested") == self._total == tree["rows"]
        self._summary()
        if checking.returncode == 0 and not whole:
            say(f"{self._total:,} rows were fed, the tree says {tree['rows']:,}: NOT right")
        good = proved and whole and checking.returncode == 0
        say(f"lost {said.get('lost')}, duplicated {said.get('duplicated')}: "
            + ("all is well" if good else "this run is NOT a success"))  # fmt: skip
        return int(checking.returncode) or (0 if good else 1)

    def _summary(self) -> None:
        title("the tree")
        nodes = (self._system.ask("/v1/nodes?level=1") or {"nodes": []})["nodes"]
        most = max((n["rows"] for n in nodes), default=1) or 1
        for node in nodes:
            bar = "#" * round(40 * node["rows"] / most)
            say(f"{node['name']:>6}  shard {node['shard']}  {node['rows']:>7,} rows  {bar}")
        root = self._system.ask("/v1/nodes/N0") or {}
        if entropy := root.get("entropy"):
            say(f"entropy of N0's cells: {entropy['before']:.3f} before k-means, "
                f"{entropy['after']:.3f} after (1 = all equally likely)")  # fmt: skip


def stay(system: Running) -> None:
    """On a terminal there is somebody who may want to look around."""
    page = f"{system.urls[0]}/docs, and the tree: {system.urls[0]}/v1/tree"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        say(f"a page to look at while a system runs (`make up` starts one): {page}")
        return
    say(f"a page to look at: {page}")
    say(f"everything runs on for {STAY_S:.0f} s; Enter ends it now")
    for left in range(int(STAY_S), 0, -5):
        if select.select([sys.stdin], [], [], 5.0)[0]:
            return
        say(f"... {left - 5} s")


def title(text: str) -> None:
    print(f"\n== {text}")


def say(text: str) -> None:
    print(text)


if __name__ == "__main__":
    main()
