"""Each kernel against a slow way that is obviously right; bits, not tolerances, where R10 asks."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core import kernels
from pctstream.core.lanes import LANES
from pctstream.core.nearest import MANY

MASK = 2**64 - 1


def uniform(seed: int, *shape: int) -> kernels.Float32:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def strict_squares(rows: kernels.Float32, centroids: kernels.Float32) -> kernels.Float32:
    """f32[n, k], summed over the dimension in order, one rounding per operation (numpy's own)."""
    total = np.zeros((len(rows), len(centroids)), np.float32)
    for j in range(rows.shape[1]):
        difference = rows[:, j, None] - centroids[None, :, j]
        total = total + difference * difference
    return total


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 40), st.integers(1, 21), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_nearest_has_the_bits_of_a_strict_sum(n: int, d: int, k: int, seed: int) -> None:
    rows, centroids = uniform(seed, n, d), uniform(seed + 1, k, d)
    squares = strict_squares(rows, centroids)
    index = kernels.nearest(rows, kernels.transpose(centroids), k)
    assert index.dtype == np.int32
    assert index.tolist() == (squares.argmin(axis=1).tolist() if n else [])


@pytest.mark.parametrize("scale", [1.0, 1e-18, 1e-22, 1e19])
@pytest.mark.parametrize("d", [2, 9, 40, 200])
def test_where_only_rounding_tells_the_nearest_the_strict_sum_decides(d: int, scale: float) -> None:
    """All centroids lie at one distance but for the order of their numbers; squares that underflow
    or overflow too."""
    rng = np.random.default_rng(d)
    numbers = uniform(d, d)
    centroids = np.stack([rng.permutation(numbers) for _ in range(37)]) * np.float32(scale)
    rows = np.repeat(uniform(d + 1, 4 * MANY + 3, 1), d, axis=1) * np.float32(scale)
    with np.errstate(over="ignore", under="ignore"):
        squares = strict_squares(rows, centroids)
    index = kernels.nearest(rows, kernels.transpose(centroids), len(centroids))
    assert index.tolist() == squares.argmin(axis=1).tolist()


def test_ties_go_to_the_lowest_index_in_every_lane() -> None:
    k = 3 * LANES + 1
    for low in range(k):
        centroids = np.full((k, 2), 9, np.float32)
        centroids[low:] = 1
        rows = np.ones((MANY + 1, 2), np.float32)
        index = kernels.nearest(rows, kernels.transpose(centroids), k)
        assert index.tolist() == [low] * (MANY + 1)


def test_columns_that_do_not_exist_never_win() -> None:
    far = np.full((MANY + 2, 3), 3e38, np.float32)
    index = kernels.nearest(far, kernels.transpose(-far[:1]), 1)
    assert not index.any()


def test_the_place_of_a_row_among_others_does_not_show() -> None:
    rows, centroids = uniform(1, 3 * MANY + 2, 33), uniform(2, 19, 33)
    table = kernels.transpose(centroids)
    whole = kernels.nearest(rows, table, 19)
    for i in range(len(rows)):
        assert kernels.nearest(rows[i : i + 1], table, 19)[0] == whole[i]


@pytest.mark.parametrize(
    "rows",
    [np.zeros((2, 4), np.float32), np.zeros((2, 3)), np.zeros((3, 2), np.float32).T,
     np.zeros(3, np.float32)],
)  # fmt: skip
def test_rows_that_a_kernel_would_misread_are_refused(rows: kernels.Float32) -> None:
    table = kernels.transpose(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="rows"):
        kernels.nearest(rows, table, 2)


@given(st.lists(st.integers(0, 6), max_size=60))
@settings(deadline=None)
def test_grouped_is_a_stable_sort(cells: list[int]) -> None:
    order, starts = kernels.grouped(np.array(cells, np.int32), 7)
    assert order.tolist() == sorted(range(len(cells)), key=cells.__getitem__)
    assert starts.tolist() == [sum(c < at for c in cells) for at in range(8)]


def test_sums_distances_and_norms_are_those_of_plain_python() -> None:
    rows, centroids = uniform(3, 200, 9), uniform(4, 5, 9)
    index = kernels.nearest(rows, kernels.transpose(centroids), 5)
    sums, counts = kernels.lloyd_sums(rows, index, 5)
    plain = [[0.0] * 9 for _ in range(5)]
    for row, cell in zip(rows.tolist(), index.tolist(), strict=True):
        plain[cell] = [s + x for s, x in zip(plain[cell], row, strict=True)]
    assert sums.tolist() == plain
    assert counts.tolist() == np.bincount(index, minlength=5).tolist()

    def strict(numbers: list[float]) -> float:
        total = 0.0
        for x in numbers:
            total += x * x
        return math.sqrt(total)

    wide, middles = rows.tolist(), centroids.tolist()
    assert kernels.norms(rows).tolist() == [strict(row) for row in wide]
    assert kernels.distances(rows, index, centroids).tolist() == [
        strict([x - y for x, y in zip(row, middles[c], strict=True)])
        for row, c in zip(wide, index.tolist(), strict=True)
    ]


def test_normalised_rows_have_norm_one_even_where_float32_would_overflow() -> None:
    rows = uniform(5, 50, 7) * np.float32(3e38)
    rows[0] = 1e-42
    assert np.allclose(kernels.norms(kernels.normalise(rows)), 1.0, rtol=1e-6, atol=0)


def test_finite_sees_every_place() -> None:
    rows = np.zeros((9, 3), np.float32)
    for i, bad in enumerate((np.nan, np.inf, -np.inf)):
        rows[i, i] = bad
    rows[4] = 3e38
    assert kernels.finite(rows).tolist() == [False] * 3 + [True] * 6


def mix(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20), st.integers(0, MASK))
@settings(deadline=None)
def test_hashes_are_those_of_plain_python(words: list[int], seed: int) -> None:
    golden = 0x9E3779B97F4A7C15
    total = sum(mix((w + (j + 1) * golden) & MASK) for j, w in enumerate(words)) & MASK
    want = mix(total ^ mix((seed + (len(words) + 1) * golden) & MASK))
    vectors = np.array([words], np.uint32).view(np.float32)
    assert kernels.row_hashes(vectors, np.array([seed], np.uint64)).tolist() == [want]


def test_a_single_bit_changes_half_of_the_hash() -> None:
    words = np.zeros((1 + 32 * 5, 5), np.uint32)
    for bit in range(32 * 5):
        words[1 + bit, bit // 32] = 1 << (bit % 32)
    hashes = kernels.row_hashes(words.view(np.float32), np.zeros(len(words), np.uint64))
    assert len(set(hashes.tolist())) == len(words)
    flipped = [int(h ^ hashes[0]).bit_count() for h in hashes[1:]]
    assert 30 < np.mean(flipped) < 34 and min(flipped) > 12


def test_hashes_tell_apart_what_looks_equal() -> None:
    rows = np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
    seeds = np.array([7, 7, 7, 8], np.uint64)
    assert len(set(kernels.row_hashes(rows, seeds).tolist())) == 4


def test_hashes_of_rows_on_a_grid_do_not_collide() -> None:
    """Small integers as float32 differ in few high bits only: where weak sums collide."""
    grid = np.stack(np.meshgrid(*[np.arange(-8, 8)] * 4), -1).reshape(-1, 4).astype(np.float32)
    hashes = kernels.row_hashes(grid, np.zeros(len(grid), np.uint64))
    assert len(np.unique(hashes)) == len(grid)
    assert len(np.unique(hashes >> np.uint64(32))) > len(grid) - 8


def everything() -> str:
    """A digest over what every kernel makes of awkward input (also run in another process)."""
    out = hashlib.blake2b()
    for n, d, k in ((101, 128, 48), (50, 7, 3), (40, 784, 22)):
        rows, centroids = uniform(6, n, d), uniform(7, k, d)
        index = kernels.nearest(rows, kernels.transpose(centroids), k)
        epsilon = float(np.median(kernels.distances(rows, index, centroids)))
        found = (
            index, *kernels.lloyd_sums(rows, index, k), kernels.norms(rows),
            kernels.normalise(rows), kernels.distances(rows, index, centroids),
            kernels.row_hashes(rows, np.arange(n, dtype=np.uint64)),
            np.array(kernels.beyond(rows, index, centroids, epsilon)),
        )  # fmt: skip
        for array in found:
            out.update(array.tobytes())
    return out.hexdigest()


def test_another_cpu_gives_the_same_bits(tmp_path: Path) -> None:
    """R10: compiled for a CPU without AVX or fused operations, nothing changes."""
    plain = {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    code = "import test_kernels; print(test_kernels.everything())"
    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env={**os.environ, **plain, "PYTHONPATH": str(Path(kernels.__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert other.stdout.strip() == everything()
