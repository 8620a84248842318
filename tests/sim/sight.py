"""What a shard answers by, beside its store: its index of places and its filters, against what it holds.

Both are derived: whatever crashed, moved, left or was purged, they must say what brute force says.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import numpy as np

from pctstream.agents.ration import Ration
from pctstream.agents.segments import named
from pctstream.agents.shard import Shard
from pctstream.agents.spatial import ShardIndex
from pctstream.core.block import Origin
from pctstream.core.identity import names64
from pctstream.core.names import ROOT, Path, node_name
from pctstream.core.places import Places
from pctstream.core.spatial import Found
from pctstream.settings import SpatialSettings

PLACES = Places("dim:0", "dim:1")
FINE = SpatialSettings(
    enabled=True, x="dim:0", y="dim:1", cells=(4, 4), split_rows=6, merge_rows=2, budget_per_min=1e9
)
NO_HURRY = 1e9
"""Monotonic seconds."""
EVERYWHERE = (-1e30, -1e30, 1e30, 1e30)

Live = Callable[[str], Mapping[Origin, bytes]]
"""Name of a node -> its rows that have not left."""


class Sight:
    """Of one shard, for as long as its process lives."""

    def __init__(self, shard: Shard, most_bytes: int) -> None:
        self._shard = shard
        self._index = ShardIndex(shard, PLACES, FINE, Ration(most_bytes))
        self._now_s = 0.0

    def adjust(self, chance: random.Random) -> None:
        """What threads of the worker do when they come to it."""
        if chance.random() < 0.5:
            self._index.refresh(self._served, NO_HURRY)
            self._now_s += chance.choice([0.5, 20.0])
            self._index.adjust(self._now_s, lambda: False)
        blooms = self._shard.blooms
        for path in blooms.due():
            if chance.random() < 0.7:
                blooms.make(path)
        if chance.random() < 0.3:
            blooms.save(every=True)

    @property
    def _served(self) -> list[Path]:
        answers_for = [ROOT, *(portion.path for portion in self._shard.portions)]
        return [path for path in answers_for if path in self._shard.nodes]

    # what must hold

    def check_places(self, live: Live, chance: random.Random) -> set[Origin]:
        """Every row that is served is found where it lies, and no other: these."""
        assert self._index.refresh(self._served, NO_HURRY), "places: a node is not read in"
        held = {
            (node_name(path), origin): np.frombuffer(vector, np.float32)[:2].astype(float)
            for path in self._served
            for origin, vector in live(node_name(path)).items()
        }
        corner = np.array([chance.uniform(-40, 40), chance.uniform(-40, 40)])
        for box in (EVERYWHERE, (*corner, *(corner + chance.choice([1.0, 20.0])))):
            low, high = np.array(box[:2]), np.array(box[2:])
            inside = {
                k: tuple(p) for k, p in held.items() if (low <= p).all() and (p <= high).all()
            }
            found = self._found(box)
            assert found == inside, (
                f"places: shard {self._shard.number} finds {len(found)} rows in {box}, "
                f"brute force {len(inside)}"
            )
        return {origin for _, origin in held}

    def _found(self, box: tuple[float, ...]) -> dict[tuple[str, Origin], tuple[float, float]]:
        origins: dict[tuple[Path, int], list[Origin]] = {}
        rows = []
        with self._index.look() as index:
            found = index.box(box)
            rows += _rows(found, self._index.segments_of(found.keys))
        for part, segments in self._index.beside(NO_HURRY):
            found = part.box(box)
            rows += _rows(found, named(segments, found.keys))
        out = {}
        for segment, row, x, y in rows:
            if (place := (segment.path, segment.last)) not in origins:
                block = self._shard.store.segment(*place)
                assert block is not None, f"places: segment {place} is known and not there"
                origins[place] = block.origins()
            key = node_name(segment.path), origins[place][row]
            assert key not in out, f"places: {key} is found twice"
            out[key] = x, y
        return out

    def check_filters(self) -> None:
        """No filter denies an id that is there: of those served, and of shadows, which will be."""
        store, blooms = self._shard.store, self._shard.blooms
        for path in [ROOT, *(copy.path for copy in self._shard.copies)]:
            if path not in self._shard.nodes:
                continue
            gone = store.gone(path)
            for last, block in store.segments(path):
                there = np.ones(len(block), np.bool_)
                if block.changes is not None:
                    there &= block.changes.brings
                there[gone.get(last, np.zeros(0, np.int64))] = False
                hashes = names64(block)[there]
                denied = [h for h in hashes.tolist() if blooms.might(path, h, last) is False]
                assert not denied, (
                    f"filters: shard {self._shard.number} denies {len(denied)} ids of {path}"
                )


def _rows(found: Found, places: list) -> list:
    return [
        (*who, x, y) for who, x, y in zip(places, found.x.tolist(), found.y.tolist(), strict=True)
    ]
