"""The nearest rows, beside other indexes (`indexes`): the same rows, one run, all take turns.

Rows and questions are those of `search.py`, k = 10. Each index is a process of its own with one thread, and
is set to the least at which it reaches a recall of 0.95 on these very questions; ours learns that from the
rows. mlpack's cover tree is exact, and has fewer rows. Questions per second of CPU, of a process and of all
that it has begun: one by one 300 of them, and all 1,000 at once; medians of five rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import indexes
import numpy as np
import search
from search import KINDS, QUESTIONS, RECALL, SINGLES, Asked, K


def spent() -> float:
    """CPU seconds of this process and of those that it has begun."""
    parent, used = {}, {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            said = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        pid = int(entry.parent.name)
        parent[pid], used[pid] = (
            int(said[1]),
            (int(said[11]) + int(said[12])) / os.sysconf("SC_CLK_TCK"),
        )
    total = time.process_time()
    for pid, seconds in used.items():
        above = parent[pid]
        while above > 1 and above != os.getpid():
            above = parent.get(above, 0)
        total += seconds if above == os.getpid() else 0.0
    return total


def rate(ask: Asked, queries: Any, single: bool) -> float:
    """Questions per second."""
    some = [queries[i : i + 1] for i in range(SINGLES)] if single else [queries]
    start = spent()
    for one in some:
        ask(one)
    return sum(map(len, some)) / max(spent() - start, 1e-9)


def truth_of(rows: Any, queries: Any) -> Any:
    """i64[m, k]: the nearest by float32 products."""
    norms = (rows**2).sum(axis=1)
    found = []
    for begin in range(0, len(queries), 100):
        rough = norms - 2.0 * (queries[begin : begin + 100] @ rows.T)
        near = np.argpartition(rough, K, axis=1)[:, :K]
        order = np.take_along_axis(rough, near, axis=1).argsort(axis=1)
        found.append(np.take_along_axis(near, order, axis=1))
    return np.concatenate(found)


def serve(kind: str, who: str, kept: str) -> None:
    """One process: ours, or one of the others. Each line that comes is a round."""
    rows = search.rows_of(kind)
    if rows is None:
        print(json.dumps({"absent": "missing shared data"}), flush=True)
        return
    queries, rows = rows[-QUESTIONS:].copy(), rows[:-QUESTIONS].copy()
    truth = truth_of(rows, queries)
    if who == "ours":
        ways, told = search.ours(rows, queries)
        ways = {"ours": ways["approximate"]}
        told = {"built_s": round(told["build_s"] + told["learn_s"], 2), "setting": told["probes"]}
        told["recall"] = round(search.recall(ways["ours"](queries), truth), 4)
    else:
        ways, told = indexes.made(who, Path(kept) / kind / who, rows, queries, truth, K, RECALL)
    print(json.dumps(told), flush=True)
    for _ in sys.stdin:
        found = {name: rate(ask, queries, name == "single") for name in ("single", "batch")
                 for ask in ways.values()}  # fmt: skip
        print(json.dumps(found), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--once", nargs=2, metavar=("KIND", "WHO"), help="one process, as JSON")
    parser.add_argument("--kept", default=str(Path(tempfile.gettempdir()) / "pctstream-beside"))
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--only", nargs="*", default=list(indexes.KINDS))
    parser.add_argument(
        "--peers", default=str(search.HERE.parent / ".venv-bench" / "bin" / "python")
    )
    asked = parser.parse_args()
    if asked.once:
        serve(*asked.once, asked.kept)
        return 0
    for kind in asked.kinds:
        print(f"{kind}: load {'/'.join(f'{x:.1f}' for x in os.getloadavg())}", flush=True)
        pythons = {"ours": sys.executable, **dict.fromkeys(asked.only, asked.peers)}
        for who, told in search.measured(kind, pythons, __file__, "--kept", asked.kept).items():
            rates = told.pop("rates")
            said = "  ".join(f"{name} {value:,.0f}/s" for name, value in rates.items())
            print(f"  {who:8} {said or told.pop('absent', '')}  {told}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
