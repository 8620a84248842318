"""What the topics of a tree should be, without a broker (tests/broker/test_broker.py has one)."""

from __future__ import annotations

import pytest
import yaml

from pctstream import packed
from pctstream.app import create
from pctstream.config import load, to_env
from pctstream.errors import UsageError
from pctstream.tables import NAMES
from pctstream.topics import STATIC, pipe_spec, static_specs

CONFIG = load(None, {}, {"tree.name": "mine", "shards.count": 5})
KINDS = (*STATIC, "pipe", "changelog")


def test_the_topics_of_a_tree() -> None:
    assert {spec.name: spec.partitions for spec in static_specs(CONFIG)} == {
        "mine.P0": 5,
        "mine.shards": 5,
        "mine.control": 5,
        "mine.state": 5,
        "mine.routing": 1,
        "mine.dlq": 1,
        "mine.workers-nodes-changelog": 5,
        "mine.workers-portions-changelog": 5,
        "mine.workers-density-changelog": 5,
        "mine.workers-drift-changelog": 5,
        "mine.workers-metrics-changelog": 5,
    }
    assert pipe_spec(CONFIG, "mine.P0.3.12").partitions == 1


def test_every_table_has_its_changelog_before_the_first_worker_starts() -> None:
    """Seen: of two workers that made it at once, one had no partitions and its tables raised."""
    given = {"tree.name": "mine", "kafka.broker": "127.0.0.1:1", "shards.count": 5}
    cfg = load(None, {}, {**given, "spatial.enabled": True})
    env = to_env(cfg)
    app = create(env | {"PCT_WORKER": "worker-0"})
    wanted = {str(table.changelog_topic_name) for table in app.tables.values()}
    assert len(wanted) == len(NAMES)
    assert wanted <= {spec.name for spec in static_specs(cfg)}


def test_only_state_may_forget() -> None:
    for spec in [*static_specs(CONFIG), pipe_spec(CONFIG, "mine.P0.0")]:
        if spec.name == "mine.state" or spec.name.endswith("-changelog"):
            assert spec.config["cleanup.policy"] == "compact"
        else:
            kept = {key: spec.config[key] for key in ("cleanup.policy", "retention.ms")}
            assert kept == {"cleanup.policy": "delete", "retention.ms": "-1"}
            assert spec.config["retention.bytes"] == "-1"


def test_rows_carry_the_time_of_the_broker() -> None:
    specs = {spec.name: spec.config for spec in static_specs(CONFIG)}
    for config in (specs["mine.P0"], pipe_spec(CONFIG, "mine.P0.0").config):
        assert config["message.timestamp.type"] == "LogAppendTime"


@pytest.mark.parametrize("name", ["mine.P0", "other.P0.1", "mine.P0.", "mine.P0.a", "mine.P0.1."])
def test_what_is_no_child_pipe_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no child pipe"):
        pipe_spec(CONFIG, name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_have_the_shape_of_a_strimzi_topic(kind: str) -> None:
    document = yaml.safe_load((packed.topic_kinds() / f"{kind}.yaml").read_text(encoding="utf-8"))
    assert document["apiVersion"] == "kafka.strimzi.io/v1beta2"
    assert document["kind"] == "KafkaTopic"
    assert document["metadata"]["name"] == kind
    assert set(document["spec"]) <= {"topicName", "partitions", "replicas", "config"}


def test_there_is_one_file_per_kind() -> None:
    assert sorted(path.stem for path in packed.topic_kinds().iterdir()) == sorted(KINDS)
