"""The librdkafka settings that every client of ours shares."""

from __future__ import annotations

from typing import Any

from pctstream.config import Config

BATCH_BYTES = 1_048_588
"""The largest batch a topic takes unless told otherwise (Kafka's `max.message.bytes`)."""


def common(cfg: Config, role: str) -> dict[str, Any]:
    """Broker, identity and the user's own properties (security above all)."""
    return {
        "bootstrap.servers": cfg.kafka.broker,
        "client.id": f"pctstream-{cfg.tree.name}-{role}",
        "log_level": 3,
        **cfg.kafka.client,
    }


def consumer(cfg: Config, role: str, group: str = "") -> dict[str, Any]:
    """For assignment by hand: nothing is committed, reset or skipped behind our back (R1)."""
    return common(cfg, role) | {
        "group.id": group or f"{cfg.tree.name}.{role}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 50,
        # What librdkafka holds before anybody asks for it: nothing more while there are some polls'
        # worth of all partitions. What was fetched stands in one line, and 16 MB of small messages are
        # half a minute of a busy worker.
        "queued.min.messages": 4096,
        "queued.max.messages.kbytes": 16384,
        # Of each partition as much as its largest batch may have, and room for that of 50: the broker
        # answers with a batch larger than this of the first partition only, and the first is always the
        # same one, so that the others were not read before it was through (seen with 256 kB).
        "max.partition.fetch.bytes": BATCH_BYTES,
        "fetch.max.bytes": 50 * BATCH_BYTES,
        "fetch.queue.backoff.ms": 5,
    }


def reader(cfg: Config, role: str, group: str) -> dict[str, Any]:
    """For a worker's inputs, many and busy: the broker answers when there is something to carry.

    Every fetch names all partitions, and where a few messages come every millisecond it is answered
    every millisecond. 2,400 messages of 5.5 kB a second in 48 partitions cost the broker 0.70 cores
    and the client 0.28 when it answers at once, 0.42 and 0.16 like this, and come 10 ms later.
    """
    return consumer(cfg, role, group) | {"fetch.wait.max.ms": 25, "fetch.min.bytes": 262_144}


def producer(cfg: Config, role: str) -> dict[str, Any]:
    """Idempotent and gapless: in order, without a hole, however long the broker is away (R2).

    One request in flight, because five lose rows on a topic that was just made: the first batch is
    refused (not leader yet), the broker, which knows nothing of this producer, takes the second as
    its first, and the retry of the first is answered as a duplicate, which librdkafka reports as
    delivered, without an offset (seen in 4 of 20 trees with 48 new pipes; with one in flight 0).
    """
    return common(cfg, role) | {
        "acks": "all",
        "enable.idempotence": True,
        "enable.gapless.guarantee": True,
        "message.timeout.ms": 0,
        "max.in.flight": 1,
        # a dead letter carries a whole message and its reasons; pipes are kept below 1 MB by `pieces`
        "message.max.bytes": 2_097_152,
        "linger.ms": 2,
        "batch.size": 1_000_000,
        # Rows handed down at a split are produced in one go: then this bounds what is not acked.
        # Twice what the reader waits for, so that reports and live rows have their place beside them.
        "queue.buffering.max.kbytes": max(4096, 2 * cfg.limits.bytes_in_flight // 1024),
        "queue.buffering.max.messages": 500000,
    }
