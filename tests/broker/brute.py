"""The views against all rows that were fed, each walked down the recorded covers by itself."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import orjson
from broker.deep import nodes, routing
from broker.system import System, mixture, records, wait_for

from pctstream.core.cover import Cover
from pctstream.core.names import ROOT, Path, node_path
from pctstream.tables import ReadModel

LEVELS = (0, 1, 2, 6)
ASKED, NEAREST = 3, 5


def as_brute_force(one: System, rows: npt.NDArray[np.float32]) -> None:
    """Every worker counts the rows of each portion and of each entry of some levels' covers, whoever
    owned them meanwhile; an exact search finds what a scan of all rows finds."""
    for number in (0, 1):
        try:
            wait_for("the counts", lambda n=number: not miscounted(one, n, rows))
        except AssertionError:
            wrong = miscounted(one, number, rows)
            raise AssertionError(f"miscounted by worker {number}: {wrong}") from None
    for query in mixture(ASKED, rows.shape[1], seed=77):
        wanted = np.sort(np.linalg.norm(rows.astype(np.float64) - query, axis=1))[:NEAREST]
        found = wait_for("an exact answer", lambda q=query: searched(one, q))
        np.testing.assert_allclose([r["distance"] for r in found], wanted, rtol=1e-6)


def miscounted(one: System, number: int, rows: npt.NDArray[np.float32]) -> list[object]:
    """Where a worker's views are not the recount, by the covers known now (the tree may still grow)."""
    counts = walked(rows, recorded_covers(one), one.cfg.tree.max_level)

    def at(name: str) -> int:
        path = node_path(name)
        return sum(n for p, n in counts.items() if p[: len(path)] == path)

    portions = one.get("/v1/portions", number)["portions"]
    told = [("portion", p["portion"], p["rows"], at(p["portion"])) for p in portions]
    for depth in LEVELS:
        cover = one.get(f"/v1/levels/{depth}/cover", number)
        told.append((depth, "all", cover["rows"], len(rows)))
        told.append((depth, "entries", sum(e["rows"] for e in cover["cover"]), len(rows)))
        told += [(depth, e["node"], e["rows"], at(e["node"])) for e in cover["cover"]]
    wrong: list[object] = [entry for entry in told if entry[2] != entry[3]]
    return wrong if portions else ["no portions"]


def searched(one: System, query: npt.NDArray[np.float32]) -> Any:
    """The nearest rows, if the answer is proven."""
    body = {"vector": query.tolist(), "k": NEAREST, "exact": True}
    found = httpx.post(f"{one.urls[0]}/v1/search", json=body, timeout=15).json()
    return found["results"] if found.get("exact") else None


def walked(rows: npt.NDArray[np.float32], covers: dict[Path, Cover], levels: int) -> Counter[Path]:
    """How many rows come to rest at each node."""
    places = {ROOT: np.arange(len(rows))}
    for _ in range(levels):
        below: dict[Path, Any] = {}
        for path, here in places.items():
            if path not in covers:
                below[path] = here
                continue
            child = nearest(rows[here], covers[path].centroids)
            below |= {(*path, int(c)): here[child == c] for c in np.unique(child)}
        places = below
    return Counter({path: len(here) for path, here in places.items()})


def nearest(
    rows: npt.NDArray[np.float32], centroids: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    """As R10 has it: sums in float32, over the dimensions in order; the lowest of equal ones."""
    away = np.zeros((len(rows), len(centroids)), np.float32)
    for j in range(rows.shape[1]):
        step = rows[:, j, None] - centroids[None, :, j]
        away += step * step
    return away.argmin(axis=1)


def recorded_covers(one: System) -> dict[Path, Cover]:
    """Of all nodes that have split, N0's from `.routing`, the others' as they were told."""
    model = ReadModel()
    for message in records(one, "state"):
        record = orjson.loads(message.value or b"{}")
        if record.get("kind") == "cover":
            model.fold(record)
    split = {path for path, node in nodes(one).items() if node["state"] == "splitting"}
    known = model.covers() | routing(one).covers
    return {path: known[path] for path in split}
