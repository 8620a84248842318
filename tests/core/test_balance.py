"""k-means that evens out the cells: against plain Python, its radius, what it gains, its bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core.balance import ROOM
from pctstream.core.cover import Cover, refine
from pctstream.core.find import FindCover
from pctstream.core.lanes import Float32
from pctstream.core.node import Shape
from pctstream.core.records import tree_record

Row = list[float]


def found(rows: Float32, epsilon: float, iterations: int = 5, balance: bool = True) -> Cover:
    """The cover of all these rows, however many prototypes they need."""
    find = FindCover(rows.shape[1], epsilon, len(rows) + 1, len(rows) + 1, "gap", len(rows))
    find.feed(rows)
    return refine(rows, find.prototypes, epsilon, iterations, 1, balance)


def lopsided(seed: int, n: int = 600, d: int = 3) -> Float32:
    """Most rows in a clump, some around it, few far away."""
    rng = np.random.default_rng(seed)
    scale = rng.choice([0.2, 1.5, 6.0], n, p=[0.7, 0.25, 0.05])
    return (rng.normal(size=(n, d)) * scale[:, None]).astype(np.float32)


def mean(rows: list[Row]) -> Row:
    return np.array([math.fsum(c) / len(rows) for c in zip(*rows, strict=True)], "f4").tolist()


def nearer(row: Row, centroids: list[Row]) -> int:
    return min(range(len(centroids)), key=lambda c: math.dist(row, centroids[c]))


def halves(cell: list[Row], most: float) -> tuple[list[Row], list[list[Row]]] | None:
    def sides(centroids: list[Row]) -> list[list[Row]]:
        return [[row for row in cell if nearer(row, centroids) == c] for c in (0, 1)]

    ends = sides([cell[0], max(cell, key=lambda row: math.dist(row, cell[0]))])
    if not all(ends):
        return None
    one, other = map(mean, ends)
    line = sorted(cell, key=lambda row: math.dist(row, one) ** 2 - math.dist(row, other) ** 2)
    two = [mean(line[: len(cell) // 2]), mean(line[len(cell) // 2 :])]
    if any(min(math.dist(row, h) for h in two) > most for row in cell):
        return None
    return two, sides(two)


def evened(cells: list[list[Row]], centroids: list[Row], most: float) -> None:
    fair = sum(map(len, cells)) / len(cells)
    heavy = [c for c in range(len(cells)) if len(cells[c]) > 1.5 * fair]
    light = sorted(
        (c for c in range(len(cells)) if 0 < len(cells[c]) < fair / 2), key=lambda c: len(cells[c])
    )[: sum(math.ceil(len(cells[c]) / fair) - 1 for c in heavy)]
    stay = [centroids[c] for c in range(len(cells)) if c not in {*light, *heavy}]
    free = [
        c for c in light
        if stay and all(min(math.dist(row, s) for s in stay) <= most for row in cells[c])
    ]  # fmt: skip
    parts = {c: cells[c] for c in heavy}
    while free and parts:
        cell = min(parts, key=lambda c: (-len(parts[c]), c))
        if (found := halves(parts.pop(cell), most)) is None:
            continue
        for place, centroid, part in zip((cell, free.pop(0)), *found, strict=True):
            centroids[place] = centroid
            if len(part) > 1.5 * fair:
                parts[place] = part


def plain(rows: list[Row], centroids: list[Row], epsilon: float, iterations: int) -> list[Row]:
    """The definition, cell by cell."""
    most = ROOM * epsilon
    for step in range(iterations):
        cells: list[list[Row]] = [[] for _ in centroids]
        for row in rows:
            cells[nearer(row, centroids)].append(row)
        for c, cell in enumerate(cells):
            if cell and max(math.dist(row, mean(cell)) for row in cell) <= most:
                centroids[c] = mean(cell)
        if step < iterations - 1:
            evened(cells, centroids, most)
    return centroids


@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("seed", range(6))
def test_it_is_what_the_definition_says(seed: int, iterations: int) -> None:
    rows = lopsided(seed, 150)
    cover = found(rows, 1.5, iterations)
    assert cover.k > 8
    expected = plain(rows.tolist(), cover.prototypes.tolist(), 1.5, iterations)
    assert np.abs(cover.centroids - np.array(expected)).max() <= 1e-5


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 7]), st.floats(0.05, 20.0), st.integers(1, 8),
    st.booleans(),
)  # fmt: skip
def test_no_scanned_row_is_farther_than_two_epsilon(
    seed: int, d: int, epsilon: float, iterations: int, twice: bool
) -> None:
    rows = lopsided(seed, 120, d)
    if twice:
        rows = np.repeat(rows[::2], 2, axis=0)
    cover = found(rows, epsilon, iterations)
    assert cover.radii.max() <= ROOM * epsilon
    assert cover.prototypes.tolist() == found(rows, epsilon, 0).prototypes.tolist()
    assert cover.weights.sum() == len(rows)


@pytest.mark.parametrize("seed", range(4))
def test_the_cells_are_far_more_even_than_by_lloyd_alone(seed: int) -> None:
    """exp(entropy) / k, on a stream of which most lies in one place."""
    rows = lopsided(seed, 2000)

    def even(cover: Cover) -> float:
        return float(cover.k**cover.entropy_after / cover.k)

    with_, without = (even(found(rows, 4.0, balance=b)) for b in (True, False))
    assert with_ > 4 * without, (with_, without)


def test_an_empty_cell_keeps_its_place() -> None:
    rows = np.array([[0], [1], [0], [1]] * 5, np.float32)
    starts = np.array([[0.5], [5], [50]], np.float32)
    cover = refine(rows, starts, 100.0, 5, 1, True)
    assert cover.centroids.tolist() == [[0.5], [5.0], [50.0]]
    assert cover.weights.tolist() == [20, 0, 0]


def test_rows_that_are_all_the_same_cannot_be_halved() -> None:
    rows = np.array([[0.0]] * 30 + [[9.0]] * 2 + [[18.0]], np.float32)
    cover = refine(rows, np.array([[0], [9], [18]], np.float32), 5.0, 5, 1, True)
    assert cover.centroids.ravel().tolist() == [0.0, 9.0, 18.0]


def test_the_same_bits_on_any_machine() -> None:
    """Rows from whole numbers, so that nothing but the refinement could differ (R10)."""
    numbers = np.random.default_rng(1).integers(-1000, 1000, (3000, 5)) ** 3
    assert (
        found((numbers / 1e7).astype(np.float32), 40.0).hash == "7e4d9b2c659bbc22df68aea4ef4c6225"
    )


def test_a_tree_that_was_made_before_goes_on_by_lloyd_alone() -> None:
    assert not Shape.of({"dimension": 2}).balance
    known: dict[str, Any] = {"tree": "t", "balance": True}
    assert Shape.of(tree_record(known, 2, "a")).balance
