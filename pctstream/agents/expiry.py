"""The timer of `ingest.ttl_s`: says in the ingest log how far rows have expired (`core.expiry`).

A thread of each worker asks the broker, now and then, which offset of each ingest partition of its shards
(and of what is bridged into them) is the first that is not too old, and writes that into the partition.
All it decides is when: two workers that take each other's shards for their own write the same twice.

    every ttl / 20: offsets by the broker's times -> `Expired.next` -> a message in `<tree>.P0`
"""

from __future__ import annotations

import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient

from pctstream.core import expiry
from pctstream.core.block import Source
from pctstream.core.effects import Parcel
from pctstream.core.root import Root
from pctstream.errors import BrokerUnreachable, DeliveryFailed
from pctstream.pipes import client
from pctstream.pipes.bounds import before

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker

OFTEN_S, SELDOM_S = 0.25, 30.0
PART = 20
"""A row stays at most so much of its time longer than it should."""
STEP_ROWS = 262_144
"""Expire at once, so that the turns of the portions that let go of them end."""
FEWEST = 64
"""Messages at least, whatever is in them."""


class Expiry:
    """Of one worker; does nothing where rows stay for good."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._ttl_s = worker.cfg.ingest.ttl_s
        self._closing = threading.Event()
        self._sent: dict[Source, int] = {}
        self._thread = threading.Thread(target=self._run, name="expiry", daemon=True)

    def start(self) -> None:
        if self._ttl_s:
            self._thread.start()

    def stop(self) -> None:
        self._closing.set()
        if self._ttl_s:
            self._thread.join(5.0)

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient(client.common(self._worker.cfg, "expiry"))

    def _run(self) -> None:
        every = min(max(self._ttl_s / PART, OFTEN_S), SELDOM_S)
        wait = every
        while not self._closing.wait(wait):
            try:
                wait = OFTEN_S if self._look() else every
            except BrokerUnreachable:
                wait = every  # rows wait a little longer
            except Exception as error:
                why = str(error) if isinstance(error, DeliveryFailed) else f"failed: {error!r}"
                self._worker.fatal(f"expiry: {why}")

    def _look(self) -> bool:
        """Write what is due; whether more is."""
        worker, of = self._worker, {}
        roots = [shard.root for shard in list(worker.shards.values()) if not worker.fenced]
        for root in roots:
            if root is not None:
                of[root] = [root.source, *worker.bridge.sources(root.source.partition)]
        old = before(
            self._admin, [s for some in of.values() for s in some], time.time() - self._ttl_s
        )
        more = False
        for root, sources in of.items():
            said = {}
            for source in sources:
                upto = root.expired.next(source, old.get(source, 0), _step(root))
                if upto is not None and upto > self._sent.get(source, 0):
                    said[source] = upto
                    more |= upto < old[source]
            if said:
                self._tell(root.source, said)
        return more

    def _tell(self, source: Source, said: dict[Source, int]) -> None:
        header = ("pct-type", expiry.EXPIRE.encode())
        self._sent |= said
        self._worker.writer.send([Parcel(*source, None, expiry.said(said), [header])], self._acked)

    def _acked(self, reason: str | None) -> None:
        if reason is not None:
            self._worker.fatal(f"expiry could not be told: {reason}")


def _step(root: Root) -> int:
    """How many messages have about `STEP_ROWS` rows."""
    rows = max(1, root.routed_rows + root.stored_rows)
    return max(FEWEST, STEP_ROWS * max(1, root.position.taken) // rows)
