"""How long a row takes from produce to stored and visible, at half of the rate that can be had.

The system of `end_to_end.py`: 2 workers, 4 shards, 48 portions, 128 numbers a row. First some turns say
what rate can be had; then a feeder of its own process (this file, with --feed) produces at half of it,
evenly: every 5 ms what is due, the blocks of 512 rows or the single float32 rows one after the other. It
does so for a while before it is watched: a broker that was just started compiles itself for its first
minute under load, with half of a core.

A row's time begins with the timestamp that the client gives its message in `produce`. It ends when its
portion's watermark, which is written with the row in one WriteBatch, is seen at or past the row's place
in the pipe, in the owner's view `/v1/shards/N`. Some pipes of one shard of each worker are watched, and the
views of these two shards are asked every 25 ms, because whoever measures shares the two cores. So all of
it is in the figure: the client's linger, two hops, collecting, decoding, routing, acks, the write, and up
to one look of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import traffic
from confluent_kafka import Consumer, Producer, TopicPartition
from contest import SHARDS, Contender, Contest, until
from figures import Figures
from turns import machine

from pctstream import config
from pctstream.core.block import decode
from pctstream.pipes import client

DIMENSION, AT_MOST_MS, TICK_S = 128, 250.0, 0.005
WATCHED, LOOK_S = 3, 0.025
"""So many pipes of a shard are read by this process, and so often it looks: it has no core of its own."""
TURN_ROWS = {"blocks": 262_144, "float32": 131_072}


class Look:
    """The watermarks of the pipes of one shard of each worker, as its own view has them now."""

    def __init__(self, one: Contender) -> None:
        self._http = httpx.Client(timeout=10.0)
        told = self._http.get(f"{one.urls[0]}/v1/shards").json()["shards"]
        first = {shard["worker"]: shard for shard in reversed(told)}
        self._views = [
            f"{one.urls[int(worker.rpartition('-')[2])]}/v1/shards/{shard['shard']}"
            for worker, shard in first.items()
        ]
        pipes = [[e["topic"] for e in s["inputs"] if e["node"] != "N0"] for s in first.values()]
        self.watched = {topic for topics in pipes for topic in topics[:WATCHED]}

    def stored(self) -> dict[str, int]:
        """Topic of each pipe -> the offset up to which its rows are stored."""
        told = [self._http.get(view).json()["inputs"] for view in self._views]
        return {entry["topic"]: entry["stored"] for inputs in told for entry in inputs}


class Watch:
    """Which rows came through some of the pipes, and when each was first seen to be stored."""

    def __init__(self, contest: Contest, one: Contender, look: Look) -> None:
        self._look = look
        own = client.consumer(one.cfg, "watch") | {"enable.partition.eof": False}
        self._consumer = Consumer(own)
        self._contest, self._pipes = contest, [p for p in one.pipes if p.topic in look.watched]
        ends = contest.ends(self._pipes)
        self._consumer.assign([TopicPartition(*s, end) for s, end in ends.items()])
        self._waiting: dict[str, list[tuple[int, Any]]] = {s.topic: [] for s in ends}
        self._read = {s.topic: end for s, end in ends.items()}
        self.took: list[Any] = []

    def step(self) -> None:
        """One look at the pipes and one at the stores."""
        for message in self._consumer.consume(256, LOOK_S):
            if message.error() is None:
                times = np.asarray(decode(message.value()).times)
                self._waiting[message.topic()].append((message.offset(), times))
                self._read[message.topic()] = message.offset() + 1
        stored, now = self._look.stored(), time.time()
        for topic, waiting in self._waiting.items():
            done = [times for offset, times in waiting if offset <= stored.get(topic, -1)]
            del waiting[: len(done)]
            self.took += [now - times for times in done]

    def through(self) -> bool:
        """Whether all that is in the pipes was read here and is stored."""
        self.step()
        ends = self._contest.ends(self._pipes)
        read = all(self._read[s.topic] >= end for s, end in ends.items())
        return read and not any(self._waiting.values())

    def close(self) -> None:
        self._consumer.close()


def feed(kind: str, rate: float, seconds: float) -> int:
    """Produce evenly; the rows that were produced."""
    cfg = config.load(None, os.environ, {})
    values = list(traffic.messages(kind, cfg.tree.dimension, 16_384))
    header = [("content-type", traffic.CONTENT[kind].encode())]
    producer = Producer(client.producer(cfg, "feed") | {"log_level": 0})
    topic, sent, rows = f"{cfg.tree.name}.P0", 0, 0
    start = time.perf_counter()
    while (now := time.perf_counter() - start) < seconds:
        while rows < rate * now:
            value, count = values[sent % len(values)]
            producer.produce(topic, value=value, partition=sent % SHARDS, headers=header)
            sent, rows = sent + 1, rows + count
        producer.poll(0)
        time.sleep(TICK_S)
    if producer.flush(30.0):
        raise SystemExit("the feed failed")
    return rows


def measure(
    contest: Contest, one: Contender, look: Look, kind: str, asked: argparse.Namespace
) -> dict[str, Any]:
    """The rate that can be had, and the latencies at half of it."""
    rate = asked.rate
    if not rate:
        rates = [contest.turn(one, kind, TURN_ROWS[kind]) for _ in range(asked.runs)]
        rate = statistics.median(rates) / 2
    before = one.done()
    command = [sys.executable, __file__, "--feed", kind, str(rate), str(asked.warm + asked.seconds)]
    env = os.environ | config.to_env(one.cfg)
    feeder = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
    time.sleep(asked.warm)
    watch = Watch(contest, one, look)
    try:
        while feeder.poll() is None:
            watch.step()
        rows = int(feeder.communicate()[0])
        contest.wait(one, before + rows)
        until("every row is stored", watch.through, 0.0)
    finally:
        feeder.kill()
        watch.close()
    took_ms = 1000.0 * np.concatenate(watch.took)
    p50, p99, most = (float(np.quantile(took_ms, q)) for q in (0.5, 0.99, 1.0))
    return {"kind": kind, "rate": round(rate), "rows": rows, "p50_ms": round(p50, 1),
            "p99_ms": round(p99, 1), "max_ms": round(most, 1)}  # fmt: skip


def main() -> int:
    """Exit code 1 if a p99 is above AT_MOST_MS."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--formats", nargs="*", choices=list(TURN_ROWS), default=list(TURN_ROWS))
    parser.add_argument("--seconds", type=float, default=15.0, help="of feeding at half load")
    parser.add_argument("--warm", type=float, default=60.0, help="seconds of it before that")
    parser.add_argument("--runs", type=int, default=5, help="turns that say what rate can be had")
    parser.add_argument("--rate", type=float, default=0.0, help="rows/s instead of half the most")
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    parser.add_argument("--feed", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.feed:
        print(feed(asked.feed[0], *map(float, asked.feed[1:])))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    say = sys.stderr if asked.json else sys.stdout
    folder = Path(tempfile.mkdtemp(prefix="pct-latency-"))
    print(machine("confluent-kafka", "rocksdict"), file=say, flush=True)
    found = []
    try:
        with Contest(folder) as contest:
            one = contest.system(DIMENSION)
            look = Look(one)
            for kind in asked.formats:
                found.append(of_one := measure(contest, one, look, kind, asked))
                print("{kind:8} at {rate:,} rows/s, {rows:,} rows: p50 {p50_ms} ms, p99 {p99_ms} ms, "
                      "longest {max_ms} ms".format(**of_one), file=say, flush=True)  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if asked.json:
        print(json.dumps(found))
    worst = max(f["p99_ms"] for f in found)
    print(f"p99 {worst} ms (at most {AT_MOST_MS:.0f})", file=say)
    figures = Figures("latency", "confluent-kafka", "rocksdict")
    for of_one in found:
        figures.most(
            "{kind} at {rate:,} rows/s, p99 in ms".format(**of_one), of_one["p99_ms"], AT_MOST_MS
        )
    return figures.keep(found)


if __name__ == "__main__":
    sys.exit(main())
