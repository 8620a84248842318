"""Doctor, and commands that meet a broker they cannot work with: on the session's broker, in process."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from pctstream import config, topics
from pctstream.agents.tree import settings
from pctstream.cli import main
from pctstream.config import Config, to_env
from pctstream.core.records import tree_record
from pctstream.doctor import cluster
from pctstream.doctor.finding import Finding
from pctstream.errors import Refused
from pctstream.reach import reach

PASSWORD = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN",
            "sasl.username": "ann", "sasl.password": "hunter2"}  # fmt: skip


@pytest.fixture
def cfg(broker: Any, tree_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Of a tree that has nothing yet, also for commands."""
    given = {"kafka.broker": broker.bootstrap, "tree.name": tree_name, "store.dir": str(tmp_path),
             "shards.count": 2, "http.bind": "127.0.0.1:0"}  # fmt: skip
    found = config.load(None, {}, given)
    for name, value in to_env(found).items():
        monkeypatch.setenv(name, value)
    return found


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0), *capsys.readouterr()


def looked(admin: AdminClient, cfg: Config) -> list[tuple[str, str]]:
    return [(f.state, f.said) for f in cluster.topic_findings(admin, cfg)]


def test_topics_that_are_missing_or_could_be_cut(
    cfg: Config, admin: AdminClient, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = cfg.tree.name
    ((state, said),) = looked(admin, cfg)
    assert (state, f"none of the tree {tree} yet" in said) == ("ok", True)
    code, _, err = run(capsys, "worker")
    assert (code, err.count("\n")) == (1, 1)
    assert "are missing" in err and "run `pctstream topics apply`" in err

    code, out, _ = run(capsys, "topics", "plan", "--json")
    planned = json.loads(out)["changes"]
    assert (code, {c["action"] for c in planned}) == (0, {"create"})
    assert {c["topic"] for c in planned} == {s.name for s in topics.static_specs(cfg)}
    assert run(capsys, "topics", "apply")[0] == 0
    ((state, said),) = looked(admin, cfg)
    assert (state, said) == ("ok", f"11 of the tree {tree} and 0 pipes, all as they should be")

    # a pipe that Kafka may cut, and an ingest topic that it would compact
    pipe = topics.pipe_spec(cfg, f"{tree}.P0.0")
    ingest = next(s for s in topics.static_specs(cfg) if s.name == f"{tree}.P0")
    topics.apply(admin, [replace(pipe, config={**pipe.config, "retention.ms": "60000"})])
    topics.apply(admin, [replace(ingest, config={**ingest.config, "cleanup.policy": "compact"})])
    found = {f.said.split()[2]: f for f in cluster.topic_findings(admin, cfg)}
    assert set(found) == {pipe.name, ingest.name}
    for finding, setting in zip(
        (found[pipe.name], found[ingest.name]), ("retention.ms=-1", "cleanup.policy=delete"),
        strict=True,
    ):  # fmt: skip
        assert (finding.state, finding.fix) == ("fail", "run `pctstream topics apply`")
        assert setting in finding.said and "rows are lost" in finding.said
    # the advice is good for the pipe too
    code, out, _ = run(capsys, "topics", "apply", "--json")
    changes = {c["topic"]: c["config"] for c in json.loads(out)["changes"]}
    assert (code, changes[pipe.name]) == (0, {"retention.ms": "-1"})
    ((state, said),) = looked(admin, cfg)
    assert (state, "and 1 pipes" in said) == ("ok", True)

    admin.delete_topics([f"{tree}.dlq"])[f"{tree}.dlq"].result(10)
    foreign = replace(cfg, ingest=replace(cfg.ingest, topics=("nowhere", f"{tree}.P0")))
    assert looked(admin, foreign) == [
        ("fail", f"1 are missing ({tree}.dlq)"),
        ("fail", "ingest.topics names nowhere, which the broker has not"),
    ]


def test_what_the_tree_was_begun_with(
    cfg: Config, admin: AdminClient, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    topics.apply(admin, topics.static_specs(cfg))

    def tree(**changes: object) -> Finding:
        return cluster.tree(replace(cfg, tree=replace(cfg.tree, **changes)))[0]  # type: ignore[arg-type]

    assert (tree().state, "no row yet" in tree().said) == ("ok", True)
    producer = Producer({"bootstrap.servers": cfg.kafka.broker})
    producer.produce(f"{cfg.tree.name}.routing", orjson.dumps(tree_record(settings(cfg), 16, "a")),
                     partition=0)  # fmt: skip
    assert producer.flush(10) == 0
    begun = tree()
    assert (begun.state, "16 numbers, euclidean" in begun.said) == ("ok", True)
    for change in ({"dimension": 8}, {"metric": "cosine"}, {"seed": 9}):
        ((key, value),) = change.items()
        refused = tree(**change)
        assert refused.state == "fail"
        assert f"tree.{key} = {value!r}, but this tree was made with" in refused.said

    monkeypatch.setenv("PCT_SHARDS__COUNT", "3")
    monkeypatch.setenv("PCT_SHARDS__ACTIVE", "3")
    code, _, err = run(capsys, "worker")
    assert (code, err.count("\n")) == (2, 1)
    assert f"{cfg.tree.name}.P0 has 2 partitions, wanted 3" in err
    code, out, _ = run(capsys, "doctor", "--json", "--look", "0")
    checks = json.loads(out)["checks"]
    failed = {c["check"]: c["said"] for c in checks if c["state"] == "fail"}
    assert (code, set(failed)) == (1, {"topics", "tree"})
    (broker,) = [c for c in checks if c["check"] == "broker"]
    assert (broker["state"], "answers in" in broker["said"]) == ("ok", True)


def test_a_broker_that_refuses_us_is_4(
    cfg: Config, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password for a listener that wants none is refused by the broker, as a wrong one would be."""
    with pytest.raises(Refused) as refused:
        reach(replace(cfg, kafka=replace(cfg.kafka, client=PASSWORD)), "test")
    assert "hunter2" not in str(refused.value)
    pairs = ", ".join(f'"{key}" = "{value}"' for key, value in PASSWORD.items())
    monkeypatch.setenv("PCT_KAFKA__CLIENT", f"{{{pairs}}}")
    code, _, err = run(capsys, "topics", "plan")
    assert (code, err.count("\n"), "kafka.client" in err) == (4, 1, True)
    code, out, _ = run(capsys, "doctor", "--json", "--look", "0")
    (broker,) = [c for c in json.loads(out)["checks"] if c["check"] == "broker"]
    assert (code, broker["state"]) == (4, "fail")
