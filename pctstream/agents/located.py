"""What one shard answers to a question about places: rows in a box, the nearest, its map, its regions.

The index is read up to the store first. An answer says of which nodes all rows were looked at (`searched`);
whoever asked knows by the routing which they should be.

A row on its way down is at N0 and in a portion for a while: so many more rows are asked for as lie above
the cut, and it is told once, by its origin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pctstream.agents.shard import Shard
from pctstream.agents.spatial import Segment, ShardIndex
from pctstream.agents.surveyor import Survey, Surveyor
from pctstream.core.handing import HandsDown
from pctstream.core.identity import Identity
from pctstream.core.names import Path, level, node_name
from pctstream.core.routing import Routing
from pctstream.core.spatial import NEAREST, Found
from pctstream.errors import NotReady

IDENTITIES = 256
"""Segments of a shard whose ids are kept in memory."""
TOUCHED = 1000
"""Regions that an explanation tells one by one."""
Answer = dict[str, Any]


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
        }[str(question["what"])](survey, question)  # fmt: skip
        same = index.whole()
        searched = [
            p for p, part in before.items() if same.get(p) is part and self._sound(shard, p)
        ]
        if told.pop("short", False):
            searched = []
        above = [p for p in searched if level(p) < self._routing.cut]
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

    def _box(self, survey: Survey, asked: Mapping[str, Any]) -> Answer:
        limit, index = int(asked["limit"]), survey.index
        more = min(limit, index.rows_in(self._routing.cut))
        with index.look() as locked:
            found = locked.box(
                tuple(asked["box"]), limit=limit + more, explain=bool(asked["explain"])
            )
            segments = index.segments_of(found.keys)
            every = len(locked)
        rows = self._rows(index, found, segments)
        return {"rows": rows, "truncated": found.truncated, **_looked(found, every)}

    def _nearest(self, survey: Survey, asked: Mapping[str, Any]) -> Answer:
        k, index = int(asked["k"]), survey.index
        more = min(k, index.rows_in(self._routing.cut))
        with index.look() as locked:
            wanted = min(NEAREST, k + more)
            found = locked.nearest(tuple(asked["point"]), wanted, explain=bool(asked["explain"]))
            segments = index.segments_of(found.keys)
            every = len(locked)
        rows = self._rows(index, found, segments)
        short = len(rows) < k and len(found.keys) == wanted < every
        return {"rows": rows[:k], "truncated": False, "short": short, **_looked(found, every)}

    def _map(self, survey: Survey, asked: Mapping[str, Any]) -> Answer:
        with survey.index.look() as locked:
            said = {"map": locked.density_map.to_json(), "count": len(locked)}
        return said | {"unplaced": dict(survey.index.unplaced())}

    def _regions(self, survey: Survey, asked: Mapping[str, Any]) -> Answer:
        with survey.index.look() as locked:
            budget = locked.budget
            regions = locked.described() if len(locked) else []
            left = {"left": budget.left, "per_min": budget.per_min, "spent": budget.spent}
        return {"regions": regions, "last": survey.index.latest, "budget": left,
                "adjustments": list(survey.adjustments)}  # fmt: skip

    # who they are

    def _rows(
        self, index: ShardIndex, found: Found, segments: list[tuple[Segment, int]]
    ) -> list[Answer]:
        """The rows found, each once, in the order they were found."""
        rows: dict[str, Answer] = {}
        away = found.distances.tolist() or [None] * len(found.keys)
        places = zip(segments, found.x.tolist(), found.y.tolist(), away, strict=True)
        for (segment, row), x, y, distance in places:
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
        known = index.identities.get(segment.first)
        if known is None:
            block = index.shard.store.segment(segment.path, segment.last)
            if block is None or len(block) != segment.rows:
                raise NotReady(f"shard {index.shard.number} let go of rows meanwhile: ask again")
            known = index.identities[segment.first] = Identity.of(segment.last, block)
            while len(index.identities) > IDENTITIES:
                index.identities.popitem(last=False)
        return known


def _let_go(shard: Shard, path: Path) -> bool:
    node = shard.nodes.get(path)
    return isinstance(node, HandsDown) and node.emptied


def _looked(found: Found, every: int) -> Answer:
    touched = [
        {"region": one.region, "box": one.box, "depth": one.depth, "rows": one.rows,
         "how": one.how, "sub_box": one.sub_box}
        for one in found.touched[:TOUCHED]
    ]  # fmt: skip
    return {"scanned": found.scanned, "of_rows": every, "touched": touched,
            "more_touched": len(found.touched) - len(touched)}  # fmt: skip
