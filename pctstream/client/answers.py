"""What the views answer, as values: names as in the HTTP contract, numbers as numpy arrays.

A field that a later server adds is ignored, so that an older program goes on.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]
Said = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """The rows found for one vector, the nearest first."""

    ids: list[str]
    distances: Numbers
    """float64 [n]"""
    nodes: list[str]
    shards: list[int]
    origins: list[str]
    vectors: Vectors | None
    """float32 [n, d], where they were asked for."""
    payloads: list[Any] | None
    exact: bool
    """Proven: no row that was applied at ``as_of`` is nearer."""
    expected_recall: float | None
    partial: bool
    """A shard did not answer."""
    truncated: bool
    """Of a range: there are more."""
    explain: Said | None
    as_of: Said

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A stored row."""

    id: str
    vector: Vectors
    payload: Any
    time: float | None
    node: str
    portion: str
    shard: int
    origin: str
    partial: bool = False
    bloom: Said = field(default_factory=dict)
    as_of: Said = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """The weighted epsilon-cover of a level."""

    level: int
    epsilon: float | None
    total: int
    """Rows that it stands for."""
    nodes: list[str]
    x: Vectors
    """float32 [n, d]; NaN where a node has no centre yet."""
    w: Numbers
    """float64 [n], sum 1"""
    rows: npt.NDArray[np.int64]
    faded: Numbers
    """float64 [n]: the rows, each by its age; just the rows where weights do not fade."""
    radius: Numbers
    """float64 [n]; NaN where it is not known."""
    miss_bound: Numbers
    """float64 [n]: at 95 % confidence no more of a node's rows lie beyond its cover; NaN: it has none."""
    epoch: int
    time: float
    """As of when, in seconds; asked for a time, that of the kept moment."""


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """Entries of a cover within a distance, the nearest first."""

    nodes: list[str]
    x: Vectors
    distances: Numbers


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the tree."""

    level: int
    epsilon: float | None
    nodes: int
    covering: int
    waiting: int
    splitting: int
    sinks: int
    rows: int
    closed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    """The tree as a whole."""

    name: str
    dimension: int
    metric: str
    epoch: int
    rows: int
    state: str
    levels: list[Level]


@dataclass(frozen=True, slots=True)
class Portion:
    """A subtree that is placed as one."""

    portion: str
    owner: int
    shadow: int | None
    rows: int
    bytes: int
    rate: float
    share: float
    drift_score: float | None
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Shard:
    """A storage node."""

    shard: int
    rows: int
    bytes: int
    rate: float
    capacity: float
    load: float
    portions: list[str]
    worker: str
    url: str
    inputs: list[Said]
    bloom: Said = field(default_factory=dict)
    drained: bool = False


@dataclass(frozen=True, slots=True)
class Drift:
    """The score of a portion, and what it is made of."""

    portion: str
    score: float | None
    parts: Said
    forecast: list[Said]
    model: str | None = None
    mase: float | None = None
    naive_mase: float | None = None
    detectors: Any = None
    history: list[Any] = field(default_factory=list)
    density: list[Said] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Move:
    """A portion on its way to another shard."""

    id: str
    portion: str
    source: int
    target: int
    stage: str
    reason: str
    rows: Said
    bytes: Said
    eta_s: float | None
    proof: Said | None
    history: list[Said]
    paused: bool = False
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Moves that belong together, with what they gain."""

    id: str
    epoch: int
    moves: list[Said]
    before: Said
    after: Said
    bound: Said
    not_moved: list[Said] = field(default_factory=list)
    applied: Any = None
    reason: str = ""


def made(kind: type[T], said: Said, **more: Any) -> T:
    """A value of this kind from an object of the same names.

    LookupError or TypeError where a field is missing.
    """
    names = {one.name for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: v for k, v in said.items() if k in names}, **more)


def hits_of(results: list[Said], said: Said) -> Hits:
    """The results of one query and what was said of all of them."""
    vectors = payloads = None
    if results and "vector" in results[0]:
        vectors = np.array([one["vector"] for one in results], np.float32)
    if results and "payload" in results[0]:
        payloads = [one["payload"] for one in results]
    return Hits(
        [one["id"] for one in results], np.array([one["distance"] for one in results], np.float64),
        [one["node"] for one in results], [one["shard"] for one in results],
        [one["origin"] for one in results], vectors, payloads,
        said["exact"], said["expected_recall"], said["partial"], said.get("truncated", False),
        said.get("explain"), said["as_of"],
    )  # fmt: skip


def row_of(said: Said) -> Row:
    rest = {k: v for k, v in said.items() if k != "vector"}
    return made(Row, rest, vector=np.array(said["vector"], np.float32))


def cover_of(raw: bytes) -> Cover:
    """A cover from the bytes of its .npz."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as found:
        epsilon = float(found["epsilon"])
        return Cover(
            int(found["level"]), None if np.isnan(epsilon) else epsilon, int(found["total"]),
            found["node"].tolist(), found["x"], found["w"], found["rows"], found["faded"],
            found["radius"], found["miss_bound"], int(found["epoch"]), float(found["time"]),
        )  # fmt: skip


def near_of(said: Said) -> Near:
    some = said["neighbors"]
    x = np.array([one["x"] for one in some], np.float32)
    distances = np.array([one["distance"] for one in some], np.float64)
    return Near([one["node"] for one in some], x, distances)


def tree_of(said: Said) -> Tree:
    rest = {k: v for k, v in said.items() if k != "levels"}
    return made(Tree, rest, levels=[made(Level, one) for one in said["levels"]])


def move_of(said: Said) -> Move:
    return made(Move, said, source=said["from"], target=said["to"])
