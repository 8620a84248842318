"""Find-cover: where it ends, why, and what it keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core import kernels
from pctstream.core.find import FindCover, auto_epsilon
from pctstream.core.lanes import Float32


def find(
    dimension: int = 2, epsilon: float = 1.0, gap: int = 100, sink_rows: int = 10_000,
    stop: str = "gap", most: int = 4096,
) -> FindCover:  # fmt: skip
    return FindCover(dimension, epsilon, gap, sink_rows, stop, most)


def sphere(n: int, d: int, seed: int = 0) -> Float32:
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def outcome(found: FindCover) -> tuple[object, ...]:
    return (found.state, found.reason, found.rows, found.gap_now, found.prototypes.tolist())


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 90), min_size=1, max_size=12),
    st.sampled_from(["gap", "block"]),
    st.sampled_from([3, 25, 4096]),
    st.sampled_from([7, 60, 300]),
)
def test_the_pieces_a_node_is_fed_in_do_not_show(
    seed: int, sizes: list[int], stop: str, most: int, sink_rows: int
) -> None:
    rows = np.random.default_rng(seed).normal(size=(sum(sizes), 2)).astype(np.float32)
    whole, pieces = (
        find(epsilon=0.7, gap=20, sink_rows=sink_rows, stop=stop, most=most) for _ in range(2)
    )
    whole.feed(rows)
    for part in np.split(rows, np.cumsum(sizes)[:-1]):
        pieces.feed(part)
    assert outcome(pieces) == outcome(whole)


def test_rows_after_the_one_that_ended_the_scan_are_not_part_of_it() -> None:
    found = find(gap=10)
    found.feed(np.zeros((25, 2), np.float32))
    assert (found.state, found.reason, found.rows, found.gap_now) == ("cover", "gap", 11, 10)
    found.feed(np.full((5, 2), 9, np.float32))
    assert found.rows == 11
    assert found.prototypes.tolist() == [[0.0, 0.0]]


def test_the_last_row_allowed_may_still_make_a_cover() -> None:
    exactly, short = find(gap=10, sink_rows=11), find(gap=10, sink_rows=10)
    for found in (exactly, short):
        found.feed(np.zeros((25, 2), np.float32))
    assert (exactly.state, exactly.rows) == ("cover", 11)
    assert (short.state, short.reason, short.rows) == ("sink", "rows", 10)


def test_one_prototype_too_many_makes_a_sink_at_its_row() -> None:
    rows = np.arange(300, dtype=np.float32).reshape(-1, 1) * 5
    found = find(dimension=1, most=200)
    found.feed(rows)
    assert (found.state, found.reason, found.rows) == ("sink", "prototypes", 201)
    assert found.prototypes.tolist() == rows[:200].tolist()
    enough = find(dimension=1, most=200)
    enough.feed(rows[:200])
    assert (enough.state, enough.rows) == ("covering", 200)


def test_prototypes_from_before_the_buffer_grew_still_cover() -> None:
    rows = np.arange(200, dtype=np.float32).reshape(-1, 1) * 5
    found = find(dimension=1, gap=200)
    found.feed(np.concatenate([rows, rows]))
    assert (found.state, len(found.prototypes), found.gap_now) == ("cover", 200, 200)


def test_a_sphere_of_64_dimensions_is_a_sink() -> None:
    found = find(dimension=64, gap=1000, sink_rows=3000)
    for at in range(0, 4000, 512):
        found.feed(sphere(4000, 64)[at : at + 512])
    assert (found.state, found.reason, found.rows) == ("sink", "rows", 3000)
    assert len(found.prototypes) > 1000


def test_prototypes_pack_and_cover_in_float64() -> None:
    rows = np.random.default_rng(3).uniform(-1, 1, (20_000, 3)).astype(np.float32)
    found = find(dimension=3, epsilon=0.5, gap=400, sink_rows=20_000)
    found.feed(rows)
    assert found.state == "cover"
    points = found.prototypes.astype(np.float64)
    apart = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
    assert apart[np.triu_indices(len(points), 1)].min() > 0.5
    sample = rows[: found.rows].astype(np.float64)
    near = np.sqrt(((sample[:, None] - points[None]) ** 2).sum(-1)).min(axis=1)
    assert near.max() <= 0.5
    assert (near[-400:] > 0).all()


@pytest.mark.parametrize("wrong", [
    {"epsilon": 0.0}, {"gap": 0}, {"sink_rows": 0}, {"most": 0}, {"stop": "never"}, {"dimension": 0}
])  # fmt: skip
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"stop|must be"):
        find(**wrong)


def prototypes_at(rows: Float32, epsilon: float) -> int:
    found = FindCover(rows.shape[1], epsilon, len(rows) + 1, len(rows), "gap", len(rows))
    found.feed(rows)
    return len(found.prototypes)


@pytest.mark.parametrize("fanout", [1, 2, 16, 50])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_auto_epsilon_gives_about_the_fanout(fanout: int, scale: float) -> None:
    rng = np.random.default_rng(fanout)
    for rows in (rng.uniform(-1, 1, (1000, 2)), rng.normal(size=(1000, 30)), sphere(500, 64)):
        scaled = (rows * scale).astype(np.float32)
        count = prototypes_at(scaled, auto_epsilon(scaled, fanout))
        assert abs(count - fanout) <= max(1, fanout // 8)


def test_auto_epsilon_of_rows_without_extent_is_positive() -> None:
    same = np.full((100, 3), 5, np.float32)
    assert auto_epsilon(same, 16) > 0
    assert auto_epsilon(same[:1], 16) > 0
    two = same.copy()
    two[50:] = 6
    assert prototypes_at(two, auto_epsilon(two, 16)) == 2


def test_auto_epsilon_survives_one_wild_row() -> None:
    rows = kernels.normalise(np.random.default_rng(5).normal(size=(1000, 8)).astype(np.float32))
    rows[500] = 1e6
    assert abs(prototypes_at(rows, auto_epsilon(rows, 16)) - 16) <= 2
