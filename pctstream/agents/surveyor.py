"""The surveyor: the spatial indexes of a worker's shards, read in, adjusted and told of, in one thread.

Every tick, shard by shard: what was stored since is read into the index (`agents.spatial`); if the interval
is over or enough rows came or went, the regions are adjusted; and what has changed is told on `.state`, at
most once a window: so many of the coarsest regions, and the density map, so that others can answer for
the shard when it is down. Rows never wait for any of it.

A limit that is changed live comes as an order by way of `.routing` (`core.tuning`), so it is in force at
every worker, and after a restart.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pctstream.agents.ration import Ration
from pctstream.agents.shard import Shard
from pctstream.agents.spatial import ShardIndex
from pctstream.core.adjust import Adjusted
from pctstream.core.coarse import coarsest
from pctstream.core.names import ROOT, Path, node_name
from pctstream.core.places import Places
from pctstream.core.regions import LEAF
from pctstream.errors import NotReady, PctError
from pctstream.tables import Record

if TYPE_CHECKING:
    from pctstream.agents.worker import Worker

TICK_S = 0.1
REFRESH_S = 0.5
"""Reading in takes so long at a time, before another shard has a turn."""
AGAIN_S = 5.0
"""After a failure an index is made anew, not sooner."""
KEPT = 20
"""Adjustments of a shard that are remembered."""
TOLD_REGIONS = 256
TOLD_CELLS = 128 * 128
"""Of a map of more cells nothing is told: a record is one message."""
EXAMPLES = 10


@dataclass(slots=True)
class Survey:
    """What is remembered of a shard's index."""

    index: ShardIndex
    adjustments: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT))
    tuned: int | None = None
    told: tuple[int, ...] = ()
    told_s: float = -1e9
    left_out: list[Path] = field(default_factory=list)


class Surveyor:
    """Of one worker, where `spatial.enabled`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        settings = worker.cfg.spatial
        self.places = Places(settings.x, settings.y)
        self.ration = Ration(worker.cfg.limits.spatial_bytes)
        self._surveys: dict[int, Survey] = {}
        self._failed: dict[int, float] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="surveyor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is under way ends at the next slice."""
        self._closing.set()
        self._thread.join(10.0)

    def settings(self) -> dict[str, Any]:
        """`[spatial]` as it is in force: the file's, and what was changed since."""
        return asdict(self._worker.cfg.spatial) | self._worker.routing.orders.tuning.changes

    def surveys(self) -> Iterator[tuple[int, Survey]]:
        """The shards hosted here that have an index."""
        for number, survey in sorted(self._surveys.items()):
            if self._worker.shards.get(number) is survey.index.shard:
                yield number, survey

    def survey(self, number: int) -> Survey:
        """Of one shard; NotReady if it is not here, or has no index yet."""
        for found, survey in self.surveys():
            if found == number:
                return survey
        raise NotReady(f"shard {number} has no spatial index here yet: ask again")

    def served(self, shard: Shard) -> list[Path]:
        """The nodes that this shard answers for and that are restored."""
        return [p for p in [ROOT, *(n.path for n in shard.portions)] if p in shard.nodes]

    # the thread

    def _run(self) -> None:
        while not self._closing.wait(min(TICK_S, float(self.settings()["interval_s"]) / 20)):
            for number in set(self._surveys) - set(self._worker.shards):
                del self._surveys[number]
            for shard in list(self._worker.shards.values()):
                if self._closing.is_set() or shard.root is None:
                    continue
                try:
                    self.look(shard)
                except PctError:
                    continue  # it is on its way to another worker
                except Exception as error:
                    self._fail(shard, error)

    def _fail(self, shard: Shard, error: Exception) -> None:
        """Its index is made again from its rows: they are not what failed."""
        if self._worker.shards.get(shard.number) is not shard:
            return
        self._surveys.pop(shard.number, None)
        self._failed[shard.number] = time.monotonic()
        self._worker.tell(f"the spatial index of shard {shard.number} is made anew: {error!r}")

    def look(self, shard: Shard) -> None:
        """All that is due for one shard."""
        now = time.monotonic()
        if now - self._failed.get(shard.number, -AGAIN_S) < AGAIN_S:
            return
        survey = self._surveys.get(shard.number)
        if survey is None or survey.index.shard is not shard:
            index = ShardIndex(shard, self.places, self._worker.cfg.spatial, self.ration)
            survey = self._surveys[shard.number] = Survey(index)
        tuning = self._worker.routing.orders.tuning
        if survey.tuned != tuning.version:
            survey.tuned = tuning.version
            survey.index.configure(self.settings())
        survey.index.refresh(self.served(shard), now + REFRESH_S)
        self._say(survey)
        pace, rows = survey.index.index.pace, len(survey.index.index)
        if (trigger := pace.due(time.monotonic(), rows)) is not None:
            self._adjust(survey, trigger)
        self._tell(survey)

    def _say(self, survey: Survey) -> None:
        """One line where nodes begin to be left out, one where none is any more."""
        before, survey.left_out = survey.left_out, survey.index.left_out()
        shard, names = survey.index.shard.number, [node_name(path) for path in survey.left_out]
        if set(survey.left_out) - set(before):
            self._worker.tell(
                f"the spatial index of shard {shard} has no room for {', '.join(names)} "
                f"(limits.spatial_bytes = {self.ration.most:,}): rows there are read from the store "
                "for each question about places, which takes longer"
            )
        elif before and not names:
            self._worker.tell(f"the spatial index of shard {shard} has all its rows again")

    def left_out(self, shard: Shard, paths: list[Path]) -> int:
        """Rows of nodes of a shard that its index has no room for."""
        return sum(shard.nodes[path].held_rows for path in paths if path in shard.nodes)

    def _adjust(self, survey: Survey, trigger: str) -> None:
        began = time.time()
        done = survey.index.adjust(time.monotonic(), self._closing.is_set)
        said = adjusted(done, trigger, began, survey.index.index.budget.left)
        if done.splits or done.merges or done.denied or not survey.adjustments:
            survey.adjustments.append(said)
        survey.index.latest = said
        changes = self._worker.metrics.region_changes
        changes("split", "made", done.splits)
        changes("merge", "made", done.merges)
        for (kind, why), number in done.denied.items():
            changes(kind, why, number)

    # what is told

    def _tell(self, survey: Survey) -> None:
        worker, index = self._worker, survey.index
        now = time.monotonic()
        if now - survey.told_s < worker.cfg.drift.window_s or worker.fenced:
            return
        state = index.state
        if state == survey.told:
            return
        survey.told, survey.told_s = state, now
        record = self.record(survey)

        def sent(reason: str | None) -> None:
            if reason is not None:
                worker.fatal(reason)

        worker.writer.send([worker.reporter.parcel(record)], sent)

    def record(self, survey: Survey) -> Record:
        """What is told of a shard's index."""
        worker, shard = self._worker, survey.index.shard
        root, left_out = shard.root, self.left_out(shard, survey.index.left_out())
        at = root.position.stored + root.position.routed if root is not None else -1
        with survey.index.look() as index:
            regions, nodes = index.regions, index.regions.nodes
            top = int(nodes.depth[regions.root])
            found = coarsest(regions, TOLD_REGIONS)
            columns = {
                "id": [regions.name(node) for node, _ in found],
                "box": [nodes.box[node].tolist() for node, _ in found],
                "rows": [rows for _, rows in found],
                "depth": [int(nodes.depth[node]) - top for node, _ in found],
            }
            small = index.density_map.counts.size <= TOLD_CELLS
            density = index.density_map.to_json() if small else None
            rows, leaves = len(index), int((nodes.axis == LEAF).sum())
        return {
            "kind": "regions", "shard": shard.number, **worker.host(),
            "epoch": worker.routing.epoch, "offset": at, "time": time.time(), "rows": rows,
            "unplaced": dict(survey.index.unplaced()), "number": leaves, "regions": columns,
            "map": density, "left_out": left_out,
        }  # fmt: skip

    def depths(self) -> dict[int, int]:
        """Regions of the shards hosted here, by depth below their root."""
        found: dict[int, int] = {}
        for _, survey in self.surveys():
            with survey.index.look() as index:
                nodes = index.regions.nodes
                below = nodes.depth[nodes.axis == LEAF] - nodes.depth[index.regions.root]
            for depth, number in zip(*np.unique(below, return_counts=True), strict=True):
                found[int(depth)] = found.get(int(depth), 0) + int(number)
        return found


def adjusted(done: Adjusted, trigger: str, began: float, left: float) -> dict[str, Any]:
    """An adjustment as the views show it."""
    return {
        "time": began, "trigger": trigger, "splits": done.splits, "merges": done.merges,
        "regions_made": done.created, "regions_gone": done.deleted, "considered": done.considered,
        "rows_reindexed": done.reindexed, "rows_touched": done.touched,
        "seconds": done.seconds, "cost": done.cost, "budget_left": left,
        "denied": [
            {"change": kind, "why": why, "number": number}
            for (kind, why), number in sorted(done.denied.items())
        ],
        "examples": [
            {"change": one.kind, "region": one.region, "rows": one.rows, "why": one.why}
            for one in done.told[:EXAMPLES]
        ],
    }  # fmt: skip
