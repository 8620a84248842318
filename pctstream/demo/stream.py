"""The demo's rows: the patches of one photograph and, once it is asked to, more and more of another's."""

from __future__ import annotations

import threading
import time

import numpy as np
import pyarrow as pa

from pctstream import photographs
from pctstream.client import Producer
from pctstream.config import Config

TICK_S = 0.05


class Pool:
    """The patches of a photograph, one after the other; in pass k > 0 their ids end in "#k"."""

    def __init__(self, name: str, seed: int) -> None:
        self._columns = photographs.shuffled(name, seed)
        self._size = len(self._columns["id"])
        self._at = 0

    def take(self, count: int) -> pa.RecordBatch:
        """The next so many rows, numbers from 0 to 1."""
        numbers = np.arange(self._at, self._at + count)
        self._at += count
        held = {name: column[numbers % self._size] for name, column in self._columns.items()}
        lap = numbers // self._size
        ends = np.where(lap > 0, np.char.add("#", lap.astype("U3")), "")
        vectors = held.pop("X").astype(np.float32) * np.float32(1 / 255)
        flat = pa.array(vectors.reshape(-1))
        columns = {
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
            "id": pa.array(np.char.add(held.pop("id"), ends)),
        }
        columns |= {name: pa.array(column) for name, column in held.items()}
        return pa.RecordBatch.from_pydict(columns)


class Stream(threading.Thread):
    """``rate`` rows a second until it is ended; ``share`` of them are of the second photograph."""

    def __init__(self, cfg: Config, rate: float, pools: tuple[Pool, Pool], seed: int) -> None:
        super().__init__(name="stream", daemon=True)
        self._cfg, self._rate = cfg, rate
        self._pools = pools
        self._chance = np.random.default_rng(seed)
        self._mixing: tuple[float, float] | None = None
        self._over = threading.Event()
        self.rows = 0
        """Given to the producer so far."""
        self.failed: BaseException | None = None

    def mix(self, over_s: float) -> None:
        """From now on the second photograph's share grows from 0 to 1 in so many seconds."""
        self._mixing = time.monotonic(), over_s

    @property
    def share(self) -> float:
        """Of the second photograph, now."""
        if self._mixing is None:
            return 0.0
        since, over_s = self._mixing
        return min(1.0, (time.monotonic() - since) / over_s)

    def end(self) -> None:
        """No more rows; returns when the broker has taken those that were given."""
        self._over.set()
        self.join(60.0)

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.failed = error

    def _run(self) -> None:
        cfg, begun = self._cfg, time.monotonic()
        with Producer(cfg.kafka.broker, cfg.tree.name, linger_s=0.1) as producer:
            while not self._over.wait(TICK_S):
                due = int((time.monotonic() - begun) * self._rate) - self.rows
                second = int(self._chance.binomial(max(0, due), self.share))
                for pool, count in zip(self._pools, (due - second, second), strict=True):
                    if count > 0:
                        producer.extend(pool.take(count))
                        self.rows += count
                producer.poll()
