"""The spatial views: the density map, the regions, boxes and the nearest, and the limits in force.

Any worker answers for all shards (`places`).
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

from pctstream.agents.located import Located
from pctstream.core.density_map import DensityMap, merged
from pctstream.core.formats import JSON
from pctstream.core.geography import boxes_of, is_globe, point_of
from pctstream.errors import QueryRefused
from pctstream.http.asking import Asking
from pctstream.http.body import PAGE_MAX, answered, body, json_object, page, plain
from pctstream.http.hosts import WorkerHosts
from pctstream.http.places import Outcome, Places, coarse, rows_of
from pctstream.http.png import png
from pctstream.http.question import K_MOST, ROWS_MOST, flag, numbers, whole
from pctstream.http.search import DEADLINE_S, Door, from_worker

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker

SEARCH = ("box", "point", "k", "limit", "explain")
FORMATS = ("json", "npz", "png")


class Views:
    """What the routes share; of one worker whose `spatial.enabled`."""

    def __init__(
        self, worker: Worker, hosts: WorkerHosts, asking: Asking, as_of: Callable[[], Any]
    ) -> None:
        assert worker.surveyor is not None
        located = Located(worker.surveyor, worker.routing)
        located.generation, located.reported = hosts.search.generation, hosts.reported
        settings = worker.cfg.spatial
        self.globe = is_globe(settings.coordinates, settings.x, settings.y)
        self.places = Places(hosts, asking, located)
        self.as_of = as_of
        self._door = Door(worker.metrics.query, DEADLINE_S)
        self._worker = worker

    def told(self) -> dict[int, Mapping[str, Any]]:
        """What each shard told of its regions last."""
        return {int(r["shard"]): r for r in self._worker.model.of("regions")}

    async def search(self, raw: bytes) -> dict[str, Any]:
        """Rows in a box, or the nearest to a point."""
        said = json_object(raw, SEARCH)
        if ("box" in said) == ("point" in said):
            raise QueryRefused('ask with either "box" or "point", not with both or neither')
        explain = flag(said, "explain")
        what = "box" if "box" in said else "point"
        where = tuple(map(float, numbers(said[what], what)))
        most = whole(said, "limit", K_MOST, ROWS_MOST)
        question: dict[str, Any] = {"what": what, what: where, "explain": explain}
        if what == "box":
            boxes_of(where, globe=self.globe)
            question["limit"] = most
        else:
            point_of(where, globe=self.globe)
            question["k"] = min(whole(said, "k", 10, K_MOST), most)

        async def act(deadline: float) -> tuple[dict[str, Any], int]:
            outcome = await self.places.ask(question, deadline)
            scanned = sum(a["scanned"] for a in outcome.answers)
            return self._found(question, outcome) | {"as_of": self.as_of()}, scanned

        return await self._door.through("box" if what == "box" else "nearest", act)  # type: ignore[no-any-return]

    def _found(self, question: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
        rows, truncated = rows_of(outcome), any(a["truncated"] for a in outcome.answers)
        if question["what"] == "box":
            rows.sort(key=lambda row: (row["id"], row["origin"]))
            truncated = truncated or len(rows) > question["limit"]
            rows, box = rows[: question["limit"]], question["box"]
        else:
            rows.sort(key=lambda row: (row["distance"], row["id"], row["origin"]))
            rows = rows[: question["k"]]
            box = self._around(question["point"], rows if len(rows) == question["k"] else [])
        found = {
            "results": rows, "truncated": truncated, "partial": bool(outcome.missing),
            "distances": "metres" if self.globe else "units of x and y",
            "coarse": self._coarse(outcome.missing, box),
        }  # fmt: skip
        if question["explain"]:
            found["explain"] = _explained(outcome)
        return found

    def _coarse(self, missing: set[int], box: tuple[float, ...] | None) -> list[Any]:
        """On the globe a box may be two: their rows add up."""
        told = self.told()
        parts = [None] if box is None else boxes_of(box, globe=self.globe)
        found = [coarse(missing, told, part) for part in parts]
        for others in found[1:]:
            for one, other in zip(found[0], others, strict=True):
                if one["rows"] is not None:
                    one["rows"] = {k: v + other["rows"][k] for k, v in one["rows"].items()}
        return found[0]

    def _around(self, point: Any, rows: list[Any]) -> tuple[float, ...] | None:
        """The box in which something nearer than the last row may lie; None: anywhere."""
        if self.globe or not rows:
            return None
        (x, y), far = point, rows[-1]["distance"]
        return (x - far, y - far, x + far, y + far)

    async def density(self, cells: str) -> dict[str, Any]:
        """The map of all shards."""
        outcome = await self.places.ask({"what": "map"}, time.monotonic() + DEADLINE_S)
        maps, told = {s: a["map"] for s, a in outcome.last.items()}, self.told()
        stale = {s: told[s] for s in outcome.missing - set(maps) if s in told and told[s]["map"]}
        every = [DensityMap.from_json(m) for m in maps.values()]
        every += [DensityMap.from_json(r["map"]) for r in stale.values()]
        whole = merged(every) if every else DensityMap(self._worker.cfg.spatial.cells)
        unplaced: dict[str, int] = {}
        for answer in outcome.last.values():
            for why, rows in answer["unplaced"].items():
                unplaced[why] = unplaced.get(why, 0) + rows
        edges = [axis.edges for axis in whole.axes] if whole.axes else [np.zeros(0)] * 2
        return {
            **_folded(whole.counts, edges, cells), "bounds": list(whole.bounds),
            "rows": int(whole.counts.sum()), "outside": whole.outside, "unplaced": unplaced,
            "partial": bool(outcome.missing), "missing": sorted(outcome.missing),
            "told": [{"shard": s, "time": r["time"], "left_out": r.get("left_out", 0)}
                     for s, r in sorted(stale.items())],
            "as_of": self.as_of(),
        }  # fmt: skip

    async def regions(self, limit: int, cursor: str) -> dict[str, Any]:
        """The regions of all shards, and what was last done to them."""
        outcome = await self.places.ask({"what": "regions"}, time.monotonic() + DEADLINE_S)
        every, shards = [], []
        said = ("last", "adjustments", "budget", "left_out")
        for shard, answer in sorted(outcome.last.items()):
            every += [{**r, "id": f"{shard}:{r['id']}", "shard": shard} for r in answer["regions"]]
            shards.append({"shard": shard, "regions": len(answer["regions"]), "told": None,
                           **{key: answer[key] for key in said}})  # fmt: skip
        for shard, record in sorted(self.told().items()):
            if shard in outcome.missing - set(outcome.last):
                columns = record["regions"]
                rows = [
                    dict(zip(columns, one, strict=True))
                    for one in zip(*columns.values(), strict=True)
                ]
                every += [
                    {**r, "id": f"{shard}:{r['id']}", "shard": shard, "queries": None} for r in rows
                ]
                shards.append({"shard": shard, "regions": record["number"], "told": record["time"]})
        some, after = page(every, limit, cursor)
        return {"regions": some, "next": after, "number": len(every), "shards": shards,
                "partial": bool(outcome.missing), "as_of": self.as_of()}  # fmt: skip


def add(app: FastAPI, views: Views) -> None:
    """The routes."""

    @app.post("/v1/spatial/search")
    async def search(request: Request) -> Response:
        """The rows in a box, or the nearest to a point."""
        return answered(await views.search(await body(request)))

    @app.get("/v1/spatial/density")
    async def density(format: str = "json", cells: str = "") -> Response:
        """How many rows lie where: JSON, .npz, or a PNG."""
        if format not in FORMATS:
            raise QueryRefused(f"format must be one of {', '.join(FORMATS)}")
        said = await views.density(cells)
        headers = {"pct-partial": str(said["partial"]).lower()}
        if format == "png":
            return Response(png(said["counts"]), media_type="image/png", headers=headers)
        if format == "npz":
            out = io.BytesIO()
            np.savez(out, **{name: said[name] for name in ("counts", "x_edges", "y_edges")})
            return Response(out.getvalue(), media_type="application/x-npz", headers=headers)
        return Response(orjson.dumps(said, option=orjson.OPT_SERIALIZE_NUMPY), media_type=JSON)

    @app.get("/v1/spatial/regions")
    async def regions(limit: int = PAGE_MAX, cursor: str = "") -> Response:
        """The regions of the index, and what its last adjustments did."""
        return answered(await views.regions(limit, cursor))

    @app.post("/v1/shards/places", include_in_schema=False)
    async def places(request: Request) -> Response:
        said = await from_worker(request)
        try:
            shards, question = [int(s) for s in said["shards"]], dict(said["question"])
        except (LookupError, TypeError, ValueError):
            raise QueryRefused("not the question of a worker") from None
        found = [a for s in shards for a in await views.places.local(s, question, said["until"])]
        return answered({"answers": found})


def _explained(outcome: Outcome) -> dict[str, Any]:
    """Which regions were touched, in what part of the question's box, and how."""
    shards = [
        {"shard": a["shard"], "searched": a["searched"], "rows_scanned": a["scanned"],
         "rows_skipped": a["of_rows"] - a["scanned"],
         "rows_beside": a["beside"], "regions": a["touched"],
         "more_regions": a["more_touched"]}
        for a in outcome.answers
    ]  # fmt: skip
    depths = {r["depth"] for a in outcome.answers for r in a["touched"]}
    return {"shards": shards, "depths": sorted(depths), "no_answer": sorted(outcome.missing),
            "rows_scanned": sum(a["scanned"] for a in outcome.answers)}  # fmt: skip


def _folded(counts: Any, edges: list[Any], cells: str) -> dict[str, Any]:
    """Counts and edges with so many cells ("16" or "16,8"), each of as many of the map's."""
    wanted = [int(n) if plain(n.strip()) else 0 for n in cells.split(",")] if cells else []
    wanted = list(counts.shape) if not wanted else wanted * 2 if len(wanted) == 1 else wanted
    if len(wanted) != 2 or any(
        n < 1 or have % n for n, have in zip(wanted, counts.shape, strict=True)
    ):
        raise QueryRefused(
            f"cells must divide {list(counts.shape)} (spatial.cells), as in cells=16,16"
        )
    (nx, ny), (a, b) = wanted, (counts.shape[0] // wanted[0], counts.shape[1] // wanted[1])
    folded = np.ascontiguousarray(counts.reshape(nx, a, ny, b).sum(axis=(1, 3)))
    return {"counts": folded, "x_edges": edges[0][::a].copy(), "y_edges": edges[1][::b].copy()}
