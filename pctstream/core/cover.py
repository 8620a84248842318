"""Find-cover: a node watches its rows until they fall into few enough balls, then splits by them.

Theory
------
**Scan.** The first row is a prototype; each further row becomes one if it is farther than epsilon
from all prototypes so far. So prototypes are pairwise farther than epsilon (a packing), and every
scanned row lies within epsilon of one (a cover). The scan ends

- with a *cover* after X = `gap` consecutive rows that added nothing (`stop="gap"`), or after a
  whole block of X rows, counted from the first, that added nothing (`stop="block"`);
- as a *sink* after Y = `sink_rows` rows without that, or when more than `max_prototypes` would be
  needed: the rows are of too high a dimension for this epsilon, and the node stays a leaf.

**Miss bound.** If the balls miss a share p of the distribution, n rows in a row hit them with
probability (1 - p)^n <= exp(-n p). For p = 3 / n that is below 5 %: so n quiet rows say, at 95 %
confidence, that p <= 3 / n (the "rule of three").

**Refine.** The balls of a raw cover have very unequal probabilities, and placement lives on equal
ones. A few iterations over exactly the scanned rows move each *centroid* to the mean of the rows that
are nearest to it (Lloyd), and centroids from where rows are few to where they are many (`balance`); no
scanned row is then farther than 2 epsilon from its centroid. The *prototypes* stay: they are rows
that really came, the packing and the miss bound are statements about them, and a row is covered or
not by them for good. Centroids decide where a row goes, and radii bound what went there.

All of it is a function of the sequence of rows (R0), with sums in a fixed order (R10): whoever
scans the same rows finds the same cover, down to its hash.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pctstream.core import kernels
from pctstream.core.balance import balanced, lloyd
from pctstream.core.find import FindCover, auto_epsilon
from pctstream.core.lanes import Float32, transpose
from pctstream.errors import DataLoss

__all__ = ["Cover", "FindCover", "auto_epsilon", "refine"]

Int64 = npt.NDArray[np.int64]

CONFIDENCE = 0.95

_MAGIC = b"pctcov1\0"
_HEADER = struct.Struct("<8sIIqqddd16s")


def closest(centroids: Float32, prototypes: Float32) -> npt.NDArray[np.int32]:
    """int32[k]: the prototype of f32[k, d] nearest to each centroid, which most likely covers a row of the
    cell: balancing moves centroids far from where they began."""
    return kernels.nearest(centroids, transpose(prototypes), len(prototypes))


@dataclass(frozen=True, eq=False)
class Cover:
    """The k prototypes of a node and what was refined from them; the arrays are read-only."""

    prototypes: Float32
    """f32[k, d], in the order they were added."""
    centroids: Float32
    """f32[k, d]: a row goes to the nearest."""
    weights: Int64
    """i64[k]: rows of the sample per cell."""
    radii: Float32
    """f32[k]: no row of the sample in the cell is farther from its centroid."""
    epsilon: float
    rows: int
    """How many rows were scanned: the sample."""
    gap: int
    """How many of them, the last ones, added nothing."""
    entropy_before: float
    """Entropy of the weights over log k, were rows routed by the prototypes."""
    entropy_after: float
    """The same as they are, routed by the centroids; 1 is even."""

    def __post_init__(self) -> None:
        k, d = self.prototypes.shape
        shapes = {"centroids": (k, d), "weights": (k,), "radii": (k,)}
        for name in ("prototypes", "centroids", "weights", "radii"):
            dtype = "<i8" if name == "weights" else "<f4"
            array = np.array(getattr(self, name), dtype, order="C")
            if array.shape != shapes.get(name, (k, d)) or array.size == 0:
                raise ValueError(f"{name} of shape {array.shape} in a cover of {k} x {d}")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def k(self) -> int:
        """The number of prototypes, cells, children."""
        return len(self.prototypes)

    @property
    def dimension(self) -> int:
        """The number of components of a row."""
        return int(self.prototypes.shape[1])

    @cached_property
    def closest(self) -> npt.NDArray[np.int32]:
        """As `closest` has it, of all of them."""
        return closest(self.centroids, self.prototypes)

    @property
    def miss_bound(self) -> tuple[float, float]:
        """(p, confidence): at most the share p of such rows lies beyond epsilon."""
        return min(1.0, 3.0 / self.gap) if self.gap else 1.0, CONFIDENCE

    @cached_property
    def hash(self) -> str:
        """BLAKE2b-128 in hex over shapes and little-endian bytes: two equal covers, one hash.

        The entropies are left out: they only describe, and a logarithm may differ in its last
        bit from one CPU to the next.
        """
        return self._digest().hex()

    def _digest(self) -> bytes:
        head = struct.pack("<IIqqd", self.k, self.dimension, self.rows, self.gap, self.epsilon)
        return hashlib.blake2b(head + self._body(), digest_size=16).digest()

    def _body(self) -> bytes:
        arrays = (self.prototypes, self.centroids, self.weights, self.radii)
        return b"".join(array.tobytes() for array in arrays)

    def to_pieces(self, max_bytes: int) -> list[bytes]:
        """The cover as bytes, cut into pieces of at most `max_bytes` each."""
        if max_bytes < 1:
            raise ValueError(f"pieces of {max_bytes} bytes cannot hold anything")
        header = _HEADER.pack(
            _MAGIC, self.k, self.dimension, self.rows, self.gap, self.epsilon,
            self.entropy_before, self.entropy_after, self._digest(),
        )  # fmt: skip
        whole = header + self._body()
        return [whole[at : at + max_bytes] for at in range(0, len(whole), max_bytes)]

    @classmethod
    def from_pieces(cls, pieces: list[bytes]) -> Cover:
        """The cover that was cut; DataLoss if anything is missing, added or altered."""
        whole = b"".join(pieces)
        if len(whole) < _HEADER.size or not whole.startswith(_MAGIC):
            raise DataLoss("these pieces do not begin with a cover: read them again from the log")
        _, k, d, rows, gap, epsilon, before, after, digest = _HEADER.unpack_from(whole)
        want = _HEADER.size + 8 * k * d + 12 * k
        if not k or not d or len(whole) != want:
            raise DataLoss(f"a cover of {k} x {d} has {want} bytes, here are {len(whole)}")
        body = memoryview(whole)[_HEADER.size :]
        square, side = 4 * k * d, 8 * k
        cover = cls(
            np.frombuffer(body[:square], "<f4").reshape(k, d),
            np.frombuffer(body[square : 2 * square], "<f4").reshape(k, d),
            np.frombuffer(body[2 * square : 2 * square + side], "<i8"),
            np.frombuffer(body[2 * square + side :], "<f4"),
            epsilon, rows, gap, before, after,
        )  # fmt: skip
        if cover._digest() != digest:
            raise DataLoss("the bytes of a cover do not have its hash: read them again")
        return cover

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cover) and self.hash == other.hash

    def __hash__(self) -> int:
        return int.from_bytes(self._digest()[:8], "little")


def _entropy_ratio(weights: Int64) -> float:
    if len(weights) == 1:
        return 1.0
    total = int(weights.sum())
    shares = [int(w) / total for w in weights if w]
    return max(0.0, -math.fsum(p * math.log(p) for p in shares)) / math.log(len(weights))


def _radii(rows: Float32, index: npt.NDArray[np.int32], centroids: Float32) -> Float32:
    """Per cell the greatest distance, rounded up past what the float64 sum may miss."""
    largest = np.zeros(len(centroids), np.float64)
    np.maximum.at(largest, index, kernels.distances(rows, index, centroids))
    bound = largest * (1.0 + (centroids.shape[1] + 4) * 2.0**-52)
    radii: Float32 = bound.astype(np.float32)
    low = radii.astype(np.float64) < bound
    radii[low] = np.nextafter(radii[low], np.float32(np.inf))
    return radii


def refine(
    rows: Float32, prototypes: Float32, epsilon: float, iterations: int, gap: int,
    balance: bool = False,
) -> Cover:  # fmt: skip
    """The cover of the scanned rows f32[n, d]: so many Lloyd steps from the prototypes, or with
    ``balance`` as many that also even out the cells."""
    centroids = np.ascontiguousarray(prototypes, np.float32)
    k = len(centroids)
    index = kernels.nearest(rows, transpose(centroids), k)
    before = _entropy_ratio(np.bincount(index, minlength=k))
    for step in range(iterations):
        if balance:
            centroids = balanced(rows, centroids, index, epsilon, step == iterations - 1)
        else:
            centroids, _ = lloyd(rows, centroids, index)
        index = kernels.nearest(rows, transpose(centroids), k)
    weights: Any = np.bincount(index, minlength=k).astype(np.int64)
    return Cover(
        prototypes, centroids, weights, _radii(rows, index, centroids), float(epsilon),
        len(rows), gap, before, _entropy_ratio(weights),
    )  # fmt: skip
