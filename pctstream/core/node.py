"""A node of a portion's subtree, and what shapes every node of a tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pctstream.core import life
from pctstream.core.cover import Cover
from pctstream.core.coverage import WINDOW
from pctstream.core.find import FindCover
from pctstream.core.names import Path, level

if TYPE_CHECKING:
    from pctstream.core.sink import Sink

Entry = tuple[int, int, float, int]
"""Of a node's history: mode, offset in the portion's pipe, broker time in seconds, epoch. The time is
that of the last row taken or of the record that closed the level, whichever is later."""

SPARE = 4
"""A node that may re-open keeps this part of its budget, and gives this part of what is left each time."""
FIRST, LAST = 3, 2
"""Entries of a history that are kept: those of its growth, and of the last time it re-opened."""


class Shape(NamedTuple):
    """What record 0 fixed for all nodes."""

    dimension: int
    gap: int = 1000
    sink_rows: int = 50_000
    stop: str = "gap"
    prototypes: int = 4096
    kmeans_iterations: int = 5
    max_level: int = 6
    fanout: int = 16
    balance: bool = False
    """Trees made before it was known refine by Lloyd's steps alone."""
    miss_limit: float = 0.0
    """A node whose cover misses more, at 95 % confidence, re-opens; 0: none does."""
    miss_cooldown: int = 4 * WINDOW
    miss_window: int = WINDOW
    half_life_s: float = 0.0
    """After which a row weighs half; 0: weights do not fade."""
    sink_scans: bool = False
    """Sinks below the cut scan again; those of trees made before it was known do not."""
    fold_share: float = 0.0
    """Children that together weigh less than this share of all are folded; 0, or where nothing fades:
    none is."""

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> Shape:
        """From record 0 of `.routing`; what an older one does not say is the default."""
        return cls(**{name: tree[name] for name in cls._fields if name in tree})


class Gates(NamedTuple):
    """When nodes may go on: levels below ``open_level`` are closed, so their nodes may split, level
    l since the broker time ``closed_s[l]``; a node of level l covers by ``epsilons[l]``, once that is
    known."""

    open_level: int = 1
    epsilons: Mapping[int, float] = {}
    closed_s: tuple[float, ...] = ()

    def splits_at(self, level: int, time: float) -> float:
        """When a node splits whose last row is of this time: not before its level closed."""
        return max([time, *self.closed_s[level : level + 1]])


@dataclass(slots=True)
class Node:
    """A node that has no pipe of its own, in one portion's memory."""

    path: Path
    number: int
    budget: int
    """Nodes that may still come to be below it (`limits.nodes`, handed down evenly)."""
    state: str = life.COVERING
    first: int = -1
    """Number of its first child; -1 before the split."""
    runs: list[tuple[int, int]] = field(default_factory=list)
    """(number of the first, how many) of the children it got each time it re-opened."""
    folded: list[int] = field(default_factory=list)
    """Places in its cover of the children that get no more rows (`folding`)."""
    below: int = 0
    """Of its budget, what each child of the split got."""
    spare: int = 0
    """Of its budget, what is left for children to come and for what is below them."""
    history: list[Entry] = field(default_factory=list)
    limit: str = ""
    cover: Cover | None = None
    find: FindCover | None = None
    """Of a covering node: it has scanned all rows that the node holds."""
    sink: Sink | None = None
    """Of one that scans again."""
    holds: bool = False
    """It was a sink: the rows that it had by its split lie at the node itself."""
    proposal: tuple[int, float] | None = None
    """(rows looked at, an epsilon that would suit them), where the level has none yet."""

    @property
    def level(self) -> int:
        return level(self.path)

    @property
    def children(self) -> list[int]:
        """Their numbers, in the order of the cover."""
        if self.first < 0 or self.cover is None:
            return []
        later = [n for first, count in self.runs for n in range(first, first + count)]
        return [*range(self.first, self.first + self.cover.k - len(later)), *later]

    @property
    def living(self) -> list[int]:
        """The numbers of the children that get rows."""
        return [number for at, number in enumerate(self.children) if at not in self.folded]

    def share_out(self, children: int, shape: Shape) -> None:
        """Its budget at the split: each child's share, and a quarter for those to come, where it may
        re-open; all that is left where its children have none below them."""
        free = self.budget - children
        lowest = self.level + 1 >= shape.max_level
        self.spare = (free if lowest else free // SPARE) if shape.miss_limit else 0
        self.below = 0 if lowest else (free - self.spare) // children

    def give(self, children: int) -> int:
        """Take so many later ones out of what is left; what each of them gets: as much as the first
        ones, or an even share of a part of it."""
        below = max(0, min(self.below, self.spare // SPARE // children - 1))
        self.spare -= children * (1 + below)
        return below

    def step(self, event: str, entry: Entry) -> None:
        """The next state of its life."""
        self.state = life.step(self.state, event)
        if self.state != life.SINK:
            mode, offset, time, epoch = entry
            # its first row may be older than the closing of the level above, at which it was born
            self.history.append((mode, offset, max(time, self.history[-1][2]), epoch))
            self.history[FIRST:] = self.history[FIRST:][-LAST:]

    @property
    def record(self) -> dict[str, Any]:
        """What the store keeps beside the counts and the cover."""
        return {
            "path": self.path,
            "budget": self.budget,
            "state": self.state,
            "first": self.first,
            "runs": self.runs,
            "folded": self.folded,
            "below": self.below,
            "spare": self.spare,
            "history": self.history,
            "limit": self.limit,
            "holds": self.holds,
        }

    @classmethod
    def restored(cls, number: int, record: Mapping[str, Any], cover: Cover | None) -> Node:
        """The node as the store has it; what it scanned is scanned again."""
        history = [(int(m), int(o), float(t), int(e)) for m, o, t, e in record["history"]]
        node = cls(
            tuple(record["path"]), number, record["budget"], record["state"], record["first"],
            [(first, count) for first, count in record.get("runs", ())],
            list(record.get("folded", ())), record.get("below", 0), record.get("spare", 0), history,
            record["limit"], cover,
        )  # fmt: skip
        node.holds = record.get("holds", False)
        return node
