"""What each of us needs to be allowed on a Kafka with ACLs: one table, printed and checked.

`pctstream topics export --acl` prints it; a command asks the broker for its own rights before it begins
(`check`), so that what is missing is said at once and by name, not found by a worker that stands still.
`tests/broker/test_guard.py` runs a system with these rights alone, and takes one after the other away.
Read, Write and Delete contain Describe, AlterConfigs contains DescribeConfigs: those are named alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic

from pctstream.config import Config
from pctstream.errors import BrokerUnreachable, Refused
from pctstream.kept import kept
from pctstream.refusal import error_of

Role = Literal["worker", "operator", "producer", "reader", "keeper"]
ROLES: tuple[Role, ...] = ("worker", "operator", "producer", "reader", "keeper")
ASK_S = 15.0
COORDINATOR_S = 5.0
"""A cluster that has never had a group makes their log first."""
NOT_YET = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
UNSEEN: frozenset[str] = frozenset({"unseen"})


@dataclass(frozen=True, slots=True)
class Right:
    """Operations on a topic or group of this name, or on all whose names begin with it."""

    resource: Literal["topic", "group"]
    name: str
    operations: tuple[str, ...]
    why: str
    prefix: bool = False

    def __str__(self) -> str:
        """
        >>> str(Right("topic", "pct.P0.", ("Read", "Write"), "pipes", prefix=True))
        'Read and Write the topics pct.P0.* (pipes)'
        """
        kind = f"{self.resource}s" if self.prefix else self.resource
        name = f"{self.name}*" if self.prefix else self.name
        return f"{' and '.join(self.operations)} the {kind} {name} ({self.why})"

    @property
    def probe(self) -> str:
        """The name to ask about: of the topics that begin with a name, the one that is there first."""
        if not self.prefix:
            return self.name
        return f"{self.name}0" if self.name.endswith(".P0.") else f"{self.name}P0"


def rights(cfg: Config, role: Role) -> tuple[Right, ...]:
    """What a principal in this role needs, and nothing else."""
    tree = cfg.tree.name

    def topic(kind: str, operations: str, why: str) -> Right:
        return Right("topic", f"{tree}.{kind}", tuple(operations.split()), why, kind.endswith("."))

    def group(name: str, why: str) -> Right:
        return Right("group", f"{tree}.{name}", ("Read",), why)

    foreign = [Right("topic", name, ("Read",), "ingest.topics") for name in cfg.ingest.topics]
    match role:
        case "producer":
            return (topic("P0", "Write", "rows"),)
        case "reader":
            return (
                topic("P0", "Read", "rows"),
                topic("P0.", "Read", "pipes"),
                topic("dlq", "Read", "dead letters"),
                *foreign,
            )
        case "keeper":
            return (
                topic("routing", "Read", "the tree's history"),
                topic("P0.", "Delete", "pipes cut behind a snapshot; else Describe"),
                topic("P0", "Delete", "rows cut behind a snapshot; else Describe"),
                group("pipes", "what is routed"),
            )
        case "operator":
            every = "Create Describe AlterConfigs"
            return (Right("topic", f"{tree}.", tuple(every.split()), "the tree's topics", True),)
        case "worker":
            writes = " Write" if cfg.ingest.topics or cfg.ingest.ttl_s else ""
            return (
                topic("P0", f"Read{writes}", "rows"),
                topic("P0.", "Create DescribeConfigs Read Write", "pipes"),
                topic("routing", "Read Write", "the tree's history"),
                topic("control", "Read Write", "orders"),
                topic("shards", "Read", "who hosts what"),
                topic("state", "Read Write", "what shards tell"),
                topic("dlq", "Write", "dead letters"),
                *(
                    topic(f"workers-{name}-changelog", "Read Write", "a table")
                    for name in kept(cfg)
                ),
                group("workers", "Faust's group"),
                group("pipes", "positions"),
                *foreign,
            )


def pipes(ingest: str) -> tuple[Right, ...]:
    """What it takes to know that the rows of this ingest topic are applied: which pipes there are."""
    return (
        Right("topic", ingest, ("Describe",), "rows"),
        Right("topic", f"{ingest}.", ("Describe",), "pipes", True),
    )


def check(admin: AdminClient, cfg: Config, role: Role) -> None:
    """Raise Refused, in one line, if the broker says that the principal lacks a right of the role."""
    require(admin, rights(cfg, role), f"a {role}")


def require(admin: AdminClient, needed: Iterable[Right], what: str) -> None:
    """The same for some rights; ``what`` needs them."""
    found = list(lacking(admin, needed))
    if found:
        some = "; ".join(str(one) for one in found[:3])
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        raise Refused(
            f"the broker's ACLs do not let us {some}{more}: {what} needs it, "
            "`pctstream topics export --acl` prints what to allow"
        )


def lacking(admin: AdminClient, needed: Iterable[Right]) -> Iterator[Right]:
    """Of each right what is not allowed; nothing of a broker that has no ACLs, or does not tell.

    Of topics that are not there yet only Describe and Create are known.
    """
    wanted = list(needed)
    topics = _topics(admin, {r.probe for r in wanted if r.resource == "topic"})
    groups = _groups(admin, {r.name for r in wanted if r.resource == "group"})
    for right in wanted:
        allowed = (topics if right.resource == "topic" else groups)[right.probe]
        if allowed is None:
            continue
        if allowed is UNSEEN:
            absent = [o for o in right.operations if o == "Create" and not _creates(admin, right)]
        else:
            absent = [o for o in right.operations if o not in allowed]
        if absent:
            yield replace(right, operations=tuple(absent))


def _topics(admin: AdminClient, names: set[str]) -> dict[str, frozenset[str] | None]:
    """The operations that are allowed on each topic; UNSEEN for one that is not there."""
    out: dict[str, frozenset[str] | None] = {}
    if not names:
        return out
    asked = admin.describe_topics(
        TopicCollection(sorted(names)), include_authorized_operations=True, request_timeout=ASK_S
    )
    for name, future in asked.items():
        try:
            out[name] = _named(future.result(2 * ASK_S).authorized_operations)
        except TimeoutError:
            raise BrokerUnreachable(f"nobody describes the topic {name} in time") from None
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                out[name] = frozenset()
            elif reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                out[name] = UNSEEN
            else:
                raise error_of(reason, f"describe the topic {name}") from None
    return out


def _groups(admin: AdminClient, names: set[str]) -> dict[str, frozenset[str] | None]:
    """The operations that are allowed on each group; None where its coordinator does not say."""
    out: dict[str, frozenset[str] | None] = dict.fromkeys(names)
    left, until = set(names), time.monotonic() + COORDINATOR_S
    while left:
        asked = admin.describe_consumer_groups(
            sorted(left), include_authorized_operations=True, request_timeout=COORDINATOR_S
        )
        for name, future in asked.items():
            try:
                out[name] = _named(future.result(2 * COORDINATOR_S).authorized_operations)
            except TimeoutError:
                pass
            except KafkaException as error:
                if error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                    out[name] = frozenset()
                elif error.args[0].code() in NOT_YET and time.monotonic() < until:
                    continue
            left.discard(name)
        if left:
            time.sleep(0.1)
    return out


def _creates(admin: AdminClient, right: Right) -> bool:
    """Whether a topic of this name may be made; none is."""
    made = admin.create_topics(
        [NewTopic(right.probe, 1)], validate_only=True, request_timeout=ASK_S
    )
    try:
        made[right.probe].result(2 * ASK_S)
    except KafkaException as error:
        return bool(error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED)
    except TimeoutError:
        pass
    return True


def _named(operations: Iterable[Any] | None) -> frozenset[str] | None:
    """{AclOperation.DESCRIBE_CONFIGS} -> {"DescribeConfigs"}; None where the broker does not tell."""
    if operations is None:
        return None
    return frozenset("".join(w.title() for w in one.name.split("_")) for one in operations)


def commands(cfg: Config, role: Role, principal: str) -> Iterator[str]:
    """The role's rights as commands of Kafka's own tool.

    >>> print(*commands(Config(), "producer", "User:app"))
    kafka-acls.sh --add --allow-principal User:app --operation Write --topic pct.P0
    """
    for right in rights(cfg, role):
        operations = " ".join(f"--operation {one}" for one in right.operations)
        pattern = " --resource-pattern-type prefixed" if right.prefix else ""
        yield (
            f"kafka-acls.sh --add --allow-principal {principal} {operations} --{right.resource} "
            f"{right.name}{pattern}"
        )
