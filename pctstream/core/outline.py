"""What a tree is, as its records so far say: its numbers, its nodes and who has them.

`routing` folds the records; this only looks at what came of it.
"""

from __future__ import annotations

from typing import Any

from pctstream.core import moves
from pctstream.core.cover import Cover
from pctstream.core.moves import Moves
from pctstream.core.names import ROOT, Path, level
from pctstream.core.node import Gates, Shape
from pctstream.core.promoted import Above, Promotions
from pctstream.core.promotion import Told
from pctstream.core.reopened import Reopened, shares
from pctstream.core.router import Epochs

PORTION_NODES = 4096
"""Nodes of a portion at most: what `.state` tells of them fits into one message of Kafka's."""
LEAST_EPSILON = 1e-150
"""A distance whose square is still above 0."""


class Outline:
    """Of a `Routing`, which has these."""

    __slots__ = ()

    tree: dict[str, Any]
    covers: dict[Path, Cover]
    owners: dict[Path, int]
    moves: Moves
    splits: dict[Path, int]
    epsilons: dict[int, float]
    levels: list[dict[str, Any]]
    authors: dict[int, str]
    reopened: Reopened
    promotions: Promotions
    done: int

    @property
    def dimension(self) -> int:
        """Of every row; 0 until record 0."""
        return int(self.tree.get("dimension", 0))

    @property
    def metric(self) -> str:
        return str(self.tree.get("metric", "euclidean"))

    @property
    def gates(self) -> Gates:
        """Which levels are open, and what their nodes cover by."""
        known = dict(self.epsilons)
        ratio = self.tree.get("epsilon_ratio", "auto")
        if ratio != "auto" and ROOT in self.covers:
            epsilon = self.covers[ROOT].epsilon
            for depth in range(1, int(self.tree.get("max_level", 1))):
                epsilon = max(LEAST_EPSILON, epsilon * float(ratio))
                known[depth] = epsilon
        return Gates(len(self.levels), known, tuple(float(e["time"]) for e in self.levels))

    @property
    def cut(self) -> int:
        """The depth at which pipes stop being topics."""
        return int(self.tree.get("cut", 1))

    @property
    def above(self) -> Above:
        """Which nodes lie above the cut."""
        return Above(self.cut, frozenset(list(self.promotions.epochs)))

    @property
    def portions(self) -> list[Path]:
        """The nodes at the cut, in order."""
        above = self.above
        return sorted(path for path in list(self.owners) if not above.has(path))

    def nodes_at(self, depth: int, shard: int) -> list[Path]:
        """The nodes that a shard has at a level above the cut; -1: its portions."""
        above = self.above
        if depth < 0:
            return [path for path in self.owned(shard) if not above.has(path)]
        return [path for path in self.owned(shard) if level(path) == depth and above.has(path)]

    @property
    def shape(self) -> Shape:
        """What record 0 says of every node."""
        return Shape.of(self.tree)

    def budget(self, path: Path) -> int:
        """Nodes that may come to be below a portion: its even share of `limits.nodes`."""
        return min(self._shares(path[:-1])[0][path[-1]], PORTION_NODES - 1)

    def room(self, path: Path) -> int:
        """How many children more a split node may get."""
        return max(0, self._shares(path)[1])

    def _shares(self, path: Path) -> tuple[list[int], int]:
        top = int(self.tree.get("nodes", PORTION_NODES)) - 1
        left = top if path == ROOT else self._shares(path[:-1])[0][path[-1]]
        living, last = self.shape.miss_limit > 0, level(path) + 1 >= self.shape.max_level
        return shares(left, self.reopened.generations(path), living, last)

    def epochs(self, path: Path) -> Epochs:
        """What is known of the epochs of a split node; for whoever reads from another thread."""
        done, children = self.done, self.reopened.epochs[path]  # before the cover, which may grow
        folded = self.reopened.folded.get(path, {})
        return Epochs(self.authors.get(0, ""), done, children, self.covers[path], folded)

    def cover_of(self, path: Path) -> Cover:
        """The cover by which a node split, whatever it has grown to."""
        return self.reopened.first.get(path) or self.covers[path]

    def folds(self, path: Path) -> bool:
        """Whether a node above the cut, or at it, gets no more rows (`folder`)."""
        return path[-1] in self.reopened.folded.get(path[:-1], ())

    def children(self, path: Path) -> list[Path]:
        """The children a split node has, in order."""
        if path not in self.splits:
            return []
        return [(*path, i) for i in range(len(self.covers[path].centroids))]

    def owned(self, shard: int) -> list[Path]:
        """What this shard answers for in this epoch."""
        return sorted(path for path, owner in list(self.owners.items()) if owner == shard)

    def roles(self, shard: int) -> dict[Path, str]:
        """Every node but N0 that this shard holds, and as what (`moves`)."""
        return self.moves.roles(shard) | dict.fromkeys(self.owned(shard), moves.OWNER)

    def promotion(self, path: Path) -> Told:
        """What is known of a portion's promotion; for whoever reads from another thread."""
        done = self.done
        epochs = self.reopened.epochs.get(path, {}) if path in self.promotions.epochs else {}
        return Told(self.authors.get(0, ""), done, frozenset(epochs))
