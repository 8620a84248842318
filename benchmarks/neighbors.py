"""Near neighbours in a level's cover: the pruned index against one pass over all centroids.

A synthetic cover of 100,000 centroids: a tree whose nodes have 16 to 46 children each, level by level,
until there is no room for more; the nodes that got none are leaves and stand for themselves. A child
lies from its parent as a Gaussian of its level's scale says, and each scale is `ratio` times the one
above: 0.5 where epsilon halves from level to level; 0.8, shown for comparison, where the balls of one
level overlap throughout and little can be ruled out.

    index  `Neighbors.within` as the view calls it: numbers and float64 distances, sorted
    brute  one matrix-vector product in float32 over all centroids (BLAS, norms taken beforehand); then
           those that its rounding leaves possible again in float64, compared and sorted

Both answer the same questions: around a centroid moved by 0.3 of the last scale, out to its k-th
nearest, k in turn 1, 3, 10, 30, 100, 300 and 1,000. Their answers must be equal. They take turns
question by question, and the ratio is that of the medians. Everything runs twice, with BLAS on one core
and on all, and brute force counts with the faster of the two.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from figures import Figures

from pctstream.core.names import ROOT, Path
from pctstream.core.neighbors import Neighbors
from pctstream.core.solver import LevelCover, NodeSummary, level_cover

FANOUT, SCALE, QUESTIONS, AT_MOST = (16, 46), 10.0, 210, 0.2
NEAREST = (1, 3, 10, 30, 100, 300, 1000)
CASES = ((32, 0.5), (128, 0.5), (32, 0.8), (128, 0.8))
MUST_HOLD = 0.5
THREADS = "OPENBLAS_NUM_THREADS"


def tree(dimension: int, ratio: float, centroids: int) -> tuple[dict[Path, NodeSummary], int]:
    """The nodes of a tree with about this many leaves, and its lowest level."""
    rng = np.random.default_rng(0)
    nodes = {ROOT: NodeSummary(ROOT, centroids, None, None)}
    paths, x, leaves = [ROOT], np.zeros((1, dimension)), 0
    for level in itertools.count(1):
        counts = rng.integers(FANOUT[0], FANOUT[1] + 1, len(paths))
        order = rng.permutation(len(paths))
        counts[order[leaves + len(paths) + np.cumsum(counts[order] - 1) > centroids]] = 0
        leaves += int((counts == 0).sum())
        paths = [(*p, i) for p, n in zip(paths, counts.tolist(), strict=True) for i in range(n)]
        offset = rng.normal(0, SCALE * ratio ** (level - 1), (len(paths), dimension))
        x = np.repeat(x, counts, axis=0) + offset / np.sqrt(dimension)
        centres = zip(paths, x.astype(np.float32), strict=True)
        nodes |= {path: NodeSummary(path, 1, None, centre) for path, centre in centres}
        if not counts.all():
            return nodes, level
    raise AssertionError


class Brute:
    """All centroids, every time."""

    def __init__(self, cover: LevelCover) -> None:
        self._x = cover.x
        exact = cover.x.astype(np.float64)
        self._squares = np.einsum("ij,ij->i", exact, exact).astype(np.float32)
        # |x|^2 - 2 x.q + |q|^2 in float32 errs by less than this share of its largest part
        self._error = 8.0 * (cover.x.shape[1] + 4) * 2.0**-24
        self._largest = float(self._squares.max())

    def within(self, centre: Any, r: float) -> tuple[Any, Any]:
        own = float(centre @ centre)
        square = self._x @ (-2.0 * centre).astype(np.float32)
        square += self._squares
        near = np.flatnonzero(square <= r * r - own + self._error * (own + self._largest))
        difference = self._x[near] - centre
        away = np.sqrt(np.einsum("ij,ij->i", difference, difference))
        inside = away <= r * (1.0 + 1e-13)
        near, away = near[inside], away[inside]
        order = np.lexsort((near, away))
        return near[order], away[order]


def questions(cover: LevelCover, scale: float) -> list[tuple[Any, float]]:
    """Centres f64[d] and distances."""
    rng = np.random.default_rng(1)
    dimension, out = cover.x.shape[1], []
    for k, _ in zip(itertools.cycle(NEAREST), range(QUESTIONS), strict=False):
        moved = rng.normal(0, 0.3 * scale / np.sqrt(dimension), dimension)
        centre = cover.x[rng.integers(len(cover))] + moved
        squares = ((cover.x - centre) ** 2).sum(axis=1)
        out.append((centre, float(np.sqrt(np.partition(squares, k - 1)[k - 1]))))
    return out


def timed(ask: Callable[..., Any], *question: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    answer = ask(*question)
    return time.perf_counter() - start, answer


def measure(centroids: int) -> list[dict[str, Any]]:
    """Medians in milliseconds of every case."""
    out = []
    for dimension, ratio in CASES:
        nodes, level = tree(dimension, ratio, centroids)
        cover = level_cover(nodes, level)
        build_s, index = timed(Neighbors, nodes, cover)
        brute = Brute(cover)
        times: dict[str, list[float]] = {"index": [], "brute": []}
        asked = questions(cover, SCALE * ratio ** (level - 1))
        index.within(*asked[0])
        for question in asked:
            answers = {}
            for name, ask in (("index", index.within), ("brute", brute.within)):
                took, answers[name] = timed(ask, *question)
                times[name].append(1000.0 * took)
            assert answers["index"][0].tolist() == answers["brute"][0].tolist()
            assert np.allclose(answers["index"][1], answers["brute"][1], rtol=1e-9, atol=1e-9)
        medians = {f"{name}_ms": statistics.median(ms) for name, ms in times.items()}
        slowest = {f"{name}_p95_ms": float(np.quantile(ms, 0.95)) for name, ms in times.items()}
        out.append({"dimension": dimension, "ratio": ratio, "centroids": len(cover),
                    "levels": level, "build_s": build_s, **medians, **slowest})  # fmt: skip
    return out


def main() -> int:
    """Exit code 1 if the index takes more than AT_MOST of brute force where epsilon halves."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--centroids", type=int, default=100_000)
    parser.add_argument("--once", action="store_true", help="this process only, as JSON")
    asked = parser.parse_args()
    if asked.once:
        print(json.dumps(measure(asked.centroids)))
        return 0
    figures, found = Figures("neighbors", "numpy"), []
    again = [sys.executable, __file__, "--once", "--centroids", str(asked.centroids)]
    runs = []
    for threads in sorted({1, os.cpu_count() or 1}):
        env = {**os.environ, THREADS: str(threads)}
        told = subprocess.run(again, env=env, check=True, stdout=subprocess.PIPE)
        runs.append(json.loads(told.stdout))
    failed = False
    for cases in zip(*runs, strict=True):
        best = min(cases, key=lambda case: case["brute_ms"])
        index_ms = statistics.median(case["index_ms"] for case in cases)
        share = index_ms / best["brute_ms"]
        if best["ratio"] == MUST_HOLD:
            what = f"near neighbours / brute force, time, d={best['dimension']}"
            failed |= not figures.most(what, share, AT_MOST)
        found.append(best | {"index_ms": index_ms, "share": share})
        print(f"d={best['dimension']}, scales x {best['ratio']}: {best['centroids']:,} centroids, "
              f"{best['levels']} levels, built in {best['build_s']:.2f} s; p50 index "
              f"{index_ms:.3f} ms, brute {best['brute_ms']:.3f} ms, ratio {share:.3f}; p95 "
              f"{best['index_p95_ms']:.3f} and {best['brute_p95_ms']:.3f} ms")  # fmt: skip
    print(f"where scales halve the ratio must be at most {AT_MOST}: {'no' if failed else 'yes'}")
    return figures.keep(found)


if __name__ == "__main__":
    sys.exit(main())
