"""Random trees of node summaries, of any depth."""

from __future__ import annotations

import numpy as np

from pctstream.core.names import ROOT, Path
from pctstream.core.solver import NodeSummary


def grown(
    rng: np.random.Generator, depth: int, dimension: int, fanout: int = 6, holding: bool = True
) -> dict[Path, NodeSummary]:
    """A tree whose lowest node is at `depth`; inner nodes may still hold rows, leaves may have none."""
    nodes: dict[Path, NodeSummary] = {}

    def grow(path: Path, centre: np.ndarray | None, scale: float) -> int:
        level = len(path) - 1
        deepest = all(number == 0 for number in path)
        rows = int(rng.integers(0, 50))
        if level < depth and (deepest or rng.random() < 0.6):
            rows = int(rng.integers(0, 3)) if holding else 0
            middle = np.zeros(dimension) if centre is None else centre
            for i in range(int(rng.integers(1, fanout))):
                below = (middle + rng.normal(0, scale, dimension)).astype(np.float32)
                rows += grow((*path, i), below, scale / 2)
        radius = None if centre is None else float(rng.random())
        bound = float(rng.random()) if rng.random() < 0.5 else None
        nodes[path] = NodeSummary(path, rows, radius, centre, bound)
        return rows

    grow(ROOT, None, 8.0)
    return nodes
