"""The views against all rows that were fed, put where the recorded covers say, one by one."""

from __future__ import annotations

import numpy as np
from broker.deep import routing
from broker.system import System, wait_for

from pctstream.core.names import ROOT, node_name


def portions_as_brute_force(one: System, rows: np.ndarray) -> None:
    """Every worker counts the rows of each portion, whoever owned it meanwhile."""
    centroids = routing(one).covers[ROOT].centroids.astype(np.float64)
    away = ((rows.astype(np.float64)[:, None] - centroids) ** 2).sum(-1)
    counts = np.bincount(away.argmin(axis=1), minlength=len(centroids))
    wanted = {node_name((*ROOT, i)): int(n) for i, n in enumerate(counts)}

    def same(number: int) -> bool:
        found = one.get("/v1/portions", number)["portions"]
        return {p["portion"]: p["rows"] for p in found} == wanted

    for number in (0, 1):
        wait_for(f"the portions' rows at worker {number}", lambda n=number: same(n))
