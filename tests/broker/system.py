"""A pctstream system for a test: workers as child processes on the session's broker."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka import Producer as KafkaProducer
from confluent_kafka.admin import AdminClient

from pctstream import config, ports, topics
from pctstream.client import Producer
from pctstream.config import Config, to_env
from pctstream.core.block import Source
from pctstream.core.unit import Message
from pctstream.ingested import ends_of, read_all
from pctstream.settled import wait_applied, wait_bridged
from pctstream.verify import Verdict, verify

SESSION_TIMEOUT_S = 6.0
READY_S = 60.0
_NUMBERS = itertools.count()


def free_port(count: int = 1) -> int:
    """The first of ``count`` in a row, none of which the kernel gives to an outgoing connection."""
    first = ports.in_a_row(count, ports.anywhere())
    assert first is not None
    return first


def wait_for(what: str, condition: Callable[[], Any], within_s: float = 60.0) -> Any:
    """The first true answer of the condition; fails by name when the time is over."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if answer := condition():
                return answer
        except (httpx.HTTPError, LookupError, TypeError):  # not there yet
            pass
        time.sleep(0.1)
    raise AssertionError(f"not within {within_s} s: {what}")


@dataclass
class System:
    """Workers, what they were told, and the questions tests ask of them."""

    broker: str
    tree: str
    folder: Path
    settings: dict[str, object]
    workers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[int, int] = field(default_factory=dict)
    fed: int = 0
    apart: bool = False
    """Every worker has a data directory of its own, as on a machine of its own."""

    def __post_init__(self) -> None:
        given = {
            "tree.name": self.tree,
            "kafka.broker": self.broker,
            "kafka.session_timeout_s": SESSION_TIMEOUT_S,
            "kafka.heartbeat_s": 1.0,
            "store.dir": str(self.folder),
            "drift.window_s": 1.0,
            "drift.automatic": False,
            **self.settings,
        }
        self.cfg: Config = config.load(None, {}, given)
        self.admin = AdminClient({"bootstrap.servers": self.broker})
        topics.apply(self.admin, topics.static_specs(self.cfg))

    # workers

    def start(
        self, *numbers: int, ready: bool = True, file_bytes: int = 0,
        program: Sequence[str] = ("-m", "pctstream"), **env: str,
    ) -> None:  # fmt: skip
        """Start workers; ``file_bytes`` bounds the size of any file they write."""
        for number in numbers:
            port = self.ports.setdefault(number, free_port())
            data = self.folder / f"machine-{number}" if self.apart else self.folder
            child_env = {**os.environ, **to_env(self.cfg), **env,
                         "PCT_HTTP__BIND": f"127.0.0.1:{port}",
                         "PCT_DATA_DIR": str(data)}  # fmt: skip

            def limit() -> None:
                if file_bytes:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

            with (self.folder / f"worker-{number}.log").open("ab") as log:
                self.workers[number] = subprocess.Popen(
                    [sys.executable, *program, "worker", "--name", f"worker-{number}"],
                    env=child_env, stdout=log, stderr=subprocess.STDOUT, preexec_fn=limit,
                )  # fmt: skip
        if ready:
            self.wait_ready()

    def wait_ready(self, within_s: float = READY_S) -> None:
        for number, worker in self.workers.items():
            if worker.poll() is None:
                wait_for(f"worker {number} ready", lambda n=number: self._ready(n), within_s)

    def _ready(self, number: int) -> bool:
        if self.workers[number].poll() is not None:
            pytest.fail(f"worker {number} died:\n{self.log(number)}")
        return self.get("/readyz", number) is not None

    def log(self, number: int) -> str:
        file = self.folder / f"worker-{number}.log"
        return file.read_text(errors="replace")[-2000:] if file.exists() else ""

    def kill(self, number: int) -> None:
        self.workers[number].kill()
        self.workers[number].wait(10)

    def died(self, number: int, within_s: float = 60.0) -> int:
        """The exit code of a worker that must die by itself."""
        return int(self.workers[number].wait(within_s))

    def stop(self) -> None:
        for worker in self.workers.values():
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        for worker in self.workers.values():
            try:
                worker.wait(15)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait(5)

    # questions

    @property
    def urls(self) -> list[str]:
        alive = [n for n, w in self.workers.items() if w.poll() is None]
        return [f"http://127.0.0.1:{self.ports[n]}" for n in alive]

    def get(self, path: str, number: int | None = None) -> Any:
        """GET from a worker (the first alive one); None when it does not serve."""
        url = self.urls[0] if number is None else f"http://127.0.0.1:{self.ports[number]}"
        answer = httpx.get(f"{url}{path}", timeout=10.0)
        return answer.json() if answer.status_code == 200 else None

    def feed(self, rows: np.ndarray, ids: Sequence[str] | None = None) -> None:
        """Rows that have ``ids``, else the next numbers: an id that came before would replace a row."""
        first, self.fed = self.fed, self.fed + len(rows)
        with Producer(self.broker, self.tree) as producer:
            for i, row in enumerate(rows):
                producer.add(row, id=str(first + i) if ids is None else ids[i])

    def settle(self) -> None:
        """Until every row fed so far is applied and, if N0 has split, none is held there."""
        wait_applied(self.cfg, self.urls, sys.stderr)
        try:
            wait_for("N0 to hold nothing once split", lambda: self._nothing_held())
        except AssertionError:
            print(self.get("/v1/shards"), self.get("/v1/tables/nodes"), self.get("/v1/nodes/N0"))
            raise

    def _nothing_held(self) -> bool:
        root = self.get("/v1/nodes/N0")
        return root["state"] != "splitting" or root["held"] == 0

    def verify(self) -> Verdict:
        theirs = wait_bridged(self.cfg, self.urls)
        ends = ends_of(self.cfg, f"{self.tree}.P0", range(self.cfg.shards.count))
        self.settle()
        tree = self.get("/v1/tree")
        return verify(self.cfg, tree, lambda: self.get("/v1/shards")["shards"], ends, theirs)


@contextmanager
def meanwhile(act: Callable[[threading.Event], None]) -> Iterator[None]:
    """``act`` in a thread until the block ends, which its event says."""
    over = threading.Event()
    thread = threading.Thread(target=act, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def mixture(rows: int, dimension: int = 16, centres: int = 12, seed: int = 0) -> np.ndarray:
    """Rows of a Gaussian mixture whose centres lie far apart (the same for any seed); shuffled."""
    places = np.random.default_rng(1000 + centres).normal(0, 6, (centres, dimension))
    rng = np.random.default_rng(seed)
    which = rng.integers(0, centres, rows)
    return (places[which] + rng.normal(0, 0.4, (rows, dimension))).astype(np.float32)


def records(one: System, kind: str) -> list[Message]:
    """Every message of a topic of the tree, partition by partition."""
    topic = f"{one.tree}.{kind}"
    found = one.admin.list_topics(topic, timeout=10).topics[topic].partitions
    ends = ends_of(one.cfg, topic, sorted(found))
    return [m for p, end in ends.items() for m in read_all(one.cfg, Source(topic, p), end)[1]]


def produce(one: System, rows: np.ndarray, partition: np.ndarray) -> None:
    """float32 rows to the ingest partitions given, one message a row, each with an id of its own."""
    producer = KafkaProducer({"bootstrap.servers": one.broker, "linger.ms": 20})
    headers = [("content-type", b"application/octet-stream")]
    for i, (row, place) in enumerate(zip(rows, partition, strict=True)):
        key = f"m{next(_NUMBERS)}".encode()
        producer.produce(f"{one.tree}.P0", value=row.astype("<f4").tobytes(), key=key,
                         partition=int(place), headers=headers)  # fmt: skip
        if i % 1000 == 0:
            producer.poll(0)
    assert producer.flush(30) == 0


def raw_messages(one: System, kind: str) -> list[Any]:
    """Messages of partition 0 of a topic, with their headers."""
    consumer = Consumer({"bootstrap.servers": one.broker, "group.id": "t",
                         "enable.auto.commit": False})  # fmt: skip
    place = TopicPartition(f"{one.tree}.{kind}", 0, 0)
    _, end = consumer.get_watermark_offsets(place, timeout=10)
    consumer.assign([place])
    out: list[Any] = []

    def read() -> bool:
        out.extend(consumer.consume(100, 0.2))
        return len(out) >= end

    wait_for(f"{end} messages of {kind}", read)
    consumer.close()
    return out
