"""The epsilon scan against the definition in plain Python floats, and against itself in pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core.lanes import LANES, Float32, empty_table
from pctstream.core.scan import FULL, OPEN, QUIET, Scanned, beyond, scan


def square(a: list[float], b: list[float]) -> float:
    total = 0.0
    for x, y in zip(a, b, strict=True):
        total += (x - y) * (x - y)
    return total


def plain_scan(
    rows: Float32, cap: int, epsilon: float, quiet: int, aligned: bool
) -> tuple[list[int], int, int, int]:
    """(which rows became prototypes, consumed, gap, end), by the definition."""
    wide = rows.tolist()
    kept: list[int] = []
    gap = 0
    for i, row in enumerate(wide):
        if all(square(row, wide[p]) > epsilon * epsilon for p in kept):
            if len(kept) == cap:
                return kept, i, gap, FULL
            kept.append(i)
            gap = 0
        else:
            gap += 1
        if gap >= quiet and (not aligned or (i + 1) % quiet == 0):
            return kept, i + 1, gap, QUIET
    return kept, len(wide), gap, OPEN


def in_pieces(
    rows: Float32, cuts: list[int], cap: int, epsilon: float, quiet: int, aligned: bool
) -> tuple[list[list[float]], int, int, int]:
    prototypes = np.full((cap, rows.shape[1]), np.nan, np.float32)
    table = empty_table(cap, rows.shape[1])
    done, seen = Scanned(0, 0, 0, OPEN), 0
    for first, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        done = scan(
            rows[first:stop], prototypes, table, done.prototypes, done.gap, seen, epsilon, quiet,
            aligned,
        )  # fmt: skip
        seen += done.consumed
        if done.end != OPEN:
            break
    columns = table.transpose(0, 2, 1).reshape(-1, rows.shape[1])[: done.prototypes]
    assert np.array_equal(columns, prototypes[: done.prototypes])
    return prototypes[: done.prototypes].tolist(), seen, done.gap, done.end


@st.composite
def streams(draw: st.DrawFn) -> tuple[Float32, list[int], int, float, int, bool]:
    """Rows on a coarse grid, where many distances are exactly epsilon, or anywhere."""
    n, d = draw(st.integers(0, 70)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grid = draw(st.booleans())
    rows = rng.integers(-4, 5, (n, d)) if grid else rng.normal(size=(n, d)) * 3
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=6)))
    epsilon = draw(st.sampled_from([1.0, 2.0, math.sqrt(2.0), 3.3, 5.0]))
    cap = draw(st.sampled_from([1, 3, LANES, 2 * LANES + 1, 100]))
    return (
        rows.astype(np.float32), cuts, cap, epsilon, draw(st.integers(1, 30)), draw(st.booleans())
    )  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(streams())
def test_any_pieces_give_what_the_definition_gives(
    stream: tuple[Float32, list[int], int, float, int, bool],
) -> None:
    rows, cuts, cap, epsilon, quiet, aligned = stream
    kept, consumed, gap, end = plain_scan(rows, cap, epsilon, quiet, aligned)
    want = (rows[kept].tolist(), consumed, gap, end)
    assert in_pieces(rows, cuts, cap, epsilon, quiet, aligned) == want
    assert in_pieces(rows, list(range(1, len(rows))), cap, epsilon, quiet, aligned) == want


@pytest.mark.parametrize("d", [1, 50, 784])
def test_rows_a_hair_from_epsilon_are_decided_as_in_float64(d: int) -> None:
    """Where a float32 sum would be wrong about half of the time."""
    rng = np.random.default_rng(d)
    rows = rng.normal(size=(400, d)).astype(np.float32)
    rows[1:] = rows[0] + rows[1:] / np.linalg.norm(rows[1:], axis=1, keepdims=True) * 7
    kept, consumed, gap, end = plain_scan(rows, 400, 7.0, 1000, False)
    assert 1 < len(kept) < 400
    assert in_pieces(rows, [], 400, 7.0, 1000, False) == (rows[kept].tolist(), consumed, gap, end)


@pytest.mark.parametrize(("scale", "epsilon"), [(1e-25, 1e-25), (1e30, 1e30), (3e38, 1e39)])
def test_squares_that_leave_float32_are_decided_as_in_float64(scale: float, epsilon: float) -> None:
    rows = (np.random.default_rng(1).uniform(-1, 1, (200, 3)) * scale).astype(np.float32)
    kept, consumed, gap, end = plain_scan(rows, 200, epsilon, 1000, False)
    assert in_pieces(rows, [77], 200, epsilon, 1000, False) == (
        rows[kept].tolist(), consumed, gap, end,
    )  # fmt: skip


def test_a_block_stops_where_a_gap_does_if_the_quiet_begins_at_its_edge() -> None:
    """Row 10 is the last new one: both end at row 20. Row 11 is: one at 21, the other at 30."""
    rows = np.zeros((40, 1), np.float32)
    rows[9] = 5
    assert [in_pieces(rows, [], 9, 1.0, 10, a)[1] for a in (False, True)] == [20, 20]
    rows[10] = 10
    assert [in_pieces(rows, [], 9, 1.0, 10, a)[1] for a in (False, True)] == [21, 30]


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.sampled_from([0.5, 1.0, 2.0, 1e-30, 1e30]))
def test_beyond_counts_by_the_definition_whatever_the_hint(
    seed: int, k: int, epsilon: float
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-3, 4, (60, 2)).astype(np.float32)
    prototypes = rng.integers(-3, 4, (k, 2)).astype(np.float32)
    want = sum(
        all(square(r, p) > epsilon * epsilon for p in prototypes.tolist()) for r in rows.tolist()
    )
    for hint in (np.zeros(60, np.int32), rng.integers(0, k, 60).astype(np.int32)):
        assert beyond(rows, hint, prototypes, epsilon) == want


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan])
def test_impossible_epsilons_are_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon"):
        in_pieces(np.zeros((3, 2), np.float32), [], 4, epsilon, 10, False)
