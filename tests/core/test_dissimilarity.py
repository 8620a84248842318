from __future__ import annotations

import numpy as np
import pytest

from pctstream.core.dissimilarity import NEUTRAL, dissimilarity
from pctstream.core.layout import Float64, Layout, PortionLoad, ShardRoom


def part(i: int, owner: int, **known: object) -> PortionLoad:
    return PortionLoad((0, i), owner, 1.0, 1.0, **{"rows": 10, **known})  # type: ignore[arg-type]


def unlike(*parts: PortionLoad, shards: int = 3) -> Float64:
    return dissimilarity(Layout.of(parts, [ShardRoom(s) for s in range(shards)]))


def test_centroids_are_the_mean_over_all_pairs() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(5, 2, (12, 3)).astype(np.float32)
    rows = rng.integers(1, 100, 12)
    parts = [part(i, i % 3, centroid=points[i], rows=int(rows[i])) for i in range(12)]
    found = unlike(*parts)
    every = [[float(((a - b) ** 2).sum()) for b in points] for a in points]
    spread = float(np.mean(every))
    for i in range(12):
        for s in range(3):
            here = [j for j in range(12) if j % 3 == s]
            squared = sum(rows[j] * every[i][j] for j in here) / sum(rows[j] for j in here)
            want = 0.0 if i % 3 == s else squared / (squared + spread)
            assert found[i, s] == pytest.approx(want, rel=1e-4)


def test_ranges_by_hand() -> None:
    def box(i: int, owner: int, low: list[float], high: list[float]) -> PortionLoad:
        return part(i, owner, low=np.float32(low), high=np.float32(high))

    mine = box(0, 0, [0, 0], [2, 1])
    # shard 1: the same; shard 2: in the first feature they share 1 of 3, in the second a gap of 3 of 5
    found = unlike(mine, box(1, 1, [0, 0], [2, 1]), box(2, 2, [1, 4], [3, 5]))
    assert found[0].tolist() == pytest.approx([0.0, 0.0, (1 - (1 / 3 - 3 / 5) / 2) / 2])
    # further away is less like, also where nothing is shared
    apart = [unlike(mine, box(1, 1, [x, 0], [x + 1, 1]))[0, 1] for x in (3, 4, 9)]
    assert apart == sorted(apart) and len(set(apart)) == 3


def test_points_without_length_and_equal_ones() -> None:
    at = np.ones(2, np.float32)
    known = {"low": at, "high": at, "centroid": at, "intrinsic": 0.0}
    assert unlike(part(0, 0, **known), part(1, 1, **known), shards=2).tolist() == [[0, 0], [0, 0]]


def test_only_what_is_known_of_both_counts() -> None:
    found = unlike(part(0, 0, intrinsic=4.0), part(1, 1, intrinsic=2.0), part(2, 2))
    assert found[0].tolist() == [0.0, 0.5, NEUTRAL]
    assert found[2].tolist() == [NEUTRAL, NEUTRAL, 0.0]
    assert unlike(part(0, 0), shards=2).tolist() == [[0.0, NEUTRAL]]


def test_all_of_it_lies_between_0_and_1() -> None:
    rng = np.random.default_rng(1)
    parts = []
    for i in range(30):
        at = (rng.normal(0, 1, 5) * 10.0 ** rng.integers(-6, 7)).astype(np.float32)
        width = np.abs(rng.normal(0, 1, 5)).astype(np.float32)
        parts.append(part(i, i % 3, centroid=at, low=at - width, high=at + width,
                          intrinsic=float(rng.uniform(0, 9))))  # fmt: skip
    found = unlike(*parts, shards=4)
    assert ((found >= 0.0) & (found <= 1.0)).all()
    assert (found[:, 3] == NEUTRAL).all()
