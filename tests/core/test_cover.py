"""The refined cover: against k-means in plain Python, its bounds, its bytes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core.cover import Cover, refine
from pctstream.errors import DataLoss


def square(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def plain_lloyd(
    rows: list[list[float]], start: list[list[float]], iterations: int
) -> tuple[list[list[float]], list[int]]:
    """k-means in float64: the centroids, and the cell of each row at the end."""
    centroids = [list(c) for c in start]

    def cells() -> list[int]:
        return [min(range(len(start)), key=lambda c: square(row, centroids[c])) for row in rows]

    for _ in range(iterations):
        index = cells()
        for c in range(len(centroids)):
            members = [row for row, cell in zip(rows, index, strict=True) if cell == c]
            if members:
                centroids[c] = [math.fsum(x) / len(members) for x in zip(*members, strict=True)]
    return centroids, cells()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(0, 4), st.integers(1, 5))
def test_refine_is_k_means_with_true_radii(seed: int, k: int, iterations: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(60, d)).astype(np.float32)
    cover = refine(rows, rows[:k], 0.1, iterations, 9)
    centroids, cells = plain_lloyd(rows.tolist(), rows[:k].tolist(), iterations)
    assert np.allclose(cover.centroids, centroids, rtol=0, atol=1e-5)
    assert cover.weights.tolist() == np.bincount(cells, minlength=k).tolist()
    # as Python floats: a float32 beside a float would round the distance before comparing
    middles, radii = cover.centroids.tolist(), cover.radii.tolist()
    for row, cell in zip(rows.tolist(), cells, strict=True):
        assert math.dist(row, middles[cell]) <= radii[cell]
    assert cover.rows == cover.weights.sum() == 60
    assert cover.prototypes.tolist() == rows[:k].tolist()


def test_an_empty_cell_keeps_its_prototype() -> None:
    rows = np.array([[0], [1], [0], [1]], np.float32)
    starts = np.array([[0.5], [50]], np.float32)
    cover = refine(rows, starts, 1.0, 5, 1)
    assert cover.centroids.tolist() == [[0.5], [50.0]]
    assert cover.weights.tolist() == [4, 0]
    assert cover.radii[0] == pytest.approx(0.5, rel=1e-6)
    assert cover.radii[0] >= 0.5 and cover.radii[1] == 0.0
    assert (cover.entropy_before, cover.entropy_after) == (0.0, 0.0)


def test_one_prototype_is_a_cover() -> None:
    cover = refine(np.ones((9, 3), np.float32), np.ones((1, 3), np.float32), 1.0, 5, 8)
    assert (cover.k, cover.dimension) == (1, 3)
    assert cover.entropy_before == cover.entropy_after == 1.0
    assert cover.radii.tolist() == [0.0]


def small(**changes: Any) -> Cover:
    rows = np.random.default_rng(2).normal(size=(50, 3)).astype(np.float32)
    cover = refine(rows, rows[:7], 0.25, 2, 17)
    return dataclasses.replace(cover, **changes)


@pytest.mark.parametrize("size", [1, 7, 71, 72, 73, 10_000])
def test_pieces_give_the_same_cover(size: int) -> None:
    cover = small()
    pieces = cover.to_pieces(size)
    assert max(map(len, pieces)) <= size
    again = Cover.from_pieces(pieces)
    assert again == cover and again.hash == cover.hash and hash(again) == hash(cover)
    for name in Cover.__dataclass_fields__:
        assert np.array_equal(getattr(again, name), getattr(cover, name)), name


def test_damaged_pieces_are_refused() -> None:
    whole = b"".join(small().to_pieces(10_000))
    entropies = range(40, 56)
    for at in set(range(len(whole))) - set(entropies):
        broken = bytearray(whole)
        broken[at] ^= 0x80
        with pytest.raises(DataLoss):
            Cover.from_pieces([bytes(broken)])
    for pieces in ([], [b""], [whole[:-1]], [whole, b"x"], [whole[:70]], [whole[40:], whole[:40]]):
        with pytest.raises(DataLoss):
            Cover.from_pieces(pieces)


def test_lengths_in_a_header_are_not_believed() -> None:
    whole = bytearray(b"".join(small().to_pieces(10_000)))
    whole[8:16] = b"\xff" * 8
    with pytest.raises(DataLoss, match="has"):
        Cover.from_pieces([bytes(whole)])


def test_the_hash_sees_whatever_decides() -> None:
    cover = small()
    moved = cover.centroids.copy()
    moved[0, 0] = -moved[0, 0]
    changes = (
        {"epsilon": 0.26}, {"rows": 51}, {"gap": 18}, {"centroids": moved}, {"prototypes": moved},
        {"weights": cover.weights[::-1]}, {"radii": cover.radii * 2},
    )  # fmt: skip
    hashes = {small(**change).hash for change in changes}
    assert len(hashes) == len(changes) and cover.hash not in hashes
    assert small(entropy_after=0.5).hash == cover.hash


def test_a_cover_cannot_be_written_to() -> None:
    cover = small()
    with pytest.raises(ValueError, match="read-only"):
        cover.centroids[0] = 0
    with pytest.raises(ValueError, match="radii"):
        small(radii=cover.radii[:3])
