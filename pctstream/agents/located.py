"""What one shard answers to a question about places: rows in a box, the nearest, its map, its regions.

The index is read up to the store first. An answer says of which nodes all rows were looked at (`searched`);
whoever asked knows by the routing which they should be.

A row on its way down is at N0 and in a portion for a while: so many more rows are asked for as lie above
the cut, and it is told once, by its origin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pctstream.agents.segments import Segment, named
from pctstream.agents.shard import Shard
from pctstream.agents.spatial import ShardIndex
from pctstream.agents.surveyor import Survey, Surveyor
from pctstream.core.density_map import merged
from pctstream.core.handing import HandsDown
from pctstream.core.identity import Identity
from pctstream.core.names import Path, node_name
from pctstream.core.routing import Routing
from pctstream.core.spatial import NEAREST, Found, SpatialIndex, Touched
from pctstream.errors import NotReady

IDENTITIES = 256
"""Segments of a shard whose ids are kept in memory."""
TOUCHED = 1000
"""Regions that an explanation tells one by one."""
Answer = dict[str, Any]


class Row(NamedTuple):
    """A row that was found."""

    segment: Segment
    row: int
    x: float
    y: float
    distance: float | None


@dataclass(slots=True)
class Looked:
    """What one shard found; `told` is what is said of how."""

    rows: list[Row]
    truncated: bool
    told: Answer = field(default_factory=dict)


class Located:
    """Answers for the shards of one worker."""

    def __init__(self, surveyor: Surveyor, routing: Routing) -> None:
        self._surveyor = surveyor
        self._routing = routing
        self.generation: Callable[[], int] = lambda: -1
        self.reported: Callable[[int, Path], int] = lambda shard, path: -1

    def ask(self, number: int, question: Mapping[str, Any], deadline: float) -> Answer:
        """One shard's answer by ``deadline`` (monotonic seconds); NotReady if it is not here."""
        survey = self._surveyor.survey(number)
        index, shard = survey.index, survey.index.shard
        epoch, generation = self._routing.epoch, self.generation()
        done = index.refresh(self._surveyor.served(shard), deadline)
        before = index.whole(current=not done)
        told = {
            "box": self._box, "point": self._nearest, "map": self._map, "regions": self._regions,
        }[str(question["what"])](survey, question, deadline)  # fmt: skip
        same = index.whole()
        searched = [
            p for p, part in before.items() if same.get(p) is part and self._sound(shard, p)
        ]
        if told.pop("short", False):
            searched = []
        above = [p for p in searched if self._routing.above.has(p)]
        return {
            "shard": number, "epoch": epoch, "generation": generation,
            "searched": [node_name(p) for p in searched],
            "let_go": [node_name(p) for p in above if _let_go(shard, p)], **told,
        }  # fmt: skip

    def _sound(self, shard: Shard, path: Path) -> bool:
        """Whether the store has what its owner has told already."""
        node = shard.nodes.get(path)
        behind = node is None or node.position.taken < self.reported(shard.number, path)
        return not behind and path not in shard.lost

    def _box(self, survey: Survey, asked: Mapping[str, Any], deadline: float) -> Answer:
        limit, index = int(asked["limit"]), survey.index
        most, box = limit + min(limit, index.rows_in(self._routing.above)), tuple(asked["box"])

        def look(part: SpatialIndex) -> Found:
            return part.box(box, limit=most, explain=bool(asked["explain"]))

        looked = self._looked(index, look, deadline)
        return {"rows": self._rows(index, looked.rows[:most]),
                "truncated": looked.truncated or len(looked.rows) > most, **looked.told}  # fmt: skip

    def _nearest(self, survey: Survey, asked: Mapping[str, Any], deadline: float) -> Answer:
        k, index, point = int(asked["k"]), survey.index, tuple(asked["point"])
        wanted = min(NEAREST, k + min(k, index.rows_in(self._routing.above)))

        def look(part: SpatialIndex) -> Found:
            return part.nearest(point, wanted, explain=bool(asked["explain"]))

        looked = self._looked(index, look, deadline)
        looked.rows.sort(key=lambda row: row.distance or 0.0)
        rows = self._rows(index, looked.rows[:wanted])
        short = len(rows) < k and wanted < looked.told["of_rows"]
        return {"rows": rows[:k], "truncated": False, "short": short, **looked.told}

    def _looked(
        self, index: ShardIndex, look: Callable[[SpatialIndex], Found], deadline: float
    ) -> Looked:
        """The rows of the index, then of the nodes that it has no room for."""
        with index.look() as locked:
            found = look(locked)
            looked = Looked(_paired(found, index.segments_of(found.keys)), found.truncated)
            every, touched, scanned = len(locked), found.touched, found.scanned
        beside = 0
        for part, segments in index.beside(deadline):
            found = look(part)
            looked.rows += _paired(found, named(segments, found.keys))
            looked.truncated |= found.truncated
            beside += len(part)
        looked.told = {
            "scanned": scanned + beside, "of_rows": every + beside, "beside": beside,
            "touched": _touched(touched), "more_touched": max(0, len(touched) - TOUCHED),
        }  # fmt: skip
        return looked

    def _map(self, survey: Survey, asked: Mapping[str, Any], deadline: float) -> Answer:
        beside = [part.density_map for part, _ in survey.index.beside(deadline)]
        with survey.index.look() as locked:
            whole = merged([locked.density_map, *beside]) if beside else locked.density_map
            said = {"map": whole.to_json(), "count": len(locked)}
        return said | {"unplaced": dict(survey.index.unplaced())}

    def _regions(self, survey: Survey, asked: Mapping[str, Any], deadline: float) -> Answer:
        index = survey.index
        with index.look() as locked:
            budget = locked.budget
            regions = locked.described() if len(locked) else []
            left = {"left": budget.left, "per_min": budget.per_min, "spent": budget.spent}
        left_out = [node_name(path) for path in index.left_out()]
        return {"regions": regions, "last": index.latest, "budget": left, "left_out": left_out,
                "adjustments": list(survey.adjustments)}  # fmt: skip

    # who they are

    def _rows(self, index: ShardIndex, found: list[Row]) -> list[Answer]:
        """The rows found, each once, in the order they were found."""
        rows: dict[str, Answer] = {}
        for segment, row, x, y, distance in found:
            who = self._identity(index, segment)
            origin = str(who.origin(row))
            one = {"id": who.name(row), "x": x, "y": y, "portion": node_name(segment.path),
                   "shard": index.shard.number, "origin": origin}  # fmt: skip
            if distance is not None:
                one["distance"] = distance
            if origin not in rows or len(segment.path) > 1:
                rows[origin] = one
        return list(rows.values())

    def _identity(self, index: ShardIndex, segment: Segment) -> Identity:
        known = index.identities.get((segment.path, segment.last))
        if known is None:
            block = index.shard.store.segment(segment.path, segment.last)
            if block is None or len(block) != segment.rows:
                raise NotReady(f"shard {index.shard.number} let go of rows meanwhile: ask again")
            known = Identity.of(segment.last, block)
            index.identities[segment.path, segment.last] = known
            while len(index.identities) > IDENTITIES:
                index.identities.popitem(last=False)
        return known


def _let_go(shard: Shard, path: Path) -> bool:
    node = shard.nodes.get(path)
    return isinstance(node, HandsDown) and node.emptied


def _paired(found: Found, named: list[tuple[Segment, int]]) -> list[Row]:
    away = found.distances.tolist() or [None] * len(found.keys)
    places = zip(named, found.x.tolist(), found.y.tolist(), away, strict=True)
    return [Row(*who, x, y, distance) for who, x, y, distance in places]


def _touched(touched: tuple[Touched, ...]) -> list[Answer]:
    return [
        {"region": one.region, "box": one.box, "depth": one.depth, "rows": one.rows,
         "how": one.how, "sub_box": one.sub_box}
        for one in touched[:TOUCHED]
    ]  # fmt: skip
