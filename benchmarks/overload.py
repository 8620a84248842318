"""Three times what can be taken, for five minutes, with questions all along.

The system of `memory.py`: a broker of its own, workers, 48 portions that grow. Small rows in small
blocks, so that five minutes of it, which are stored three times, fit on a disk; and room to keep them
all to be searched (--searched: a worker that has less reads them for every question).

    most     --rows rows as fast as they are taken: the rate that can be had
    idle     nobody sends; questions, --rate a second: their 99th percentile
    overload producers at three times that rate for --seconds, the questions go on until all is caught up:
             the same, the greatest lag, how long catching up takes, resident memory by quarters
    after    idle once more, with all the rows that came

What must hold, or the exit code is 1: questions under overload take at most --times as long as when idle
(99th percentile; idle with as many rows, so the larger of before and after), every one is answered,
memory in the last quarter of the overload is at most --flat of that in the second (or below --most MB and
the caches: what is kept to be searched fills its limit first), the lag grew and was caught up, and
`pctstream verify` finds nothing lost and nothing doubled.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
from memory import MB, PIPES, Run

from pctstream.config import to_env

IDLE_S, WARM_S = 20.0, 5.0
WINDOW_S, WORST = 10.0, 5
"""Of so many windows with the slowest questions it is told when they were."""
AT_ONCE = 16
"""So many questions may wait for their answers; people do not wait for each other."""
VERIFY_S = 3600.0
HELD_S = 10.0
"""Between two questions for the whole tree."""


class Overrun(Run):
    """Whether every row came once is `verify`'s to say: what a node that was restored applied before, or
    again, may be counted or not. So the tree's own number of rows is believed, too."""

    def through(self) -> None:
        asked = 0.0

        def there() -> bool:
            nonlocal asked
            if self.rows >= self.wanted:
                return True
            if time.monotonic() < asked + HELD_S:
                return False
            asked = time.monotonic()
            return self.held >= self.wanted

        self.until("all applied", there)

    @property
    def held(self) -> int:
        """Rows that the shards have, as they told last: every node of the tree is looked at for that."""
        return int(httpx.get(f"{self.urls[0]}/v1/tree", timeout=30.0).json()["rows"])


class Asker(threading.Thread):
    """Questions at an even rate, each when it is due, whoever still waits for those before."""

    def __init__(self, url: str, dimension: int, rate: float) -> None:
        super().__init__(daemon=True)
        rng = np.random.default_rng(7)
        centres = rng.normal(0, 6, (PIPES, dimension))
        self._points = centres[rng.integers(0, PIPES, 500)] + rng.normal(0, 0.4, (500, dimension))
        self._url, self._pause = f"{url}/v1/search", 1.0 / rate
        self._over = threading.Event()
        self.took: list[tuple[float, float]] = []
        """Of each question when it was due, and how long it took; seconds."""
        self.failed: list[str] = []

    def run(self) -> None:
        due = time.monotonic()
        with httpx.Client(timeout=30.0) as http, ThreadPoolExecutor(AT_ONCE) as asking:
            for at in range(sys.maxsize):
                if self._over.wait(max(0.0, due - time.monotonic())):
                    return
                question = {"vector": self._points[at % 500].tolist(), "k": 10}
                # from when it was due: one that found everybody waiting took that long, too
                asking.submit(self._ask, http, question, due)
                due += self._pause

    def _ask(self, http: httpx.Client, question: dict[str, Any], due: float) -> None:
        try:
            answer = http.post(self._url, json=question)
            if answer.status_code != 200 or len(answer.json()["results"]) != 10:
                self.failed.append(f"{answer.status_code}: {answer.text[:200]}")
        except httpx.HTTPError as error:
            self.failed.append(repr(error))
        self.took.append((due, time.monotonic() - due))

    def done(self) -> dict[str, Any]:
        """What was asked since it began, in milliseconds."""
        self._over.set()
        self.join(60.0)
        due, took = np.array(sorted(self.took)).T
        found: dict[str, Any] = {f"p{p}": milliseconds(took, p) for p in (50, 90, 99)}
        window = ((due - due[0]) // WINDOW_S).astype(int)
        slowest = sorted((milliseconds(took[window == w], 99), w * WINDOW_S) for w in set(window))
        found["slowest"] = {f"from {at:.0f} s": p99 for p99, at in slowest[: -WORST - 1 : -1]}
        return {"asked": len(took), "failed": self.failed[:3], **found}


def milliseconds(took: Any, percentile: float) -> float:
    """Of seconds f64[n]."""
    return round(float(np.percentile(took, percentile)) * 1000, 1)


def idle(run: Run, asked: argparse.Namespace) -> dict[str, Any]:
    """Questions while nothing else happens."""
    time.sleep(WARM_S)
    asker = Asker(run.urls[0], asked.dimension, asked.rate)
    asker.start()
    time.sleep(IDLE_S)
    return asker.done()


def overload(run: Run, asked: argparse.Namespace) -> dict[str, Any]:
    """`Run.threefold` and the questions meanwhile."""
    asker = Asker(run.urls[0], asked.dimension, asked.rate)
    begun, rows = time.monotonic(), run.rows
    asker.start()
    told = run.threefold(asked.seconds)
    seen = asker.done()  # while it catches up, too: it is as busy then
    came = (run.rows - rows) / (time.monotonic() - begun)
    return {**told, "questions": seen, "applied_per_second": round(came)}


def verified(run: Run) -> dict[str, Any]:
    """What `pctstream verify` says."""
    words = [sys.executable, "-m", "pctstream", "verify", "--json", "--http", run.urls[0]]
    env = os.environ | to_env(run.cfg)
    done = subprocess.run(
        words, env=env, capture_output=True, text=True, timeout=VERIFY_S, check=False
    )
    if not done.stdout:
        return {"failed": done.stderr[-500:]}
    return dict(json.loads(done.stdout))


def broken(result: dict[str, Any], asked: argparse.Namespace) -> list[str]:
    """What did not hold."""
    under, found = result["overload"], []
    before = max(result["idle"]["p99"], result["after"]["p99"])
    if under["questions"]["p99"] > asked.times * before:
        found.append(f"p99 {under['questions']['p99']} ms, idle {before} ms")
    if failed := under["questions"]["failed"]:
        found.append(f"questions failed: {failed}")
    if under["quarters"][-1] > max(asked.flat * under["quarters"][1], result["bound"]):
        found.append(f"memory grew: {under['quarters']} MB")
    if under["lag"] <= 0:
        found.append("there was no overload: the lag did not grow")
    said = result["verify"]
    if said.get("lost", 1) or said.get("duplicated", 1):
        found.append(f"verify: {said}")
    return found


def main() -> int:
    """Exit code 1 if something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--dimension", type=int, default=16)
    parser.add_argument("--block", type=int, default=16, help="rows in a message")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--levels", type=int, default=2, help="tree.max_level")
    parser.add_argument("--searched", type=int, default=2048, help="MB of limits.search_bytes")
    parser.add_argument("--rate", type=float, default=20.0, help="questions a second")
    parser.add_argument("--times", type=float, default=3.0)
    parser.add_argument("--flat", type=float, default=1.15)
    parser.add_argument("--most", type=float, default=600.0, help="MB besides the caches")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    extra = {
        "limits.search_bytes": round(asked.searched * MB),
        "tree.max_level": asked.levels,
    }
    with Overrun(asked.workers, asked.dimension, extra, asked.block) as run:
        result: dict[str, Any] = {"most": run.million(asked.rows)}
        caches = run.cfg.store.cache_bytes + run.cfg.limits.search_bytes
        result["bound"] = round(asked.most + caches / MB)
        for name, part in (("idle", idle), ("overload", overload), ("after", idle)):
            result[name] = part(run, asked)
            print(json.dumps({name: result[name]}), flush=True)
        result["verify"] = verified(run)
        result["counted"] = {"sent": run.wanted, "applied": run.rows, "held": run.held}
    print(json.dumps(result, indent=2))
    found = broken(result, asked)
    print("; ".join(found) or "all of it holds")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
