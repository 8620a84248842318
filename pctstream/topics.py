"""The topics of a tree: what they should be (topics/*.yaml), what is there, and making them so.

A file describes a kind of topic in the shape of a Strimzi KafkaTopic; `{tree}`, `{shards}` and
`{path}` stand for the configuration and a pipe's place (or a table). `plan` compares and changes nothing,
`apply` makes what is missing; a wrong number of partitions is refused, because rows of an id would
change their partition. Topics are never deleted here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import yaml
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from pctstream import packed
from pctstream.config import Config
from pctstream.errors import BrokerUnreachable, ConfigError, PctError, Refused, UsageError

STATIC = ("ingest", "shards", "control", "routing", "state", "dlq")
TABLES = ("nodes", "portions", "metrics")
"""Faust's tables (`tables.NAMES`): each has its changelog."""
REQUEST_TIMEOUT_S = 15.0
VISIBLE_TIMEOUT_S = 30.0

_REFUSED = {
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic should be. `replication` -1 is the broker's default.replication.factor."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)
    replication: int = -1


@dataclass(frozen=True, slots=True)
class Change:
    """What `apply` does to a topic that is not as it should be: make it, or set its config."""

    topic: str
    action: Literal["create", "configure"]
    config: Mapping[str, str]
    partitions: int


def static_specs(cfg: Config) -> list[TopicSpec]:
    """The topics that a tree has before its first row."""
    changelogs = [_spec("changelog", cfg, table) for table in TABLES]
    return [_spec(kind, cfg) for kind in STATIC] + changelogs


def pipe_spec(cfg: Config, topic_name: str) -> TopicSpec:
    """The topic of a child pipe, e.g. "pct.P0.3"; UsageError for any other name."""
    path = topic_name.removeprefix(f"{cfg.tree.name}.P0.")
    if path == topic_name or not re.fullmatch(r"\d+(\.\d+)*", path):
        raise UsageError(f"{topic_name} is no child pipe of the tree {cfg.tree.name}")
    return _spec("pipe", cfg, path)


def plan(admin: AdminClient, specs: Sequence[TopicSpec]) -> list[Change]:
    """What is missing or differs, in the order of the specs; changes nothing.

    Raises ConfigError for a topic that has another number of partitions.
    """
    there = {name: len(leaders) for name, leaders in _leaders(admin).items()}
    for spec in specs:
        if there.get(spec.name, spec.partitions) != spec.partitions:
            raise ConfigError(
                f"the topic {spec.name} has {there[spec.name]} partitions, wanted {spec.partitions}"
                " (shards.count): it cannot be changed later, name another tree"
            )
    present = [spec for spec in specs if spec.name in there]
    differing = _differing(admin, present)
    changes = []
    for spec in specs:
        if spec.name not in there:
            changes.append(Change(spec.name, "create", spec.config, spec.partitions))
        elif differing[spec.name]:
            changes.append(Change(spec.name, "configure", differing[spec.name], spec.partitions))
    return changes


def apply(admin: AdminClient, specs: Sequence[TopicSpec]) -> list[Change]:
    """Make the topics as they should be; gives what was done, nothing if done before.

    1. Plan. 2. Make all missing topics in one call; one that another process made meanwhile is as
    good. 3. Set what differs. 4. Wait until every new topic has its partitions and leaders.
    """
    changes = plan(admin, specs)  # 1
    replication = {spec.name: spec.replication for spec in specs}
    new = [change for change in changes if change.action == "create"]
    if new:  # 2
        made = admin.create_topics(
            [
                NewTopic(
                    change.topic,
                    num_partitions=change.partitions,
                    replication_factor=replication[change.topic],
                    config=dict(change.config),
                )
                for change in new
            ],
            request_timeout=REQUEST_TIMEOUT_S,
        )
        for name, future in made.items():
            _done(future, f"make the topic {name}", KafkaError.TOPIC_ALREADY_EXISTS)
    different = [change for change in changes if change.action == "configure"]
    if different:  # 3
        altered = admin.incremental_alter_configs(
            [_resource(change.topic, change.config) for change in different],
            request_timeout=REQUEST_TIMEOUT_S,
        )
        for resource, future in altered.items():
            _done(future, f"set the config of the topic {resource.name}")
    _wait_until_visible(admin, {change.topic: change.partitions for change in new})  # 4
    return changes


def topic_ids(admin: AdminClient, names: Iterable[str]) -> dict[str, str]:
    """The id of each topic that exists: one made again under the same name has another."""
    wanted = sorted(set(names))
    if not wanted:
        return {}
    described = admin.describe_topics(TopicCollection(wanted), request_timeout=REQUEST_TIMEOUT_S)
    found = {
        name: _done(future, f"describe the topic {name}", KafkaError.UNKNOWN_TOPIC_OR_PART)
        for name, future in described.items()
    }
    return {name: str(topic.topic_id) for name, topic in found.items() if topic is not None}


@cache
def _kind(kind: str) -> Mapping[str, Any]:
    """What the file says of this kind; read once, since a level may open hundreds of pipes."""
    text = (packed.topic_kinds() / f"{kind}.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Any] = yaml.safe_load(text)["spec"]
    return found


def _spec(kind: str, cfg: Config, path: str = "") -> TopicSpec:
    spec = _kind(kind)
    places = {"tree": cfg.tree.name, "shards": cfg.shards.count, "path": path}
    return TopicSpec(
        name=spec["topicName"].format(**places),
        partitions=int(str(spec["partitions"]).format(**places)),
        config={key: str(value) for key, value in spec["config"].items()},
        replication=spec.get("replicas", -1),
    )


def _leaders(admin: AdminClient) -> dict[str, list[int]]:
    """The leader of each partition, by topic; below 0 while there is none."""
    try:
        listed = admin.list_topics(timeout=REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise _translated(error, "list the topics") from error
    return {
        name: [part.leader for part in topic.partitions.values()]
        for name, topic in listed.topics.items()
    }


def _differing(admin: AdminClient, specs: Sequence[TopicSpec]) -> dict[str, dict[str, str]]:
    """The wanted entries of each topic's config that are not so."""
    if not specs:
        return {}
    described = admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, spec.name) for spec in specs],
        request_timeout=REQUEST_TIMEOUT_S,
    )
    current = {
        resource.name: _done(future, f"read the config of the topic {resource.name}")
        for resource, future in described.items()
    }
    return {
        spec.name: {
            key: value
            for key, value in spec.config.items()
            if key not in current[spec.name] or not _same(current[spec.name][key].value, value)
        }
        for spec in specs
    }


def _same(found: str, wanted: str) -> bool:
    try:
        return float(found) == float(wanted)
    except ValueError:
        return found == wanted


def _resource(topic: str, config: Mapping[str, str]) -> ConfigResource:
    entries = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        for key, value in config.items()
    ]
    return ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)


def _wait_until_visible(admin: AdminClient, wanted: Mapping[str, int]) -> None:
    deadline = time.monotonic() + VISIBLE_TIMEOUT_S
    missing = dict(wanted)
    while missing:
        led = {name: sum(at >= 0 for at in nodes) for name, nodes in _leaders(admin).items()}
        missing = {name: count for name, count in wanted.items() if led.get(name) != count}
        if missing and time.monotonic() > deadline:
            raise BrokerUnreachable(
                f"the topics {', '.join(missing)} were made but have no leaders after"
                f" {VISIBLE_TIMEOUT_S:.0f} s: look at the broker's log"
            )
        if missing:
            time.sleep(0.05)


def _done(future: Any, what: str, tolerated: int | None = None) -> Any:
    """The future's result; None if it failed with the tolerated error."""
    try:
        return future.result(timeout=REQUEST_TIMEOUT_S + 5)
    except KafkaException as error:
        if error.args[0].code() == tolerated:
            return None
        raise _translated(error, what) from error
    except TimeoutError:
        raise BrokerUnreachable(f"could not {what} in time; is the broker running?") from None


def _translated(error: KafkaException, what: str) -> PctError:
    reason: KafkaError = error.args[0]
    if reason.code() in _REFUSED:
        return Refused(f"the broker does not let us {what}: {reason.str()}; check kafka.client")
    if reason.retriable() or reason.code() < 0 or reason.code() == KafkaError.REQUEST_TIMED_OUT:
        return BrokerUnreachable(f"could not {what}: {reason.str()}; is the broker running?")
    return ConfigError(f"the broker refused to {what}: {reason.str()}")
