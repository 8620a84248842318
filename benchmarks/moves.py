"""What a move costs those who write: rates, pauses, and whether the throttle holds.

The tree of `memory.py`, 48 portions of rows of 128 numbers on 8 shards of two workers, broker and
producer on the same machine.

    full       rows/s applied of more than can be, alternating: nothing moves / one portion after another
               moves between the two workers; medians and their ratio
    half       the same of a steady stream of half as many
    pause      at half the maximum: how long the portion's owner wrote nothing, looked at every 20 ms, in
               the time of the move and in as much time without one: p50, p99 and the longest
    throttle   one portion of 50 MB at moves.bytes_per_s = 1 MB/s: bytes that the target received, from
               the moment one piece came to the moment another came, 30 s later
    moves      how many there were, seconds each; every proof equal, or the program ends

A tree that grows looks at rows over and over, move or not. With --max-level 1 its portions are leaves, and
what is seen is what a move costs alone.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import threading
import time
from typing import Any

import httpx
import numpy as np
from figures import Figures
from memory import FIRST_ROWS, Run

LOOK_S = 0.02
THROTTLE_S = 30.0
RATIO, PAUSE_MS, THROTTLE_OFF = 0.8, 250.0, 0.1
AHEAD_ROWS = 300_000
"""More than can be applied is fed so far ahead, and no farther: all of it is waited for."""


class Feeding(threading.Thread):
    """So many rows a second, until it is ended."""

    def __init__(self, run: Run, rate: float) -> None:
        super().__init__(daemon=True)
        self._run, self._rate = run, rate
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        begun, asked, before = time.monotonic(), 0, self._run.rows
        while not self._over.wait(0.05):
            ahead = before + asked - self._run.rows
            due = min(int(self._rate * (time.monotonic() - begun)) - asked, AHEAD_ROWS - ahead)
            if due > 0:
                asked += self._run.ask(due)

    def end(self) -> None:
        self._over.set()
        self.join()


class Moving:
    """Asks for moves, one after the other, of the portion with the most rows."""

    def __init__(self, run: Run) -> None:
        self._run, self._http = run, httpx.Client(timeout=30.0)
        self.took: list[float] = []

    def get(self, path: str) -> Any:
        return self._http.get(f"{self._run.urls[0]}{path}").json()

    def start(self) -> str:
        """A move of the largest portion to a shard of the other worker; its id."""
        portion = max(self.get("/v1/portions")["portions"], key=lambda p: p["rows"])
        places = {s["shard"]: s["worker"] for s in self.get("/v1/shards")["shards"]}
        home = places[portion["owner"]]
        target = min(s for s, worker in places.items() if worker != home)
        asked = {"portion": portion["portion"], "to": target}
        answer = self._http.post(f"{self._run.urls[0]}/v1/moves", json=asked)
        if answer.status_code != 202:
            raise SystemExit(answer.text)
        return str(answer.json()["id"])

    def once(self) -> dict[str, Any]:
        """One move to its drop."""
        begun, name = time.monotonic(), self.start()
        while not (move := self.get(f"/v1/moves/{name}"))["dropped"]:
            if move["stage"] == "ABORTED":
                raise SystemExit(f"aborted: {move['why']}")
            time.sleep(0.1)
        if move["proof"]["hash_from"] != move["proof"]["hash_to"]:
            raise SystemExit(f"unequal: {move}")
        self.took.append(time.monotonic() - begun)
        return dict(move)


class Pauses(threading.Thread):
    """How long the owner of a portion wrote nothing, over and over."""

    def __init__(self, run: Run, portion: str) -> None:
        super().__init__(daemon=True)
        self._run, self._portion = run, portion
        self._over = threading.Event()
        self.seen: list[float] = []
        self.start()

    def run(self) -> None:
        http, url = httpx.Client(timeout=30.0), self._run.urls[0]
        at, since, owner, looked = -1, time.monotonic(), -1, 0.0
        node = self._portion
        while not self._over.wait(LOOK_S):
            now = time.monotonic()
            if now - looked > 0.2:
                owner, looked = http.get(f"{url}/v1/portions/{node}").json()["owner"], now
            shards = [http.get(f"{u}/v1/shards/{owner}").json() for u in self._run.urls]
            stored = max(
                i["stored"] for shard in shards for i in shard["inputs"] if i["node"] == node
            )
            if stored > at:
                self.seen.append(now - since)
                at, since = stored, now

    def end(self) -> dict[str, float]:
        self._over.set()
        self.join()
        gaps = self.seen[1:] or [0.0]
        return {"p50_ms": round(1000 * float(np.percentile(gaps, 50))),
                "p99_ms": round(1000 * float(np.percentile(gaps, 99))),
                "longest_ms": round(1000 * max(gaps)), "writes": len(gaps)}  # fmt: skip


def rate(run: Run, seconds: float, act: Any) -> float:
    """Rows/s applied while ``act`` is done, for so long at least."""
    rows, begun = run.rows, time.monotonic()
    while time.monotonic() - begun < seconds:
        act()
    return (run.rows - rows) / (time.monotonic() - begun)


def rates(run: Run, options: argparse.Namespace, moving: Moving) -> dict[str, float]:
    """Rows/s applied, alternating: while nothing moves, and while something always does."""
    still, moved = [], []
    time.sleep(5.0)
    for _ in range(options.rounds):
        still.append(rate(run, options.seconds, lambda: time.sleep(0.2)))
        moved.append(rate(run, options.seconds, moving.once))
    before, then = statistics.median(still), statistics.median(moved)
    return {"still": round(before), "moving": round(then), "ratio": round(then / before, 2)}


def settled(run: Run) -> None:
    """Until the tree has every row: what workers count as applied is not told of shadows."""
    http = httpx.Client(timeout=30.0)
    wanted = run.wanted
    run.until("every row", lambda: http.get(f"{run.urls[0]}/v1/tree").json()["rows"] == wanted)


def received(run: Run) -> float:
    """Bytes of copies that the workers have received so far."""
    texts = [httpx.get(f"{url}/metrics", timeout=10).text for url in run.urls]
    return sum(float(re.findall(r"^pct_move_bytes_total (\S+)$", t, re.M)[0]) for t in texts)


def arrival(run: Run, known: float) -> tuple[float, float]:
    """When more than so many bytes were received first, and how many they are then."""
    while (now := received(run)) <= known:
        time.sleep(0.01)
    return time.monotonic(), now


def main() -> int:
    """Exit code 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="of each part")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=float, default=0.0, help="rows/s instead of the part `full`")
    parser.add_argument(
        "--max-level", type=int, default=0, help="1: portions are leaves; 0: the default"
    )
    parser.add_argument("--only", choices=("writes", "throttle"), help="one of the two parts")
    options = parser.parse_args()
    found = {}
    for name, part in (("writes", lambda: writes(options)), ("throttle", throttled)):
        if options.only in (None, name):
            found[name] = part()
            print(json.dumps(found[name]), flush=True)
    figures = Figures("moves", "confluent-kafka", "rocksdict")
    if writing := found.get("writes"):
        figures.least(
            "rows/s while portions move / while none does", writing["half"]["ratio"], RATIO
        )
        figures.most("p99 of what an owner waits while it moves, ms",
                     writing["pause moving"]["p99_ms"], PAUSE_MS)  # fmt: skip
    if throttle := found.get("throttle"):
        off = abs(throttle["bytes_per_s"] / 1e6 - 1.0)
        figures.most("throttle of a copy: off by", off, THROTTLE_OFF)
    return figures.keep(found)


def writes(options: argparse.Namespace) -> dict[str, Any]:
    """Rates, pauses and moves."""
    said: dict[str, Any] = {}
    settings: dict[str, Any] = {"moves.grace_s": 1.0, "drift.automatic": False}
    if options.max_level:
        settings["tree.max_level"] = options.max_level
    with Run(2, 128, settings) as run:
        run.ask(FIRST_ROWS)
        run.through()
        moving = Moving(run)
        most = options.most
        if not most:
            feeding = Feeding(run, 400_000.0)
            said["full"] = rates(run, options, moving)
            feeding.end()
            print(json.dumps(said), flush=True)
            settled(run)
            most = said["full"]["still"]
        feeding = Feeding(run, most / 2)
        said["half"] = rates(run, options, moving)
        portion = max(moving.get("/v1/portions")["portions"], key=lambda p: p["rows"])
        pauses = Pauses(run, portion["portion"])
        time.sleep(options.seconds)
        said["pause still"] = pauses.end()
        pauses = Pauses(run, portion["portion"])
        rate(run, options.seconds, moving.once)
        said["pause moving"] = pauses.end()
        feeding.end()
        settled(run)
        took = [round(s, 1) for s in moving.took]
        said["moves"] = {"count": len(took), "median_s": statistics.median(took)}
    return said


def throttled() -> dict[str, Any]:
    """Bytes a second at 1 MB/s."""
    with Run(2, 128, {"tree.epsilon": 500.0, "moves.bytes_per_s": 1_000_000}) as run:
        run.ask(100_000)
        run.through()
        moving = Moving(run)
        name = moving.start()
        arrival(run, 0.0)
        begun, first = arrival(run, received(run))
        time.sleep(THROTTLE_S)
        ended, last = arrival(run, received(run))
        stage = moving.get(f"/v1/moves/{name}")["stage"]
    return {"bytes_per_s": round((last - first) / (ended - begun)),
            "seconds": round(ended - begun, 1), "stage": stage}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
