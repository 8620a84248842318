"""When everything is applied: ends from a real broker, positions from whoever serves `/v1/shards`."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from pctstream import topics
from pctstream.config import Config, load
from pctstream.errors import InputBroken, NotFound, NotReady
from pctstream.settled import wait_applied

STALL_S = 1.5
DEAD = "http://127.0.0.1:9"


class Answers:
    """Where the inputs are, for whoever asks; `asked` counts."""

    def __init__(self, tree: str) -> None:
        self._tree = tree
        self.url = ""
        self.inputs: dict[tuple[str, int], dict[str, Any]] = {}
        self.asked = threading.Semaphore(0)

    def put(
        self, pipe: str, partition: int, stored: int, routed: int = -1, error: Any = None
    ) -> None:
        node = pipe.replace("P", "N").replace(".", ",")
        self.inputs[pipe, partition] = {
            "node": node, "topic": f"{self._tree}.{pipe}", "partition": partition,
            "stored": stored, "routed": routed, "end": 10**6, "epoch": 1, "error": error,
        }  # fmt: skip

    def body(self) -> bytes:
        self.asked.release()
        shards = [{"shard": 0, "url": self.url, "inputs": list(self.inputs.values())}]
        return json.dumps({"shards": shards, "as_of": {}}).encode()


@pytest.fixture
def cfg(broker: Any, admin: AdminClient, tree_name: str) -> Config:
    """A tree with two ingest partitions: 3 messages in one, none in the other; a pipe with 2."""
    given = {"tree.name": tree_name, "kafka.broker": broker.bootstrap, "shards.count": 2}
    made = load(None, {}, given)
    pipe = topics.pipe_spec(made, f"{tree_name}.P0.4")
    topics.apply(admin, [*topics.static_specs(made), pipe])
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for _ in range(3):
        producer.produce(f"{tree_name}.P0", b"row", partition=1)
    for _ in range(2):
        producer.produce(f"{tree_name}.P0.4", b"block")
    assert producer.flush(30) == 0
    return made


@pytest.fixture
def answers(cfg: Config) -> Answers:
    return Answers(cfg.tree.name)


@pytest.fixture
def url(answers: Answers) -> Iterator[str]:
    with serving(answers) as found:
        answers.url = found
        yield found


@contextmanager
def serving(answers: Answers) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.body()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def wait(cfg: Config, *urls: str) -> None:
    wait_applied(cfg, urls, io.StringIO(), stall_s=STALL_S)


@pytest.mark.parametrize(("stored", "routed"), [(2, -1), (-1, 2), (5, 1)])
def test_stored_or_routed_to_the_end_is_enough(
    cfg: Config, answers: Answers, url: str, stored: int, routed: int
) -> None:
    answers.put("P0", 0, -1)
    answers.put("P0", 1, stored, routed)
    answers.put("P0.4", 0, 1)
    wait(cfg, DEAD, url)


@pytest.mark.parametrize(
    ("ingest", "pipe", "what"),
    [(1, 1, r"P0\[1\]"), (2, 0, r"P0\.4\[0\]"), (2, None, r"P0\.4\[0\]")],
)
def test_what_stands_still_is_named(
    cfg: Config, answers: Answers, url: str, ingest: int, pipe: int | None, what: str
) -> None:
    answers.put("P0", 1, ingest)
    if pipe is not None:
        answers.put("P0.4", 0, pipe)
    with pytest.raises(NotReady, match=what) as error:
        wait(cfg, url)
    assert error.value.exit_code == 1


def test_it_waits_as_long_as_something_moves(cfg: Config, answers: Answers, url: str) -> None:
    ended = threading.Event()
    answers.put("P0", 1, -1)
    answers.put("P0.4", 0, -1)

    def waiting() -> None:
        wait(cfg, url)
        ended.set()

    thread = threading.Thread(target=waiting)
    thread.start()
    moves = [("P0", 1, 0), ("P0", 1, 1), ("P0.4", 0, 0), ("P0", 1, 2), ("P0.4", 0, 1)]
    for pipe, partition, stored in moves:
        for _ in range(3):
            assert answers.asked.acquire(timeout=10)
        assert not ended.is_set()
        answers.put(pipe, partition, stored)
    thread.join(10)
    assert ended.is_set()


@pytest.mark.parametrize("hosted", [True, False])
def test_a_shard_is_as_far_as_its_host_says(
    cfg: Config, answers: Answers, url: str, hosted: bool
) -> None:
    """The worker that is asked has heard last of a store that was lost since."""
    answers.put("P0", 1, 2)
    answers.put("P0.4", 0, 1)
    host = Answers(cfg.tree.name)
    with serving(host) as other:
        answers.url, host.url = other, other if hosted else url
        host.put("P0", 1, 2 if hosted else -1)
        host.put("P0.4", 0, 0)
        with pytest.raises(NotReady, match=r"P0\.4\[0\]" if hosted else r"P0\[1\]"):
            wait(cfg, url)
    wait(cfg, url)  # who cannot be asked says nothing against what was heard


def test_an_input_that_has_stopped_for_good(cfg: Config, answers: Answers, url: str) -> None:
    answers.put("P0", 1, 2)
    answers.put("P0.4", 0, 1, error="the topic has another id")
    with pytest.raises(InputBroken, match="another id") as error:
        wait(cfg, url)
    assert error.value.exit_code == 5


def test_the_broker_says_which_inputs_there_are(cfg: Config, answers: Answers, url: str) -> None:
    other = {"kafka.broker": cfg.kafka.broker}
    fewer = load(None, {}, {**other, "tree.name": cfg.tree.name, "shards.count": 1})
    answers.put("P0.4", 0, 1)
    with pytest.raises(NotReady, match=r"P0\[1\]"):
        wait(fewer, url)
    with pytest.raises(NotFound, match="no topic"):
        wait(load(None, {}, {**other, "tree.name": "nowhere"}), url)


def test_no_answer_is_no_proof(cfg: Config) -> None:
    with pytest.raises(NotReady):
        wait(cfg, DEAD)
