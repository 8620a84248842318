"""Drift on a real broker: seen by one worker, shown by both, and gone on with by the other."""

from __future__ import annotations

import itertools
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from broker.system import System, mixture, wait_for

from pctstream.client import Producer

CENTRES, RATE = 4, 400.0
WINDOW_S = 0.5


class Stream:
    """Rows at a steady rate, of which a part lies at one place; the part can be changed."""

    def __init__(self, one: System) -> None:
        self._one = one
        self.part = 0.5
        self.ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        rng = np.random.default_rng(5)
        rows = mixture(4000, centres=2, seed=9)
        near = rows[:, 0] < rows[:, 0].mean()
        sides = rows[near], rows[~near]
        begun, made = time.monotonic(), 0
        with Producer(self._one.broker, self._one.tree) as producer:
            while not self.ends.wait(0.02):
                while made < (time.monotonic() - begun) * RATE:
                    side = sides[int(rng.random() < self.part)]
                    producer.add(side[rng.integers(len(side))], id=f"s{made}")
                    made += 1
                producer.flush()
        self._one.fed += made

    def stop(self) -> None:
        self.ends.set()
        self._thread.join(10)


@pytest.fixture
def streaming(broker: Any, tmp_path: Path) -> Iterator[tuple[System, Stream]]:
    """Two workers, a tree of two portions, and rows that keep coming."""
    settings: dict[str, object] = {
        "shards.count": 2, "tree.epsilon": 20.0, "tree.gap": 300, "tree.max_level": 1,
        "drift.window_s": WINDOW_S,
    }  # fmt: skip
    one = System(broker.bootstrap, f"t{os.getpid()}-drift", tmp_path, settings)
    one.start(0, 1)
    one.feed(mixture(1000, centres=2, seed=1))
    wait_for("portions", lambda: len(one.get("/v1/portions")["portions"]) > 1)
    stream = Stream(one)
    yield one, stream
    stream.stop()
    one.stop()


def rates(one: System, number: int, name: str) -> list[dict[str, Any]]:
    return list(one.get(f"/v1/drift/{name}", number)["density"])


def scored(one: System) -> list[int]:
    """The workers that tell of drift as metrics."""
    alive = [n for n, w in one.workers.items() if w.poll() is None]
    texts = {n: httpx.get(f"http://127.0.0.1:{one.ports[n]}/metrics", timeout=5).text for n in alive}
    return [n for n, text in texts.items() if re.search(r"^pct_drift_score\{", text, re.M)]


def test_a_shift_is_seen_everywhere_and_outlives_its_worker(
    streaming: tuple[System, Stream],
) -> None:
    one, stream = streaming
    names = [p["portion"] for p in one.get("/v1/portions")["portions"]]
    wait_for("windows of both", lambda: all(len(rates(one, n, p)) >= 24 for n in (0, 1) for p in names))
    stream.part = 0.9
    print(rates(one, 0, names[0]), rates(one, 0, names[1]))
    (author,) = wait_for("one tells of it", lambda: scored(one))
