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

RATE = 400.0
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
        away = np.linalg.norm(rows - rows[0], axis=1)
        near = away < away.mean()
        sides = rows[near], rows[~near]
        begun, made = time.monotonic(), 0
        with Producer(self._one.broker, self._one.tree) as producer:
            while not self.ends.wait(0.02):
                while made < (time.monotonic() - begun) * RATE:
                    side = sides[int(rng.random() < self.part)]
                    producer.add(side[rng.integers(len(side))], id=f"s{made}")
                    made += 1
                producer.seal()
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


def windows(one: System, number: int, name: str) -> list[dict[str, Any]]:
    """The densities of a portion, as this worker shows them."""
    return list(one.get(f"/v1/drift/{name}", number)["density"])


def share(one: System, number: int, names: list[str]) -> float:
    """The larger portion's part of the rows of the last windows."""
    last = [windows(one, number, name)[-3:] for name in names]
    rows = [sum(w["rows_s"] for w in some) for some in last]
    return float(max(rows) / sum(rows))


def tells(one: System) -> list[int]:
    """The workers that tell of drift as metrics."""
    alive = [n for n, w in one.workers.items() if w.poll() is None]
    texts = {
        n: httpx.get(f"http://127.0.0.1:{one.ports[n]}/metrics", timeout=5).text for n in alive
    }
    return [n for n, text in texts.items() if re.search(r"^pct_drift_score\{", text, re.M)]


def test_a_shift_is_seen_everywhere_and_outlives_its_worker(
    streaming: tuple[System, Stream],
) -> None:
    one, stream = streaming
    names = [p["portion"] for p in one.get("/v1/portions")["portions"]]
    wait_for("windows", lambda: all(len(windows(one, n, p)) >= 12 for n in (0, 1) for p in names))
    stream.part = 0.9
    for number in (0, 1):
        wait_for("the shift", lambda n=number: share(one, n, names) > 0.8, 20.0)
        shown = {d["portion"]: d for d in one.get("/v1/drift", number)["drift"]}
        portions = {p["portion"]: p for p in one.get("/v1/portions", number)["portions"]}
        assert set(shown) == set(portions) == set(names)
        for name, drift in shown.items():
            assert len(drift["forecast"]) == 6 and drift["model"]
            assert all(0 <= f["low"] <= f["rows_s"] <= f["high"] for f in drift["forecast"])
            assert portions[name]["drift_score"] >= 0.0
        assert one.get("/v1/tables/drift", number)["rows"].keys() == set(names)
    (agent,) = tells(one)
    one.kill(agent)
    died, other = time.time(), 1 - agent
    wait_for("the other one goes on", lambda: tells(one) == [other] and all(
        windows(one, other, name)[-1]["t"] > died + 3.0 for name in names), 40.0)  # fmt: skip
    for name, part in zip(names, parts_of(one, other, names), strict=True):
        found = windows(one, other, name)
        gaps = {round((b["t"] - a["t"]) / WINDOW_S) for a, b in itertools.pairwise(found)}
        assert gaps == {1}
        since = [w["rows_s"] for w in found if w["t"] >= died - 1.0]
        means = np.convolve(since, np.full(4, 0.25), "valid")
        assert 0.3 * part * RATE < means.min() and means.max() < 2.5 * part * RATE, found


def parts_of(one: System, number: int, names: list[str]) -> list[float]:
    """0.9 for the portion that gets most, 0.1 for the other."""
    rows = [sum(w["rows_s"] for w in windows(one, number, name)[-6:]) for name in names]
    return [0.9 if r == max(rows) else 0.1 for r in rows]
