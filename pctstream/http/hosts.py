"""What a worker knows of the shards, as `asking` wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pctstream import trust
from pctstream.agents.blooms import Blooms
from pctstream.agents.search import Search
from pctstream.core.balls import Balls
from pctstream.core.names import ROOT, Path, node_name, node_path
from pctstream.core.routing import Routing
from pctstream.holding import holding
from pctstream.tables import nodes_of

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker


class WorkerHosts:
    """Over one worker; the rows of its own shards are searched here."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        limit = worker.cfg.limits.search_bytes
        self._search = Search(worker.shards, worker.routing, limit)
        self._search.generation = self.hosted_in
        self._search.reported = self.reported
        worker.coming = self._search.prepare

    @property
    def search(self) -> Search:
        return self._search

    @property
    def routing(self) -> Routing:
        return self._worker.routing

    @property
    def count(self) -> int:
        return self._worker.cfg.shards.count

    def generation(self) -> int:
        """Of the group now: an answer from before is asked for again."""
        return self._worker.generation()

    def hosted_in(self) -> int:
        """Of which generation the shards are that answer here."""
        return self._worker.hosted_in

    def urls(self) -> Mapping[int, str]:
        """Where each shard was when it last reported."""
        return {number: str(r["url"]) for number, r in self._worker.model.shards().items()}

    def here(self) -> set[int]:
        """The shards of this worker; none once others may have taken them over."""
        return set() if self._worker.fenced else set(self._worker.shards)

    def balls(self) -> Balls:
        """The leaves, as they were reported."""
        log, model = self._worker.routing, self._worker.model
        portions = list(model.portions().values())
        told = {node_path(n["name"]): n for record in portions for n in nodes_of(record)}
        radii = {path: node["radius"] for path, node in told.items()}
        covers = {**model.covers(), **log.covers}
        rows = sum(r["rows"] for r in portions if not r.get("trunk"))
        return Balls.of(covers, radii, dict(log.owners), log.above, rows, holding(told))

    def blooms(self, shard: int) -> Blooms | None:
        """The filters of a shard of this worker."""
        found = self._worker.shards.get(shard)
        return None if found is None else found.blooms

    def looked_up(self, asked: int, skipped: int, fooled: int) -> None:
        """Shards asked for an id, those left out, and those that a filter named for nothing."""
        self._worker.metrics.looked_up(asked, skipped, fooled)

    def reported(self, shard: int, path: Path) -> int:
        """How far a node's input was done when its owner last told."""
        model = self._worker.model
        if path != ROOT:
            portion = model.held(f"portion:{node_name(path)}")
            return -1 if portion is None else int(portion["offset"])
        record = model.held(f"shard:{shard}")
        inputs = record["inputs"] if record else ()
        topic = f"{self._worker.cfg.tree.name}.P0"
        own = (max(i["stored"], i["routed"]) for i in inputs if i["topic"] == topic)
        return max(own, default=-1)

    def calling(self) -> dict[str, Any]:
        return trust.calling(self._worker.cfg)
