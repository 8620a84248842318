"""The broker, the tree's topics on it, and what the tree was begun with."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pctstream import topics
from pctstream.agents.tree import settings
from pctstream.broker import announced
from pctstream.config import Config
from pctstream.core.routing import Routing
from pctstream.doctor.finding import Finding, fail, ok, warn
from pctstream.errors import BrokerUnreachable, ConfigError, PctError
from pctstream.known import history
from pctstream.reach import reach

PATIENCE_S = 3.0
SLOW_S = 0.25
"""A broker that takes longer to answer delays each row by more than the blocks' linger."""
AHEAD_S = 60.0
APPLY = "run `pctstream topics apply`"


def local(folder: Path) -> Finding:
    """What is said of a broker where none is named and none runs from the data directory."""
    file = folder / "broker.json"
    if not file.exists():
        return ok(
            "broker", "none is named (PCT_BROKER) and none runs here: `pctstream up` starts one"
        )
    try:
        pid = str(json.loads(file.read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return fail("broker", f"{file} cannot be read", "remove it: `pctstream up` writes it anew")
    return warn("broker", f"the local broker, pid {pid}, is gone without having been stopped",
                "`pctstream up` starts it again on the same log")  # fmt: skip


def broker(cfg: Config) -> tuple[Finding, AdminClient | None]:
    """Whether the broker answers, and how fast; its client if so."""
    try:
        admin = reach(cfg, "doctor", PATIENCE_S)
        cluster = admin.describe_cluster(request_timeout=PATIENCE_S).result(PATIENCE_S)
        latency = min(_seconds(admin) for _ in range(3))
    except (BrokerUnreachable, KafkaException, TimeoutError) as error:
        return fail("broker", str(error), exit_code=BrokerUnreachable.exit_code), None
    except PctError as error:
        return fail("broker", str(error), exit_code=error.exit_code), None
    where = "a local one" if announced(Path(cfg.store.dir)) == cfg.kafka.broker else "named"
    said = f"{cfg.kafka.broker} ({where}), cluster {cluster.cluster_id} of {len(cluster.nodes)}, "
    said += f"answers in {latency * 1e3:.1f} ms"
    if latency > SLOW_S:
        return warn("broker", said, "run the workers nearer to it"), admin
    return ok("broker", said), admin


def _seconds(admin: AdminClient) -> float:
    started = time.monotonic()
    admin.list_topics(timeout=PATIENCE_S)
    return time.monotonic() - started


def topic_findings(admin: AdminClient, cfg: Config) -> Iterator[Finding]:
    """The tree's own topics, then the foreign ones that it is to read."""
    pipes = topics.existing_pipes(admin, cfg)
    static = topics.static_specs(cfg)
    found = topics.compare(admin, [*static, *pipes])
    missing = [d.spec.name for d in found if d.kind == "missing"]
    if len(missing) == len(static):
        yield ok("topics", f"none of the tree {cfg.tree.name} yet: `pctstream up` makes them")
    elif missing:
        some = ", ".join(missing[:3]) + (" .." if len(missing) > 3 else "")
        yield fail("topics", f"{len(missing)} are missing ({some})", APPLY)
    if wrong := [d for d in found if d.kind == "partitions"]:
        others = f" ({len(wrong) - 1} others too)" if len(wrong) > 1 else ""
        yield fail("topics", f"{wrong[0]}{others}")
    yield from (_unlike(d) for d in found if d.kind == "config")
    if not found:
        yield ok("topics", f"{len(static)} of the tree {cfg.tree.name} and {len(pipes)} pipes, "
                           "all as they should be")  # fmt: skip
    there = admin.list_topics(timeout=PATIENCE_S).topics
    for name in cfg.ingest.topics:
        if name not in there:
            yield fail("topics", f"ingest.topics names {name}, which the broker has not",
                       "make it, or take it out")  # fmt: skip
    if cfg.ingest.topics and all(name in there for name in cfg.ingest.topics):
        yield ok("topics", f"all {len(cfg.ingest.topics)} of ingest.topics are there")


def _unlike(different: topics.Difference) -> Finding:
    """A topic of other settings; where its log could be cut, rows would be lost."""
    kept = different.spec.config["cleanup.policy"] == "delete"
    cut = {"cleanup.policy", "retention.ms", "retention.bytes"} & set(different.config)
    if kept and cut:
        return fail("topics", f"{different}, so that Kafka may cut it and rows are lost", APPLY)
    return warn("topics", str(different), APPLY)


def tree(cfg: Config) -> tuple[Finding, Finding]:
    """Record 0 of `.routing` against the configuration; this machine's clock against the records."""
    log = history(cfg)
    if not log.tree:
        return ok("tree", f"{cfg.tree.name} has no row yet: nothing is fixed"), clock(
            log, time.time()
        )
    try:
        log.check(settings(cfg))
    except ConfigError as error:
        said = f"a worker would refuse to start: {error}"
        return fail("tree", said), clock(log, time.time())
    begun = f"{cfg.tree.name}: {log.dimension} numbers, {log.metric}, epoch {log.epoch}, "
    return ok("tree", f"{begun}as the configuration says"), clock(log, time.time())


def clock(log: Routing, now: float) -> Finding:
    """Whether the tree's last record lies in this machine's future."""
    times = [float(entry["time"]) for entries in log.history.values() for entry in entries]
    ahead = max(times, default=0.0) - now
    if ahead > AHEAD_S:
        return warn("clock", f"this clock is {ahead:,.0f} s behind the tree's last record",
                    "synchronise it (NTP): windows and reports go by the clock")  # fmt: skip
    return ok("clock", "not behind the tree's records")
