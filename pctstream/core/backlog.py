"""Which shards are behind with the ingest log, so that what they now route did not come now.

A portion's rows have the time at which they came into its pipe. Mostly that is when they came at all. It
is not while a new host works off what came when nobody did, or while N0 routes what it held until the
split: a burst that is none. So a shard is behind from the moment it is silent, has another host, or holds
rows that are to go down, until its lag is what comes within a window. A shard that merely has too much to
do is not behind: its load is as high as it looks. After `PATIENCE` windows whoever still lags only has too
much to do, too. Silence must be noticed before another host takes over, whose backlog reaches the
portions before its first record is read.

>>> backlog = Backlog(window_s=5.0)
>>> seen = {"time": 9.0, "worker": "a", "root": {"held": []},
...         "inputs": [{"node": "N0", "stored": 80, "routed": 80, "end": 201}]}
>>> backlog.look({0: seen}, 10.0), backlog.look({0: seen}, 12.5)
({0}, {0})
>>> seen = seen | {"time": 14.0, "inputs": [{"node": "N0", "stored": 80, "routed": 180, "end": 201}]}
>>> backlog.look({0: seen}, 15.0), backlog.look({0: seen}, 45.0)
(set(), {0})
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SILENT = 1.5
"""Windows without a record: two are told in each."""
PATIENCE = 24
"""Windows for which a shard may be behind."""

Record = Mapping[str, Any]


@dataclass(slots=True)
class _Shard:
    worker: str
    time: float
    heard: float
    done: int
    since: float | None
    """Since when it is behind."""


class Backlog:
    """Told of the shards' records and of a clock in seconds, whose zero does not matter. Who tells
    nothing for ``silent_s``, or `SILENT` windows if that is less, is silent."""

    def __init__(self, window_s: float, silent_s: float = math.inf) -> None:
        self._window_s = window_s
        self._silent_s = min(SILENT * window_s, silent_s)
        self._shards: dict[int, _Shard] = {}

    def look(self, records: Mapping[int, Record], now: float) -> set[int]:
        """The shards that are behind."""
        for number, record in records.items():
            self._take(number, record, now)
        behind = {n: s.since for n, s in self._shards.items() if s.since is not None}
        patience = PATIENCE * self._window_s
        return {number for number, since in behind.items() if now - since <= patience}

    def _take(self, number: int, record: Record, now: float) -> None:
        done, lag = _place(record)
        worker, time = str(record["worker"]), float(record["time"])
        shard = self._shards.get(number)
        if shard is None:
            since = now if lag or any(record["root"]["held"]) else None
            self._shards[number] = _Shard(worker, time, now, done, since)
            return
        if worker != shard.worker:
            shard.since = now if shard.since is None else shard.since
        if time == shard.time:
            if now - shard.heard > self._silent_s and shard.since is None:
                shard.since = now
            return
        came = (done - shard.done) * self._window_s / max(1e-3, time - shard.time)
        held = any(record["root"]["held"])
        if held:
            shard.since = now if shard.since is None else shard.since
        elif worker == shard.worker and lag <= max(came, 0.0):
            shard.since = None
        shard.worker, shard.time, shard.heard, shard.done = worker, time, now, done


def _place(record: Record) -> tuple[int, int]:
    """(messages of the ingest log that are done, how many are not)."""
    for entry in record["inputs"]:
        if entry["node"] == "N0":
            done = max(int(entry["stored"]), int(entry["routed"]))
            return done, max(0, int(entry["end"]) - 1 - done)
    return 0, 0
