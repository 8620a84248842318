"""The lookout of a tree: what the portions' records say becomes densities, forecasts and drift scores.

    look(shards, portions, now) ---> every portion's and leaf's density is told its counters
    step() ----------------------->  a window is over: the closed ones to `Drift`, the scores of all
    take_records() --------------->  what changed, for `.state`
    restore(records) ------------->  goes on from what another had told there

Counters are true up to a time of the broker's clock: a record's are those of the pipe's last row that
was applied; and where the shard says that it has read the pipe to its end and applied nothing since, they
are those of the moment it said so. While a shard is behind with the ingest log (`backlog`) nothing is
told; what came meanwhile is then spread over the time in which it came (`density`).

Leaves of the portions' subtrees have densities too, the `LEAVES` with the most rows, and no forecasts.
Leaves come and go, so each is told of in one of as many slots, which another takes when it is gone.

Who looks out has a number, larger than those before it: of two records of the same place in a series the
later author's counts (`tables.newer`), so one that was replaced and wakes changes nothing.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from heapq import nlargest
from typing import Any

from pctstream.core import life
from pctstream.core.backlog import Backlog
from pctstream.core.chunks import CHUNK, Record, chunks, joined
from pctstream.core.density import LENGTH, Counters, Density
from pctstream.core.drift import Drift, DriftScore
from pctstream.core.forecast import SERIES

LEAVES = 1000
"""Leaves with a density of their own."""
LEAF_LENGTH = 3 * CHUNK
"""Windows kept of a leaf."""
SELDOM = 12
"""Windows after which a leaf, or a portion without rows, is told of again."""
REPLAYED = 20_000
"""Windows, of all portions together, that are observed again by who begins: some 4 s of work."""
HISTORY = 36
"""Graded scores of a portion in its record."""
END_AGE_S = 0.5
"""How old the end of a pipe may be that a shard knows of (`pipes.reader`)."""


class Lookout:
    """Of one tree; ``settings`` are those of the section [drift]; ``author``: its number; a shard
    without a record for ``silent_s`` is silent."""

    def __init__(
        self, settings: Mapping[str, Any], author: int, silent_s: float = math.inf
    ) -> None:
        self.author = author
        self.window_s = float(settings["window_s"])
        self.scores: dict[str, DriftScore] = {}
        self.number = -1
        """The last window of which scores were made."""
        self._drift = Drift(settings)
        self._backlog = Backlog(self.window_s, silent_s)
        self._portions: dict[str, Density] = {}
        self._leaves: dict[str, Density] = {}
        self._slots: dict[str, int] = {}
        self._told: dict[str, int] = {}
        """The next window of each series that is not on `.state` yet."""

    # going on from what another told

    def restore(self, records: Iterable[Record]) -> None:
        """The records of densities and scores that are known, in any order."""
        found: dict[str, list[Record]] = {}
        scores: dict[str, Record] = {}
        for record in records:
            self.author = max(self.author, int(record["author"]) + 1)
            if record["kind"] == "density":
                found.setdefault(str(record["node"]), []).append(record)
            else:
                scores[str(record["portion"])] = record
        for node, held in found.items():
            leaf = bool(held[0]["leaf"])
            density = joined(held, self.window_s, LEAF_LENGTH if leaf else LENGTH)
            if density is not None:
                (self._leaves if leaf else self._portions)[node] = density
                if leaf:
                    self._slots[node] = max(held, key=lambda r: int(r["offset"]))["slot"]
                self._told[node] = density.next
        replay = min(SERIES, REPLAYED // max(1, len(self._portions)))
        for name, density in self._portions.items():
            for window in list(density.windows)[-replay:]:
                self._drift.observe(name, window)
            if name in scores:
                self._drift.recall(name, scores[name]["history"])

    # looking

    def look(
        self, shards: Mapping[int, Record], portions: Mapping[str, Record], now: float
    ) -> bool:
        """The last records of all, and a clock in seconds: whether a window is over."""
        caught_up = not self._backlog.look(shards, now)
        leaves: dict[str, tuple[float, Counters]] = {}
        newest = self.number
        portions = {name: one for name, one in portions.items() if not one.get("trunk")}
        for name, record in portions.items():
            at = _true_at(record, shards.get(int(record["owner"])))
            density = self._portions.setdefault(name, Density(self.window_s))
            counters = Counters(record["rows"], record["bytes"], record.get("distance", 0.0),
                                record.get("uncovered", 0))  # fmt: skip
            for window in density.tell(at, counters, caught_up):
                self._drift.observe(name, window)
                newest = max(newest, window.number)
            leaves |= {leaf: (at, held) for leaf, held in _leaves(record)}
        for gone in self._portions.keys() - portions.keys():
            del self._portions[gone]
            self._drift.forget(gone)
        self._look_at_leaves(leaves, caught_up)
        over, self.number = newest > self.number, newest
        return over

    def _look_at_leaves(self, leaves: dict[str, tuple[float, Counters]], caught_up: bool) -> None:
        largest = set(nlargest(LEAVES, leaves, key=lambda name: leaves[name][1].rows))
        for gone in self._leaves.keys() - largest:
            del self._leaves[gone], self._slots[gone]
            self._told.pop(gone, None)
        free = iter(sorted(set(range(LEAVES)) - set(self._slots.values())))
        for name in sorted(largest):
            at, counters = leaves[name]
            if name not in self._slots:
                self._slots[name] = next(free)
            density = self._leaves.setdefault(name, Density(self.window_s, LEAF_LENGTH))
            density.tell(at, counters, caught_up)

    def step(self) -> dict[str, DriftScore]:
        """The scores of all portions, by name; a few portions are fitted, which takes a while."""
        self.scores = self._drift.step(self.number)
        return self.scores

    # telling

    def take_records(self) -> list[dict[str, Any]]:
        """What is not on `.state` yet."""
        records: list[dict[str, Any]] = []
        for name, density in self._portions.items():
            if self._due(name, density, self._idle(name, density)):
                records += self._chunks(name, density, {"leaf": False, "slot": name}, LENGTH)
                if name in self.scores:
                    records.append(self._score(self.scores[name], density.next))
        for name, density in self._leaves.items():
            if self._due(name, density, seldom=True):
                where = {"leaf": True, "slot": self._slots[name]}
                records += self._chunks(name, density, where, LEAF_LENGTH)
        return records

    def _due(self, name: str, density: Density, seldom: bool) -> bool:
        if not density.windows or self._told.get(name, -1) >= density.next:
            return False
        turn = zlib.crc32(name.encode()) % SELDOM
        return not seldom or name not in self._told or self.number % SELDOM == turn

    def _idle(self, name: str, density: Density) -> bool:
        """No row came in what is to be told, nor in the window before."""
        fresh = density.next - self._told.get(name, 0) + 1
        return not any(window.rows for window in list(density.windows)[-fresh:])

    def _chunks(
        self, name: str, density: Density, where: Mapping[str, Any], length: int
    ) -> list[dict[str, Any]]:
        since, self._told[name] = self._told.get(name, 0), density.next
        made = chunks(name, density, since, length)
        return [{**record, **where, "author": self.author} for record in made]

    def _score(self, score: DriftScore, following: int) -> dict[str, Any]:
        told: dict[str, Any] = _short(score.to_json(self.window_s, HISTORY))
        return told | {"kind": "drift", "offset": following, "author": self.author}


def _true_at(record: Record, shard: Record | None) -> float:
    """The time up to which a portion's counters are all that came, in seconds of the broker's clock;
    NaN while its shard changes hands."""
    row_s = float(record.get("row_time", 0.0))
    if shard is None or shard["worker"] != record["worker"]:
        return math.nan
    for entry in shard["inputs"]:
        if entry["node"] == record["portion"]:
            done = int(entry["stored"])
            whole = done == int(record["offset"]) and 0 <= int(entry["end"]) <= done + 1
            return max(row_s, float(shard["time"]) - END_AGE_S) if whole else row_s
    return row_s


def _leaves(record: Record) -> Iterable[tuple[str, Counters]]:
    """The leaves below a portion's root, with what came to each."""
    columns = record["nodes"]
    wanted = ("path", "state", "rows", "mean_distance", "uncovered")
    for path, state, rows, mean, uncovered in zip(*(columns[c] for c in wanted), strict=True):
        if path and state != life.SPLITTING:
            yield f"{record['portion']},{path}", Counters(rows, 0, mean * rows, uncovered)


def _short(value: Any) -> Any:
    """Six digits of every float: what is told every window is to be small."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if abs(value) < 1e6 else round(value, 3)
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    return [_short(v) for v in value] if isinstance(value, (list, tuple)) else value
