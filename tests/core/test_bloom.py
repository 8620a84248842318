"""The filter never denies what it was given, keeps its rate, and refuses what it did not write."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core.bloom import LEAST_DESIGN, REBUILD, Bloom, rate, shape
from pctstream.core.keys import Hashes
from pctstream.errors import Unreadable

ABSENT = 400_000


def some(count: int, seed: int) -> Hashes:
    return np.random.default_rng(seed).integers(0, 2**64, count, np.uint64, endpoint=False)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=50), max_size=8),
    st.sampled_from([0.2, 0.01, 0.0025, 1e-5]),
)
def test_what_was_added_is_never_denied(parts: list[list[int]], fpr: float) -> None:
    bloom, known = Bloom(fpr), set()
    for part in parts:
        bloom.add(np.array(part, np.uint64))
        known |= set(part)
    every = np.array(sorted(known), np.uint64)
    assert bloom.might(every).all()
    assert Bloom.from_bytes(bloom.to_bytes()).might(every).all()
    assert bloom.keys <= len(known)


@pytest.mark.parametrize("fpr", [0.05, 0.01, 0.0025, 0.001])
@pytest.mark.parametrize("design", [LEAST_DESIGN, 100_000])
def test_the_rate_holds_until_it_is_made_anew(fpr: float, design: int) -> None:
    bloom = Bloom(fpr, design)
    absent = some(ABSENT, 1)
    seen = []
    for turn in range(REBUILD):
        assert not bloom.full
        bloom.add(some(design, 2 + turn))
        seen.append(float(bloom.might(absent).mean()))
    expected, bits = bloom.expected, bloom.bits
    bloom.add(some(design // 20, 99))
    assert bloom.full
    noise = 4 * np.sqrt(fpr / ABSENT)
    assert max(seen) <= 1.15 * fpr + noise
    assert seen[-1] == pytest.approx(expected, rel=0.15, abs=noise)
    assert bits / (REBUILD * design) < 1.35 * 1.45 * -np.log2(fpr)  # a plain filter's, and a third


def test_added_again_counts_once() -> None:
    bloom, keys = Bloom(0.001), some(1000, 3)
    assert bloom.add(keys) >= 998
    assert bloom.add(keys) == 0


@pytest.mark.parametrize("fpr", [0.05, 0.01, 0.001])
def test_no_fewer_bits_would_do(fpr: float) -> None:
    per_key, probes = shape(fpr)
    assert rate(per_key, probes) <= fpr
    assert min(rate(per_key - 0.25, k) for k in range(1, 20)) > fpr


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damage_is_seen(data: st.DataObject) -> None:
    bloom = Bloom(0.05)
    bloom.add(some(100, 4))
    raw = bytearray(bloom.to_bytes())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Unreadable):
        Bloom.from_bytes(bytes(raw))


def test_a_length_that_is_claimed_is_not_believed() -> None:
    raw = bytearray(Bloom(0.01).to_bytes())
    raw[8:12] = (2**26).to_bytes(4, "little")
    with pytest.raises(Unreadable):
        Bloom.from_bytes(bytes(raw))


def test_what_it_expects_follows_its_keys_also_after_it_was_read_again() -> None:
    bloom, rng = Bloom(0.01, 20_000), np.random.default_rng(2)
    assert bloom.expected == 0.0
    for _ in range(30):
        bloom.add(rng.integers(0, 2**64, 1000, np.uint64))
        absent = rng.integers(0, 2**64, 50_000, np.uint64)
        assert abs(bloom.expected - float(np.mean(bloom.might(absent)))) < 0.002
    again = Bloom.from_bytes(bloom.to_bytes())
    assert again.expected == pytest.approx(bloom.expected, rel=0.05)
