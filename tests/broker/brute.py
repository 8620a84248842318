"""The views against all rows that were fed, each walked down the recorded covers by itself."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
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
ASKED, NEAREST, MANY = 3, 5, 30


@dataclass
class Asked:
    """Exact answers, from whoever lives, and which of them were wrong."""

    one: System
    rows: dict[str, np.ndarray]
    first: bool
    """Only of the rows of the beginning."""
    exact: int = 0
    wrong: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._names = sorted(self.rows)
        self._vectors = np.array([self.rows[n] for n in self._names], np.float64)

    def look(self, url: str) -> None:
        query = self._vectors[(37 * self.exact) % len(self._names)]
        away = np.sqrt(np.cumsum((self._vectors - query) ** 2, axis=1)[:, -1]).tolist()
        asked = {"vector": query.tolist(), "k": MANY}
        asked |= {"filter": {"first": 1}} if self.first else {}
        said = httpx.post(f"{url}/v1/search", json=asked, timeout=30).json()
        if said.get("exact"):
            told = [(r["distance"], r["id"]) for r in said["results"]]
            if told != sorted(zip(away, self._names, strict=True))[:MANY]:
                self.wrong.append((query, told))
            self.exact += 1

    def ask(self, over: threading.Event) -> None:
        while not over.wait(0.05):
            for url in self.one.urls:
                try:
                    self.look(url)
                except (httpx.HTTPError, ValueError):
                    continue  # it is dead, or not there yet

    def times(self, count: int) -> None:
        """So many exact answers more."""
        until = self.exact + count
        wait_for(
            "exact answers", lambda: [self.look(u) for u in self.one.urls] and self.exact >= until
        )


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
