"""Every kind of bad row in every format at once, among good ones, through a system."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import numpy as np
from broker.system import System, mixture, raw_messages, wait_for
from confluent_kafka import Producer
from core import kinds
from core.kinds import DIMENSION, Sent

Make = Callable[..., System]
ROWS = 10_000
BLOCK = 250
WIDE = 40
JSON, FLOAT32, ARROW = range(3)
PARTS = ("code", "message", "topic", "partition", "offset", "index", "stage", "time")
HEADERS = {f"pct.error.{name}" for name in PARTS}


class Partition:
    """What one ingest partition gets, and what must become of it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.sent: list[Sent] = []
        self.codes: dict[tuple[int, int], str] = {}
        self.good = 0

    def rows(self, sent: Sequence[Sent], each: int = 1) -> None:
        self.sent += sent
        self.good += each * len(sent)

    def bad(self, some: Sequence[kinds.Kind]) -> None:
        for kind in some:
            self.codes[len(self.sent), 0] = kind.code
            self.sent.append(kind.sent)

    def produce(self, one: System) -> None:
        producer = Producer({"bootstrap.servers": one.broker, "linger.ms": 20,
                             "message.max.bytes": 1_048_588})  # fmt: skip
        for i, sent in enumerate(self.sent):
            headers = [("Content-Type", sent.content_type.encode())] if sent.content_type else []
            producer.produce(f"{one.tree}.P0", sent.value, sent.key, partition=self.number,
                             headers=headers)  # fmt: skip
            if i % 1000 == 0:
                producer.poll(0)
        assert producer.flush(30) == 0


def among(part: Partition, some: Sequence[kinds.Kind], good: Sequence[Sent], each: int = 1) -> None:
    """All of these kinds at the first, the middle and the last place."""
    part.bad(some)
    part.rows(good[: len(good) // 2], each)
    part.bad(some)
    part.rows(good[len(good) // 2 :], each)
    part.bad(some)


def blocks(part: Partition, vectors: np.ndarray) -> None:
    """Good rows in blocks; the rows of spoiled ones stand at the first, middle and last place."""
    plain: list[dict[str, Any]] = [
        {"vector": vectors[first : first + BLOCK].tolist(), "time": [1.0] * BLOCK}
        for first in range(0, len(vectors), BLOCK)
    ]
    spoiled = {place * len(kinds.ROW_KINDS) + i: (kind, row)
               for i, kind in enumerate(kinds.ROW_KINDS)
               for place, row in enumerate((0, BLOCK // 2, BLOCK - 1))}  # fmt: skip
    for number, columns in enumerate(plain):
        if number in spoiled:
            kind, row = spoiled[number]
            kind.spoil(columns, row)
            part.codes[len(part.sent), row] = kind.code
            part.good -= 1
        part.rows([Sent(kinds.stream(columns), kinds.ARROW)], BLOCK)


def braces(vectors: np.ndarray) -> list[Sent]:
    """The rows with the byte of ``{`` as their first."""
    raw = np.ascontiguousarray(vectors).view(np.uint8).reshape(len(vectors), -1).copy()
    raw[:, 0] = ord("{")
    return [Sent(row.tobytes()) for row in raw]


def test_every_bad_row_is_one_dead_letter_and_every_good_one_is_stored(system: Make) -> None:
    one = system(shards__count=3, tree__epsilon=8.0, tree__gap=500, tree__max_level=1,
                 blocks__row_bytes=kinds.ROW_BYTES)  # fmt: skip
    parts = [Partition(n) for n in range(3)]
    vectors = mixture(4 * ROWS, DIMENSION)
    # the majority of the first 100 rows fixes the dimension; these are of another
    wide = kinds.Kind("wide", "dimension", Sent(kinds.floats(*range(6)), kinds.FLOAT32))
    parts[FLOAT32].bad([wide] * WIDE)
    among(parts[FLOAT32], kinds.FLOAT32_KINDS, [Sent(v.tobytes()) for v in vectors[:ROWS]])
    objects = vectors[ROWS : 2 * ROWS].astype(np.float64).tolist()
    among(parts[JSON], kinds.JSON_KINDS, [Sent(kinds.said(vector=v)) for v in objects])
    # as large as a message may be: there is no room for it and for the reason
    parts[JSON].bad([kinds.Kind("large", "decode", Sent(b"x" * 1_048_400))])
    parts[ARROW].bad(kinds.ARROW_KINDS)
    blocks(parts[ARROW], vectors[2 * ROWS : 3 * ROWS])
    parts[ARROW].bad(kinds.ARROW_KINDS)
    parts[ARROW].rows(braces(vectors[3 * ROWS :]))
    parts[ARROW].bad(kinds.ARROW_KINDS)
    for part in parts:
        part.produce(one)
    one.start(0)
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])

    verdict = one.verify()
    good = sum(part.good for part in parts)
    expected = {f"{one.tree}.P0/{part.number}/{offset}/{index}": code
                for part in parts for (offset, index), code in part.codes.items()}  # fmt: skip
    assert good == 4 * ROWS - 3 * len(kinds.ROW_KINDS)
    assert verdict.sound
    assert (verdict.applied, verdict.dead_lettered) == (good, len(expected))
    letters = raw_messages(one, "dlq")
    headers = [{k: v.decode() for k, v in m.headers()} for m in letters]
    told = {m.key().decode(): h["pct.error.code"] for m, h in zip(letters, headers, strict=True)}
    assert told == expected
    assert len(letters) == len(expected), "each once"
    for message, head in zip(letters, headers, strict=True):
        assert set(head) == HEADERS
        where = "/".join(head[f"pct.error.{n}"] for n in ("topic", "partition", "offset", "index"))
        assert where == message.key().decode()
        assert head["pct.error.stage"] == "ingest"
        assert float(head["pct.error.time"]) > 1e9
    tree = one.get("/v1/tree")
    assert (tree["dimension"], [level["nodes"] > 0 for level in tree["levels"]]) == (
        DIMENSION, [True, True],
    )  # fmt: skip
    assert one.get("/v1/nodes/N0")["restarts"] == 0
    assert one.workers[0].poll() is None
    counted = Counter(expected.values())
    told = metrics(one, "pct_dead_letters_total")
    assert {code: count for code, count in told.items() if count} == counted
    assert metrics(one, "pct_node_restarts_total") == {"": 0}


def metrics(one: System, name: str) -> dict[str, float]:
    """The series of a metric by the value of its only label."""
    lines = httpx.get(f"{one.urls[0]}/metrics", timeout=5).text.splitlines()
    found = [line.removeprefix(name).rpartition(" ") for line in lines if line.startswith(name)]
    return {labels.split('"')[1] if labels else "": float(value) for labels, _, value in found}
