"""The policy by itself on a real broker: what it does of a stream that stays, and of one that does not.

Two workers, 48 portions on 8 shards that carry 1.4 times what comes; 2,000 rows/s, the same on every shard.

    stays      for two minutes: plans and moves (0 each must be)
    ramps      the portions of one shard grow to five times their part over a minute: the score that
               set off the first plan, when its first move was planned, shadowed and done, when the shard
               was over the tolerance for two windows (never, or later than the move was done)
    before     the last ten seconds before that plan, and `after` ten to thirty after the last move: the
               largest load of a shard over its share; p50 and p99 of exact questions (k = 10)
    unmoved    what the largest load would be now had nothing moved, as the ledger says

Exit 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from memory import FIRST_ROWS, Run

from pctstream.client import Producer

RATE = 2000.0
ROOM = 1.4
RAMP_S, HEIGHT = 60.0, 5.0
WITHIN_S = 120.0
TOLERANCE = 1.10


class Stream(threading.Thread):
    """Rows about the portions' centres; ``height``: how many times its part the busy shard gets."""

    def __init__(self, run: Run) -> None:
        super().__init__(daemon=True)
        self._run = run
        get = httpx.Client(timeout=30.0).get
        owners = get(f"{run.urls[0]}/v1/portions").json()["portions"]
        owner = {p["portion"]: p["owner"] for p in owners}

        def told() -> list[dict[str, Any]]:
            cover = get(f"{run.urls[0]}/v1/levels/1/cover").json()["cover"]
            # until the root's rows are told of as its children's, it stands among them
            return cover if all(e["node"] in owner for e in cover) else []

        cover = [e for e in run.until("the cover of the portions", told) if e["x"]]
        self.centres = np.array([e["x"] for e in cover], np.float32)
        homes = [owner[e["node"]] for e in cover]
        self.busy = max(set(homes), key=homes.count)
        self._even = np.array([1.0 / homes.count(home) for home in homes])
        self._grows = np.array([home == self.busy for home in homes])
        self._ramp: float | None = None
        self.over = threading.Event()
        self.start()

    def ramp(self) -> None:
        self._ramp = time.monotonic()

    def run(self) -> None:
        rng, made, begun = np.random.default_rng(3), 0, time.monotonic()
        with Producer(self._run.cfg.kafka.broker, self._run.cfg.tree.name, linger_s=0.1) as out:
            while not self.over.wait(0.05):
                due = int(RATE * (time.monotonic() - begun)) - made
                height = 1.0
                if self._ramp is not None:
                    height += (HEIGHT - 1.0) * min(1.0, (time.monotonic() - self._ramp) / RAMP_S)
                part = self._even * np.where(self._grows, height, 1.0)
                which = rng.choice(len(part), max(0, due), p=part / part.sum())
                rows = self.centres[which] + rng.normal(0, 0.4, (len(which), 128))
                if due > 0:
                    flat = pa.array(rows.astype(np.float32).reshape(-1))
                    ids = [f"s{made + i}" for i in range(due)]
                    vectors = pa.FixedSizeListArray.from_arrays(flat, 128)
                    out.extend(pa.record_batch({"vector": vectors, "id": pa.array(ids)}))
                    made += due
                out.poll()


class Watch(threading.Thread):
    """The shards' loads and how long questions take, with the time of each."""

    def __init__(self, run: Run, stream: Stream) -> None:
        super().__init__(daemon=True)
        self._run, self._stream = run, stream
        self.loads: list[tuple[float, dict[int, float]]] = []
        self.asked: list[tuple[float, float]] = []
        self.start()

    def run(self) -> None:
        http, rng = httpx.Client(timeout=30.0), np.random.default_rng(4)
        centres, url = self._stream.centres, self._run.urls[0]
        while not self._stream.over.wait(0.1):
            vector = centres[rng.integers(len(centres))] + rng.normal(0, 0.4, 128)
            body = {"vector": vector.tolist(), "k": 10, "exact": True}
            with suppress(httpx.TimeoutException):
                shards = http.get(f"{url}/v1/shards").json()["shards"]
                self.loads.append((time.time(), {s["shard"]: s["load"] for s in shards}))
                begun = time.perf_counter()
                http.post(f"{url}/v1/search", json=body)
                self.asked.append((time.time(), time.perf_counter() - begun))

    def told(self, since: float, until: float) -> dict[str, float]:
        """Of that time; {} if nothing was answered in it."""
        loads = [max(found.values()) for t, found in self.loads if since <= t < until]
        took = [1000.0 * s for t, s in self.asked if since <= t < until]
        if not loads or not took:
            return {}
        return {"max_load": round(float(np.median(loads)), 2), "questions": len(took),
                "p50_ms": round(float(np.percentile(took, 50)), 1),
                "p99_ms": round(float(np.percentile(took, 99)), 1)}  # fmt: skip

    def crossed(self, shard: int, whole_s: float) -> float | None:
        """When this shard was over the tolerance, and stayed there for so long."""
        since = None
        for t, found in self.loads:
            above = found.get(shard, 0.0) > TOLERANCE
            since = (since or t) if above else None
            if since is not None and t - since >= whole_s:
                return since
        return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stays", type=float, default=120.0, help="seconds")
    parser.add_argument("--window", type=float, default=5.0, help="seconds")
    options = parser.parse_args()
    settings = {"moves.grace_s": 1.0, "drift.window_s": options.window,
                "shards.rows_per_s": ROOM * RATE}  # fmt: skip
    with Run(2, 128, settings) as run:
        run.ask(FIRST_ROWS)
        run.through()
        http, url = httpx.Client(timeout=30.0), run.urls[0]

        def get(path: str) -> Any:
            return http.get(f"{url}{path}").json()

        run.until("rest", lambda: all(
            m["stage"] == "ABORTED" or m["dropped"] for m in get("/v1/moves")["moves"]))  # fmt: skip
        stream = Stream(run)
        watch = Watch(run, stream)
        time.sleep(20 * options.window)
        begun = time.time()
        time.sleep(options.stays)
        plans = [p for p in get("/v1/plans")["plans"] if p["time"] > begun]
        still: dict[str, Any] = watch.told(begun, time.time()) | {
            "plans": [plan["reason"] for plan in plans],
            "moves": sum(len(plan["made"]) for plan in plans),
        }
        print(json.dumps({"stays": still}), flush=True)
        begun = time.time()
        stream.ramp()
        good = ramped(get, watch, begun, options.window) and not plans
        stream.over.set()
        stream.join()
    print("holds" if good else "missed")
    return 0 if good else 1


def ramped(get: Any, watch: Watch, begun: float, window_s: float) -> bool:
    """The plans of the ramp, and whether the first move was done in time."""
    deadline = begun + WITHIN_S
    while not (made := mine(get, begun)) and time.time() < deadline:
        time.sleep(0.2)
    if not made:
        print("nothing was planned")
        return False
    first = get(f"/v1/moves/{made[0]['made'][0]}")
    time.sleep(max(0.0, begun + RAMP_S + 10.0 - time.time()))
    while not all(ended(get, plan) for plan in mine(get, begun)) and time.time() < deadline:
        time.sleep(0.5)
    over = time.time()
    time.sleep(30.0)
    first = get(f"/v1/moves/{first['id']}")
    stages = {entry["stage"]: round(entry["time"] - begun, 1) for entry in first["history"]}
    crossed = watch.crossed(first["from"], 2 * window_s)
    trigger = first["history"][0]
    plans = mine(get, begun)
    print(json.dumps({
        "first": {k: trigger[k] for k in ("stage", "score", "threshold", "load", "tolerance", "why")},
        "seconds into the ramp": stages,
        "over the tolerance": None if crossed is None else round(crossed - begun, 1),
        "plans": len(plans), "moves": sum(len(plan["made"]) for plan in plans),
        "before": watch.told(trigger["time"] - 10.0, trigger["time"]),
        "during": watch.told(trigger["time"], over),
        "after": watch.told(over + 10.0, over + 30.0),
        "realised": [get(f"/v1/plans/{plan['id']}")["realised"] and {
            k: round(v, 2) for k, v in get(f"/v1/plans/{plan['id']}")["realised"].items()
            if k in ("before", "after", "gain")} for plan in plans],
    }), flush=True)  # fmt: skip
    proof = first["proof"]
    in_time = crossed is None or crossed >= begun + stages["DONE"]
    return (
        trigger["score"] > trigger["threshold"]
        and in_time
        and proof["hash_from"] == proof["hash_to"]
    )


def mine(get: Any, since: float) -> list[dict[str, Any]]:
    """The plans that the policy made and applied since then, the first first."""
    plans = [p for p in get("/v1/plans")["plans"]
             if p["by"] == "policy" and p["applied"] and p["made"] and p["time"] > since]  # fmt: skip
    return sorted(plans, key=lambda p: p["time"])


def ended(get: Any, plan: dict[str, Any]) -> bool:
    return all(get(f"/v1/moves/{name}")["stage"] in ("DONE", "ABORTED") for name in plan["made"])


if __name__ == "__main__":
    sys.exit(main())
