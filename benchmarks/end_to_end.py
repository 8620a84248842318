"""How much of a plain Kafka loop's rate the whole system keeps.

Both move the same rows through the same two hops of one broker with the same client settings (those
of pctstream.pipes.client): the ingest topic is read, the rows of its blocks are dealt out to 48
topics of one partition, and those are read to their ends.

    system   2 workers, 4 shards: routed by the cover of N0, applied once, stored in RocksDB; with
             --levels above 1 the portions also find covers and grow while they are measured
    floor-1  one plain loop: row i goes to topic i mod 48; rows that arrive are counted, no more
    floor-2  two such loops, each with half of the partitions and topics

A run: everybody is stopped (SIGSTOP), the ingest topic gets its blocks, the clock starts as the one
whose turn it is goes on (SIGCONT), and ends when all rows of the run are stored (the workers' own
counter, asked every 100 ms) or have arrived (polled every 5 ms). Then the log is read again to count
the bytes of each hop; the medians must not differ by more than 2 %. Runs alternate, so that what
else the machine does hits everybody; the ratio is that of the medians, against the better floor.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pctstream import config, topics
from pctstream.broker import LocalBroker
from pctstream.config import Config, to_env
from pctstream.core import given
from pctstream.core.block import ARROW, Block, Source, encode, matrix, read_batch
from pctstream.pipes import client
from pctstream.pipes.bounds import bounds

PIPES, DIMENSION, BLOCK_ROWS, SHARDS, WORKERS = 48, 128, 512, 4, 2
ROW_BYTES = 4 * DIMENSION
PIPE_ROW_BYTES = ROW_BYTES + 20
"""A row in a pipe: the vector, its place in the ingest log (offset 8, index 4), its time (8)."""
DEAL_BLOCKS = 32
"""Blocks that a plain loop deals out together: as many rows as limits.unit_rows."""
GROW_ROWS = 24_576
WAIT_S = 120.0
UNEQUAL = 0.02
QUIET = {"log_level": 0}
QUEUE_BLOCKS = 256
TIMES = pa.array(np.zeros(BLOCK_ROWS))
ARROW_HEADER = [("content-type", ARROW.encode())]


def settings(broker: str, name: str, folder: Path, levels: int = 1) -> Config:
    """One tree whose cover has one prototype for each centre of the mixture."""
    chosen: dict[str, object] = {
        "tree.name": name, "tree.epsilon": 20.0, "tree.gap": 3000, "tree.max_level": levels,
        "shards.count": SHARDS,
        "kafka.broker": broker, "kafka.session_timeout_s": 90.0, "store.dir": str(folder),
    }  # fmt: skip
    return config.load(None, {}, chosen)


def mixture_blocks(rows: int) -> list[bytes]:
    """Arrow blocks of rows around 48 centres that lie far apart, shuffled."""
    rng = np.random.default_rng(7)
    centres = rng.normal(0, 6, (PIPES, DIMENSION))
    blocks = []
    for _ in range(rows // BLOCK_ROWS):
        which = rng.integers(0, PIPES, BLOCK_ROWS)
        noise = rng.normal(0, 0.4, (BLOCK_ROWS, DIMENSION))
        blocks.append(given.encode(given.batch((centres[which] + noise).astype(np.float32))))
    return blocks


def bare(value: bytes) -> np.ndarray:
    """The vectors of an ingest block, without parsing: they lie before the 8 bytes that end it."""
    start = len(value) - 8 - BLOCK_ROWS * ROW_BYTES
    flat = np.frombuffer(value, np.float32, BLOCK_ROWS * DIMENSION, start)
    return flat.reshape(BLOCK_ROWS, DIMENSION)


def pipe_head() -> bytes:
    """What a block in a pipe has besides its rows (Arrow's schema and lengths)."""
    none = np.zeros(BLOCK_ROWS, np.int32)
    block = Block((Source("floor-1.P0", 0),), none, np.zeros(BLOCK_ROWS, np.int64), none,
                  np.zeros((BLOCK_ROWS, DIMENSION), np.float32), times=TIMES)  # fmt: skip
    return bytes(len(encode(block)) - BLOCK_ROWS * PIPE_ROW_BYTES)


def plain_loop(cfg: Config, share: int, shares: int, arrived: Any) -> None:
    """Read, deal out, read again; for ever. ``arrived`` counts the rows at the other end."""
    name, head = cfg.tree.name, pipe_head()
    ingest, deal = f"{name}.P0", list(range(PIPES))
    producer = Producer(client.producer(cfg, f"loop-{share}"))
    consumer = Consumer(client.consumer(cfg, f"loop-{share}"))
    mine = [TopicPartition(ingest, p, 0) for p in range(SHARDS) if p % shares == share]
    mine += [TopicPartition(f"{ingest}.{t}", 0, 0) for t in deal if t % shares == share]
    consumer.incremental_assign(mine)
    waiting: list[np.ndarray] = []
    places: list[np.ndarray] = []
    times: list[np.ndarray] = []
    index = np.arange(BLOCK_ROWS, dtype=np.int32)

    def acked(error: Any, message: Any) -> None:
        if error is not None or message.offset() is None:
            os._exit(1)

    def send() -> None:
        columns = [np.concatenate(c) for c in (waiting, places, times)]
        columns.append(np.tile(index, len(waiting)))
        for collected in (waiting, places, times):
            collected.clear()
        for t in deal:
            value = b"".join((head, *(c[t::PIPES].tobytes() for c in columns)))
            while True:
                try:
                    producer.produce(f"{ingest}.{t}", value=value, partition=0,
                                     headers=ARROW_HEADER, on_delivery=acked)  # fmt: skip
                    break
                except BufferError:
                    producer.poll(0.005)

    while True:
        messages = consumer.consume(64, 0.01)
        came = 0
        for message in messages:
            if (error := message.error()) is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise SystemExit(f"{message.topic()}: {error}")
                continue
            value = message.value()
            if message.topic() == ingest:
                waiting.append(bare(value))
                places.append(np.full(BLOCK_ROWS, message.offset(), np.int64))
                times.append(np.full(BLOCK_ROWS, message.timestamp()[1] / 1000.0))
            else:
                came += (len(value) - len(head)) // PIPE_ROW_BYTES
            if len(waiting) == DEAL_BLOCKS:
                send()
        if waiting and not messages:
            send()
        producer.poll(0)
        if came:
            with arrived.get_lock():
                arrived.value += came


@dataclass
class Runner:
    """One contender: its processes, and how to see how many rows are through."""

    cfg: Config
    pids: list[int]
    done: Callable[[], int]
    poll_s: float
    rates: list[float] = field(default_factory=list)
    hops: list[tuple[int, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.cfg.tree.name

    def signal(self, number: signal.Signals) -> None:
        for pid in self.pids:
            os.kill(pid, number)

    def sources(self) -> tuple[list[Source], list[Source]]:
        ingest = f"{self.name}.P0"
        return ([Source(ingest, p) for p in range(SHARDS)],
                [Source(f"{ingest}.{t}", 0) for t in range(PIPES)])  # fmt: skip


class Bench:
    """The broker and the contenders; all of them end with it."""

    def __init__(self, folder: Path, rows: int) -> None:
        self._folder = folder
        self._blocks = mixture_blocks(rows)
        self.rows = len(self._blocks) * BLOCK_ROWS
        assert np.array_equal(bare(self._blocks[0]), matrix(read_batch(self._blocks[0])["vector"]))
        self._processes: list[Any] = []
        self._broker = LocalBroker(folder / "broker", heap_mb=1024)

    def __enter__(self) -> Bench:
        self._bootstrap = self._broker.start()
        self._admin = AdminClient({"bootstrap.servers": self._bootstrap} | QUIET)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if alive(process):
                os.kill(process.pid, signal.SIGCONT)
                process.terminate()
        for process in self._processes:
            process.join(15) if hasattr(process, "join") else process.wait(15)
        self._broker.stop()

    def floor(self, loops: int) -> Runner:
        """A plain loop in so many processes."""
        cfg = settings(self._bootstrap, f"floor-{loops}", self._folder)
        specs = topics.static_specs(cfg)
        specs += [topics.pipe_spec(cfg, f"{cfg.tree.name}.P0.{t}") for t in range(PIPES)]
        topics.apply(self._admin, specs)
        spawn = multiprocessing.get_context("spawn")
        arrived = spawn.Value("q", 0)
        made = [
            spawn.Process(target=plain_loop, args=(cfg, i, loops, arrived), daemon=True)
            for i in range(loops)
        ]
        for process in made:
            process.start()
        self._processes += made
        pids = [int(process.pid or 0) for process in made]
        runner = Runner(cfg, pids, lambda: int(arrived.value), 0.005)
        self.feed(cfg, GROW_ROWS)
        self.wait(runner, GROW_ROWS)
        return runner

    def system(self, levels: int) -> Runner:
        """Workers whose tree has grown its 48 portions."""
        cfg = settings(self._bootstrap, "system", self._folder / "data", levels)
        topics.apply(self._admin, topics.static_specs(cfg))
        self._folder.joinpath("data").mkdir()
        first = int(self._bootstrap.rpartition(":")[2]) + 2
        urls, pids = [], []
        for i in range(WORKERS):
            env = os.environ | to_env(cfg) | {"PCT_HTTP__BIND": f"127.0.0.1:{first + i}"}
            log = (self._folder / f"worker-{i}.log").open("ab")
            command = [sys.executable, "-m", "pctstream", "worker", "--name", f"worker-{i}"]
            process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
            self._processes.append(process)
            urls.append(f"http://127.0.0.1:{first + i}")
            pids.append(process.pid)
        http = httpx.Client(timeout=10.0)
        until("the workers are ready", lambda: all(answers(http, f"{u}/readyz") for u in urls))
        runner = Runner(cfg, pids, lambda: sum(applied(http, url) for url in urls), 0.1)
        self.feed(cfg, GROW_ROWS)
        self.wait(runner, GROW_ROWS)
        levels = http.get(f"{urls[0]}/v1/tree").json()["levels"]
        assert levels[1]["nodes"] == PIPES, f"the cover has not {PIPES} prototypes: {levels}"
        return runner

    def feed(self, cfg: Config, rows: int) -> None:
        """Put the first rows into the ingest topic, block by block over its partitions."""
        producer = Producer(client.producer(cfg, "feed") | QUIET)
        answered: list[Any] = []

        def acked(error: Any, message: Any) -> None:
            # an ack without an offset may be of a message that is nowhere (pipes/client.py)
            answered.append(error or (None if message.offset() is not None else "no offset"))

        blocks = self._blocks[: rows // BLOCK_ROWS]
        for i, block in enumerate(blocks):
            while i - len(answered) >= QUEUE_BLOCKS:
                producer.poll(0.01)
            producer.produce(f"{cfg.tree.name}.P0", value=block, partition=i % SHARDS,
                             headers=ARROW_HEADER,
                             on_delivery=acked)  # fmt: skip
        producer.flush(WAIT_S)
        if any(answered) or len(answered) != len(blocks):
            raise SystemExit(f"the feed failed: {next(filter(None, answered), 'no answer')}")

    def wait(self, runner: Runner, rows: int) -> None:
        def through() -> bool:
            if any(not alive(p) for p in self._processes):
                raise SystemExit("a process ended by itself")
            return runner.done() >= rows

        until(f"{runner.name} is through", through, runner.poll_s)

    def run(self, runner: Runner) -> None:
        """One timed run of one contender, the others stopped."""
        ingest, pipes = runner.sources()
        before = {s: end for s, (_, end) in bounds(self._admin, [*ingest, *pipes]).items()}
        done = runner.done()
        runner.signal(signal.SIGSTOP)
        self.feed(runner.cfg, self.rows)
        start = time.perf_counter()
        runner.signal(signal.SIGCONT)
        self.wait(runner, done + self.rows)
        runner.rates.append(self.rows / (time.perf_counter() - start))
        assert runner.done() == done + self.rows, f"{runner.name}: rows lost or doubled"
        runner.hops.append((self.bytes(before, ingest), self.bytes(before, pipes)))

    def bytes(self, start: dict[Source, int], sources: list[Source]) -> int:
        """Bytes of the messages that lie behind these offsets: values and headers."""
        consumer = Consumer(client.common(settings(self._bootstrap, "count", self._folder), "count")
                            | {"group.id": "count", "enable.partition.eof": True} | QUIET)  # fmt: skip
        consumer.assign([TopicPartition(*s, start[s]) for s in sources])
        total, open_ends = 0, len(sources)
        while open_ends:
            for message in consumer.consume(64, 1.0):
                if message.error() is not None:
                    open_ends -= 1
                    continue
                total += len(message.value())
                total += sum(len(k) + len(v) for k, v in message.headers() or [])
        consumer.close()
        return total


def until(what: str, condition: Callable[[], bool], poll_s: float = 0.1) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {WAIT_S:.0f} s: {what}")
        time.sleep(poll_s)


def alive(process: Any) -> bool:
    if isinstance(process, subprocess.Popen):
        return process.poll() is None
    return bool(process.is_alive())


def answers(http: httpx.Client, url: str) -> bool:
    try:
        return http.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def applied(http: httpx.Client, url: str) -> int:
    """Rows that a worker has stored in portions: one WriteBatch each with their watermark."""
    text = http.get(f"{url}/metrics").text
    found = re.search(r'^pct_rows_total\{stage="applied"\} (\S+)$', text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def summary(bench: Bench, runners: list[Runner]) -> dict[str, Any]:
    """Medians, the ratio, and by how much the bytes differ."""

    def middle(runner: Runner) -> list[float]:
        return [statistics.median(h[i] for h in runner.hops) for i in range(2)]

    rates = {r.name: statistics.median(r.rates) for r in runners}
    floor = max((r for r in runners if r.name != "system"), key=lambda r: rates[r.name])
    system = next(r for r in runners if r.name == "system")
    return {
        "rows": bench.rows,
        "rows_per_second": {r.name: [round(x) for x in r.rates] for r in runners},
        "median": {name: round(rate) for name, rate in rates.items()},
        "bytes": {r.name: dict(zip(("ingest", "pipes"), middle(r), strict=True)) for r in runners},
        "unequal": max(abs(a / b - 1) for r in runners
                       for a, b in zip(middle(r), middle(system), strict=True)),
        "floor": floor.name,
        "ratio": round(rates["system"] / rates[floor.name], 3),
    }  # fmt: skip


def main() -> int:
    """Exit code 1 if the ratio is below --least or the bytes are unequal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=262_144, help="rows of a run")
    parser.add_argument("--runs", type=int, default=5, help="runs of each contender")
    parser.add_argument("--levels", type=int, default=1,
                        help="max_level of the tree; above 1 portions also grow")  # fmt: skip
    parser.add_argument("--least", type=float, default=0.2, help="ratio that must hold")
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    say = sys.stderr if asked.json else sys.stdout
    folder = Path(tempfile.mkdtemp(prefix="pct-bench-"))
    try:
        with Bench(folder, asked.rows) as bench:
            runners = [bench.floor(1), bench.floor(2), bench.system(asked.levels)]
            print(f"{bench.rows:,} rows a run, {asked.runs} runs each", file=say, flush=True)
            for runner in runners * asked.runs:
                bench.run(runner)
                print(f"{runner.name:8} {runner.rates[-1]:9,.0f} rows/s", file=say, flush=True)
            result = summary(bench, runners)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if asked.json:
        print(json.dumps(result))
    else:
        for name, hops in result["bytes"].items():
            print(f"{name:8} median {result['median'][name]:9,} rows/s, bytes: "
                  f"ingest {hops['ingest']:,.0f}, pipes {hops['pipes']:,.0f}")  # fmt: skip
        print(f"ratio {result['ratio']:.3f} of {result['floor']} (at least {asked.least}), "
              f"bytes differ by {result['unequal']:.2%} (at most {UNEQUAL:.0%})")  # fmt: skip
    return 0 if result["ratio"] >= asked.least and result["unequal"] <= UNEQUAL else 1


if __name__ == "__main__":
    sys.exit(main())
