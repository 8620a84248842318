"""The topics of a tree: what they should be (`wanted.py`), what is there, and making them so.

`plan` compares and changes nothing,
`apply` makes what is missing; a wrong number of partitions is refused, because rows of an id would
change their partition. Topics are never deleted here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from pctstream.config import Config
from pctstream.errors import BrokerUnreachable, ConfigError
from pctstream.refusal import error_of
from pctstream.wanted import STATIC, Change, Difference, TopicSpec, pipe_spec, static_specs

__all__ = [
    "STATIC", "Change", "Difference", "TopicSpec", "apply", "compare", "described", "existing_pipes",
    "pipe_spec", "plan", "static_specs", "topic_ids",
]  # fmt: skip

REQUEST_TIMEOUT_S = 15.0
VISIBLE_TIMEOUT_S = 30.0


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
        elif spec.name in differing:
            was, wanted = differing[spec.name]
            found.append(Difference(spec, "config", config=wanted, was=was))
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
            d.was,
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


def _differing(
    admin: AdminClient, specs: Sequence[TopicSpec]
) -> dict[str, tuple[dict[str, str | None], dict[str, str]]]:
    """By topic the entries of its config that are not as wanted: as they are, as wanted."""
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
    differing = {}
    for spec in specs:
        entries = current[spec.name]
        found = {key: entries[key].value if key in entries else None for key in spec.config}
        wrong = [key for key, value in spec.config.items() if not _same(found[key], value)]
        if wrong:
            differing[spec.name] = {k: found[k] for k in wrong}, {k: spec.config[k] for k in wrong}
    return differing


def _same(found: str | None, wanted: str) -> bool:
    if found is None:
        return False
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
