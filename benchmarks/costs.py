"""What a small unit costs on its way, stage by stage: CPU microseconds that do not grow with its rows.

At half load units are small, and it is these that fill the cores. Two things are followed through one
process, in the order of the walk of a row (ARCHITECTURE.md):

    routed   a unit of N0: messages become values, are decoded, its rows dealt out to 48 children,
             a block for each encoded, the position written once they are acked
    applied  a turn of a portion: messages of a few rows each become values, are decoded, fed, and
             written in one WriteBatch

CPU seconds of one thread, medians. Nothing here talks to a broker and no turn changes its thread: what
librdkafka does with a message and Faust's agents with a turn is not in the figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import traffic
from confluent_kafka import Message as KafkaMessage
from turns import machine, one_blas_thread

from pctstream import heap
from pctstream.agents.perform import Limits, Performer
from pctstream.agents.shard import Shard, Turn
from pctstream.core import ingest
from pctstream.core.block import ARROW, Block, Source, encode
from pctstream.core.cover import Cover
from pctstream.core.effects import Parcel
from pctstream.core.names import ROOT
from pctstream.core.node import Shape
from pctstream.core.portion import Portion
from pctstream.core.root import Root
from pctstream.metrics import Metrics
from pctstream.pipes.message import as_message
from pctstream.rocks import RocksKV
from pctstream.store import Store

DIMENSION = 128
INGEST, PIPE = Source("costs.P0", 0), Source("costs.P0.0", 0)


class Stages:
    """CPU microseconds by stage, of each run."""

    def __init__(self) -> None:
        self.took: dict[str, list[float]] = {}

    def time(self, stage: str, run: Callable[..., Any], *given: Any) -> Any:
        start = time.thread_time()
        out = run(*given)
        self.took.setdefault(stage, []).append(1e6 * (time.thread_time() - start))
        return out

    def told(self) -> dict[str, float]:
        found = {stage: round(median(times), 1) for stage, times in self.took.items()}
        return found | {"all": round(sum(found.values()), 1)}


class Acked:
    """An outlet that acks when it is asked to."""

    def __init__(self) -> None:
        self.sent: list[Parcel] = []
        self.done: list[Callable[[str | None], None]] = []

    def send(self, parcels: Sequence[Parcel], done: Callable[[str | None], None]) -> None:
        self.sent += parcels
        self.done.append(done)


class Open:
    """An inlet that has nothing to hold back."""

    def reread(self, source: Source, offset: int) -> None:
        raise SystemExit(f"{source} is to be read again from {offset}: a unit was left out")

    def pause(self, source: Source) -> None: ...

    def resume(self, source: Source) -> None: ...


class Plant:
    """A shard with its store and a performer, without Kafka."""

    def __init__(self, folder: Path) -> None:
        self.outlet = Acked()
        self.turns: list[Turn] = []
        self.shard = Shard(0, "costs", Store(RocksKV(folder, 64 << 20)), 50_000)
        self.performer = Performer(
            self.outlet, Open(), Metrics(), self.turns.append, sys.exit, Limits(1024, 524_288)
        )

    def take(self, node: Any, call: Callable[[], Any]) -> None:
        self.performer.take(Turn(self.shard, node, call))


def kafka(source: Source, offset: int, value: bytes, content: str) -> KafkaMessage:
    headers = [("content-type", content.encode())]
    return KafkaMessage(topic=source.topic, partition=source.partition, offset=offset, key=None,
                        value=value, headers=headers, timestamp=(1, 1_700_000_000_000),
                        leader_epoch=1)  # fmt: skip


def values_of(raw: Sequence[KafkaMessage]) -> list[Any]:
    return [as_message(m) for m in raw]


def cover() -> Cover:
    """N0's, of the mixture that is sent."""
    centres = traffic.centres(DIMENSION).astype(np.float32)
    ones, none = np.ones(len(centres), np.int64), np.zeros(len(centres), np.float32)
    epsilon = traffic.epsilon(DIMENSION)
    return Cover(centres, centres, ones, none, epsilon, len(centres), 1, 1.0, 1.0)


def routed(kind: str, messages: int, runs: int, plant: Plant) -> dict[str, float]:
    """A unit of so many messages through N0."""
    stages, root = Stages(), Root(INGEST, 50_000)
    plant.shard.nodes[ROOT] = root
    plant.take(root, lambda: root.adopt(1, cover()))
    step = traffic.block_rows(DIMENSION) if kind == "blocks" else 1
    values = [v for v, _ in traffic.messages(kind, DIMENSION, step * messages)]
    at = itertools.count()
    for _ in range(runs):
        raw = [kafka(INGEST, next(at), v, traffic.CONTENT[kind]) for v in values]
        first = root.taken
        some = stages.time("as values", values_of, raw)
        end = first + len(raw)
        unit = stages.time(
            "decode", ingest.decode, INGEST, some, first, end, DIMENSION, "euclidean"
        )
        effects = stages.time("feed", root.feed, unit)
        carry = plant.performer._carry
        stages.time("encode, count, send", carry, plant.shard, root, effects)
        stages.time("acked", plant.outlet.done.pop(), None)
        stages.time("count, write", plant.performer.take, plant.turns.pop())
    return stages.told()


def applied(messages: int, rows: int, runs: int, plant: Plant) -> dict[str, float]:
    """A turn of a portion that takes so many messages of so many rows each."""
    stages, path = Stages(), (0, messages)
    vectors = traffic.rows(DIMENSION, rows)
    node = Portion(path, PIPE, vectors.mean(axis=0), 1, Shape(DIMENSION, max_level=1), 9)
    plant.shard.nodes[path] = node
    at = itertools.count()
    for _ in range(runs):
        raw = [kafka(PIPE, i, encode(block(vectors, i)), ARROW)
               for i in itertools.islice(at, messages)]  # fmt: skip
        first = node.taken
        some = stages.time("as values", values_of, raw)
        end = first + len(raw)
        unit = stages.time("decode", ingest.decode_pipe, PIPE, some, first, end, DIMENSION)
        effects = stages.time("feed", node.feed, unit)
        stages.time("write", plant.performer._carry, plant.shard, node, effects)
    return stages.told()


def block(vectors: Any, offset: int) -> Block:
    none = np.zeros(len(vectors), np.int32)
    places = np.arange(len(vectors), dtype=np.int32)
    return Block((INGEST,), none, np.full(len(vectors), offset, np.int64), places, vectors)


def main() -> int:
    """Shows; the bars are those of `latency.py` and `end_to_end.py`."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="print the result as JSON too")
    asked = parser.parse_args()
    one_blas_thread()
    print(machine("confluent-kafka", "pyarrow", "rocksdict"))
    folder = Path(tempfile.mkdtemp(prefix="pct-costs-"))
    found: dict[str, Any] = {}
    try:
        plant = Plant(folder / "store")
        heap.settle()
        for kind, messages in (("blocks", 1), ("blocks", 4), ("float32", 256), ("float32", 2048)):
            found[f"routed, {messages} {kind}"] = routed(kind, messages, asked.runs, plant)
        for messages, rows in ((1, 10), (2, 10), (8, 10), (1, 80)):
            one = applied(messages, rows, asked.runs, plant)
            found[f"applied, {messages} messages of {rows} rows"] = one
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for what, stages in found.items():
        print(f"{what:34}" + ", ".join(f"{stage} {us:,.0f}" for stage, us in stages.items()))
    if asked.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
