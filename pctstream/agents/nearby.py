"""Some portions of a shard as balls around all rows that ever came to them, as they know themselves.

A portion counts a row before the row is stored. So whoever looks at its ball after a row was stored has a
ball with that row in it, and needs no lock for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pctstream.agents.shard import Shard
from pctstream.core.balls import least
from pctstream.core.kernels import Float64
from pctstream.core.names import Path
from pctstream.core.portion import Portion

Chosen = npt.NDArray[np.bool_]


class Nearby(NamedTuple):
    """Of n portions."""

    portions: Sequence[Portion]
    centres: Float64
    """f64[n, d]"""
    radii: Float64
    """f64[n]"""

    @classmethod
    def of(cls, shard: Shard, paths: Sequence[Path]) -> Nearby | None:
        """None where there are none, or other nodes are among them, or one is not here any more."""
        nodes = [shard.nodes.get(path) for path in paths]
        portions = [node for node in nodes if isinstance(node, Portion)]
        if not portions or len(portions) < len(nodes):
            return None
        balls = [portion.subtree.ball for portion in portions]
        centres = np.stack([centre for centre, _ in balls]).astype(np.float64)
        return cls(portions, centres, np.array([radius for _, radius in balls]))

    def near(self, queries: Float64, within: Float64) -> Chosen:
        """bool[n]: which may have a row as near as ``within`` f64[m] to one of the queries f64[m, d]."""
        found: Chosen = np.any(least(self.centres, self.radii, queries) <= within[:, None], axis=0)
        return found

    def nearest(self, queries: Float64) -> Chosen:
        """bool[n]: which have the centre that is nearest to one of the queries f64[m, d]."""
        away = least(self.centres, np.zeros(len(self.radii)), queries)
        return np.bincount(away.argmin(axis=1), minlength=len(self.radii)) > 0

    def chosen(self, which: Chosen) -> list[Path]:
        """Their names."""
        return [p.path for p, one in zip(self.portions, which.tolist(), strict=True) if one]

    def rows(self, which: Chosen) -> int:
        """How many rows they have."""
        return sum(p.held_rows for p, one in zip(self.portions, which.tolist(), strict=True) if one)
