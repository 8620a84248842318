"""A stream summarised by one thread: this cover against the clusterers of scikit-learn and river.

Rows are those of `search.py`, in their order, in units of 1,024; nobody sees a row twice but what he keeps.

    ours       a node of the tree with the settings as shipped: find-cover over its first rows, refined and
               balanced over exactly those, the rows scanned handed down, every later row routed and
               counted (distances, radius, beyond epsilon), re-opening where that says so. Epsilon is
               chosen beforehand, such that about as many centres come as are wanted; where quality is
               judged `tree.gap` is 2,000 instead of 1,000, so that less is beyond
    kmeans     MiniBatchKMeans.partial_fit of so many centres; as many as ours where quality is judged
    birch      Birch.partial_fit, its threshold chosen likewise; the first --birch rows
    dbstream   river's DBSTREAM, learn_one of a dict a row, its radius our epsilon; --dbstream rows

CPU seconds of one thread, medians of turns; making units, floats and dicts is not counted. Afterwards the
centres of each are judged by the same rows, each with its nearest centre: mean distance, the farthest row
(covering radius), exp(entropy) of the shares over the number of centres.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from balance import even
from figures import Figures
from search import KINDS, ONE_THREAD, rows_of
from turns import machine

UNIT, GAP, GAP_OF_QUALITY = 1024, 1000, 2000
RATE_OF = {"kmeans": 1.0, "birch": 10.0}
IMAGES, DBSTREAM = "fashion", 100.0
NEAR, RADIUS, EVEN = 1.10, 0.85, 0.5
"""Of MiniBatchKMeans' mean distance and covering radius, at most; exp(entropy) / k, at least; on IMAGES."""

Floats = Any


def epsilon_for(rows: Floats, centres: int, gap: int) -> float:
    """An epsilon at which ours ends with about so many centres."""
    from pctstream.core.find import auto_epsilon

    low, high = 0.0, 4.0 * auto_epsilon(rows[: 64 * 16], 16)
    best, missed = high, len(rows)
    for _ in range(12):
        middle = (low + high) / 2.0
        count = len(ours(rows, middle, gap))
        if count and abs(count - centres) < missed:
            best, missed = middle, abs(count - centres)
        low, high = (low, middle) if 0 < count <= centres else (middle, high)
    return best


def ours(rows: Floats, epsilon: float, gap: int) -> Floats:
    """Centroids f32[k, d] of a node that these rows went through; none where it found no cover."""
    from pctstream.core.coverage import least_limit
    from pctstream.core.growth import Growth
    from pctstream.core.node import Gates, Shape
    from pctstream.core.subtree import Subtree

    shape = Shape(rows.shape[1], gap=gap, max_level=2, miss_limit=least_limit(gap), balance=True)
    tree = Subtree((0, 0), np.zeros(rows.shape[1], np.float32), shape, 4095, (0, 0, 0.0, 1))
    tree.open(Gates(2, {1: epsilon}))
    root, held = tree.nodes[0], []
    for at in range(0, len(rows), UNIT):
        piece = rows[at : at + UNIT]
        tree.now = (2, at, 0.0, 1)
        leaf = tree.place(piece)
        if root.first < 0:
            held.append((piece, leaf))
        while tree.work:
            growth = Growth(tree, tree.now)
            for some, leaves in held:
                growth.take(0, some, leaves)
            growth.finish()
    return rows[:0] if root.cover is None else root.cover.centroids


def kmeans(rows: Floats, centres: int) -> Floats:
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(n_clusters=centres, random_state=0)
    for at in range(0, len(rows), UNIT):
        model.partial_fit(rows[at : at + UNIT])
    return model.cluster_centers_


def birch(rows: Floats, threshold: float) -> Floats:
    from sklearn.cluster import Birch

    model = Birch(threshold=threshold, n_clusters=None)
    for at in range(0, len(rows), UNIT):
        model.partial_fit(rows[at : at + UNIT])
    return model.subcluster_centers_


def threshold_for(rows: Floats, epsilon: float, centres: int) -> float:
    """A threshold at which Birch has about so many subclusters."""
    low, high, best, missed = 0.0, 2.0 * epsilon, epsilon, len(rows)
    for _ in range(8):
        middle = (low + high) / 2.0
        count = len(birch(rows, middle))
        if abs(count - centres) < missed:
            best, missed = middle, abs(count - centres)
        low, high = (middle, high) if count > centres else (low, middle)
    return best


def dbstream(rows: list[dict[int, float]], epsilon: float) -> Floats:
    from river.cluster import DBSTREAM

    model = DBSTREAM(clustering_threshold=epsilon)
    for row in rows:
        model.learn_one(row)
    return np.array([list(c.center.values()) for c in model.micro_clusters.values()], np.float32)


def quality(rows: Floats, centres: Floats) -> dict[str, float]:
    """Of these centres on these rows: mean distance, covering radius, evenness, how many."""
    from pctstream.core import kernels

    x = np.ascontiguousarray(centres, np.float32)
    cells = kernels.nearest(rows, kernels.transpose(x), len(x))
    away = kernels.distances(rows, cells, x)
    return {"k": len(x), "mean": float(away.mean()), "radius": float(away.max()),
            "even": even(cells, len(x))}  # fmt: skip


def compare(kind: str, centres: int, rate: bool, asked: argparse.Namespace) -> dict[str, Any]:
    """Rates and quality of everybody on one kind of rows, at about so many centres."""
    rows = rows_of(kind)
    if rows is None:
        return {}
    rows = rows[: asked.rows]
    gap = GAP if rate else GAP_OF_QUALITY
    epsilon = epsilon_for(rows, centres, gap)
    k = centres if rate else len(ours(rows, epsilon, gap))
    some = rows[: asked.birch]
    threshold = threshold_for(rows[:3000], epsilon, centres)
    dicts = [dict(enumerate(row)) for row in rows[: asked.dbstream].tolist()]
    birch(some[:UNIT], threshold)
    contenders: dict[str, tuple[int, Callable[[], Floats]]] = {
        "ours": (len(rows), lambda: ours(rows, epsilon, gap)),
        "kmeans": (len(rows), lambda: kmeans(rows, k)),
        "birch": (len(some), lambda: birch(some, threshold)),
        "dbstream": (len(dicts), lambda: dbstream(dicts, epsilon)),
    }
    took: dict[str, list[float]] = {name: [] for name in contenders}
    made: dict[str, Floats] = {}
    for _ in range(asked.runs):
        for name, (_, work) in contenders.items():
            start = time.process_time()
            made[name] = work()
            took[name].append(time.process_time() - start)
    rates = {name: contenders[name][0] / statistics.median(took[name]) for name in contenders}
    good = {name: quality(rows[: contenders[name][0]], x) for name, x in made.items()}
    return {"rows": len(rows), "epsilon": epsilon, "rows_per_second": rates, "quality": good}


def judge(kind: str, centres: int, rate: bool, found: dict[str, Any], figures: Figures) -> None:
    """Bars of the rate at the fewer centres, of the quality at the more."""
    rates, good = found["rows_per_second"], found["quality"]
    if rate:
        bars = RATE_OF | ({"dbstream": DBSTREAM} if kind == IMAGES else {})
        for name, least in bars.items():
            what = f"{kind}, {centres} centres: rate / {name}"
            figures.least(what, rates["ours"] / rates[name], least)
        return
    mine, theirs = good["ours"], good["kmeans"]
    what = f"{kind}, {mine['k']} centres"
    figures.most(f"{what}: mean distance / kmeans", mine["mean"] / theirs["mean"], NEAR)
    figures.most(f"{what}: covering radius / kmeans", mine["radius"] / theirs["radius"], RADIUS)
    figures.least(f"{what}: exp(entropy) / k", mine["even"], EVEN)


def main() -> int:
    """Exit code 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--centres", nargs="+", type=int, default=[64, 100])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000, help="at most, of each kind")
    parser.add_argument("--birch", type=int, default=20_000, help="rows of Birch")
    parser.add_argument("--dbstream", type=int, default=1000, help="rows of DBSTREAM")
    parser.add_argument("--json", action="store_true", help="print the result as JSON too")
    asked = parser.parse_args()
    if any(os.environ.get(name) != "1" for name in ONE_THREAD):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    print(machine("numpy", "numba", "scikit-learn", "river"))
    figures = Figures("summaries", "numpy", "numba", "scikit-learn", "river")
    every: dict[str, Any] = {}
    for kind in asked.kinds:
        for centres in asked.centres if kind == IMAGES else asked.centres[:1]:
            rate = centres == asked.centres[0]
            if not (found := compare(kind, centres, rate, asked)):
                print(f"{kind}: its file is not there (PCT_SHARED)")
                continue
            every[f"{kind} {centres}"] = found
            for name, per_s in found["rows_per_second"].items():
                print("{:8} {:4} {:9} {:9,.0f} rows/s; {k:4} centres, mean distance {mean:.3f}, radius "
                      "{radius:.2f}, even {even:.2f}".format(
                          kind, centres, name, per_s, **found["quality"][name]), flush=True)  # fmt: skip
            judge(kind, centres, rate, found, figures)
    if asked.json:
        print(json.dumps(every))
    return figures.keep(every)


if __name__ == "__main__":
    sys.exit(main())
