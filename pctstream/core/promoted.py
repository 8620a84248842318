"""Portions that became trunk nodes, or are to, as `.routing` tells of them (`promotion`); which nodes lie
above the cut because of it, and in which portion the others are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pctstream.core.cover import Cover
from pctstream.core.kernels import Float64
from pctstream.core.names import ROOT, Path, level

NOBODY: Mapping[Path, Collection[int]] = {}


@dataclass(slots=True)
class Promotions:
    """Of one tree."""

    asked: set[Path] = field(default_factory=set)
    """Portions that are to become trunk nodes: they do not move."""
    epochs: dict[Path, int] = field(default_factory=dict)
    """Those that have: in which epoch."""
    refused: dict[Path, str] = field(default_factory=dict)
    """Those that last were to, and stay what they are: why."""

    def ask(self, path: Path) -> None:
        """It is to be one."""
        self.asked.add(path)
        self.refused.pop(path, None)

    def split(self, path: Path, epoch: int) -> None:
        """A node has split: above the cut it is no matter of ours."""
        if path in self.asked:
            self.epochs[path] = epoch
            self.asked.discard(path)

    def refuse(self, path: Path, why: str) -> None:
        """It stays what it is."""
        if path in self.asked:
            self.asked.discard(path)
            self.refused[path] = why


class Above(NamedTuple):
    """Which nodes lie above the cut: all at a lower level than ``cut``, and those promoted.

    >>> above = Above(1, frozenset({(0, 3)}))
    >>> above.has((0, 3)), above.has((0, 2)), above.depth
    (True, False, 2)
    >>> above.portion((0, 2, 5, 1)), above.portion((0, 3, 5, 1)), above.portion((0, 3))
    ((0, 2), (0, 3, 5), None)
    """

    cut: int = 1
    promoted: frozenset[Path] = frozenset()

    def has(self, path: Path) -> bool:
        """Whether this node hands its rows on through pipes, or is to."""
        return level(path) < self.cut or path in self.promoted

    @property
    def depth(self) -> int:
        """Levels that have such nodes."""
        return max([self.cut, *(level(path) + 1 for path in self.promoted)])

    def portion(self, path: Path) -> Path | None:
        """The portion that a node lies in; None for a node above the cut."""
        return next((path[:n] for n in range(1, len(path) + 1) if not self.has(path[:n])), None)


def home(
    covers: Mapping[Path, Cover], above: Above, query: Float64,
    folded: Mapping[Path, Collection[int]] = NOBODY,
) -> Path | None:  # fmt: skip
    """The portion that a row like the query f64[d] would go to; None before there is one. ``folded``: of
    nodes the children that get no rows.

    >>> home({}, Above(), np.zeros(1)) is None
    True
    """
    path = ROOT
    while above.has(path):
        cover = covers.get(path)
        if cover is None:
            return None
        squares = ((cover.centroids.astype(np.float64) - query) ** 2).sum(axis=1)
        squares[list(folded.get(path, ()))] = np.inf
        path = (*path, int(squares.argmin()))
    return path
