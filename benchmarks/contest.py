"""A broker, and contenders on it that move the same rows by turns; all of them end with it.

A turn: the contender is stopped (SIGSTOP), as all others are, its ingest topic gets the rows, the
clock starts as it goes on (SIGCONT), and ends when it says that all of them are through.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import traffic
from arrivals import Arrivals
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pctstream import config, topics
from pctstream.broker import LocalBroker
from pctstream.config import Config, to_env
from pctstream.core.block import Source
from pctstream.pipes import client
from pctstream.pipes.bounds import bounds

HERE = Path(__file__).parent
PEERS = HERE.parent / ".venv-bench" / "bin" / "python"
SHARDS, WORKERS, WAIT_S = 4, 2, 120.0
QUIET = {"log_level": 0}
QUEUE_ROWS = 50_000
WARM_ROWS = 24_576
COUNTING = ("faust", "uvloop", "fausted")
"""Peers that say themselves how many rows they have seen; the others send theirs on."""


def settings(
    broker: str, name: str, folder: Path, dimension: int, levels: int = 1, **chosen_too: object
) -> Config:
    """One tree whose cover has one prototype for each centre of the mixture."""
    chosen: dict[str, object] = {
        "tree.name": name, "tree.dimension": dimension, "tree.epsilon": traffic.epsilon(dimension),
        "tree.gap": 3000, "tree.max_level": levels, "shards.count": SHARDS,
        # whose turn it is not stands still
        "kafka.broker": broker, "kafka.session_timeout_s": 600.0, "store.dir": str(folder),
        **chosen_too,
    }  # fmt: skip
    return config.load(None, {}, chosen)


@dataclass
class Contender:
    """Its processes, its ingest topic, and how to see how many rows are through."""

    name: str
    cfg: Config
    processes: list[subprocess.Popen[bytes]]
    done: Callable[[], int]
    poll_s: float
    urls: list[str] = field(default_factory=list)
    portions: int = traffic.PIPES

    def signal(self, number: signal.Signals) -> None:
        for process in self.processes:
            os.kill(process.pid, number)

    @property
    def ingest(self) -> list[Source]:
        return [Source(f"{self.cfg.tree.name}.P0", p) for p in range(SHARDS)]

    @property
    def pipes(self) -> list[Source]:
        return [Source(f"{self.cfg.tree.name}.P0.{t}", 0) for t in range(self.portions)]


class Contest:
    """The broker and whoever runs on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._broker = LocalBroker(folder / "broker", heap_mb=1024)
        self._all: list[Contender] = []

    def __enter__(self) -> Contest:
        self.bootstrap = self._broker.start()
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap} | QUIET)
        self._port = self._broker.port + 2
        return self

    @property
    def broker_pid(self) -> int:
        """Whose CPU and memory count too."""
        return self._broker.pid

    def __exit__(self, *_: object) -> None:
        self.end(list(self._all))
        self._broker.stop()

    def end(self, contenders: Iterable[Contender]) -> None:
        """Their processes end."""
        gone = list(contenders)
        processes = [p for c in gone for p in c.processes]
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        for contender in gone:
            self._all.remove(contender)

    def _start(self, name: str, command: list[str], env: dict[str, str]) -> Any:
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, env=os.environ | env, stdout=log, stderr=log, cwd=self._folder
            )

    def floor(self, dimension: int, loops: int, portions: int = traffic.PIPES) -> Contender:
        """A plain loop in so many processes."""
        name = f"floor-{loops}-d{dimension}-{portions}"
        cfg = settings(self.bootstrap, name, self._folder, dimension)
        specs = [topics.TopicSpec(f"{name}.P0", SHARDS)]
        specs += [topics.pipe_spec(cfg, f"{name}.P0.{t}") for t in range(portions)]
        topics.apply(self.admin, specs)
        files = [self._folder / f"{name}-{i}.rows" for i in range(loops)]
        counters = [Arrivals(file) for file in files]
        processes = [
            self._start(
                name,
                [
                    sys.executable,
                    str(HERE / "plain.py"),
                    str(i),
                    str(loops),
                    str(file),
                    str(portions),
                ],
                to_env(cfg),
            )
            for i, file in enumerate(files)
        ]
        one = Contender(f"floor-{loops}", cfg, processes, lambda: sum(c.rows for c in counters),
                        0.005, portions=portions)  # fmt: skip
        return self._warm(one)

    def system(
        self, dimension: int, levels: int = 1, *, called: str = "system",
        portions: int = traffic.PIPES, **chosen: object,
    ) -> Contender:  # fmt: skip
        """Workers whose tree has grown its portions; ``chosen`` are further settings."""
        name = f"{called}-d{dimension}"
        folder = self._folder / name
        cfg = settings(self.bootstrap, name, folder, dimension, levels, **chosen)
        topics.apply(self.admin, topics.static_specs(cfg))
        folder.mkdir()
        urls, processes = [], []
        for i in range(WORKERS):
            bind = f"127.0.0.1:{self._port}"
            self._port += 1
            command = [sys.executable, "-m", "pctstream", "worker", "--name", f"worker-{i}"]
            processes.append(self._start(name, command, to_env(cfg) | {"PCT_HTTP__BIND": bind}))
            urls.append(f"http://{bind}")
        http = httpx.Client(timeout=10.0)
        one = Contender(called, cfg, processes, lambda: sum(applied(http, u) for u in urls),
                        0.05, urls, portions)  # fmt: skip
        self._all.append(one)
        self._until(
            "the workers are ready", lambda: all(answers(http, f"{u}/readyz") for u in urls)
        )
        self._warm(one)
        grown = http.get(f"{urls[0]}/v1/tree").json()["levels"]
        assert grown[1]["nodes"] == portions, f"not {portions} prototypes: {grown}"
        return one

    def peer(self, kind: str, dimension: int, workers: int) -> Contender:
        """Another library in so many processes (`peers.py`)."""
        name = f"{kind}-{workers}"
        cfg = settings(self.bootstrap, name, self._folder, dimension)
        topic = f"{name}.P0"
        routed = [Source(f"{topic}.{k}", 0) for k in range(traffic.PIPES)]
        specs = [topics.TopicSpec(topic, SHARDS)]
        topics.apply(self.admin, specs + [topics.pipe_spec(cfg, s.topic) for s in routed])
        files = [self._folder / f"{name}-{i}.rows" for i in range(workers)]
        counters = [Arrivals(file) for file in files]
        centres = self._folder / "centres.npy"
        np.save(centres, traffic.centres(dimension).astype(np.float32))
        script = [str(PEERS), str(HERE / "peers.py"), kind, self.bootstrap, topic]
        ports = ",".join(str(self._port + i) for i in range(workers))
        self._port += workers
        processes = [self._start(f"{name}-{i}", [*script, str(f), str(centres), f"{i}:{ports}"], {})
                     for i, f in enumerate(files)]  # fmt: skip

        def done() -> int:
            if kind in COUNTING:
                return sum(c.rows for c in counters)
            return sum(end for _, end in bounds(self.admin, routed).values())

        one = Contender(name, cfg, processes, done, 0.02)
        return self._warm(one, "json" if kind == "fausted" else "float32", 4096)

    def _warm(self, one: Contender, kind: str = "blocks", rows: int = WARM_ROWS) -> Contender:
        if one not in self._all:
            self._all.append(one)
        self.feed(one, kind, rows)
        self.wait(one, rows)
        return one

    def feed(self, one: Contender, kind: str, rows: int) -> None:
        """Put rows into its ingest topic, message by message over the partitions."""
        producer = Producer(client.producer(one.cfg, "feed") | QUIET)
        failed: list[Any] = []
        answered = 0

        def acked(error: Any, message: Any) -> None:
            # an ack without an offset may be of a message that is nowhere (pipes/client.py)
            nonlocal answered
            answered += 1
            if error is not None or message.offset() is None:
                failed.append(error or "no offset")

        topic, sent = f"{one.cfg.tree.name}.P0", 0
        header = [("content-type", traffic.CONTENT[kind].encode())]
        queue = QUEUE_ROWS if kind != "blocks" else 128
        for value, _ in traffic.messages(kind, one.cfg.tree.dimension, rows, one.portions):
            while sent - answered >= queue:
                producer.poll(0.01)
            producer.produce(topic, value=value, partition=sent % SHARDS, headers=header,
                             on_delivery=acked)  # fmt: skip
            sent += 1
        producer.flush(WAIT_S)
        if failed or answered != sent:
            raise SystemExit(f"the feed failed: {failed[0] if failed else 'no answer'}")

    def wait(self, one: Contender, rows: int) -> None:
        """Until it says that so many rows are through."""
        self._until(f"{one.name} is through", lambda: one.done() >= rows, one.poll_s)

    def _until(self, what: str, condition: Callable[[], bool], poll_s: float = 0.1) -> None:
        def held() -> bool:
            for one in self._all:
                if any(p.poll() is not None for p in one.processes):
                    raise SystemExit(f"a process ended by itself: {one.name}\n{self._said(one)}")
            return condition()

        until(what, held, poll_s)

    def _said(self, one: Contender) -> str:
        logs = sorted(self._folder.glob(f"{one.cfg.tree.name}*.log"))
        return "\n".join(log.read_text(errors="replace")[-2000:] for log in logs)

    def turn(self, one: Contender, kind: str, rows: int) -> float:
        """Rows per second of one contender, the others stopped."""
        for each in self._all:
            each.signal(signal.SIGCONT if each is one else signal.SIGSTOP)
        done = one.done()
        one.signal(signal.SIGSTOP)
        self.feed(one, kind, rows)
        start = time.perf_counter()
        one.signal(signal.SIGCONT)
        self.wait(one, done + rows)
        took = time.perf_counter() - start
        for each in self._all:
            each.signal(signal.SIGCONT)
        assert one.done() == done + rows, f"{one.name}: rows lost or doubled"
        return rows / took

    def ends(self, sources: list[Source]) -> dict[Source, int]:
        """The log end of each."""
        return {s: end for s, (_, end) in bounds(self.admin, sources).items()}

    def bytes(self, start: dict[Source, int]) -> int:
        """Bytes of the messages that lie behind these offsets: values and headers."""
        cfg = settings(self.bootstrap, "count", self._folder, 2)
        consumer = Consumer(client.common(cfg, "count")
                            | {"group.id": "count", "enable.partition.eof": True} | QUIET)  # fmt: skip
        consumer.assign([TopicPartition(*s, offset) for s, offset in start.items()])
        total, open_ends = 0, len(start)
        while open_ends:
            for message in consumer.consume(256, 1.0):
                if message.error() is not None:
                    open_ends -= 1
                    continue
                total += len(message.value())
                total += sum(len(k) + len(v) for k, v in message.headers() or [])
        consumer.close()
        return total


def until(what: str, condition: Callable[[], bool], poll_s: float = 0.1) -> None:
    """Wait; the program ends by name when it takes too long."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {WAIT_S:.0f} s: {what}")
        time.sleep(poll_s)


def answers(http: httpx.Client, url: str) -> bool:
    """Whether it serves."""
    try:
        return http.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def applied(http: httpx.Client, url: str) -> int:
    """Rows that a worker has stored in portions: one WriteBatch each with their watermark."""
    text = http.get(f"{url}/metrics", params={"name[]": "pct_rows_total"}).text
    found = re.search(r'^pct_rows_total\{stage="applied"\} (\S+)$', text, re.MULTILINE)
    return int(float(found[1])) if found else 0
