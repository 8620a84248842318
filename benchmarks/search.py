"""The nearest rows: this index in one process against faiss and scipy's k-d tree.

Rows of three kinds: a mixture of 100 Gaussians (200,000 x 128), Beijing's air (420,768 x 11), pictures of
clothes (Fashion-MNIST, 60,000 x 784); the last 1,000 rows are the questions, k = 10. Everything on one
thread. The rows go through a tree first (`leaves`: covers by level, as a portion makes them), because
cells are made within its leaves; they come in segments of 1,024, as a shard reads them.

    exact   one by one and all 1,000 at once; against faiss Flat one by one and in batches, scipy cKDTree
    recall  the cells for 0.95 are learnt from the rows; against faiss IVFFlat (256 lists, trained on the
            first 10,000 rows), at the fewest lists that reach 0.95 on these very questions

CPU seconds of one thread, median of rounds in which ours and theirs take turns. Our exact distances are
compared bit for bit with float64 brute force on 100 questions, and the rows with what faiss Flat finds.
Peers run from the environment of `make bench`, or what --peers names. Others are in `beside.py`, what HTTP
adds in `asked.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figures

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("PCT_SHARED", HERE.parents[1] / "shared"))
KINDS = ("mixture", "beijing", "fashion")
QUESTIONS, K, ROUNDS, SINGLES = 1000, 10, 5, 300
RECALL = 0.95
SEGMENT = 1024
"""Rows that come together."""
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "NUMBA", "MKL")}
BARS = {
    ("mixture", "single", "flat_single"): 10.0, ("mixture", "batch", "flat_batch"): 3.0,
    ("beijing", "single", "kdtree"): 0.5, ("mixture", "approximate", "ivf_batch"): 1.0,
    ("beijing", "approximate", "ivf_batch"): 1.0, ("fashion", "approximate", "ivf_batch"): 0.7,
}  # fmt: skip
"""(rows, ours, theirs) -> the least ratio of questions per second."""


def rows_of(kind: str) -> Any:
    """float32 [n, d], of PCT_BENCH_ROWS the first so many; None where the data is not there."""
    rows = _rows_of(kind)
    most = int(os.environ.get("PCT_BENCH_ROWS", 0))
    return rows if rows is None or not most else rows[:most].copy()


def _rows_of(kind: str) -> Any:
    if kind == "mixture":
        rng = np.random.default_rng(0)
        centres = rng.normal(size=(100, 128))
        noise = 0.3 * rng.normal(size=(200_000, 128))
        return (centres[rng.integers(0, 100, 200_000)] + noise).astype(np.float32)
    file = SHARED / "data" / {"beijing": "beijing_air.npz", "fashion": "fashion_mnist.npz"}[kind]
    if not file.exists():
        return None
    held = np.load(file, allow_pickle=False)
    if kind == "beijing":
        return np.ascontiguousarray((held["X"] - held["mean"]) / held["std"], np.float32)
    return (held["X"] / np.float32(255)).astype(np.float32)


def leaves(rows: Any, fanout: int = 16, levels: int = 6) -> Any:
    """The leaf int32[n] of each row: the tree that these rows make, level by level."""
    from pctstream.core import kernels
    from pctstream.core.cover import refine
    from pctstream.core.find import FindCover, auto_epsilon

    leaf, known, front = np.zeros(len(rows), np.int32), 1, [np.arange(len(rows))]
    for _ in range(levels):
        proposals = [auto_epsilon(rows[f[: 64 * fanout]], fanout)
                     for f in front if len(f) >= 4 * fanout][:8]  # fmt: skip
        if not proposals:
            break
        below = []
        for own in front:
            x = np.ascontiguousarray(rows[own])
            find = FindCover(x.shape[1], float(np.median(proposals)), 1000, 50_000, "gap", 4096)
            find.feed(x)
            if find.state != "cover":
                continue
            cover = refine(x[: find.rows], find.prototypes, find.epsilon, 5, 1000, True)
            k = len(cover.centroids)
            child = kernels.nearest(x, kernels.transpose(cover.centroids), k)
            for i in range(k):
                leaf[own[child == i]] = known
                known += 1
                below.append(own[child == i])
        front = below
    return leaf


Asked = Callable[[Any], Any]
"""Questions f32[m, d] -> rows i64[m, k]."""


def ours(rows: Any, test: Any) -> tuple[dict[str, Asked], dict[str, Any]]:
    """Ways to ask, and what to tell of them. The rows come in segments and are tidied as they come."""
    from pctstream.core.recall import learn
    from pctstream.core.table import Table

    leaf = leaves(rows)
    laid_out(rows[:2000], leaf[:2000])
    start = time.process_time()
    runs, read = laid_out(rows, leaf)
    built = time.process_time() - start
    every = runs.all()
    table = Table([run.cells for run in every], rows.shape[1])
    row = np.concatenate([
        np.where(run.cells.rows >= 0, run.place[run.cells.rows] @ (SEGMENT, 1), -1) for run in every
    ])  # fmt: skip
    learn(table, K, np.random.default_rng(1), 4)
    start = time.process_time()
    learnt = learn(table, K, np.random.default_rng(0))
    took = time.process_time() - start
    probes = learnt.probes(RECALL)
    scanned: dict[str, float] = {}

    def asked(name: str, queries: Any, probes: int) -> Any:
        found = table.search(queries.astype(np.float64), K, probes=probes)
        scanned[name] = float(found.rows.mean())
        return row[found.slot]

    wrong = [i for i in range(100) if not same(table, rows, test[i])]
    told = {"wrong": wrong, "build_s": built, "learn_s": took, "cells": table.cells, "probes": probes,
            "expected": learnt.expected(probes), "scanned": scanned, "most": read,
            "subs": len(runs.subs), "runs": len(every), "bytes": runs.nbytes}  # fmt: skip
    return {"exact": lambda q: asked("exact", q, 0),
            "approximate": lambda q: asked("approximate", q, probes)}, told  # fmt: skip


def laid_out(rows: Any, leaf: Any) -> tuple[Any, int]:
    """Runs of these rows, and the rows that the largest step read."""
    from pctstream.core.runs import Runs

    runs, most = Runs(rows.shape[1]), 0
    for number, begin in enumerate(range(0, len(rows), SEGMENT)):
        some = slice(begin, begin + SEGMENT)
        runs.add(rows[some], leaf[some], number)
        while step := runs.due():
            most = max(most, step.rows)
            runs.replace(step, step.made())
    return runs, most


def same(table: Any, rows: Any, query: Any) -> bool:
    """Whether a question's distances are those of brute force, to the last bit."""
    near = ((rows - query) ** 2).sum(axis=1)
    some = rows[np.argpartition(near, 10 * K)[: 10 * K]].astype(np.float64)
    away = np.sqrt(np.cumsum((some - query.astype(np.float64)) ** 2, axis=1)[:, -1])
    found = table.search(query[None].astype(np.float64), K).distance[0]
    return bool((np.sort(away)[:K] == found).all())


def peers(rows: Any, queries: Any) -> tuple[dict[str, Asked], dict[str, Any]]:
    """The same of whichever peers are installed."""
    found: dict[str, Asked] = {}
    try:
        import faiss
    except ImportError:
        return found, {"absent": "faiss"}
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatL2(rows.shape[1])
    flat.add(rows)
    found["flat"] = lambda q: flat.search(q, K)[1]
    truth = found["flat"](queries)
    start = time.process_time()
    ivf = faiss.IndexIVFFlat(faiss.IndexFlatL2(rows.shape[1]), rows.shape[1], 256)
    ivf.train(rows[:10_000])
    ivf.add(rows)
    told = {"ivf_build_s": time.process_time() - start}
    for ivf.nprobe in range(1, 64):
        if (reached := recall(ivf.search(queries, K)[1], truth)) >= RECALL:
            told |= {"ivf_nprobe": ivf.nprobe, "ivf_recall": reached}
            break
    found["ivf"] = lambda q: ivf.search(q, K)[1]
    if rows.shape[1] < 32:
        from scipy.spatial import cKDTree

        tree = cKDTree(rows, leafsize=16)
        found["kdtree"] = lambda q: tree.query(q, K)[1]
    return found, told


def recall(found: Any, truth: Any) -> float:
    """Mean share of the true neighbours."""
    pairs = zip(found.tolist(), truth.tolist(), strict=True)
    return statistics.mean(len({*a} & {*b}) / K for a, b in pairs)


def rate(ask: Asked, queries: Any, single: bool) -> float:
    """Questions per second; one by one that of the median question."""
    if not single:
        start = time.process_time()
        ask(queries)
        return len(queries) / (time.process_time() - start)
    times = []
    for i in range(SINGLES):
        start = time.process_time()
        ask(queries[i : i + 1])
        times.append(time.process_time() - start)
    return 1.0 / statistics.median(times)


def serve(kind: str, who: str) -> None:
    """One process: ours, or the peers. Each line that comes is a round; then what was answered."""
    rows = rows_of(kind)
    if rows is None:
        print(json.dumps({"absent": "missing shared data"}), flush=True)
        return
    queries, rows = rows[-QUESTIONS:].copy(), rows[:-QUESTIONS].copy()
    ways, told = ours(rows, queries) if who == "ours" else peers(rows, queries)
    answers = {name: ask(queries).tolist() for name, ask in ways.items()}
    print(json.dumps({"answers": answers, **told}), flush=True)
    for _ in sys.stdin:
        found = {f"{name}_{'single' if single else 'batch'}": rate(ask, queries, single)
                 for name, ask in ways.items() for single in (True, False)}  # fmt: skip
        print(json.dumps(found), flush=True)


def heard(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of JSON; whatever a library prints before it is passed over."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            return dict(json.loads(line))
    return {"absent": f"ended with {process.wait()}"}


def measured(
    kind: str, pythons: dict[str, str], script: str = __file__, *more: str
) -> dict[str, dict[str, Any]]:
    """What each process tells, and its rates: the median of rounds that were taken in turn."""
    env = {**os.environ, **ONE_THREAD}
    both = {
        who: subprocess.Popen([python, script, "--once", kind, who, *more], env=env,
                              text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for who, python in pythons.items()
    }  # fmt: skip
    told: dict[str, dict[str, Any]] = {}
    for who, process in both.items():
        told[who] = heard(process)
    rates: dict[str, list[dict[str, float]]] = {who: [] for who in both}
    for _ in range(ROUNDS):
        for who, process in both.items():
            if "absent" in told[who]:
                continue
            process.stdin.write("round\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            said = heard(process)
            told[who] |= said if "absent" in said else {}
            rates[who] += [] if "absent" in said else [said]
    for who, process in both.items():
        if process.poll() is None:
            process.communicate()
        told[who]["rates"] = {name: statistics.median(one[name] for one in rates[who])
                              for name in (rates[who] or [{}])[0]}  # fmt: skip
    return told


def compare(kind: str, python: str, figures: Figures) -> dict[str, Any]:
    """Print one kind of rows and judge it; the rates."""
    told = measured(kind, {"ours": sys.executable, "peers": python})
    mine, theirs = told["ours"], told["peers"]
    for one in (mine, theirs):
        if "absent" in one:
            print(f"{kind}: without {one['absent']} there is nothing to compare")
            return {}
    r, p = mine["rates"], theirs["rates"]
    own = {"single": r["exact_single"], "batch": r["exact_batch"],
           "approximate": r["approximate_batch"]}  # fmt: skip
    other = {**p, "kdtree": p.get("kdtree_single")}
    print(
        f"{kind}: {mine['subs']} sub-portions, {mine['runs']} runs, {mine['cells']:,} cells, "
        f"{mine['bytes'] / 1e6:,.0f} MB in {mine['build_s']:.2f} s, a step read at most "
        f"{mine['most']:,} rows; recall learnt in {mine['learn_s']:.2f} s"
    )
    print(f"  rows scanned {mine['scanned']['exact']:,.0f} exact, {mine['scanned']['approximate']:,.0f} "
          f"for {RECALL} ({mine['probes']} cells, {mine['expected']:.3f} expected)")  # fmt: skip
    print("  ours   " + "  ".join(f"{name} {value:,.0f}/s" for name, value in r.items()))
    print("  peers  " + "  ".join(f"{name} {value:,.0f}/s" for name, value in p.items()))
    truth = np.array(theirs["answers"]["flat"])
    exact = recall(np.array(mine["answers"]["exact"]), truth)
    per_question = [len({*a} & {*b}) / K for a, b in
                    zip(mine["answers"]["approximate"], truth.tolist(), strict=True)]  # fmt: skip
    reached, worst = statistics.mean(per_question), statistics.mean(sorted(per_question)[:100])
    print(f"  not as float64 brute force: {len(mine['wrong'])} of 100")
    print(f"  as faiss Flat (float32) has it: exact {exact:.4f}; recall {reached:.3f}, worst "
          f"hundred {worst:.2f}; IVF recall {theirs['ivf_recall']:.3f} with {theirs['ivf_nprobe']} lists")  # fmt: skip # noqa: E501
    figures.most(f"{kind}: questions not as brute force, of 100", len(mine["wrong"]), 0)
    figures.least(f"{kind}: exact, as faiss Flat", exact, 0.999)
    figures.least(f"{kind}: recall", reached, RECALL)
    figures.least(f"{kind}: recall of the worst hundred", worst, 0.7)
    for (rows, left, right), bar in BARS.items():
        if rows == kind:
            ratio = own[left] / (other[right] or np.inf)
            figures.least(f"{kind}: {left} / {right}, questions/s", ratio, bar)
            print(f"  {left} / {right}: {ratio:.2f} (at least {bar})")
    return {"ours": r, "peers": p, "recall": reached, "worst": worst, "bytes": mine["bytes"]}


def main() -> int:
    """Exit code 1 where a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--once", nargs=2, metavar=("KIND", "WHO"), help="one process, as JSON")
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--peers", default=str(HERE.parent / ".venv-bench" / "bin" / "python"))
    asked = parser.parse_args()
    if asked.once:
        serve(*asked.once)
        return 0
    python = asked.peers if Path(asked.peers).exists() else sys.executable
    print(f"load {'/'.join(f'{x:.1f}' for x in os.getloadavg())}")
    figures = Figures("search", "numpy", "numba")
    return figures.keep({kind: compare(kind, python, figures) for kind in asked.kinds})


if __name__ == "__main__":
    sys.exit(main())
