"""What many child pipes cost: a tree whose N0 opens 64 of them, then one with 500, then the cap.

The rows lie around that many centres, far apart, in blocks in which every centre comes up equally
often, so N0's cover has one prototype for each. Per tree, on a broker of its own:

    grown        from the split record (its broker time) until a worker reads the first of its pipes,
                 until the first row is applied in any child, and in every child
    memory       resident, of each worker, ready before the first row and at rest with all pipes
    idle         at rest, over --idle seconds: CPU of the broker and of each worker in cores, records
                 on `.state` per report window
    streaming    the same rows again: rows/s until they are applied
    group        whether its generation stayed as it was, and every worker ready, throughout
    views        the slowest of three calls each, for /v1/portions, /v1/nodes and /v1/tree

The cap: `limits.topics` below the cover. N0 must end as a sink, say so in one line on stderr, and
/v1/nodes/N0 must name the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from contest import answers, applied, until

from pctstream import config, topics
from pctstream.broker import LocalBroker
from pctstream.config import to_env
from pctstream.core import given
from pctstream.core.block import ARROW, Source
from pctstream.pipes import client
from pctstream.pipes.bounds import bounds

DIMENSION, BLOCK_ROWS, SHARDS, WORKERS, GAP = 16, 512, 4, 2, 3000
HEADER = [("content-type", ARROW.encode())]
VIEWS = ("/v1/portions", "/v1/nodes", "/v1/tree", "/v1/nodes/N0", "/v1/levels/1/cover")
POLL_S = 0.1


def rows_around(pipes: int, rows: int) -> np.ndarray:
    """f32[rows, d]: every run of ``pipes`` rows has one row of each centre, shuffled."""
    rng = np.random.default_rng(pipes)
    centres = rng.normal(0, 20, (pipes, DIMENSION))
    which = np.concatenate([rng.permutation(pipes) for _ in range(-(-rows // pipes))])[:rows]
    return (centres[which] + rng.normal(0, 0.4, (rows, DIMENSION))).astype(np.float32)


@dataclass
class Watch:
    """Asks every worker over and over whether it is ready, and of which generation."""

    urls: list[str]
    generations: set[tuple[str, int]] = field(default_factory=set)
    unready: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        http = httpx.Client(timeout=10.0)
        while not self._over.wait(0.25):
            for url in self.urls:
                start = time.monotonic()
                try:
                    self.generations.add((url, http.get(f"{url}/livez").json()["generation"]))
                    answer = http.get(f"{url}/readyz")
                    if answer.status_code != 200:
                        self.unready.append(str(answer.json().get("detail", answer.text))[:200])
                except httpx.HTTPError as error:
                    self.unready.append(repr(error))
                self.slowest_s = max(self.slowest_s, time.monotonic() - start)

    def stop(self) -> None:
        self._over.set()
        self._thread.join(25.0)


class Grown:
    """A broker, two workers and one tree; all end with it."""

    def __init__(self, pipes: int, **changed: object) -> None:
        self.pipes = pipes
        self._folder = Path(tempfile.mkdtemp(prefix="pct-pipes-"))
        self._broker = LocalBroker(self._folder / "broker", heap_mb=1024)
        self._changed = changed
        self._workers: list[subprocess.Popen[bytes]] = []
        self.http = httpx.Client(timeout=30.0)

    def __enter__(self) -> Grown:
        bootstrap = self._broker.start()
        chosen: dict[str, object] = {
            "tree.name": "many", "tree.epsilon": 10.0, "tree.gap": GAP, "shards.count": SHARDS,
            "kafka.broker": bootstrap, "store.dir": str(self._folder / "data"), **self._changed,
        }  # fmt: skip
        self.cfg = config.load(None, {}, chosen)
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        topics.apply(self._admin, topics.static_specs(self.cfg))
        (self._folder / "data").mkdir()
        first = self._broker.port + 2
        self.urls = [f"http://127.0.0.1:{first + i}" for i in range(WORKERS)]
        for i in range(WORKERS):
            env = os.environ | to_env(self.cfg) | {"PCT_HTTP__BIND": f"127.0.0.1:{first + i}"}
            command = [sys.executable, "-m", "pctstream", "worker", "--name", f"worker-{i}"]
            with (self._folder / f"worker-{i}.log").open("ab") as log:
                self._workers.append(
                    subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
                )
        self.until("the workers are ready", lambda: all(answers(self.http, f"{u}/readyz")
                                                        for u in self.urls))  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.wait(20)
        self._broker.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def until(self, what: str, condition: Any, poll_s: float = POLL_S) -> None:
        def held() -> bool:
            if not all(w.poll() is None for w in self._workers):
                raise SystemExit(f"a worker ended by itself: {self.stderr()}")
            return bool(condition())

        until(what, held, poll_s)

    def stderr(self) -> str:
        return "".join(p.read_text() for p in sorted(self._folder.glob("worker-*.log")))

    def get(self, path: str, url: str = "") -> Any:
        return self.http.get(f"{url or self.urls[0]}{path}").raise_for_status().json()

    def feed(self, rows: np.ndarray) -> None:
        producer = Producer(client.producer(self.cfg, "feed") | {"log_level": 0})
        for i, at in enumerate(range(0, len(rows), BLOCK_ROWS)):
            value = given.encode(given.batch(rows[at : at + BLOCK_ROWS]))
            producer.produce(f"{self.cfg.tree.name}.P0", value=value, partition=i % SHARDS,
                             headers=HEADER)  # fmt: skip
        if producer.flush(60.0):
            raise SystemExit("the feed failed")

    def applied(self) -> int:
        return sum(applied(self.http, url) for url in self.urls)

    def stored(self) -> list[int]:
        """Of every child pipe that is read: the offset up to which its rows are applied."""
        shards = self.get("/v1/shards")["shards"]
        return [i["stored"] for s in shards for i in s["inputs"] if i["node"] != "N0"]

    def resident(self) -> list[int]:
        """MB of each worker."""
        return [resident_mb(worker.pid) for worker in self._workers]

    def idle(self, seconds: float) -> dict[str, Any]:
        pids = [self._broker.pid, *(w.pid for w in self._workers)]
        before, told = [cpu_s(pid) for pid in pids], self._told()
        start = time.monotonic()
        time.sleep(seconds)
        span = time.monotonic() - start
        broker, *workers = [(cpu_s(p) - b) / span for p, b in zip(pids, before, strict=True)]
        return {
            "broker_cores": round(broker, 3),
            "worker_cores": [round(w, 3) for w in workers],
            "broker_mb": resident_mb(self._broker.pid),
            "state_records_per_window": round(
                (self._told() - told) / span * self.cfg.drift.window_s, 1
            ),
        }

    def _told(self) -> int:
        topic = f"{self.cfg.tree.name}.state"
        sources = [Source(topic, p) for p in range(SHARDS)]
        return sum(end for _, end in bounds(self._admin, sources).values())

    def views(self) -> dict[str, float]:
        """Milliseconds, the slowest of three."""
        out = {}
        for view in VIEWS:
            times = []
            for _ in range(3):
                start = time.perf_counter()
                self.get(view)
                times.append(1e3 * (time.perf_counter() - start))
            out[view] = round(max(times), 1)
        return out


def cpu_s(pid: int) -> float:
    """User and system seconds of a process so far."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def measure(pipes: int, idle_s: float) -> dict[str, Any]:
    """One tree with so many pipes."""
    rows = rows_around(pipes, max(24_576, 96 * pipes))
    with Grown(pipes) as tree:
        before = tree.resident()
        watch = Watch(tree.urls)
        tree.feed(rows)
        seen: dict[str, float] = {}

        def every() -> bool:
            now, stored = time.time(), tree.stored()
            if stored:
                seen.setdefault("read", now)
            if any(s >= 0 for s in stored):
                seen.setdefault("any", now)
            return len(stored) == pipes and all(s >= 0 for s in stored)

        tree.until(f"rows are in all of {pipes} pipes", every)
        seen["every"] = time.time()
        tree.until("all rows are applied", lambda: tree.applied() >= len(rows))
        root = tree.get("/v1/nodes/N0")
        split = next(e["time"] for e in root["history"] if e["mode"] == 2)
        covered = next(e["time"] for e in root["history"] if e["mode"] == 1)
        tree.until("at rest", lambda: tree.get("/v1/nodes/N0")["held"] == 0)
        time.sleep(2 * tree.cfg.drift.window_s)
        rest = tree.idle(idle_s)
        start = time.monotonic()
        tree.feed(rows)
        tree.until("the second half is applied", lambda: tree.applied() >= 2 * len(rows))
        rate = len(rows) / (time.monotonic() - start)
        after, views = tree.resident(), tree.views()
        watch.stop()
        return {
            "pipes": pipes,
            "topics_s": round(split - covered, 2),
            "first_s": {k: round(t - split, 2) for k, t in seen.items()},
            "memory_mb": {"before": before, "after": after},
            "idle": rest,
            "rows_per_second": round(rate),
            "generations": len(watch.generations) - len(tree.urls),
            "unready": sorted(set(watch.unready)),
            "readyz_slowest_s": round(watch.slowest_s, 2),
            "views_ms": views,
        }


def cap(pipes: int) -> dict[str, Any]:
    """A tree that may have fewer topics than its cover has prototypes."""
    rows = rows_around(pipes, 24_576)
    with Grown(pipes, **{"limits.topics": pipes // 2}) as tree:
        tree.feed(rows)
        tree.until("N0 is there", lambda: answers(tree.http, f"{tree.urls[0]}/v1/nodes/N0"))
        tree.until("N0 has ended", lambda: tree.get("/v1/nodes/N0")["state"] == "sink")
        root = tree.get("/v1/nodes/N0")
        told = [line for line in tree.stderr().splitlines() if "sink" in line]
        ready = all(answers(tree.http, f"{u}/readyz") for u in tree.urls)
        tree.until("its rows are stored", lambda: tree.get("/v1/tree")["rows"] == len(rows))
        return {"state": root["state"], "limit": root["limit"], "told": told, "ready": ready}


def main() -> int:
    """Exit code 1 if the group was rebalanced, a worker was not ready, or the cap is not told."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pipes", type=int, nargs="*", default=[64, 500])
    parser.add_argument("--idle", type=float, default=10.0, help="seconds at rest")
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    say = sys.stderr if asked.json else sys.stdout
    grown = []
    for pipes in asked.pipes:
        grown.append(measure(pipes, asked.idle))
        print(json.dumps(grown[-1]), file=say, flush=True)
    capped = cap(64)
    print(json.dumps(capped), file=say, flush=True)
    if asked.json:
        print(json.dumps({"grown": grown, "cap": capped}))
    steady = all(not g["generations"] and not g["unready"] for g in grown)
    return 0 if steady and capped["limit"] == "topics" and len(capped["told"]) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
