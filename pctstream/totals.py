"""What a worker has counted in all its lives: counters and histograms that outlive it.

Each scrape adds what this life counted to what the lives before left in a small RocksDB, writes the sums
there, and only then shows them. So whatever kills the process, no scrape shows less than one before it:
Prometheus would take that for a reset, and the whole total for a burst. What was counted since the last
scrape (or the last `save`, which the worker calls every few seconds) is lost with a `kill -9`.

The database is not synced: a machine that loses power may lose the last writes, and a worker that begins on
another machine begins at 0. A disk that refuses a write costs the memory of the totals and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from pctstream.errors import StoreFailed
from pctstream.kv import KV

Key = tuple[str, tuple[tuple[str, str], ...]]


def key_of(sample: Sample) -> Key:
    """A series: its name and its labels in order."""
    return sample.name, tuple(sorted(sample.labels.items()))


class Totals(Collector):
    """Shows the metrics of ``counted`` with what was counted before this life."""

    def __init__(self, counted: CollectorRegistry) -> None:
        self._counted = counted
        self._lock = threading.Lock()
        self._kv: KV | None = None
        self._say: Callable[[str], None] = lambda _: None
        self._before: dict[Key, float] = {}
        self._kept: dict[Key, float] = {}

    def keep(self, kv: KV, say: Callable[[str], None]) -> None:
        """Go on from what ``kv`` holds, and keep the sums there."""
        with self._lock:
            for raw, value in kv.scan(b""):
                name, labels = orjson.loads(raw)
                self._before[name, tuple((k, v) for k, v in labels)] = float(value)
            self._kv, self._say, self._kept = kv, say, dict(self._before)

    def collect(self) -> Iterator[Metric]:
        """The sums, written before they are shown."""
        return self.of(self._counted)

    def of(self, counted: Collector) -> Iterator[Metric]:
        """The same of a part of them."""
        with self._lock:
            families = [self._summed(family) for family in counted.collect()]
            self._write(families)
        return iter(families)

    def save(self) -> None:
        """Write the sums although nobody asks."""
        self.collect()

    def close(self) -> None:
        """Write the sums and let go of the database."""
        self.collect()
        with self._lock:
            if self._kv is not None:
                self._kv.close()
                self._kv = None

    def _summed(self, family: Metric) -> Metric:
        if self._before:
            family.samples = [
                sample._replace(value=sample.value + self._before.get(key_of(sample), 0.0))
                for sample in family.samples
            ]
        return family

    def _write(self, families: list[Metric]) -> None:
        """Those that are not as they were last written."""
        if self._kv is None:
            return
        now = {key_of(sample): sample.value for family in families for sample in family.samples}
        changed = {key: value for key, value in now.items() if self._kept.get(key) != value}
        if not changed:
            return
        try:
            self._kv.write([(orjson.dumps(k), repr(v).encode()) for k, v in changed.items()])
        except StoreFailed as error:
            self._say(f"totals are no longer kept: {error}")
            self._kv = None
        else:
            self._kept |= changed
