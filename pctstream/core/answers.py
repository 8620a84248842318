"""What a question is, what a shard answers, and how answers become one.

Theory
------
Each shard answers with its k nearest rows by (distance, id, origin), the same order everywhere, over the
same float64 distances. So the k nearest of all shards are among those answered, and merging is exact. A
row that is on its way down is at N0 and in a portion for a while: it is taken once, by its origin.

**The certificate.** An answer is exact when every shard has looked at every row that the routing gives
it and each ruled out only what a ball, measured over its own rows, put beyond the k-th. Reported radii
play no part in that: they may be older than the rows. `complete` is the check that nobody was left out.

Distances within are Euclidean. Under cosine rows have length 1 and 1 - cos = d^2 / 2 is told instead,
which grows with d.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, TypeVar

from pctstream.core.filters import Filter
from pctstream.core.kernels import Float64


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one shard."""

    queries: Float64
    """f64[m, d]"""
    k: int
    within: Float64
    """f64[m]: no row farther than this is wanted; +inf: any."""
    recall: float = 1.0
    """Below 1: so much of the exact answer is enough."""
    reach: Float64 | None = None
    """f64[m]: cells whose centres are farther need not be looked at (approximate)."""
    filter: Filter | None = None
    written: Any = None
    """The filter as it was given."""
    vector: bool = False
    payload: bool = False
    depth: int = -1
    """Nodes of this level above the cut; -1: portions."""

    def of(self, some: Sequence[int], **other: Any) -> Question:
        """The same of some queries, and what else changes."""
        pick = list(some)
        if pick == list(range(len(self.queries))):  # of one there are most
            return replace(self, **other)
        reach = None if self.reach is None else self.reach[pick]
        picked = replace(self, queries=self.queries[pick], within=self.within[pick], reach=reach)
        return replace(picked, **other)


class Hit(NamedTuple):
    """A row that was found; the order of hits is that of (distance, id, origin)."""

    distance: float
    id: str
    origin: str
    node: str
    portion: str
    shard: int
    vector: list[float] | None = None
    payload: Any = None
    time: float | None = None

    @property
    def rank(self) -> tuple[float, str, str]:
        return self.distance, self.id, self.origin


@dataclass(slots=True)
class Tally:
    """What was looked at for one query."""

    rows: int = 0
    cells: int = 0
    of_rows: int = 0
    of_cells: int = 0
    runs: int = 0

    def add(self, other: Tally) -> None:
        self.rows += other.rows
        self.cells += other.cells
        self.of_rows += other.of_rows
        self.of_cells += other.of_cells
        self.runs += other.runs

    def to_json(self) -> dict[str, int]:
        return {
            "rows_scanned": self.rows, "rows_skipped": self.of_rows - self.rows,
            "cells_scanned": self.cells, "cells_skipped": self.of_cells - self.cells,
            "runs": self.runs,
        }  # fmt: skip


@dataclass(slots=True)
class Answer:
    """One shard's, to all queries of a question."""

    shard: int
    epoch: int
    generation: int
    searched: list[str]
    """Names of the nodes whose rows were looked at."""
    hits: list[list[Hit]]
    tallies: list[Tally]
    reach: list[float]
    """How far the last cell's centre was; +inf where nothing was left out."""
    expected: float = 1.0
    """Recall."""
    let_go: list[str] = field(default_factory=list)
    """Nodes above the cut whose rows have all gone down, for good."""
    unknown: list[str] = field(default_factory=list)
    """Fields of the filter that no row here has."""


class Ranked(Protocol):
    """What has a place in the order of hits."""

    @property
    def origin(self) -> str: ...

    @property
    def rank(self) -> tuple[float, str, str]: ...


T = TypeVar("T", bound=Ranked)


def nearest(hits: Iterable[T], k: int) -> list[T]:
    """The k first in order, each row once.

    >>> a = Hit(1.0, "a", "t/0/0/0", "N0,1", "N0,1", 0)
    >>> b, again = a._replace(distance=0.5, id="b", origin="t/0/1/0"), a._replace(node="N0")
    >>> [hit.id for hit in nearest([a, again, b], 2)]
    ['b', 'a']
    """
    found: list[T] = []
    seen: set[str] = set()
    for hit in sorted(hits, key=lambda hit: hit.rank):
        if hit.origin not in seen:
            seen.add(hit.origin)
            found.append(hit)
            if len(found) == k:
                break
    return found


def complete(
    answers: Sequence[Answer], epoch: int, generation: int, wanted: Mapping[int, Iterable[str]]
) -> set[int]:
    """The shards that have not answered for all that is ``wanted`` of them in this epoch.

    >>> one = Answer(3, 7, 2, ["N0,1"], [[]], [Tally()], [0.0])
    >>> complete([one], 7, 2, {3: ["N0,1"], 4: []}), complete([one], 8, 2, {3: ["N0,1"]})
    ({4}, {3})
    """
    done = {
        a.shard: set(a.searched)
        for a in answers
        if a.epoch == epoch and not -1 < a.generation < generation
    }
    return {s for s, nodes in wanted.items() if s not in done or not set(nodes) <= done[s]}


def farthest(hits: Sequence[Ranked], k: int, within: float) -> float:
    """Beyond this no further row can be among the k nearest."""
    return min(within, hits[k - 1].rank[0]) if len(hits) >= k else within


def told(distance: float, metric: str) -> float:
    """The distance as it is told: under cosine 1 - cos."""
    return distance * distance / 2.0 if metric == "cosine" else distance


def asked(radius: float, metric: str) -> float:
    """The Euclidean distance of a told one, never too small.

    >>> told(asked(0.5, "cosine"), "cosine") >= 0.5, asked(2.0, "euclidean")
    (True, 2.0)
    """
    if metric != "cosine":
        return radius
    return math.sqrt(2.0 * radius) * (1.0 + 2.0**-50)
