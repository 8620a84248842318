"""Rows that come while faults happen: as many as are wanted, one in twenty under an id that was there."""

from __future__ import annotations

import threading

from broker.system import mixture, wait_for

from pctstream.client import Producer

PART = 5000
AGAIN = 20
"""Every so manieth row replaces an earlier one."""
STEP, STEP_S = 20, 0.05


class Flow:
    """A thread that has fed ``fed`` rows and goes on to ``upto``."""

    def __init__(self, broker: str, tree: str) -> None:
        self.fed = 0
        self._upto = 0
        self._sent = 0
        self._rows = mixture(PART, seed=2)
        self._end = threading.Event()
        self._producer = Producer(broker, tree, block_rows=100, linger_s=0.05)
        self._thread = threading.Thread(target=self._run, name="flow", daemon=True)
        self._thread.start()

    def upto(self, rows: int) -> None:
        """Feed until so many rows were fed in all."""
        self._upto = max(self._upto, rows)

    @property
    def idle(self) -> bool:
        """All that was wanted lies in the log."""
        return self.fed >= self._upto

    def wait(self, within_s: float = 120.0) -> None:
        """Until all that was wanted lies in the log."""
        wait_for("all rows in the log", lambda: self.idle, within_s)

    def close(self) -> None:
        self._end.set()
        self._thread.join(60)

    def _run(self) -> None:
        with self._producer as producer:
            while not self._end.wait(STEP_S):
                for _ in range(min(STEP, self._upto - self._sent)):
                    n = self._sent
                    name = f"c{n if n % AGAIN else n // 2}"
                    producer.add(self._rows[n % PART], id=name)
                    self._sent += 1
                producer.poll()
                if self._sent == self._upto > self.fed:
                    producer.flush()
                    self.fed = self._sent
