"""Where the rows of all portions lie, as balls around their leaves; which of them are near a question.

The leaves are known from the covers, their radii from reports, which may be a moment old. So this only
serves questions that asked for a part of the answer; what an exact one leaves out is proven by the shards.

A ball says little where a few strays have made it wide: then it is near every question. How many leaves in
the order of their centres hold so much of an answer is learnt (`across`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pctstream.core.cover import Cover
from pctstream.core.kernels import Float64, Int64
from pctstream.core.names import Path
from pctstream.core.promoted import Above


def away(x: Float64, query: Float64) -> Float64:
    """f64[n]: how far the centres f64[n, d] are from the query f64[d]."""
    apart = x - query
    found: Float64 = np.sqrt(np.einsum("ij,ij->i", apart, apart))
    return found


def least(centres: Float64, radii: Float64, queries: Float64) -> Float64:
    """f64[m, n]: no row of a ball is nearer to a query f64[m, d] than this; ``radii`` f64[n] as computed in
    float64, which a sum of d squares makes off by less than d + 4 of its last bits.

    >>> least(np.array([[0.0, 0.0]]), np.array([1.0]), np.array([[3.0, 4.0], [0.0, 0.5]])).round(6).tolist()
    [[4.0], [-0.5]]
    """
    off = (centres.shape[1] + 4) * 2.0**-52
    # query by query: all together would be m n d numbers
    apart = np.array([away(centres, query) for query in queries]).reshape(-1, len(centres))
    found: Float64 = apart * (1.0 - off) - radii * (1.0 + off)
    return found


class Balls(NamedTuple):
    """The leaves of all portions."""

    paths: tuple[Path, ...]
    x: Float64
    """f64[n, d]: centres."""
    radius: Float64
    """f64[n]; +inf where none was reported."""
    portions: tuple[Path, ...]
    portion: Int64
    """i64[n]: which of the portions each leaf is of."""
    rows: int = 0
    """Of all portions, as reported."""

    @classmethod
    def of(
        cls, covers: Mapping[Path, Cover], radii: Mapping[Path, float | None],
        owners: Mapping[Path, int], above: Above, rows: int = 0, holding: Collection[Path] = (),
    ) -> Balls:  # fmt: skip
        """From the covers and radii of all nodes that are known. A node that has a cover, and waits
        for its level before it splits, is a leaf; so is one that has split, and is ``holding`` rows."""
        split = {path[:-1] for path in radii} | {path[:-1] for path in owners}
        paths: list[Path] = []
        centres = [np.zeros((0, 0), np.float64)]
        for parent in sorted(covers.keys() & split):
            for i, centroid in enumerate(covers[parent].centroids.astype(np.float64)):
                path = (*parent, i)
                leaf = path not in covers or path not in split or path in holding
                if leaf and above.portion(path) in owners:
                    paths.append(path)
                    centres.append(centroid[None])
        radius = [radii.get(path) for path in paths]
        of = [portion for path in paths if (portion := above.portion(path))]
        portions = tuple(dict.fromkeys(of))
        number = {path: i for i, path in enumerate(portions)}
        return cls(
            tuple(paths), np.concatenate(centres[1:] or centres),
            np.array([np.inf if r is None else r for r in radius], np.float64), portions,
            np.array([number[path] for path in of], np.int64), rows,
        )  # fmt: skip

    def away(self, query: Float64) -> Float64:
        """f64[n]: how far the centres are from the query f64[d]."""
        return away(self.x, query)

    def within(self, query: Float64, most: float) -> set[Path]:
        """The portions that have a leaf with something within that distance of the query f64[d]."""
        return self._portions(self.away(query) - self.radius <= most)

    def beside(self, query: Float64, most: float) -> set[Path]:
        """The portions that have a leaf whose centre is farther by so much, at most, than the nearest."""
        apart = self.away(query)
        return self._portions(apart - apart.min(initial=np.inf) <= most)

    def farther(self, query: Float64) -> dict[Path, float]:
        """By how much the nearest centre of each portion is farther than the nearest of all."""
        nearest = np.full(len(self.portions), np.inf)
        np.minimum.at(nearest, self.portion, self.away(query))
        more = nearest - nearest.min(initial=np.inf)
        return dict(zip(self.portions, more.tolist(), strict=True))

    def _portions(self, near: npt.NDArray[np.bool_]) -> set[Path]:
        return {self.portions[i] for i in set(self.portion[near].tolist())}
