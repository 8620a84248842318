"""Which shards an approximate question need not be put to: those whose leaves all lie beyond.

The leaves are known from the covers, their radii from reports, which may be a moment old. So this only
serves questions that asked for a part of the answer; what an exact one leaves out is proven by the shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pctstream.core.cover import Cover
from pctstream.core.kernels import Float64, Int64
from pctstream.core.lanes import Float32
from pctstream.core.names import Path


class Balls(NamedTuple):
    """The leaves of all portions."""

    paths: tuple[Path, ...]
    x: Float32
    """f32[n, d]: centres."""
    radius: Float64
    """f64[n]; +inf where none was reported."""
    owner: Int64
    """i64[n]: shards."""

    @classmethod
    def of(
        cls, covers: Mapping[Path, Cover], radii: Mapping[Path, float | None],
        owners: Mapping[Path, int], cut: int,
    ) -> Balls:  # fmt: skip
        """From the covers of all split nodes."""
        paths: list[Path] = []
        centres = [np.zeros((0, 0), np.float32)]
        for above, cover in sorted(covers.items()):
            for i, centroid in enumerate(cover.centroids):
                path = (*above, i)
                if path not in covers and path[: cut + 1] in owners:
                    paths.append(path)
                    centres.append(centroid[None])
        radius = [radii.get(path) for path in paths]
        return cls(
            tuple(paths), np.concatenate(centres[1:] or centres),
            np.array([np.inf if r is None else r for r in radius], np.float64),
            np.array([owners[path[: cut + 1]] for path in paths], np.int64),
        )  # fmt: skip

    def bounds(self, query: Float64) -> Float64:
        """f64[n]: no row of the leaf is nearer to the query f64[d]."""
        away = np.sqrt(((self.x.astype(np.float64) - query) ** 2).sum(axis=1))
        found: Float64 = np.maximum(0.0, away - self.radius)
        return found

    def shards(self, query: Float64, within: float) -> set[int]:
        """The shards that have a leaf with something within that distance."""
        if not self.paths:
            return set()
        near = self.bounds(query) <= within
        return set(self.owner[near].tolist())


def home(covers: Mapping[Path, Cover], cut: int, query: Float64) -> Path | None:
    """The portion that a row like the query f64[d] would go to; None before there is one.

    >>> home({}, 1, np.array([8.0])) is None
    True
    """
    path: Path = (0,)
    while len(path) <= cut:
        cover = covers.get(path)
        if cover is None:
            return None
        squares = ((cover.centroids.astype(np.float64) - query) ** 2).sum(axis=1)
        path = (*path, int(squares.argmin()))
    return path
