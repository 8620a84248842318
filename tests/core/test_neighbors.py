"""Near neighbours equal brute force on the published cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from core.trees import grown

from pctstream.core.names import ROOT, Path
from pctstream.core.neighbors import LARGEST, Neighbors, centre_of
from pctstream.core.solver import LevelCover, NodeSummary, level_cover
from pctstream.errors import QueryRefused


def brute(cover: LevelCover, centre: np.ndarray) -> np.ndarray:
    """Distances in float64 to every entry, those without a centre infinitely far."""
    exact = cover.x.astype(np.float64) - centre
    return np.where(cover.placed, np.sqrt((exact**2).sum(axis=1)), np.inf)


def agrees(cover: LevelCover, index: Neighbors, centre: np.ndarray, r: float) -> None:
    away = brute(cover, centre)
    tie = 1e-12 * r
    found, distances = index.within(centre, r)
    assert set(np.flatnonzero(away <= r)) <= set(found.tolist())
    assert set(found.tolist()) <= set(np.flatnonzero(away <= r + tie))
    assert distances == pytest.approx(away[found], rel=1e-12, abs=1e-12)
    order = list(zip(distances.tolist(), found.tolist(), strict=True))
    assert order == sorted(order)


@pytest.mark.parametrize("seed", range(25))
def test_20_questions_to_each_of_25_random_trees(seed: int) -> None:
    """500 (centre, level, distance): around entries and elsewhere, out to exact distances too."""
    rng = np.random.default_rng(seed)
    dimension, depth = int(rng.choice([1, 2, 3, 8, 33])), 1 + seed % 5
    nodes = grown(rng, depth, dimension, fanout=9)
    covers = [level_cover(nodes, level) for level in range(depth + 2)]
    indexes = [Neighbors(nodes, cover) for cover in covers]
    for _ in range(20):
        level = int(rng.integers(0, depth + 2))
        cover, index = covers[level], indexes[level]
        centre = rng.normal(0, 8, dimension)
        if rng.random() < 0.5:
            centre = cover.x[rng.integers(len(cover))].astype(np.float64)
        far = brute(cover, centre)
        exact = float(rng.choice(far))
        agrees(cover, index, centre, float(rng.exponential(4.0)))
        agrees(cover, index, centre, exact)
        assert int(np.argmin(np.abs(far - exact))) in index.within(centre, exact)[0]
        agrees(cover, index, centre, math.nextafter(exact, 0.0) * (1 - 1e-9))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30, 2e38])
def test_a_distance_that_was_answered_gives_the_node_back(scale: float) -> None:
    """Whatever float32 can hold: beyond it the lanes overflow and the exact sums decide."""
    rng = np.random.default_rng(3)
    nodes = {ROOT: NodeSummary(ROOT, 0, None, None)}
    for i in range(20):
        nodes[0, i] = NodeSummary((0, i), 1, 0.0, rng.uniform(-scale, scale, 5).astype(np.float32))
        for j in range(9):
            moved = (nodes[0, i].centroid * rng.uniform(0.9, 1.1)).astype(np.float32)
            nodes[0, i, j] = NodeSummary((0, i, j), 1, 0.0, moved)
    cover = level_cover(nodes, 2)
    index = Neighbors(nodes, cover)
    centre = rng.uniform(-scale, scale, 5)
    found, distances = index.within(centre, 1e300)
    assert len(found) == len(cover) == 180
    for i, r in zip(found.tolist(), distances.tolist(), strict=True):
        again, to = index.within(centre, r)
        assert i in again and to.max() <= r * (1 + 1e-12)
        agrees(cover, index, centre, r)


def test_a_centre_between_two_numbers_of_float32_is_not_rounded() -> None:
    """At 1e8 float32 has steps of 8: the lanes see a centre that lies up to 4 away."""
    nodes: dict[Path, NodeSummary] = {ROOT: NodeSummary(ROOT, 0, None, None)}
    for i in range(-20, 20):
        nodes[0, 20 + i] = NodeSummary((0, 20 + i), 1, 0.0, np.array([1e8 + 8 * i], np.float32))
    cover = level_cover(nodes, 1)
    for centre in (1e8 + 3.9, 1e8 - 3.9, 1e8 + 12.0):
        found, distances = Neighbors(nodes, cover).within(np.array([centre]), 4.2)
        away = np.abs(cover.x[:, 0].astype(np.float64) - centre)
        assert sorted(found.tolist()) == np.flatnonzero(away <= 4.2).tolist()
        assert distances.tolist() == sorted(away[away <= 4.2].tolist())


def test_ties_and_doubles_come_together_in_the_order_of_their_paths() -> None:
    nodes: dict[Path, NodeSummary] = {ROOT: NodeSummary(ROOT, 0, None, None)}
    for i in range(30):
        angle = 2 * math.pi * (i % 3) / 3
        point = np.array([math.cos(angle), math.sin(angle)], np.float32)
        nodes[0, i] = NodeSummary((0, i), 1, 0.0, point)
    cover = level_cover(nodes, 1)
    index = Neighbors(nodes, cover)
    found, distances = index.within(np.array([1.0, 0.0]), 0.0)
    assert (found.tolist(), set(distances.tolist())) == (list(range(0, 30, 3)), {0.0})
    assert len(index.within(np.array([0.0, 0.0]), 1.0 + 1e-7)[0]) == 30


def test_an_entry_without_a_centre_is_nobodys_neighbour() -> None:
    alone = {ROOT: NodeSummary(ROOT, 7, None, None)}
    found, distances = Neighbors(alone, level_cover(alone, 0)).within(np.zeros(3), 1e9)
    assert len(found) == len(distances) == 0


def test_few_centres_are_looked_at_where_clusters_lie_apart() -> None:
    """Pruning is what the index is for: a far cluster may hold anything, even what breaks a sum."""
    nodes: dict[Path, NodeSummary] = {ROOT: NodeSummary(ROOT, 0, None, None)}
    for i in range(3):
        nodes[0, i] = NodeSummary((0, i), 1, 0.0, np.array([i * 100.0], np.float32))
        for j in range(3):
            point = np.array([i * 100.0 + j], np.float32)
            nodes[0, i, j] = NodeSummary((0, i, j), 1, 0.0, point)
    index = Neighbors(nodes, level_cover(nodes, 2))
    tiles = index._table.reshape(-1)
    tiles[tiles >= 200.5] = 0.0  # were they looked at, they would be found
    assert index.within(np.array([0.0]), 50.0)[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("wrong", [-1.0, -1e-300, math.nan, math.inf])
def test_an_impossible_distance_is_refused(wrong: float) -> None:
    nodes = grown(np.random.default_rng(0), 1, 2)
    with pytest.raises(QueryRefused, match="max_distance"):
        Neighbors(nodes, level_cover(nodes, 1)).within(np.zeros(2), wrong)
    with pytest.raises(QueryRefused, match="3 numbers"):
        Neighbors(nodes, level_cover(nodes, 1)).within(np.zeros(3), 1.0)


def test_centres_are_checked_as_rows_are() -> None:
    assert centre_of([1, 2.5], 2).tolist() == [1.0, 2.5]
    assert centre_of([1, 2, 3], 0).tolist() == [1.0, 2.0, 3.0]
    for wrong in ([], [1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(QueryRefused, match="numbers"):
            centre_of(wrong, 2)
    for bad in (math.nan, math.inf, 2 * LARGEST):
        with pytest.raises(QueryRefused, match="finite"):
            centre_of([0.0, bad], 2)
    with pytest.raises(QueryRefused, match="zero"):
        centre_of([0.0, 0.0], 2, "cosine")
    for size in (1e-300, 1.0, LARGEST):
        assert centre_of([3 * size / 5, 4 * size / 5], 2, "cosine") == pytest.approx([0.6, 0.8])
