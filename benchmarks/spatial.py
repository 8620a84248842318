"""The spatial index: its rates against immutable peers, and how many rows a question compares.

Points are those of the tests (`tests/core/points.py`): thirty clusters of uneven weight in the unit square.
Windows are squares of 0.1 % of the area around points drawn at random, asked one by one; everybody gives
the ids, and all must find as many. Times are seconds of CPU of one thread, medians of turns that alternate.

    inserts   blocks of 16,384 rows into the index; with the adjusting that is due every 50,000 rows, and
              without; every fifth row is then deleted, and as many come in its place
    windows   ours against scipy's cKDTree (here), shapely's STRtree and rtree (`windows.py`)
    compared  rows compared per window by ours and by the best fixed grid of as many cells, of a
              hundred shapes; windows around all points, then around a hot spot, then around another
    hot spot  1,000,000 rows of which 20,000 an interval are replaced by new ones around a place that
              moves: rows that changed their region, of all; the longest slice; then everything is
              checked: each row in one region, areas, the map, 20 boxes and nearest by brute force

Exit code 1 if a bar is missed: 1,000,000 rows/s in, windows 0.8 x STRtree and 1 x cKDTree at 250,000
points, 0.5 x the grid within 3 intervals, at most 5 % re-indexed and never more than was touched.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from core.points import H, best_grid, in_box, skewed, whole
from figures import Figures
from scipy.spatial import cKDTree

from pctstream.core.granularity import Granularity
from pctstream.core.spatial import SpatialIndex

HERE = Path(__file__).parent
PEERS = HERE.parent / ".venv-bench" / "bin" / "python"
BLOCK, DUE, WINDOWS, TURNS, BAR_POINTS = 16_384, 50_000, 500, 5, 250_000
PEER_KINDS = ("strtree", "rtree")
KINDS = tuple(itertools.product(("quadtree", "kdtree"), ("proximity", "count")))
INSERTS, STRTREE, CKDTREE, GRID, SHARE, WITHIN = 1e6, 0.8, 1.0, 0.5, 0.05, 3


def spent(work: Any, *args: Any) -> tuple[float, Any]:
    began = time.process_time()
    answer = work(*args)
    return time.process_time() - began, answer


def filled(points: Any, limits: Granularity, *, adjusting: bool) -> tuple[float, SpatialIndex]:
    """Seconds for the inserts and, if asked for, the adjusting; the index, adjusted to rest."""
    index, seconds = SpatialIndex(limits), 0.0
    for first in range(0, len(points), BLOCK):
        part = points[first : first + BLOCK]
        keys, (x, y) = np.arange(first, first + len(part)), part.T.copy()
        seconds += spent(index.insert, keys, x, y)[0]
        if index.pace.changes >= DUE:
            took, _ = spent(index.adjust_now, 0.0)
            seconds += took if adjusting else 0.0
    for _ in range(6):
        index.adjust_now(0.0)
    return seconds, index


def replaced(index: SpatialIndex, points: Any) -> tuple[float, float]:
    """Rows per second when every fifth goes, and when they come again."""
    keys = np.arange(0, len(points), 5)
    x, y = points[keys].T.copy()
    gone = [spent(index.delete, keys[i : i + BLOCK])[0] for i in range(0, len(keys), BLOCK)]
    came = [spent(index.insert, keys[i : i + BLOCK], x[i : i + BLOCK], y[i : i + BLOCK])[0]
            for i in range(0, len(keys), BLOCK)]  # fmt: skip
    return len(keys) / sum(gone), len(keys) / sum(came)


@contextmanager
def peer(kind: str, python: Path, points: Any, windows: Any) -> Iterator[Any]:
    """A function that asks that library all windows: seconds and hits."""
    with tempfile.TemporaryDirectory(prefix="pct-spatial-") as folder:
        file = Path(folder) / "points.npz"
        np.savez(file, points=points, windows=windows)
        with subprocess.Popen([python, HERE / "windows.py", kind, file], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as peer:  # fmt: skip
            assert peer.stdin is not None and peer.stdout is not None

            def ask(what: str = "ask") -> tuple[float, int]:
                print(what, file=peer.stdin, flush=True)
                seconds, hits = peer.stdout.readline().split()
                return float(seconds), int(hits)

            ask("build")
            yield ask
            peer.stdin.close()


def rates(n: int, python: Path | None) -> dict[str, float]:
    """Medians of one size."""
    points, rng = skewed(n), np.random.default_rng(1)
    limits = Granularity(budget_per_min=1e12)
    runs = [[filled(points, limits, adjusting=a)[0] for a in (False, True)] for _ in range(3)]
    plain, adjusted = (n / statistics.median(run[i] for run in runs) for i in (0, 1))
    index = filled(points, limits, adjusting=True)[1]
    out = {"insert": plain, "insert_and_adjust": adjusted}
    out["delete"], out["insert_again"] = replaced(index, points)
    centres = rng.choice(points, WINDOWS)
    windows = np.concatenate([centres - H, centres + H], axis=1)
    for round_ in range(3):  # the queries make themselves felt
        [index.box(tuple(w)) for w in windows.tolist()]
        index.adjust_now(10.0 * round_)
    asked = list(map(tuple, windows.tolist()))
    tree = cKDTree(points)
    times: dict[str, list[float]] = {"ours": [], "ckdtree": []}
    times |= {kind: [] for kind in PEER_KINDS if python}

    def ours() -> int:
        return sum(len(index.box(window).keys) for window in asked)

    def theirs() -> int:
        near = (tree.query_ball_point(c, H, p=np.inf, return_sorted=False) for c in centres)
        return sum(map(len, near))

    with ExitStack() as stack:
        asks = {kind: stack.enter_context(peer(kind, python, points, windows))
                for kind in PEER_KINDS if python}  # fmt: skip
        for _ in range(TURNS):
            hits = []
            for name, work in (("ours", ours), ("ckdtree", theirs)):
                seconds, found = spent(work)
                times[name].append(seconds)
                hits.append(found)
            for kind, ask in asks.items():
                seconds, found = ask()
                times[kind].append(seconds)
                hits.append(found)
            # a ball of the maximum norm and a box differ by roundings of the edge
            assert max(hits) - min(hits) <= 3, hits
    out |= {name: WINDOWS / statistics.median(t) for name, t in times.items() if t}
    return out | {"regions": float(len(index.regions.leaves())), "hits": hits[0] / WINDOWS}


def compared(n: int, pattern: Any, neighbors: str) -> list[str]:
    """Ratios to the best grid, interval by interval; MISSED in a line if the last is too large."""
    points, rng = skewed(n), np.random.default_rng(2)
    index = filled(points, Granularity(pattern, neighbors, budget_per_min=1e12), adjusting=True)[1]
    hot = [np.abs(points - points[i]).max(axis=1) < 0.1 for i in (3, 7)]
    out, now_s = [], 0.0
    for name, spot in (("all", points), ("one", points[hot[0]]), ("other", points[hot[1]])):
        ratios = []
        for _ in range(WITHIN + 1):
            centres = rng.choice(spot, WINDOWS)
            rows = np.mean([index.box((*(c - H), *(c + H))).scanned for c in centres])
            grid = best_grid(*points.T, centres, len(index.regions.leaves()), shapes=100)
            ratios.append(float(rows) / grid)
            now_s += 10.0
            index.adjust_now(now_s)
        missed = "" if ratios[-1] <= GRID else "  MISSED"
        out.append(f"{pattern}, {neighbors}, queries around {name}: "
                   + ", ".join(f"{ratio:.2f}" for ratio in ratios)
                   + f"; {len(index.regions.leaves())} regions{missed}")  # fmt: skip
    return out


def hot_spot(n: int, pattern: Any, neighbors: str) -> str:
    """How much a moving hot spot re-indexes."""
    rng, came = np.random.default_rng(3), n // 50
    points = skewed(n)
    index = filled(points, Granularity(pattern, neighbors, budget_per_min=1e12), adjusting=True)[1]
    share, longest, excess = 0.0, 0.0, 0
    for interval in range(20):
        keys = n + interval * came + np.arange(came)
        index.insert(keys, *rng.normal(0.1 + 0.04 * interval, 0.02, (2, came)))
        index.delete(keys - n)
        work = index.adjust(1000.0 + 10.0 * interval)
        while True:
            began = time.process_time()
            try:
                next(work)
            except StopIteration:
                break
            finally:
                longest = max(longest, time.process_time() - began)
        share = max(share, index.last.reindexed / len(index))
        excess = max(excess, index.last.reindexed - index.last.touched)
    checked(index, rng)
    missed = "" if share <= SHARE and excess <= 0 else "  MISSED"
    return (f"{pattern}, {neighbors}: at most {100 * share:.2f} % re-indexed in an interval, longest "
            f"slice {1000 * longest:.1f} ms{missed}")  # fmt: skip


def checked(index: SpatialIndex, rng: Any) -> None:
    """Each row in one region, areas and map as they must be, answers as brute force has them."""
    whole(index)
    everything = index.box((-9.0, -9.0, 9.0, 9.0))
    x, y, keys = everything.x, everything.y, everything.keys
    assert len(set(keys.tolist())) == len(index)
    for centre in rng.random((20, 2)):
        box = (*(centre - H), *(centre + H))
        assert sorted(index.box(box).keys.tolist()) == sorted(keys[in_box(x, y, box)].tolist())
        away = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
        wanted = keys[np.lexsort((keys, away))[:100]]
        assert index.nearest(tuple(centre), 100).keys.tolist() == wanted.tolist()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, BAR_POINTS, 1_000_000])
    parser.add_argument("--peers", type=Path, default=PEERS, help="a Python that has shapely")
    parser.add_argument("--rates", action="store_true", help="only these")
    asked = parser.parse_args()
    python = asked.peers if asked.peers.exists() else None
    lines, figures, of_sizes = [], Figures("spatial", "numpy", "numba", "scipy"), {}
    for n in asked.sizes:
        found = of_sizes[n] = rates(n, python)
        figures.least(f"rows/s into the index, {n:,} points", found["insert"], INSERTS)
        missed = [
            f"{name} below {bar:g}" for name, bar in (("insert", INSERTS),) if found[name] < bar
        ]
        if n == BAR_POINTS:
            for name, least in (("strtree", STRTREE), ("ckdtree", CKDTREE)):
                if name in found and not figures.least(
                    f"windows / {name}, {n:,} points", found["ours"] / found[name], least
                ):
                    missed.append(f"below {least} x {name}")
        told = ", ".join(f"{name} {value:,.0f}" for name, value in found.items())
        lines.append(f"{n:,} points: {told}" + "".join(f"  MISSED: {one}" for one in missed))
        print(lines[-1], flush=True)
    for pattern, neighbors in () if asked.rates else KINDS:
        for line in (
            *compared(BAR_POINTS, pattern, neighbors),
            hot_spot(1_000_000, pattern, neighbors),
        ):
            lines.append(line)
            print(line, flush=True)
    if python is None:
        print("STRtree and rtree were left out: no Python with shapely (--peers)")
    if not asked.rates:
        missed = sum("MISSED" in line for line in lines[len(asked.sizes) :])
        figures.most("rows compared and re-indexed: lines that miss their bar", missed, 0)
    return figures.keep(of_sizes)


if __name__ == "__main__":
    sys.exit(main())
