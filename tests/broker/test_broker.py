"""The local broker and the topics on it, for real."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from pctstream import broker as broker_module
from pctstream import topics
from pctstream.broker import LocalBroker
from pctstream.cli import main
from pctstream.config import Config, load, to_env
from pctstream.errors import BrokerUnreachable, ConfigError, JarsMissing
from pctstream.ports import UNDIALLED
from pctstream.topics import TopicSpec

QUIET = {"log_level": 0}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalBroker]:
    """A broker that the test may hurt."""
    local = LocalBroker(tmp_path / "kafka", heap_mb=256, announce=tmp_path)
    yield local
    local.stop()


@pytest.fixture
def cfg(tree_name: str) -> Config:
    return load(None, {}, {"tree.name": tree_name, "shards.count": 3})


def admin_of(local: LocalBroker) -> AdminClient:
    return AdminClient({"bootstrap.servers": local.bootstrap, **QUIET})


def write(local: LocalBroker, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": local.bootstrap, "enable.idempotence": True, **QUIET})
    producer.produce(topic, value)
    assert producer.flush(30) == 0


def read(local: LocalBroker, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": local.bootstrap, "group.id": "none", **QUIET})
    consumer.assign([TopicPartition(topic, 0, 0)])
    messages = consumer.consume(count, timeout=30)
    consumer.close()
    return [message.value() for message in messages]


def test_what_was_written_survives_stop_and_kill(
    own: LocalBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "REQUEST_TIMEOUT_S", 3.0)
    announced = tmp_path / "broker.json"
    own.start()
    first = own.bootstrap
    assert own.port in UNDIALLED
    assert json.loads(announced.read_text()) == {
        "bootstrap": first,
        "pid": own.pid,
        "port": own.port,
    }
    topics.apply(admin_of(own), [TopicSpec("kept", 1)])
    ids = topics.topic_ids(admin_of(own), ["kept"])
    write(own, "kept", b"one")
    own.stop()
    assert not announced.exists()
    own.start()
    write(own, "kept", b"two")
    pid = own.pid
    own.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(BrokerUnreachable, match="is the broker running"):
        topics.plan(admin_of(own), [TopicSpec("any", 1)])
    own.start()
    write(own, "kept", b"three")
    assert own.bootstrap == first
    assert own.pid != pid
    assert read(own, "kept", 3) == [b"one", b"two", b"three"]
    assert topics.topic_ids(admin_of(own), ["kept"]) == ids


def test_a_paused_broker_keeps_its_connections_and_stops_all_the_same(own: LocalBroker) -> None:
    own.start()
    topics.apply(admin_of(own), [TopicSpec("kept", 1)])
    producer = Producer({"bootstrap.servers": own.bootstrap, **QUIET})
    producer.produce("kept", b"before")
    assert producer.flush(30) == 0
    own.pause()
    acked: list[object] = []
    producer.produce("kept", b"while", on_delivery=lambda error, _: acked.append(error))
    producer.flush(0.5)
    assert not acked
    own.resume()
    assert producer.flush(30) == 0
    assert acked == [None]
    own.pause()
    pid = own.pid
    own.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_directory_has_one_broker(own: LocalBroker) -> None:
    own.start()
    # Ctrl-C in the terminal must reach whoever started the broker, and not the broker.
    assert os.getpgid(own.pid) == own.pid != os.getpgrp()
    second = LocalBroker(own.data_dir, heap_mb=256)
    with pytest.raises(BrokerUnreachable, match="another broker runs on"):
        second.start()
    with pytest.raises(BrokerUnreachable, match="no broker was started"):
        _ = second.pid
    assert admin_of(own).list_topics(timeout=10).brokers


def test_a_broker_that_cannot_start_says_why(own: LocalBroker) -> None:
    with broker_module.socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = LocalBroker(own.data_dir, port=squatter.getsockname()[1], heap_mb=256)
        with pytest.raises(BrokerUnreachable, match=r"broker\.log ends with(?s:.*)in use"):
            taken.start()


def test_another_port_is_taken_if_the_last_one_is_in_use(own: LocalBroker) -> None:
    own.start()
    last = own.port
    own.stop()
    with broker_module.socket.socket() as squatter:
        squatter.bind(("127.0.0.1", last))
        squatter.listen()
        own.start()
        assert own.port != last


def test_without_java_one_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JarsMissing, match="apt-get install") as missing:
        LocalBroker(tmp_path / "kafka").start()
    assert missing.value.exit_code == 3


def test_topics_are_made_once(admin: AdminClient, cfg: Config) -> None:
    specs = [*topics.static_specs(cfg), topics.pipe_spec(cfg, f"{cfg.tree.name}.P0.0")]
    assert [change.action for change in topics.plan(admin, specs)] == ["create"] * len(specs)
    made = topics.apply(admin, specs)
    assert [change.topic for change in made] == [spec.name for spec in specs]
    listed = admin.list_topics(timeout=10).topics
    assert all(len(listed[spec.name].partitions) == spec.partitions for spec in specs)
    assert topics.plan(admin, specs) == []
    assert topics.apply(admin, specs) == []


def test_only_what_is_missing_is_made(admin: AdminClient, cfg: Config) -> None:
    name = cfg.tree.name
    topics.apply(admin, topics.static_specs(cfg))
    pipes = [topics.pipe_spec(cfg, f"{name}.P0.{child}") for child in range(3)]
    made = topics.apply(admin, [*topics.static_specs(cfg), *pipes])
    assert [change.topic for change in made] == [f"{name}.P0.{child}" for child in range(3)]


def test_a_config_that_was_changed_is_set_again(admin: AdminClient, cfg: Config) -> None:
    (spec,) = (spec for spec in topics.static_specs(cfg) if spec.name.endswith(".routing"))
    topics.apply(admin, [TopicSpec(spec.name, 1, {"retention.ms": "60000"})])
    (change,) = topics.apply(admin, [spec])
    assert (change.action, dict(change.config)) == ("configure", {"retention.ms": "-1"})
    resource = ConfigResource(ResourceType.TOPIC, spec.name)

    def retention() -> str:
        return str(admin.describe_configs([resource])[resource].result()["retention.ms"].value)

    eventually(lambda: retention() == "-1")
    assert topics.plan(admin, [spec]) == []


def test_topics_as_files(
    broker: Any, admin: AdminClient, cfg: Config, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Planned, made, changed by someone, seen, mended, exported: the pipes too, by their template."""

    def topics_of(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["topics", *words])
        return int(ended.value.code or 0), capsys.readouterr().out

    for name, value in to_env(cfg).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PCT_KAFKA__BROKER", broker.bootstrap)
    specs = topics.static_specs(cfg)
    code, out = topics_of("plan", "--check")
    assert code == 1
    assert [line.split(",")[0] for line in out.splitlines()] == [f"create {s.name}" for s in specs]
    assert topics_of("apply") == (0, out)
    assert topics_of("plan", "--check") == (0, "nothing to change\n")
    pipe = topics.pipe_spec(cfg, f"{cfg.tree.name}.P0.3")
    topics.apply(admin, [TopicSpec(pipe.name, 1, {**pipe.config, "retention.ms": "60000"})])
    seen = f"configure {pipe.name}: retention.ms 60000 -> -1\n"
    assert topics_of("plan", "--check") == (1, seen)
    assert topics_of("apply") == (0, seen)
    eventually(lambda: topics_of("plan", "--check") == (0, "nothing to change\n"))
    _, exported = topics_of("export", "--pipes")
    found = {doc["spec"]["topicName"]: doc["spec"] for doc in yaml.safe_load_all(exported)}
    assert set(found) == {spec.name for spec in specs} | {pipe.name}
    assert (found[pipe.name]["partitions"], found[pipe.name]["config"]) == (1, dict(pipe.config))
    assert topics_of("plan", "--pipes")[0] == 2


def test_another_number_of_partitions_is_refused(admin: AdminClient, cfg: Config) -> None:
    topics.apply(admin, topics.static_specs(cfg))
    other = load(None, {}, {"tree.name": cfg.tree.name, "shards.count": 4})
    with pytest.raises(ConfigError, match=r"\.P0 has 3 partitions, wanted 4"):
        topics.apply(admin, topics.static_specs(other))


def test_a_topic_made_again_has_another_id(admin: AdminClient, cfg: Config) -> None:
    spec = TopicSpec(f"{cfg.tree.name}.P0.0", 1)
    topics.apply(admin, [spec])
    first = topics.topic_ids(admin, [spec.name, f"{cfg.tree.name}.absent"])
    assert set(first) == {spec.name}
    admin.delete_topics([spec.name])[spec.name].result()
    eventually(lambda: topics.topic_ids(admin, [spec.name]) == {})
    topics.apply(admin, [spec])
    assert topics.topic_ids(admin, [spec.name])[spec.name] != first[spec.name]
    assert topics.topic_ids(admin, []) == {}


def eventually(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)
