"""What the topics of a tree should be (topics/*.yaml), and how one may be otherwise.

A file describes a kind of topic in the shape of a Strimzi KafkaTopic; `{tree}`, `{shards}` and
`{path}` stand for the configuration and a pipe's place (or a table).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import yaml

from pctstream import packed
from pctstream.config import Config
from pctstream.errors import UsageError
from pctstream.kept import kept

STATIC = ("ingest", "shards", "control", "routing", "state", "dlq")


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
    was: Mapping[str, str | None] = field(default_factory=dict)
    """What the entries are that it sets; of a topic that is there."""

    def __str__(self) -> str:
        if self.action == "create":
            settings = ", ".join(f"{key}={value}" for key, value in self.config.items())
            return f"create {self.topic}, {self.partitions} partitions, {settings}"
        settings = ", ".join(f"{k} {self.was.get(k)} -> {v}" for k, v in self.config.items())
        return f"configure {self.topic}: {settings}"


@dataclass(frozen=True, slots=True)
class Difference:
    """How a topic is not as it should be: `partitions` it has, or `config` entries to be set."""

    spec: TopicSpec
    kind: Literal["missing", "partitions", "config"]
    partitions: int = 0
    config: Mapping[str, str] = field(default_factory=dict)
    was: Mapping[str, str | None] = field(default_factory=dict)

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


@cache
def kind_of(kind: str) -> Mapping[str, Any]:
    """What the file says of this kind; read once, since a level may open hundreds of pipes."""
    text = (packed.topic_kinds() / f"{kind}.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Any] = yaml.safe_load(text)["spec"]
    return found


def _spec(kind: str, cfg: Config, path: str = "") -> TopicSpec:
    spec = kind_of(kind)
    places = {"tree": cfg.tree.name, "shards": cfg.shards.count, "path": path}
    return TopicSpec(
        name=spec["topicName"].format(**places),
        partitions=int(str(spec["partitions"]).format(**places)),
        config={key: str(value) for key, value in spec["config"].items()},
        replication=spec.get("replicas", -1),
    )
