"""The views against all rows that were fed, walked down the recorded covers one by one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from broker.deep import nodes, routing
from broker.system import System, mixture, records, wait_for

from pctstream.core.cover import Cover
from pctstream.core.names import ROOT, Path, node_path
from pctstream.tables import ReadModel


def as_brute_force(one: System, rows: np.ndarray) -> None:
    """The views against all rows that were acked, walked down the covers that were recorded."""
    covers, places = recorded_covers(one), [ROOT] * len(rows)
    for _ in range(one.cfg.tree.max_level):
        for path in {p for p in places if p in covers}:
            here = [i for i, p in enumerate(places) if p == path]
            centroids = covers[path].centroids.astype(np.float64)
            away = ((rows[here].astype(np.float64)[:, None] - centroids) ** 2).sum(-1)
            for i, child in zip(here, away.argmin(axis=1), strict=True):
                places[i] = (*path, int(child))
    counts = Counter(places)

    def at(path: Path) -> int:
        return sum(n for p, n in counts.items() if p[: len(path)] == path)

    for number in (0, 1):
        found = one.get("/v1/portions", number)["portions"]
        assert {p["portion"]: p["rows"] for p in found} == {
            p["portion"]: at(node_path(p["portion"])) for p in found
        }
        for depth in (0, 1, 2, 6):
            cover = one.get(f"/v1/levels/{depth}/cover", number)
            assert cover["rows"] == len(rows)
            told = {e["node"]: e["rows"] for e in cover["cover"]}
            assert told == {name: at(node_path(name)) for name in told}
            assert all(e["w"] == pytest.approx(e["rows"] / len(rows)) for e in cover["cover"])
    for query in mixture(3, seed=77):
        wanted = np.sort(np.linalg.norm(rows.astype(np.float64) - query, axis=1))[:5]
        body = {"vector": query.tolist(), "k": 5, "exact": True}

        def nearest(body: dict[str, Any] = body) -> Any:
            found = httpx.post(f"{one.urls[0]}/v1/search", json=body, timeout=15).json()
            return found["results"] if found["exact"] else None

        answer = [r["distance"] for r in wait_for("an exact answer", nearest)]
        assert answer == pytest.approx(wanted)


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
