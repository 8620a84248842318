"""A million rows with places through a whole system: are all answers brute force's, also while all moves?

A broker, two workers, four shards on RocksDB. 1,000,000 skewed points (`tests/core/points.py`) come
first. Then, at once, for --seconds:

    writers    8 producers put rows around a hot spot that moves across the points, take some of their rows
               along to where it is now (the same ids), and delete others
    readers    8 threads ask both workers for boxes and for the nearest rows around points
    a move     the largest portion goes to a shard of the other worker

Of every whole answer: the rows of the first million are exactly those of brute force; every other row is
where its writer has put it at some time, and in the box. Of a partial one nothing is wrong, only missing.
Once all is at rest: the map of the fleet is `numpy.histogram2d` of all rows, boxes and nearest are brute
force's, at every worker. Then the workers are stopped and the stores opened: each row is in exactly one
region, the areas add up to the whole, the counts are those of a scan.

Exit code 1 if anything of this does not hold.
"""

from __future__ import annotations

import argparse
import io
import itertools
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from broker.system import System, wait_for
from broker.test_moves import ended, hosts, largest, start
from core.points import in_box, skewed, whole
from turns import machine

from pctstream.agents.ration import Ration
from pctstream.agents.shard import Shard
from pctstream.agents.spatial import ShardIndex
from pctstream.broker import LocalBroker
from pctstream.client import Producer
from pctstream.core.names import node_path
from pctstream.core.places import Places
from pctstream.rocks import RocksKV
from pctstream.store import Store

SHARDS, WRITERS, READERS, K = 4, 8, 8, 10
ROUND, KEPT_ROUNDS, DELETED, PAUSE_S = 1000, 4, 200, 0.5
PER_BOX = 2000
"""Rows of the first million in a box, at most: an answer has 10,000 rows at most."""
KINDS = [f"{p},{n}" for p, n in itertools.product(("quadtree", "kdtree"), ("proximity", "count"))]


def columns(places: Any, ids: list[str]) -> pa.RecordBatch:
    """Rows whose vectors are their places."""
    flat = pa.array(places.astype(np.float32).ravel())
    vectors = pa.FixedSizeListArray.from_arrays(flat, 2)
    x, y = (pa.array(np.ascontiguousarray(column)) for column in places.T)
    return pa.record_batch([vectors, pa.array(ids), x, y], ["vector", "id", "x", "y"])


class Writer(threading.Thread):
    """Its rows, where each was put at any time (`ever`) and where it is (`now`)."""

    def __init__(self, one: System, number: int, spot: Any, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._one, self._number, self._spot, self._over = one, number, spot, over
        self.ever: dict[str, set[tuple[float, float]]] = {}
        self.now: dict[str, tuple[float, float]] = {}
        self.sent = 0

    def run(self) -> None:
        rng = np.random.default_rng(100 + self._number)
        with Producer(self._one.broker, self._one.tree) as producer:
            for turn in itertools.count():
                if self._over.wait(PAUSE_S):
                    return
                # ids come again after some rounds: their rows move along
                first = turn % (KEPT_ROUNDS * 2) * ROUND
                ids = [f"w{self._number}.{first + i}" for i in range(ROUND)]
                places = rng.normal(self._spot(), 0.02, (ROUND, 2)).round(6)
                self._put(producer, ids, places)
                gone = rng.choice(sorted(self.now), DELETED, replace=False).tolist()
                none = pa.array(np.zeros(2 * DELETED, np.float32))
                batch = pa.record_batch(
                    [pa.FixedSizeListArray.from_arrays(none, 2), pa.array(gone),
                     pa.array([True] * DELETED)], ["vector", "id", "deleted"],
                )  # fmt: skip
                producer.extend(batch)
                for name in gone:
                    del self.now[name]
                producer.flush()
                self.sent += ROUND + DELETED

    def _put(self, producer: Producer, ids: list[str], places: Any) -> None:
        for name, place in zip(ids, map(tuple, places.tolist()), strict=True):
            self.ever.setdefault(name, set()).add(place)
            self.now[name] = place
        producer.extend(columns(places, ids))


class Truth:
    """What must be answered of the rows that stay, and what may be of the others."""

    def __init__(self, places: Any, writers: list[Writer]) -> None:
        self.places, self.writers = places, writers

    def wrong_box(self, box: Any, found: dict[str, Any]) -> str:
        """What is wrong with an answer; "" if nothing is."""
        rows = found["results"]
        mine = sorted(int(r["id"][1:]) for r in rows if r["id"][0] == "b")
        right = in_box(*self.places.T, box).tolist()
        if found["truncated"]:
            return "" if len(rows) == 10_000 and set(mine) <= set(right) else "truncated"
        if mine != right and not (found["partial"] and set(mine) <= set(right)):
            return f"{box}: {len(mine)} of {len(right)} rows"
        return self._others(rows, box)

    def _others(self, rows: list[Any], box: Any) -> str:
        x0, y0, x1, y1 = box
        for row in rows:
            place = row["x"], row["y"]
            if row["id"][0] == "w":
                ever = self.writers[int(row["id"][1])].ever.get(row["id"], set())
                if place not in ever or not (x0 <= place[0] <= x1 and y0 <= place[1] <= y1):
                    return f"{row} never was there"
        return ""

    def wrong_nearest(self, point: Any, found: dict[str, Any]) -> str:
        """All that is nearer than the last row was told, and nothing that is farther."""
        rows = found["results"]
        if found["partial"]:
            return ""
        if len(rows) != K:
            return f"{point}: {len(rows)} rows"
        away = np.sqrt(((self.places - point) ** 2).sum(axis=1))
        mine = {int(r["id"][1:]) for r in rows if r["id"][0] == "b"}
        last = rows[-1]["distance"]
        nearer = set(np.flatnonzero(away < last).tolist())
        farther = [i for i in mine if away[i] > last]
        return "" if nearer <= mine and not farther else f"{point}: {nearer - mine}, {farther}"


class Reader(threading.Thread):
    """Asks and compares, until it is over."""

    def __init__(self, one: System, number: int, truth: Truth, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._truth, self._over = truth, over
        self._url = f"http://127.0.0.1:{one.ports[number % 2]}/v1/spatial/search"
        self._rng = np.random.default_rng(number)
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self.seconds: list[float] = []

    def run(self) -> None:
        with httpx.Client(timeout=60.0) as http:
            while not self._over.wait(0.01):
                self.once(http)

    def once(self, http: httpx.Client) -> None:
        """A box or the nearest, around one of the rows that stay."""
        centre = self._rng.choice(self._truth.places)
        if self._rng.random() < 0.5:
            half = 0.05
            while (
                len(in_box(*self._truth.places.T, (*(centre - half), *(centre + half)))) > PER_BOX
            ):
                half /= 2
            box = (*(centre - half).tolist(), *(centre + half).tolist())
            found = self._ask(http, {"box": box, "limit": 10_000})
            said = self._truth.wrong_box(box, found) if found else ""
        else:
            found = self._ask(http, {"point": centre.tolist(), "k": K})
            said = self._truth.wrong_nearest(centre, found) if found else ""
        if said:
            self.wrong.append(said)

    def _ask(self, http: httpx.Client, asked: dict[str, Any]) -> Any:
        began = time.perf_counter()
        answer = http.post(self._url, json=asked)
        self.seconds.append(time.perf_counter() - began)
        if answer.status_code != 200:
            self.counts[str(answer.status_code)] += 1
            return None
        found = answer.json()
        self.counts["partial" if found["partial"] else "whole"] += 1
        return found


def fill(one: System, places: Any) -> float:
    """The first rows; seconds until all are applied."""
    began = time.perf_counter()
    with Producer(one.broker, one.tree) as producer:
        for first in range(0, len(places), 16_384):
            some = places[first : first + 16_384]
            producer.extend(columns(some, [f"b{first + i}" for i in range(len(some))]))
    one.settle()
    return time.perf_counter() - began


def live(one: System, places: Any, seconds: float, say: Any) -> list[Writer]:
    """Writers, readers and a move at once; the writers, whose rows are now where they are."""
    began, over = time.monotonic(), threading.Event()

    def spot() -> float:
        return 0.1 + 0.8 * ((time.monotonic() - began) / seconds % 1.0)

    writers = [Writer(one, n, spot, over) for n in range(WRITERS)]
    truth = Truth(places, writers)
    readers = [Reader(one, n, truth, over) for n in range(READERS)]
    for thread in (*writers, *readers):
        thread.start()
    time.sleep(seconds / 4)
    before, moving = hosts(one), largest(one)
    to = next(s for s, w in sorted(before.items()) if w != before[moving["owner"]])
    ended(one, start(one, moving["portion"], to)["id"], within_s=300.0)
    say(
        f"moved {moving['portion']} ({moving['rows']:,} rows) after {time.monotonic() - began:.0f} s"
    )
    while time.monotonic() - began < seconds:
        time.sleep(0.5)
    over.set()
    for thread in (*writers, *readers):
        thread.join(120)
    counts = sum((r.counts for r in readers), Counter[str]())
    took = np.concatenate([r.seconds for r in readers])
    wrong = [said for r in readers for said in r.wrong]
    say(f"{sum(w.sent for w in writers):,} inserts, moves and deletes; answers {dict(counts)}, "
        f"wrong: {len(wrong)}; median {1000 * np.median(took):.0f} ms")  # fmt: skip
    if wrong:
        raise SystemExit("\n".join(wrong[:10]))
    return writers


def at_rest(one: System, ids: list[str], places: Any, say: Any) -> None:
    """The map, boxes and the nearest at every worker."""
    one.settle()
    told = lambda: one.get("/v1/spatial/density")  # noqa: E731
    wait_for("the map of all rows", lambda: told()["rows"] == len(places) and not told()["partial"])
    for url in one.urls:
        raw = httpx.get(f"{url}/v1/spatial/density?format=npz", timeout=30).content
        with np.load(io.BytesIO(raw)) as arrays:
            edges = arrays["x_edges"], arrays["y_edges"]
            same = np.array_equal(arrays["counts"], np.histogram2d(*places.T, bins=edges)[0])
            assert same, "the map"
    rng = np.random.default_rng(0)
    with httpx.Client(timeout=60.0) as http:
        for number, centre in enumerate(rng.choice(places, 200)):
            url = f"{one.urls[number % 2]}/v1/spatial/search"
            box = (*(centre - 0.001).tolist(), *(centre + 0.001).tolist())
            found = http.post(url, json={"box": box, "limit": 10_000}).json()
            right = sorted(ids[i] for i in in_box(*places.T, box).tolist())
            assert not found["partial"]
            assert found["truncated"] or [r["id"] for r in found["results"]] == right, box
            near = http.post(url, json={"point": centre.tolist(), "k": K}).json()["results"]
            away = np.sqrt(((places - centre) ** 2).sum(axis=1))
            order = np.argsort(away, kind="stable")[:K]
            assert [r["distance"] for r in near] == away[order].tolist(), centre
    regions = one.get("/v1/spatial/regions?limit=1")
    done = [a for s in regions["shards"] for a in s["adjustments"]]
    denied = Counter(d["why"] for a in done for d in a["denied"])
    worst = max((a["rows_reindexed"] / a["rows"] for a in done if a.get("rows")), default=0.0)
    say(f"at rest: {len(places):,} rows, {regions['number']} regions; of the last {len(done)} "
        f"adjustments: {sum(a['splits'] for a in done)} splits, {sum(a['merges'] for a in done)} "
        f"merges, {sum(a['rows_reindexed'] for a in done):,} rows re-indexed of "
        f"{sum(a['rows_touched'] for a in done):,} touched{f', {worst:.1%}' if worst else ''}, "
        f"denied {dict(denied)}")  # fmt: skip
    assert all(a["rows_reindexed"] <= a["rows_touched"] for a in done)


def stored(one: System, rows: int, say: Any) -> None:
    """The stores themselves, after the workers have gone."""
    one.stop()
    total = regions = 0
    for number in range(SHARDS):
        store = Store(RocksKV(one.folder / "shards" / str(number), 64 << 20))
        shard = Shard(number, one.tree, store, 50_000)
        index = ShardIndex(shard, Places("x", "y"), one.cfg.spatial, Ration(1 << 40))
        assert index.refresh([node_path(n) for n in store.nodes()], time.monotonic() + 600)
        total += len(whole(index.index))
        regions += len(index.index.regions.leaves())
        store.close()
    assert total == rows, f"{total:,} rows in the stores' indexes, of {rows:,}"
    say(f"in the stores: {total:,} rows, each in one of {regions} regions")


def run(kind: str, rows: int, seconds: float, say: Any) -> None:
    """One pattern and criterion."""
    pattern, neighbors = kind.split(",")
    folder = Path(tempfile.mkdtemp(prefix="pct-places-"))
    broker = LocalBroker(folder / "kafka", heap_mb=1024)
    broker.start()
    one = System(broker.bootstrap, f"live-{pattern}-{neighbors}", folder, {
        "shards.count": SHARDS, "tree.epsilon": 0.15, "tree.gap": 2000, "tree.max_level": 1,
        "moves.grace_s": 0.5, "spatial.enabled": True, "spatial.x": "x", "spatial.y": "y",
        "spatial.pattern": pattern, "spatial.neighbors": neighbors, "spatial.interval_s": 2.0,
        "spatial.split_rows": 2000, "spatial.merge_rows": 500,
    })  # fmt: skip
    try:
        one.start(0, 1, ready=False)
        one.wait_ready(300.0)
        places = skewed(rows)
        took = fill(one, places)
        say(f"{kind}: {rows:,} rows in {took:.0f} s")
        writers = live(one, places, seconds, say)
        now = {name: place for w in writers for name, place in w.now.items()}
        ids = [f"b{i}" for i in range(rows)] + list(now)
        every = np.concatenate([places, np.array(list(now.values())).reshape(-1, 2)])
        at_rest(one, ids, every, say)
        stored(one, len(every), say)
    finally:
        one.stop()
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[KINDS[0], KINDS[3]])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    print(machine("confluent-kafka", "rocksdict", "numba"), flush=True)
    for kind in asked.kinds:
        run(kind, asked.rows, asked.seconds, lambda said: print(said, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
