"""Asking a broker for the first time: whether it answers, and if not, why, within a bounded time.

librdkafka tries for ever and says why on the side; here its errors are collected, so that a name that
does not resolve, a port where nobody listens and a refused password are told apart, and the last at
once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from pctstream import topics
from pctstream.config import Config
from pctstream.errors import BrokerUnreachable, ConfigError, NotFound, PctError, Refused
from pctstream.pipes import client
from pctstream.refusal import REFUSED

PATIENCE_S = 10.0
FIRST_TRY_S = 0.25
"""Each try waits twice as long as the one before: a refusal is told soon, a slow broker is waited for."""


def reach(cfg: Config, role: str, patience_s: float = PATIENCE_S) -> AdminClient:
    """A client of the broker that `cfg` names, once it has answered.

    Raises Refused as soon as the broker says so, BrokerUnreachable after ``patience_s`` seconds.
    """
    heard: list[KafkaError] = []
    settings: Any = {**client.common(cfg, role), "log_level": 0, "error_cb": heard.append}
    admin = AdminClient(settings)
    deadline = time.monotonic() + patience_s
    wait = FIRST_TRY_S
    while True:
        left = deadline - time.monotonic()
        try:
            admin.list_topics(timeout=max(0.1, min(wait, left)))
            return admin
        except KafkaException as error:
            admin.poll(0)
            told = why_not(cfg.kafka.broker, [*heard, error.args[0]], patience_s)
        if isinstance(told, Refused) or left <= wait:
            raise told
        wait *= 2


def why_not(broker: str, heard: Sequence[KafkaError], patience_s: float) -> PctError:
    """What a broker's silence means, from everything that the client said meanwhile.

    >>> deaf = KafkaError(KafkaError._TRANSPORT, "h:1/bootstrap: Connect failed: Connection refused")
    >>> str(why_not("h:1", [deaf], 10.0))
    'no Kafka at h:1: nobody listens there; start it, or name another with PCT_BROKER'
    """
    for error in heard:
        if error.code() in REFUSED:
            return Refused(
                f"the Kafka at {broker} refuses us: {error.str()}; check the security in kafka.client"
            )
    if any(error.code() == KafkaError._RESOLVE for error in heard):
        said = "its name is not known here"
    elif any("Connection refused" in error.str() for error in heard):
        said = "nobody listens there"
    else:
        # of a listener that speaks TLS or wants a password this may be all that is heard
        said = f"no answer within {patience_s:g} s ({heard[0].str()})"
    return BrokerUnreachable(
        f"no Kafka at {broker}: {said}; start it, or name another with PCT_BROKER"
    )


def check_topics(admin: AdminClient, cfg: Config) -> None:
    """Refuse to start on a broker that has not the topics of this tree.

    Raises ConfigError for a wrong number of partitions or a log that forgets rows by their key,
    NotFound for a missing topic.
    """
    found = topics.compare(admin, topics.static_specs(cfg), configs=False)
    wrong = [d for d in found if d.kind == "partitions"]
    if wrong:
        raise ConfigError(str(wrong[0]))
    if found:
        names = ", ".join(d.spec.name for d in found[:3]) + (" .." if len(found) > 3 else "")
        raise NotFound(
            f"{len(found)} topics of the tree {cfg.tree.name} are missing ({names}): run "
            "`pctstream topics apply`"
        )
    for name in sorted(_compacted(admin, cfg)):
        raise ConfigError(
            f"the topic {name} is compacted: it forgets rows, and what was made from them could not be "
            "made again; run `pctstream topics apply`, which sets cleanup.policy=delete"
        )


def _compacted(admin: AdminClient, cfg: Config) -> list[str]:
    """The logs of the tree that are compacted and must not be; none where nobody may look."""
    specs = [s for s in topics.static_specs(cfg) if s.config.get("cleanup.policy") == "delete"]
    with suppress(Refused):
        found = topics.compare(admin, specs)
        return [d.spec.name for d in found if "cleanup.policy" in d.config]
    return []
