"""What a worker takes of memory: a million rows, a broker that stands still, producers that overrun it.

A tree of 48 portions that grow, on a broker of its own; rows of a Gaussian mixture around 48 centres,
in blocks of 512 where they fit. Resident memory of every worker is looked at ten times a second. Per
number of workers:

    million      1,000,000 rows as fast as they are taken: resident when ready, at most, and at rest
    stopped      rows keep coming; the broker stands still (SIGSTOP) for --stopped seconds: resident
                 at most before it stopped, while it stood still, and until all was caught up
    threefold    producers at three times the rate of the million, for --threefold seconds: resident
                 at most in every quarter of that time, the greatest lag, and how long catching up took

No worker may end, every row that a producer was told is there must be applied, none twice. The bar:
resident at most --most MB and the configured caches (store.cache_bytes).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from contest import answers, applied
from figures import Figures
from plain import ARROW_HEADER

from pctstream import config, topics
from pctstream.broker import LocalBroker
from pctstream.config import to_env
from pctstream.core import given
from pctstream.pipes import client

PIPES, SHARDS = 48, 8
DIFFERENT, DIFFERENT_ROWS = 200, 100_000
"""Blocks and rows at least, then they come again a little further along."""
STEP = 1e-5
"""So much: where the same rows come again and again, what is nearest is a crowd of equals."""
NICE = 10
"""Of the producer: it stands for other machines, and here it is to have what the system leaves."""
FIRST_ROWS = 24_576
REST_S = 10.0
WAIT_S = 1800.0
MB = 1_000_000


def block_rows(dimension: int, most: int = 512) -> int:
    """So many, or as many as a message holds."""
    return min(most, 600_000 // (4 * dimension))


def blocks_of(dimension: int, size: int) -> list[tuple[bytes, int]]:
    """Different blocks of rows around 48 centres that lie far apart, and where in each its rows begin."""
    rng = np.random.default_rng(7)
    centres = rng.normal(0, 6, (PIPES, dimension))
    blocks = []
    for _ in range(max(DIFFERENT, DIFFERENT_ROWS // size)):
        which = rng.integers(0, PIPES, size)
        rows = (centres[which] + rng.normal(0, 0.4, (len(which), dimension))).astype(np.float32)
        block = given.encode(given.batch(rows))
        blocks.append((block, block.index(rows.tobytes())))
    return blocks


def moved(block: bytes, at: int, shape: tuple[int, int], by: float) -> bytes:
    """The block with rows that were not sent before: a little further along the first axis."""
    data = bytearray(block)
    np.frombuffer(data, np.float32, shape[0] * shape[1], at).reshape(shape)[:, 0] += by
    return bytes(data)


def produce(
    settings: dict[str, Any], topic: str, dimension: int, size: int, wanted: Any, sent: Any,
    acked: Any,
) -> None:  # fmt: skip
    """A producer process: as many rows as ``wanted`` says by now; ``sent`` and ``acked`` count them."""
    os.nice(NICE)
    producer = Producer(settings | {"queue.buffering.max.kbytes": 65536})
    blocks = blocks_of(dimension, size)

    def done(error: Any, _: Any) -> None:
        if error is None:
            acked.value += size

    while True:
        with wanted.get_lock():
            number, more = sent.value // size, sent.value < wanted.value
            sent.value += size * more
        if not more:
            producer.poll(0.01)
            continue
        again, which = divmod(number, len(blocks))
        block = moved(*blocks[which], (size, dimension), again * STEP)
        while True:
            try:
                producer.produce(topic, value=block, partition=number % SHARDS,
                                 headers=ARROW_HEADER, on_delivery=done)  # fmt: skip
                producer.poll(0)
                break
            except BufferError:
                producer.poll(0.01)


def resident(pid: int) -> int:
    """Bytes of memory that the process holds."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


class Sampler(threading.Thread):
    """Resident memory of the largest of some processes, over time."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__(daemon=True)
        self._pids = pids
        self.seen: list[tuple[float, int]] = []

    def run(self) -> None:
        while True:
            try:
                most = max(resident(pid) for pid in self._pids)
            except (OSError, IndexError):
                return
            self.seen.append((time.monotonic(), most))
            time.sleep(0.1)

    def most(self, since: float, until: float | None = None) -> int:
        """Megabytes at most, in that time."""
        inside = [m for t, m in self.seen if t >= since and (until is None or t < until)]
        return round(max(inside) / MB)

    def now(self) -> int:
        return round(self.seen[-1][1] / MB)


class Run:
    """A broker, workers and a producer; all of them end with it."""

    def __init__(
        self, workers: int, dimension: int, extra: dict[str, Any], block: int = 512
    ) -> None:
        self._block = block_rows(dimension, block)
        self._folder = Path(tempfile.mkdtemp(prefix="pct-memory-"))
        self._broker = LocalBroker(self._folder / "broker", heap_mb=1024)
        self._workers, self._dimension, self._extra = workers, dimension, extra
        self._processes: list[subprocess.Popen[bytes]] = []
        self._http = httpx.Client(timeout=30.0)

    def __enter__(self) -> Run:
        bootstrap = self._broker.start()
        data = self._folder / "data"
        data.mkdir()
        cfg = self.cfg = config.load(None, {}, {
            "tree.name": "memory", "tree.epsilon": 20.0 * (self._dimension / 128) ** 0.5,
            "tree.gap": 3000, "shards.count": SHARDS, "kafka.broker": bootstrap,
            "store.dir": str(data), **self._extra,
        })  # fmt: skip
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        topics.apply(self.admin, topics.static_specs(cfg))
        first = self._broker.port + 2
        self.urls = [f"http://127.0.0.1:{first + i}" for i in range(self._workers)]
        self._processes = [self._start_worker(i) for i in range(self._workers)]
        self._start_producer()
        self._ready()
        self.sampler = Sampler([p.pid for p in self._processes])
        self.sampler.start()
        self.until("looked at", lambda: self.sampler.seen)
        return self

    def _start_worker(self, i: int) -> subprocess.Popen[bytes]:
        env = os.environ | to_env(self.cfg) | {"PCT_HTTP__BIND": self.urls[i][7:]}
        log = (self._folder / f"worker-{i}.log").open("ab")
        command = [sys.executable, "-m", "pctstream", "worker", "--name", f"worker-{i}"]
        return subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)

    def _ready(self) -> None:
        self.until("ready", lambda: all(answers(self._http, f"{u}/readyz") for u in self.urls))

    def stop(self, i: int) -> None:
        """Worker i ends; whoever asks for this has it started again."""
        self._processes[i].terminate()
        self._processes[i].wait(30)

    def again(self, i: int) -> None:
        """Worker i starts again; it may not be ready yet."""
        self._processes[i] = self._start_worker(i)

    def _start_producer(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._wanted, self._sent, self._acked = (spawn.Value("q", 0) for _ in range(3))
        settings = client.producer(self.cfg, "feed") | {"log_level": 0}
        topic = f"{self.cfg.tree.name}.P0"
        counts = self._wanted, self._sent, self._acked
        handed = settings, topic, self._dimension, self._block, *counts
        self._producer = spawn.Process(target=produce, args=handed, daemon=True)
        self._producer.start()

    def __exit__(self, *_: object) -> None:
        self._producer.kill()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._broker.kill()
        for log in sorted(self._folder.glob("worker-*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if line.startswith("pctstream "):
                    print(line, file=sys.stderr)
        shutil.rmtree(self._folder, ignore_errors=True)

    def ask(self, rows: int) -> int:
        """So many rows more, in whole blocks; how many that makes."""
        whole = -(-rows // self._block) * self._block
        self._wanted.value += whole
        return whole

    @property
    def wanted(self) -> int:
        """Rows asked for so far."""
        return int(self._wanted.value)

    @property
    def rows(self) -> int:
        return sum(applied(self._http, url) for url in self.urls)

    @property
    def lag(self) -> int:
        return int(self._acked.value) - self.rows

    def metric(self, url: str, name: str) -> float:
        """A number that a worker tells."""
        text = self._http.get(f"{url}/metrics").text
        return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(name)))

    def through(self) -> None:
        """Until every row that was asked for is applied."""
        self.until("all applied", lambda: self.rows >= self._wanted.value)
        if self.rows != self._wanted.value:
            raise SystemExit(f"{self.rows} rows applied of {self._wanted.value}")

    def until(self, what: str, condition: Any) -> Any:
        """What the condition says as soon as that is true."""
        deadline = time.monotonic() + WAIT_S
        while not (said := condition()):
            if ended := [p.args for p in self._processes if p.poll() is not None]:
                raise SystemExit(f"ended by itself: {ended}")
            if time.monotonic() > deadline:
                raise SystemExit(f"not within {WAIT_S:.0f} s: {what}; {self.known()}")
            time.sleep(0.2)
        return said

    def known(self) -> dict[str, Any]:
        """For whoever wonders what it waits for."""
        said = {"wanted": self.wanted, "acked": self._acked.value, "counted": self.rows}
        return said | {"tree": httpx.get(f"{self.urls[0]}/v1/tree", timeout=30.0).json()}

    # what is measured

    def million(self, rows: int) -> dict[str, Any]:
        ready = self.sampler.now()
        self.ask(FIRST_ROWS)
        self.through()
        start = time.monotonic()
        self.ask(rows)
        self.through()
        took = time.monotonic() - start
        time.sleep(REST_S)
        self.rate = rows / took
        return {"ready": ready, "most": self.sampler.most(start), "rest": self.sampler.now(),
                "rows_per_second": round(self.rate)}  # fmt: skip

    def stopped(self, seconds: float) -> dict[str, Any]:
        start = time.monotonic()
        self.ask(int(self.rate * 10))
        time.sleep(4.0)
        at = time.monotonic()
        self._broker.pause()
        try:
            time.sleep(seconds)
        finally:
            self._broker.resume()
        again = time.monotonic()
        self.through()
        return {"before": self.sampler.most(start, at), "stopped": self.sampler.most(at, again),
                "after": self.sampler.most(again),
                "caught_up_s": round(time.monotonic() - again, 1)}  # fmt: skip

    def threefold(self, seconds: float) -> dict[str, Any]:
        start = time.monotonic()
        given_before = int(self._wanted.value)
        lag = 0
        while (now := time.monotonic() - start) < seconds:
            due = int(3 * self.rate * now) - (int(self._wanted.value) - given_before)
            if due > 0:
                self.ask(due)
            lag = max(lag, self.lag)
            time.sleep(0.1)
        produced = int(self._acked.value) - given_before
        end = time.monotonic()
        with self._wanted.get_lock():
            # what the producer could not put there in time it need not put there at all
            self._wanted.value = self._sent.value
        self.until("asked is acked", lambda: self._acked.value >= self._wanted.value)
        self.through()
        quarters = [self.sampler.most(start + seconds * i / 4, start + seconds * (i + 1) / 4)
                    for i in range(4)]  # fmt: skip
        return {"produced_per_second": round(produced / seconds), "quarters": quarters,
                "restarts": sum(self.metric(u, "pct_node_restarts_total") for u in self.urls),
                "lag": lag, "caught_up_s": round(time.monotonic() - end, 1),
                "catching_up": self.sampler.most(end)}  # fmt: skip


def main() -> int:
    """Exit code 1 if a worker takes more than --most MB and its caches."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--stopped", type=float, default=20.0, help="seconds; 0: not measured")
    parser.add_argument("--threefold", type=float, default=120.0, help="seconds; 0: not measured")
    parser.add_argument("--most", type=float, default=600.0, help="MB besides the caches")
    parser.add_argument("--set", nargs="*", default=[], metavar="SECTION.KEY=NUMBER")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    extra = {
        k: float(v) if "." in v else int(v) for k, _, v in (s.partition("=") for s in asked.set)
    }
    most, found, figures = 0, [], Figures("memory", "confluent-kafka", "rocksdict")
    for workers in asked.workers:
        with Run(workers, asked.dimension, extra) as run:
            result: dict[str, Any] = {"workers": workers, "million": run.million(asked.rows)}
            print(json.dumps(result), flush=True)
            if asked.stopped:
                result["stopped"] = run.stopped(asked.stopped)
                print(json.dumps(result["stopped"]), flush=True)
            if asked.threefold:
                result["threefold"] = run.threefold(asked.threefold)
                print(json.dumps(result["threefold"]), flush=True)
            found.append(result)
            most = max(most, run.sampler.most(0.0))
            caches = run.cfg.store.cache_bytes / MB
    print(f"at most {most} MB resident (bar: {asked.most:.0f} MB and caches of {caches:.0f} MB)")
    figures.most("MB resident of a worker at most", most, asked.most + caches)
    return figures.keep(found)


if __name__ == "__main__":
    sys.exit(main())
