"""How even the cells of a first cover are, and what it costs: Lloyd's steps alone and with `tree.balance`.

Rows are those of `search.py`: a mixture of 100 Gaussians, Beijing's air in the order of time, pictures of
clothes (Fashion-MNIST). N0's cover as the tree makes it: an epsilon from the first rows such that about
``fanout`` prototypes cover them, a scan that ends after 1,000 rows without a new one, `kmeans_iterations`
steps over the scanned rows.

    even       exp(entropy) / k of the rows by cell: of those scanned, and of the 20,000 that came next
    farthest   a scanned row from its centroid, in epsilon; the bar is 2
    mean       distance of a scanned row to its centroid
    seconds    CPU of one thread, the least of three; rows/s: scanned, the scan's own time included

The bar is 0.8 for the scanned rows of Fashion-MNIST, at every fanout asked for.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import Any

import numpy as np
from search import KINDS, rows_of

BAR, FARTHEST, LATER, ROUNDS = 0.8, 2.0, 20_000, 3


def even(cells: Any, k: int) -> float:
    """exp(entropy) / k of rows by cell."""
    shares = np.bincount(cells, minlength=k) / len(cells)
    shares = shares[shares > 0]
    return math.exp(-float((shares * np.log(shares)).sum())) / k


def timed(act: Any) -> tuple[float, Any]:
    best = math.inf
    for _ in range(ROUNDS):
        start = time.process_time()
        found = act()
        best = min(best, time.process_time() - start)
    return best, found


def measured(kind: str, rows: Any, fanout: int, iterations: int) -> list[dict[str, Any]]:
    """One line for each way."""
    from pctstream.core import kernels
    from pctstream.core.cover import refine
    from pctstream.core.find import FindCover, auto_epsilon

    epsilon = auto_epsilon(rows[: 64 * fanout], fanout)

    def scanned() -> Any:
        find = FindCover(rows.shape[1], epsilon, 1000, 50_000, "gap", 4096)
        find.feed(rows)
        return find

    scan_s, find = timed(scanned)
    if find.state != "cover":
        return []
    own, later = rows[: find.rows], rows[find.rows : find.rows + LATER]
    found = []
    for name, steps, balance in (
        ("prototypes", 0, False), ("Lloyd", iterations, False), ("balanced", iterations, True),
    ):  # fmt: skip
        seconds, cover = timed(
            lambda s=steps, b=balance: refine(own, find.prototypes, epsilon, s, 1000, b)
        )
        table = kernels.transpose(cover.centroids)
        cells, ahead = (kernels.nearest(some, table, cover.k) for some in (own, later))
        away = kernels.distances(own, cells, cover.centroids)
        found.append(
            {"rows": kind, "fanout": fanout, "k": cover.k, "scanned": len(own), "way": name,
             "even": round(even(cells, cover.k), 3), "even_later": round(even(ahead, cover.k), 3),
             "farthest": round(float(away.max()) / epsilon, 3), "mean": round(float(away.mean()), 4),
             "seconds": round(seconds, 4), "rows_s": round(len(own) / (scan_s + seconds))}
        )  # fmt: skip
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--fanouts", nargs="+", type=int, default=[16, 48])
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    missed = False
    if not asked.json:
        print(
            f"{'rows':8} fanout    k scanned  {'':10} even later farthest    mean seconds    rows/s"
        )
    for kind in asked.kinds:
        rows = rows_of(kind)
        if rows is None:
            print(f"{kind}: its file is not there (PCT_SHARED)")
            continue
        measured(kind, rows[:4000], 16, 1)  # compiled before anything counts
        for line in [m for f in asked.fanouts for m in measured(kind, rows, f, asked.iterations)]:
            if asked.json:
                print(json.dumps(line))
            else:
                print(f"{kind:8} {line['fanout']:6} {line['k']:4} {line['scanned']:7,}  "
                      f"{line['way']:10} {line['even']:.2f}  {line['even_later']:.2f} "
                      f"{line['farthest']:8.2f} {line['mean']:7.3f} {line['seconds']:7.3f} "
                      f"{line['rows_s']:9,}")  # fmt: skip
            if line["way"] == "balanced":
                missed |= line["farthest"] > FARTHEST
                missed |= kind == "fashion" and line["even"] < BAR
    if missed:
        print("a bar was missed")
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
