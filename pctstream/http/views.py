"""The views (CONTRACT: HTTP): every answer says as of when and which epoch it is true."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response

from pctstream import tables, token
from pctstream.agents.placement import seen
from pctstream.core.names import Path, node_name, node_path
from pctstream.errors import NotFound, NotReady
from pctstream.http import (
    assets,
    drift,
    moves,
    outlook,
    plans,
    problem,
    projection,
    search,
    shape,
    snapshots,
    solver,
    successor,
)
from pctstream.http.admission import Admission
from pctstream.http.body import PAGE_MAX, page
from pctstream.http.digest import digest
from pctstream.http.frozen import hosted
from pctstream.http.hosts import WorkerHosts
from pctstream.http.tree import TreeView

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker


def create(worker: Worker) -> FastAPI:
    """The app that serves one worker's views."""
    app = FastAPI(title="pctstream", version="1", docs_url=None, redoc_url=None)

    problem.add(app)
    passing = successor.add(app, worker)
    app.add_middleware(Admission, wanted=token.wanted(worker.cfg), passing=passing)

    _health(app, worker)
    _tables(app, worker)
    _tree(app, worker)
    _shards(app, worker)
    drift.add(app, worker.model, worker.cfg.drift.window_s, page, lambda: _as_of(worker))
    moves.add(app, worker)
    snapshots.add(app, worker)
    plans.add(app, worker)
    max_level = worker.cfg.tree.max_level
    solver.add(
        app, max_level, lambda: tree_view(worker), lambda: _as_of(worker),
        lambda: worker.model.of("moment"),
    )  # fmt: skip
    _pictures(app, worker)
    app.state.hosts = hosts = WorkerHosts(worker)
    app.state.asking = search.add(app, hosts, lambda: _as_of(worker), worker.metrics.query)
    _spatial(app, worker, hosts)
    return app


def _spatial(app: FastAPI, worker: Worker, hosts: WorkerHosts) -> None:
    if worker.surveyor is None:

        @app.api_route(
            "/v1/spatial/{what}", methods=["GET", "POST", "PUT"], include_in_schema=False
        )
        async def off(what: str) -> None:
            raise NotFound("no position is indexed: set spatial.enabled = true, x and y")

        return
    from pctstream.http import limits, spatial

    views = spatial.Views(worker, hosts, app.state.asking, lambda: _as_of(worker))
    spatial.add(app, views)
    limits.add(app, worker, lambda: _as_of(worker))


def _pictures(app: FastAPI, worker: Worker) -> None:
    """The page, and what it asks because of how it draws."""
    log, max_level = worker.routing, worker.cfg.tree.max_level

    def shard_of(path: Path) -> int | None:
        return log.owners.get(log.above.portion(path) or path)

    def owned() -> dict[int, list[str]]:
        shards = range(worker.cfg.shards.count)
        return {s: [node_name(p) for p in log.portions if log.owners[p] == s] for s in shards}

    assets.add(app)
    shape.add(app, lambda: tree_view(worker), shard_of, lambda: _as_of(worker))
    projection.add(app, max_level, lambda: tree_view(worker), shard_of, lambda: _as_of(worker))
    outlook.add(
        app, worker.cfg.drift.window_s, lambda: seen(worker), owned, worker.model.of,
        lambda: _as_of(worker),
    )  # fmt: skip


def _as_of(worker: Worker) -> dict[str, Any]:
    return {"time": time.time(), "epoch": worker.routing.epoch}


def tree_view(worker: Worker, most: int | None = None) -> TreeView:
    """The tree as this worker knows it now; ``most``: of so many nodes of each portion that is here."""
    return TreeView(
        worker.routing, worker.reporter.all_shards(), worker.reporter.all_portions(most),
        worker.model.covers(), worker.monitor.stalled(), drift.told(worker.model),
    )  # fmt: skip


def _stalled(worker: Worker) -> list[dict[str, Any]]:
    """The nodes of the whole tree that stand still, as this worker sees it."""
    return [s._asdict() for s in worker.monitor.stalled()]


def _health(app: FastAPI, worker: Worker) -> None:
    @app.get("/livez")
    async def livez() -> Any:
        """503 where a part of this process does nothing any more: it has to be started again."""
        if (why := worker.monitor.dead()) is not None:
            return problem.problem(NotReady(f"{worker.name} is not alive: {why}"))
        return {"live": True, "worker": worker.name, "generation": worker.generation()}

    @app.get("/readyz")
    async def readyz() -> Any:
        """Whether this worker serves: 503 for what is wrong here; nodes of other workers that stand still
        are only named."""
        if (why := worker.ready) is not None:
            error = NotReady(f"{worker.name} is not ready: {why}")
            return problem.problem(error, {"stalled": _stalled(worker)})
        answer = {"ready": True, "worker": worker.name, "stalled": _stalled(worker)}
        if worker.cfg.store.standby:
            told = ("shard", "lag", "level", "errors", "bytes")
            answer["standbys"] = [{k: r[k] for k in told} for r in worker.standby.records()]
        return answer | {"as_of": _as_of(worker)}

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        """All metrics, or as Prometheus' own client has it those named by `name[]`."""
        text = worker.metrics.text(request.query_params.getlist("name[]"))
        return Response(text, media_type=worker.metrics.content_type)


def _tables(app: FastAPI, worker: Worker) -> None:
    @app.get("/v1/tables")
    async def names() -> dict[str, Any]:
        """The names of the Faust tables."""
        return {"tables": list(tables.NAMES), "as_of": _as_of(worker)}

    @app.get("/v1/tables/{name}")
    async def table(name: str, limit: int = PAGE_MAX, cursor: str = "") -> dict[str, Any]:
        """A Faust table as it is, by key."""
        if name not in tables.NAMES:
            raise NotFound(f"no table {name!r}: there are {', '.join(tables.NAMES)}")
        rows, cursor_next = page(list(worker.model.table(name).items()), limit, cursor)
        some = {key: tables.shown(value) for key, value in rows}
        return {"table": name, "rows": some, "next": cursor_next, "as_of": _as_of(worker)}

    @app.get("/v1/tables/{name}/{key}")
    async def entry(name: str, key: str) -> dict[str, Any]:
        """One entry of a Faust table."""
        found = worker.model.table(name).get(key) if name in tables.NAMES else None
        if found is None:
            raise NotFound(f"no entry {key!r} in the table {name!r}")
        return {"key": key, "value": tables.shown(found), "as_of": _as_of(worker)}


def _tree(app: FastAPI, worker: Worker) -> None:
    # in threads: who looks at a portion waits for the turn that is under way

    @app.get("/v1/tree")
    def tree() -> dict[str, Any]:
        """The whole tree by level: nodes by state, rows, epsilon, what closed it; who stands still."""
        answer = tree_view(worker).overview() | {"stalled": _stalled(worker)}
        return answer | {"as_of": _as_of(worker)}

    @app.get("/v1/nodes")
    def nodes(
        level: int | None = None, state: str | None = None, limit: int = PAGE_MAX, cursor: str = ""
    ) -> dict[str, Any]:
        """The nodes, of one level or state if asked: cover, rows, lag, history."""
        view = tree_view(worker)
        picked = [
            p for p in view.paths if level in (None, len(p) - 1) and state in (None, view.state(p))
        ]
        some, cursor_next = page(picked, limit, cursor)
        answer = {"nodes": [view.node(p) for p in some], "next": cursor_next}
        return answer | {"as_of": _as_of(worker)}

    @app.get("/v1/nodes/{name}")
    def node(name: str) -> dict[str, Any]:
        """One node (N0,3), with its prototypes' number, miss bound, radius and history."""
        path = node_path(name)
        view = tree_view(worker)
        if view.state(path) is None:
            raise NotFound(f"no node {name}")
        return view.node(path) | {"as_of": _as_of(worker)}

    @app.get("/v1/portions")
    def portions(limit: int = PAGE_MAX, cursor: str = "") -> dict[str, Any]:
        """The portions: owner, shadow, rows, bytes, rate, share, drift score."""
        view = tree_view(worker, 1)
        some, cursor_next = page(worker.routing.portions, limit, cursor)
        answer = {"portions": [view.portion(p) for p in some], "next": cursor_next}
        return answer | {"as_of": _as_of(worker)}

    @app.get("/v1/portions/{name}")
    def portion(name: str) -> dict[str, Any]:
        """One portion."""
        path = node_path(name)
        if path not in worker.routing.portions:
            raise NotFound(f"no portion {name}")
        return tree_view(worker, 1).portion(path) | {"as_of": _as_of(worker)}


def _shards(app: FastAPI, worker: Worker) -> None:
    loads = plans.Loads(worker)

    def shard_view(record: tables.Record, known: dict[int, float]) -> dict[str, Any]:
        capacity = float(worker.cfg.shards.capacity.get(record["shard"], 1.0))
        hidden = ("kind", "root", "metrics", "offset", "generation", "began")
        shown = {k: v for k, v in record.items() if k not in hidden}
        drained = record["shard"] in worker.routing.orders.drained
        held = record["root"]["rows"]
        load = known.get(record["shard"], 0.0)
        answer = {"capacity": capacity, "load": load, "held": held, "drained": drained}
        kept = worker.model.standbys(record)
        told = ("worker", "lag", "level", "errors", "bytes", "time")
        return shown | answer | {"standbys": [{k: one[k] for k in told} for one in kept]}

    @app.get("/v1/shards")
    async def shards() -> dict[str, Any]:
        """The shards: rows, bytes, load, worker, Bloom filter, and how far each input is."""
        records, known = worker.reporter.all_shards(), loads.now()
        shown = [shard_view(records[s], known) for s in sorted(records)]
        return {"shards": shown, "count": worker.cfg.shards.count, "as_of": _as_of(worker)}

    @app.get("/v1/shards/{number}")
    async def shard(number: int) -> dict[str, Any]:
        """One shard."""
        record = worker.reporter.one_shard(number)
        if record is None:
            raise NotFound(f"no shard {number} has reported yet")
        return shard_view(record, loads.now()) | {"as_of": _as_of(worker)}

    @app.get("/v1/shards/{number}/digest")
    def shard_digest(number: int) -> Response:
        """Every row of a shard hosted here as (origin, hash), what `verify` compares; 421 elsewhere."""
        body = digest(hosted(worker, number), worker.routing)
        return Response(body, media_type="application/vnd.apache.arrow.stream")
