"""Feeding a real broker and reading the ingest topic back with a plain consumer."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from pctstream import topics
from pctstream.client import Format, Producer
from pctstream.config import Config, load
from pctstream.core import keys
from pctstream.core.block import ARROW, Source, matrix, read_batch
from pctstream.core.ingest import decode
from pctstream.errors import BrokerUnreachable, NotFound, RowRefused, UsageError
from pctstream.feed import FeedOptions, FeedResult, run
from pctstream.files import Choice
from pctstream.pipes.reader import as_message

SHARDS = 5


@pytest.fixture
def cfg(broker: Any, admin: AdminClient, tree_name: str) -> Config:
    given = {
        "tree.name": tree_name,
        "kafka.broker": broker.bootstrap,
        "shards.count": SHARDS,
        "blocks.rows": 64,
    }
    made = load(None, {}, given)
    topics.apply(admin, topics.static_specs(made))
    return made


def read_back(cfg: Config) -> dict[int, list[Message]]:
    """Every message of the ingest topic, by partition, in order."""
    settings = {"bootstrap.servers": cfg.kafka.broker, "group.id": "none", "log_level": 0}
    consumer = Consumer({**settings, "enable.partition.eof": True})
    consumer.assign([TopicPartition(f"{cfg.tree.name}.P0", p, 0) for p in range(SHARDS)])
    out: dict[int, list[Message]] = {p: [] for p in range(SHARDS)}
    open_ends = set(range(SHARDS))
    while open_ends:
        (message,) = consumer.consume(1, 30) or [None]
        assert message is not None, "the topic did not come to its end"
        if message.error() is None:
            out[message.partition()].append(message)
        else:
            assert message.error().code() == KafkaError._PARTITION_EOF
            open_ends.discard(message.partition())
    consumer.close()
    return out


def decoded(cfg: Config, dimension: int) -> dict[int, list[tuple[Any, ...]]]:
    """(id, vector, payload) of every row, by partition, as the product's decoder sees them."""
    out: dict[int, list[tuple[Any, ...]]] = {}
    for partition, messages in read_back(cfg).items():
        taken = [as_message(m) for m in messages]
        source = Source(f"{cfg.tree.name}.P0", partition)
        unit = decode(source, taken, -1, len(taken) - 1, dimension, "euclidean")
        assert unit.dead == ()
        rows = unit.rows
        if rows is None:
            out[partition] = []
            continue
        payloads = [None] * len(rows) if rows.payloads is None else rows.payloads.to_pylist()
        assert rows.ids is not None
        out[partition] = [
            (i, v.tobytes(), None if p is None else json.loads(p))
            for i, v, p in zip(rows.ids.to_pylist(), rows.vectors, payloads, strict=True)
        ]
    return out


def feed(cfg: Config, options: FeedOptions, stop: threading.Event | None = None) -> FeedResult:
    return run(options, cfg, io.StringIO(), stop)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """1,000 rows of 8 numbers, with ids and payload."""
    rng = np.random.default_rng(1)
    path = tmp_path / "rows.npz"
    np.savez(
        path, X=rng.integers(0, 256, (1000, 8)).astype(np.uint8),
        name=np.array([f"row-{i * 7919 % 1000}-ü" for i in range(1000)]), n=np.arange(1000),
    )  # fmt: skip
    return path


@pytest.mark.parametrize("kind", ["block", "json", "float32"])
def test_each_format_brings_every_row_to_the_partition_of_its_id(
    cfg: Config, file: Path, kind: Format
) -> None:
    payload = () if kind == "float32" else ("n",)
    choice = Choice(ids="name", payload=payload, scale=1 / 255)
    result = feed(cfg, FeedOptions(file, choice, format=kind))
    assert (result.rows, result.read, result.stopped) == (1000, 1000, False)
    arrays = np.load(file)
    wanted: dict[int, list[tuple[Any, ...]]] = {p: [] for p in range(SHARDS)}
    to = keys.partitions(pa.array(arrays["name"]), SHARDS)
    vectors = arrays["X"].astype(np.float32) * np.float32(1 / 255)
    for i, (name, vector) in enumerate(zip(arrays["name"].tolist(), vectors, strict=True)):
        said = {"n": i} if payload else None
        wanted[int(to[i])].append((name, vector.tobytes(), said))
    # the same rows in the order of the file; for json and float32 it is librdkafka's own
    # murmur2_random that chose the partition
    assert decoded(cfg, 8) == wanted
    messages = [m for some in read_back(cfg).values() for m in some]
    assert (len(messages), sum(len(m.value()) for m in messages)) == (result.messages, result.bytes)
    types = {"block": ARROW, "json": "application/json", "float32": "application/octet-stream"}
    assert {dict(m.headers())["content-type"] for m in messages} == {types[kind].encode()}
    if kind == "block":
        assert {m.key() for m in messages} == {None}
        batches = [read_batch(m.value()) for m in messages]
        assert max(b.num_rows for b in batches) == 64
        assert {str(b.schema.field("vector").type) for b in batches} == {
            "fixed_size_list<item: float>[8]"
        }
        assert len(batches) <= 1000 / 64 + 2 * SHARDS
    else:
        assert {m.key().decode() for m in messages} == set(arrays["name"].tolist())


def test_blocks_have_at_most_the_bytes_of_the_config(cfg: Config, file: Path) -> None:
    small = load(
        None,
        {},
        {"tree.name": cfg.tree.name, "kafka.broker": cfg.kafka.broker, "blocks.bytes": 2000},
    )
    feed(small, FeedOptions(file))
    sizes = [len(m.value()) for some in read_back(cfg).values() for m in some]
    assert max(sizes) <= 2000
    assert sum(len(rows) for rows in decoded(cfg, 8).values()) == 1000


def test_a_loop_and_a_window(cfg: Config, file: Path) -> None:
    result = feed(cfg, FeedOptions(file, start=10, limit=3, loop=2))
    assert result.rows == 6
    found = [i for rows in decoded(cfg, 8).values() for i, *_ in rows]
    assert sorted(found) == ["10", "10#1", "11", "11#1", "12", "12#1"]


def test_the_rate_is_kept_and_a_stop_keeps_what_was_read(cfg: Config, file: Path) -> None:
    stop = threading.Event()
    ended: list[FeedResult] = []
    options = FeedOptions(file, rate=200.0)
    thread = threading.Thread(target=lambda: ended.append(feed(cfg, options, stop)))
    thread.start()
    # rows that come slowly do not wait for a full block
    seen = 0
    consumer = Consumer({"bootstrap.servers": cfg.kafka.broker, "group.id": "n", "log_level": 0})
    consumer.assign([TopicPartition(f"{cfg.tree.name}.P0", p, 0) for p in range(SHARDS)])
    while seen < 200 and thread.is_alive():
        for message in consumer.consume(10, 0.1):
            seen += read_batch(message.value()).num_rows
    consumer.close()
    stop.set()
    thread.join(30)
    (result,) = ended
    assert result.stopped
    assert 200 <= result.rows == result.read < 1000
    assert result.rows / result.seconds <= 240
    found = sorted(int(i) for rows in decoded(cfg, 8).values() for i, *_ in rows)
    assert found == list(range(result.read))


def test_wrong_names_are_refused_before_anything_is_sent(cfg: Config, file: Path) -> None:
    with pytest.raises(UsageError, match="no array"):
        feed(cfg, FeedOptions(file, Choice(ids="missing")))
    with pytest.raises(UsageError, match="no room"):
        feed(cfg, FeedOptions(file, Choice(payload=("n",)), format="float32"))
    assert all(not some for some in read_back(cfg).values())


def test_the_producer_of_a_program(cfg: Config) -> None:
    with Producer(cfg.kafka.broker, cfg.tree.name, block_rows=10) as rows:
        vector = np.zeros(2)
        for i in range(100):
            vector[:] = i
            rows.add(vector, id=i % 10, payload={"i": i, "even": i % 2 == 0})
        rows.add([100, 0], id=3, payload={"i": 100, "nested": {"deep": [1, "x"]}})
        rows.add([101, 0], id=3, payload={"i": 101, "even": False})
        rows.flush()
        assert rows.acked == rows.rows == 102
    found = decoded(cfg, 2)
    by_id: dict[str, list[int]] = {}
    for partition_rows in found.values():
        for id, vector_bytes, payload in partition_rows:
            assert np.frombuffer(vector_bytes, np.float32)[0] == payload["i"]
            by_id.setdefault(id, []).append(payload["i"])
    # every id through one partition, in the order of the calls, whatever form its rows took
    wanted = {str(d): list(range(d, 100, 10)) for d in range(10)}
    wanted["3"] += [100, 101]
    assert by_id == wanted
    assert all(
        {i for i, *_ in a}.isdisjoint(i for i, *_ in b)
        for p, a in found.items() for q, b in found.items() if p < q
    )  # fmt: skip


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"vector": []}, "schema"),
        ({"vector": [[1.0]]}, "schema"),
        ({"vector": ["x"]}, "schema"),
        ({"vector": [1.0], "payload": {"f": object()}}, "schema"),
        ({"vector": [1.0], "id": ""}, "id"),
        ({"vector": np.zeros(300_000)}, "too-large"),
    ],
)
def test_what_can_be_no_row_is_refused_and_the_others_go(
    cfg: Config, row: dict[str, Any], code: str
) -> None:
    with Producer(cfg.kafka.broker, cfg.tree.name) as rows:
        rows.add([1.0], id="before")
        with pytest.raises(RowRefused) as refused:
            rows.add(**row)
        rows.add([2.0], id="after")
    assert refused.value.code == code
    found = [i for some in decoded(cfg, 1).values() for i, *_ in some]
    assert sorted(found) == ["after", "before"]


def test_a_tree_that_is_not_there(cfg: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="no topic nowhere"):
        Producer(cfg.kafka.broker, "nowhere")
    monkeypatch.setattr("pctstream.client.producer.LIST_TIMEOUT_S", 1.0)
    with pytest.raises(BrokerUnreachable) as error:
        Producer("127.0.0.1:1", cfg.tree.name)
    assert error.value.exit_code == 3


@pytest.fixture
def command(cfg: Config, file: Path) -> Iterator[list[str]]:
    feeding = [sys.executable, "-m", "pctstream", "feed", str(file), "--broker", cfg.kafka.broker]
    yield [*feeding, "--json"]


def test_the_command(cfg: Config, command: list[str], tmp_path: Path) -> None:
    env = {**os.environ, "PCT_TREE__NAME": cfg.tree.name}
    ran = subprocess.run(
        [*command, "--limit", "50"], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert (said["rows"], said["topic"], said["stopped"]) == (50, f"{cfg.tree.name}.P0", False)
    assert "50 rows" in ran.stderr
    wrong = subprocess.run(
        [*command, "--ids", "nothing"], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "X, name, n" in wrong.stderr


def test_ctrl_c_stops_the_command_cleanly(cfg: Config, command: list[str], tmp_path: Path) -> None:
    env = {**os.environ, "PCT_TREE__NAME": cfg.tree.name}
    feeding = subprocess.Popen(
        [*command, "--rate", "100"], env=env, cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # where the tests run in the background of a script, nobody hears Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    consumer = Consumer({"bootstrap.servers": cfg.kafka.broker, "group.id": "n", "log_level": 0})
    consumer.assign([TopicPartition(f"{cfg.tree.name}.P0", p, 0) for p in range(SHARDS)])
    assert consumer.consume(1, 60), "nothing came"
    consumer.close()
    feeding.send_signal(signal.SIGINT)
    said, errors = feeding.communicate(timeout=30)
    assert feeding.returncode == 130, errors
    result = json.loads(said)
    assert result["stopped"]
    assert f"--from {result['read']}" in errors
    found = sorted(int(i) for rows in decoded(cfg, 8).values() for i, *_ in rows)
    assert found == list(range(result["read"]))


def test_blocks_hold_the_vectors_without_a_copy(cfg: Config, file: Path) -> None:
    """Readers take the matrix as it lies in the message."""
    feed(cfg, FeedOptions(file, limit=10))
    for some in read_back(cfg).values():
        for message in some:
            column = read_batch(message.value())["vector"]
            assert matrix(column).dtype == np.float32
