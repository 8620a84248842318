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
from typing import Any, Literal, NamedTuple

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
from pctstream.errors import BrokerUnreachable, ConfigError, UsageError
from pctstream.kept import kept
from pctstream.refusal import error_of

STATIC = ("ingest", "shards", "control", "routing", "state", "dlq")
REQUEST_TIMEOUT_S = 15.0
VISIBLE_TIMEOUT_S = 30.0


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


@dataclass(frozen=True, slots=True)
class Difference:
    """How a topic is not as it should be: `partitions` it has, or `config` entries to be set."""

    spec: TopicSpec
    kind: Literal["missing", "partitions", "config"]
    partitions: int = 0
    config: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        name = self.spec.name
        if self.kind == "missing":
            return f"the topic {name} is missing"
        if self.kind == "config":
            wanted = ", ".join(f"{k}={v}" for k, v in self.config.items())
            return f"the topic {name} is not set to {wanted}"
        return (
            f"the topic {name} has {self.partitions} partitions, wanted {self.spec.partitions}"
            " (shards.count): it cannot be changed later, name another tree"
        )


def static_specs(cfg: Config) -> list[TopicSpec]:
    """The topics that a tree has before its first row."""
    changelogs = [_spec("changelog", cfg, table) for table in kept(cfg)]
    return [_spec(kind, cfg) for kind in STATIC] + changelogs


def pipe_spec(cfg: Config, topic_name: str) -> TopicSpec:
    """The topic of a child pipe, e.g. "pct.P0.3"; UsageError for any other name."""
    path = topic_name.removeprefix(f"{cfg.tree.name}.P0.")
    if path == topic_name or not re.fullmatch(r"\d+(\.\d+)*", path):
        raise UsageError(f"{topic_name} is no child pipe of the tree {cfg.tree.name}")
    return _spec("pipe", cfg, path)


def existing_pipes(admin: AdminClient, cfg: Config) -> list[TopicSpec]:
    """Of every child pipe that the broker has, what it should be."""
    prefix = re.escape(f"{cfg.tree.name}.P0.")
    names = sorted(n for n in _leaders(admin) if re.fullmatch(rf"{prefix}\d+(\.\d+)*", n))
    return [pipe_spec(cfg, name) for name in names]


def compare(
    admin: AdminClient, specs: Sequence[TopicSpec], *, configs: bool = True
) -> list[Difference]:
    """Every topic that is not as it should be, in the order of the specs; changes nothing."""
    there = {name: len(leaders) for name, leaders in _leaders(admin).items()}
    differing = _differing(admin, [s for s in specs if s.name in there]) if configs else {}
    found = []
    for spec in specs:
        if spec.name not in there:
            found.append(Difference(spec, "missing", config=spec.config))
        elif there[spec.name] != spec.partitions:
            found.append(Difference(spec, "partitions", partitions=there[spec.name]))
        elif differing.get(spec.name):
            found.append(Difference(spec, "config", config=differing[spec.name]))
    return found


def plan(admin: AdminClient, specs: Sequence[TopicSpec]) -> list[Change]:
    """What is missing or differs, in the order of the specs; changes nothing.

    Raises ConfigError for a topic that has another number of partitions.
    """
    found = compare(admin, specs)
    for different in found:
        if different.kind == "partitions":
            raise ConfigError(str(different))
    return [
        Change(
            d.spec.name,
            "create" if d.kind == "missing" else "configure",
            d.config,
            d.spec.partitions,
        )
        for d in found
    ]


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


class Described(NamedTuple):
    """A topic as the broker has it; one made again under the same name has another id."""

    topic_id: str
    partitions: int


def topic_ids(admin: AdminClient, names: Iterable[str]) -> dict[str, str]:
    """The id of each topic that exists."""
    return {name: found.topic_id for name, found in described(admin, names).items()}


def described(admin: AdminClient, names: Iterable[str]) -> dict[str, Described]:
    """What the broker says of each topic that exists."""
    wanted = sorted(set(names))
    if not wanted:
        return {}
    asked = admin.describe_topics(TopicCollection(wanted), request_timeout=REQUEST_TIMEOUT_S)
    found = {
        name: _done(future, f"describe the topic {name}", KafkaError.UNKNOWN_TOPIC_OR_PART)
        for name, future in asked.items()
    }
    return {
        name: Described(str(topic.topic_id), len(topic.partitions))
        for name, topic in found.items()
        if topic is not None
    }


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
        raise error_of(error.args[0], "list the topics") from error
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
        raise error_of(error.args[0], what) from error
    except TimeoutError:
        raise BrokerUnreachable(f"could not {what} in time; is the broker running?") from None
