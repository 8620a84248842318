"""The doctor's rounds: every check in its order, whatever one of them meets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from confluent_kafka import KafkaException

from pctstream.broker import announced
from pctstream.config import Config
from pctstream.doctor import cluster, machine, place, serving
from pctstream.doctor.finding import Finding, fail
from pctstream.doctor.outlast import Look, outlast
from pctstream.errors import PctError

Check = Callable[[], Finding | Iterable[Finding]]


def rounds(cfg: Config, workers: int, look_s: float) -> Iterator[Finding]:
    """Everything about this machine, this directory and this broker; ``look_s`` seconds lie between
    the two looks at the disk."""
    folder = Path(cfg.store.dir)
    first = Look.at_now(folder)
    found = announced(folder)
    named = bool(cfg.kafka.broker) and cfg.kafka.broker != found
    needs_own = not cfg.kafka.broker
    running = bool(serving.known_workers(cfg))
    checks: list[tuple[str, Check]] = [
        ("python", machine.python),
        ("packages", machine.packages),
        ("java", lambda: machine.java(not named)),
        ("maven", lambda: machine.maven(not named)),
        ("jars", lambda: machine.broker_jars(not named)),
        ("files", lambda: machine.open_files(cfg)),
        ("memory", lambda: machine.memory(cfg, workers, needs_own and not found, running)),
        ("directory", lambda: place.directory(folder)),
        ("stores", lambda: place.stores(cfg)),
        ("ports", lambda: serving.port_findings(cfg, workers)),
    ]
    for name, check in checks:
        yield from guarded(name, check)
    yield from _of_the_broker(cfg, found)
    yield from guarded("disk", lambda: _disk(cfg, first, look_s, not named))


def _of_the_broker(cfg: Config, found: str | None) -> Iterator[Finding]:
    used = cfg.kafka.broker or found
    if not used:
        yield cluster.local(Path(cfg.store.dir))
        return
    cfg = replace(cfg, kafka=replace(cfg.kafka, broker=used))
    finding, admin = cluster.broker(cfg)
    yield finding
    if admin is not None:
        yield from guarded("topics", lambda: cluster.topic_findings(admin, cfg))
        yield from guarded("tree", lambda: cluster.tree(cfg))


def _disk(cfg: Config, first: Look, look_s: float, broker_here: bool) -> Finding:
    time.sleep(max(0.0, first.at + look_s - time.monotonic()))
    last = Look.at_now(Path(cfg.store.dir))
    return outlast(first, last, serving.rows(cfg), broker_here)


def guarded(name: str, check: Check) -> Iterator[Finding]:
    """The check's findings; one that cannot be made is a finding too, and no end of the rounds."""
    try:
        found = check()
        yield from [found] if isinstance(found, Finding) else found
    except (PctError, OSError, KafkaException, ValueError, LookupError, ImportError) as error:
        yield fail(name, f"could not be looked at ({error})", "mend that and ask again")
