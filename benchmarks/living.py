"""Covers that stay true: real streams in their order, with nodes that re-open and without.

    .venv/bin/python benchmarks/living.py --data DIR [--only beijing|fashion]

The pure core in one process, no broker: the subtree of a portion (`core/subtree.py`), whose root is the
node that is looked at; its children are leaves. DIR has `beijing_air.npz` (X, columns, month; rows in time
order) and `fashion_mnist.npz` (X, y).

Beijing air: share of rows beyond epsilon by month, the covering radius at the end (over all rows of the
file, from the nearest prototype), and children, beside what one greedy pass over the whole file needs. PM,
gases and rain by log(1 + x), then each column over its standard deviation in the whole file: units are
chosen beforehand, not learnt from the stream.

Fashion-MNIST, pixels / 255: sorted by class, the rows of each class that are routed before the node
re-opens; then as it is, shuffled, how often the node re-opens once it has split.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from pctstream.core.coverage import least_limit
from pctstream.core.find import FindCover
from pctstream.core.growth import Growth
from pctstream.core.node import Gates, Shape
from pctstream.core.subtree import Subtree

UNIT = 1024
SKEWED = ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3", "RAIN")


class Stream:
    """One node and its children, fed in units."""

    def __init__(self, dimension: int, epsilon: float, gap: int, limit: float) -> None:
        shape = Shape(dimension, gap=gap, max_level=2, miss_limit=limit)
        self.tree = Subtree((0, 0), np.zeros(dimension, np.float32), shape, 4095, (0, 0, 0.0, 1))
        self.tree.open(Gates(2, {1: epsilon}))
        self._held: list[tuple[np.ndarray, np.ndarray]] = []
        self.routed = 0
        self.opened: list[int] = []
        """Rows routed when each scan began."""

    @property
    def uncovered(self) -> int:
        return int(self.tree.counts.uncovered[0])

    @property
    def children(self) -> int:
        return len(self.tree.nodes[0].children)

    def feed(self, rows: np.ndarray) -> None:
        """The next rows f32[n, d], a unit at a time."""
        root = self.tree.nodes[0]
        for at in range(0, len(rows), UNIT):
            piece = rows[at : at + UNIT]
            self.routed += len(piece)
            self.tree.now = (2, self.routed, 0.0, 1)
            seen = [entry for entry in root.history if entry[0] == 0]
            leaf = self.tree.place(piece)
            if root.first < 0:
                self._held.append((piece, leaf))
            now = [entry for entry in root.history if entry[0] == 0]
            self.opened += [self.routed] * (now != seen)
            while self.tree.work:
                growth = Growth(self.tree, self.tree.now)
                for held, leaves in self._held:
                    growth.take(0, held, leaves)
                growth.finish()


def beyond(rows: np.ndarray, prototypes: np.ndarray) -> float:
    """The greatest distance of a row from its nearest prototype."""
    most = 0.0
    for at in range(0, len(rows), 4096):
        some = rows[at : at + 4096].astype(np.float64)
        square = (some**2).sum(1)[:, None] - 2.0 * some @ prototypes.T.astype(np.float64)
        square += (prototypes.astype(np.float64) ** 2).sum(1)
        most = max(most, float(square.min(axis=1).max()))
    return most**0.5


def greedy(rows: np.ndarray, epsilon: float) -> int:
    """Prototypes that one pass over all rows needs."""
    find = FindCover(rows.shape[1], epsilon, len(rows) + 1, len(rows) + 1, "gap", len(rows))
    find.feed(rows)
    return len(find.prototypes)


def beijing(folder: Path, epsilon: float, gap: int, limit: float) -> None:
    with np.load(folder / "beijing_air.npz") as file:
        x, month = file["X"].astype(np.float64), file["month"]
        columns = file["columns"].tolist()
    for name in SKEWED:
        x[:, columns.index(name)] = np.log1p(np.maximum(x[:, columns.index(name)], 0.0))
    rows = (x / x.std(axis=0)).astype(np.float32)
    most = greedy(rows, epsilon)
    print(f"Beijing air, {len(rows):,} rows, epsilon {epsilon}, gap {gap}, limit {limit}; "
          f"one greedy pass over all: {most}")  # fmt: skip
    for name, bound in (("frozen", 0.0), ("re-opening", limit)):
        stream, shares, began = Stream(rows.shape[1], epsilon, gap, bound), [], time.process_time()
        for m in range(48):
            before = stream.uncovered
            stream.feed(rows[month == m])
            shares.append((stream.uncovered - before) / (month == m).sum())
        took = time.process_time() - began
        cover = stream.tree.nodes[0].cover
        assert cover is not None
        later = np.array(shares[3:])
        print(f"  {name}: worst month {later.max():.2%} ({int(later.argmax()) + 3}), median "
              f"{np.median(later):.3%}, months beyond 1 %: {int((later > 0.01).sum())} of 45; radius "
              f"{beyond(rows, cover.prototypes) / epsilon:.2f} epsilon; children {stream.children} "
              f"({stream.children / most:.2f} of it); re-opened {len(stream.tree.nodes[0].runs)} times; "
              f"{len(rows) / took:,.0f} rows/s")  # fmt: skip
        print("   ", " ".join(f"{100 * share:.2f}" for share in shares))


def fashion(folder: Path, epsilon: float, gap: int, limit: float, shuffles: int = 3) -> None:
    with np.load(folder / "fashion_mnist.npz") as file:
        rows, label = file["X"].astype(np.float32) / 255.0, file["y"]
    print(f"Fashion-MNIST, epsilon {epsilon}, gap {gap}, limit {limit}")
    stream, frozen = (Stream(784, epsilon, gap, bound) for bound in (limit, 0.0))
    for of in range(10):
        mine = rows[label == of]
        at, before, was = stream.routed, len(stream.opened), (stream.uncovered, frozen.uncovered)
        stream.feed(mine)
        frozen.feed(mine)
        found = [n - at for n in stream.opened[before:]]
        print(f"  class {of}: re-opened after {found or 'no'} rows; beyond "
              f"{(stream.uncovered - was[0]) / len(mine):.2%}, frozen "
              f"{(frozen.uncovered - was[1]) / len(mine):.2%}; children {stream.children}")  # fmt: skip
    windows = opened = 0
    for seed in range(shuffles):
        stream = Stream(784, epsilon, gap, limit)
        stream.feed(rows[np.random.default_rng(seed).permutation(len(rows))] if seed else rows)
        cover = stream.tree.nodes[0].cover
        assert cover is not None
        windows += len(rows) // UNIT
        opened += len(stream.opened)
        print(f"  shuffled ({seed}): cover of {cover.k} in the end, re-opened after "
              f"{stream.opened or 'no'} rows; beyond {stream.uncovered / len(rows):.3%}")  # fmt: skip
    print(f"  shuffled: {opened} re-openings in {windows} windows")


def main() -> int:
    """Shows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=("beijing", "fashion"))
    asked = parser.parse_args()
    if asked.only != "fashion":
        beijing(asked.data, 4.0, 1000, least_limit(1000))
        beijing(asked.data, 4.0, 200, 0.005)
    if asked.only != "beijing":
        for epsilon in (11.0, 10.0):
            fashion(asked.data, epsilon, 1000, least_limit(1000))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
