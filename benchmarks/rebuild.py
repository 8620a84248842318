"""Shards that lost their stores, made again from their pipes, against a plain consumer of the same pipes.

One worker, eight shards, 48 portions; rows of the mixture of `memory.py` in their pipes. By turns:

    plain     one consumer with the product's settings reads all pipes from their beginning to their end
              and counts the bytes of the messages
    rebuilt   the worker ends, its stores are taken away, it starts again: rows/s from the last look that
              shows none applied until all are, looked at ten times a second; the start itself, until
              then, is told apart

With --levels above 1 the portions also find their covers and grow again while they are rebuilt.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from typing import Any

import httpx
from confluent_kafka import Consumer, TopicPartition
from contest import applied
from figures import Figures
from memory import FIRST_ROWS, PIPES, Run
from turns import machine

from pctstream.core.block import Source
from pctstream.pipes import client
from pctstream.pipes.bounds import bounds

LEAST, LOOK_S, AT_MOST_S = 0.7, 0.1, 100.0


def pipes_of(run: Run) -> list[Source]:
    """The pipes of all portions."""
    return [Source(f"{run.cfg.tree.name}.P0.{k}", 0) for k in range(PIPES)]


def plain(run: Run, ends: dict[Source, int]) -> tuple[float, int]:
    """Seconds from the first message to the last, and bytes of all."""
    own = client.consumer(run.cfg, "plain") | {"enable.partition.eof": False, "log_level": 0}
    consumer = Consumer(own)
    consumer.assign([TopicPartition(*source, 0) for source in ends])
    left, size, start = dict(ends), 0, 0.0
    while left:
        for message in consumer.consume(256, 0.1):
            if message.error() is not None:
                raise SystemExit(str(message.error()))
            start = start or time.perf_counter()
            size += len(message.value())
            source = Source(message.topic(), message.partition())
            if message.offset() + 1 >= ends[source]:
                left.pop(source, None)
    took = time.perf_counter() - start
    consumer.close()
    return took, size


def rebuilt(run: Run, rows: int) -> tuple[float, float]:
    """Rows/s of the rebuild, and seconds from the start of the worker to its first row."""
    http = httpx.Client(timeout=30.0)
    before = applied(http, run.urls[0])  # the next worker goes on counting from here
    run.stop(0)
    for path in (run.cfg.store.dir / "shards").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    start = time.perf_counter()
    run.again(0)
    first, now = start, before
    while now < before + rows:
        time.sleep(LOOK_S)
        if time.perf_counter() - start > AT_MOST_S:
            raise SystemExit(f"{now - before} of {rows} rows again in {AT_MOST_S:.0f} s")
        try:
            now = applied(http, run.urls[0])
        except httpx.HTTPError:
            continue  # it does not listen yet
        before = min(before, now) if now else before
        if now <= before:
            first = time.perf_counter()
    return rows / (time.perf_counter() - first), first - start


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Medians, and every turn."""
    with Run(1, asked.dimension, {"tree.max_level": asked.levels}) as run:
        run.ask(FIRST_ROWS)
        run.through()
        run.ask(asked.rows)
        run.through()
        rows, pipes = run.wanted, pipes_of(run)
        ends = {s: end for s, (_, end) in bounds(run.admin, pipes).items()}
        rates: dict[str, list[float]] = {"plain": [], "rebuilt": []}
        starts, size = [], 0
        for _ in range(asked.runs):
            took, size = plain(run, ends)
            rates["plain"].append(rows / took)
            rate, start = rebuilt(run, rows)
            rates["rebuilt"].append(rate)
            starts.append(start)
    medians = {name: statistics.median(of_one) for name, of_one in rates.items()}
    return {"dimension": asked.dimension, "levels": asked.levels, "rows": rows, "portions": len(pipes),
            "bytes": size, "median": medians, "ratio": medians["rebuilt"] / medians["plain"],
            "start_s": round(statistics.median(starts), 2),
            "rows_per_second": {n: [round(x) for x in r] for n, r in rates.items()}}  # fmt: skip


def main() -> int:
    """Exit code 1 if a rebuild has less than LEAST of the plain consumer's rate."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--levels", type=int, default=1, help="max_level of the tree")
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    figures = Figures("rebuild", "confluent-kafka", "rocksdict")
    print(machine("confluent-kafka", "rocksdict"), flush=True)
    found = measure(asked)
    print(json.dumps(found), flush=True)
    figures.least(f"rebuild / plain consumer, rows/s, d={asked.dimension}", found["ratio"], LEAST)
    return figures.keep(found)


if __name__ == "__main__":
    sys.exit(main())
