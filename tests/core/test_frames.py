"""Arrow streams before a library reads them: cut, damaged, and larger inside than they look."""

from __future__ import annotations

import pyarrow as pa
import pytest
from core.kinds import X, bomb, fixed, stream
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core import frames
from pctstream.errors import RowRefused

COLUMNS = {"vector": fixed([X] * 5), "word": pa.array(["a", "b"] * 2 + ["a"]).dictionary_encode()}


def code(value: bytes) -> str | None:
    try:
        frames.walk(value)
    except RowRefused as refused:
        return refused.code
    return None


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
@pytest.mark.parametrize("twice", [False, True])
def test_cut_anywhere_it_is_truncated(compression: str | None, twice: bool) -> None:
    """But where only the end mark lacks, or a batch and all behind it: both are streams too."""
    whole = stream(COLUMNS, compression, twice)
    assert code(whole) is None
    passed = [n for n in range(len(whole)) if code(whole[:n]) is None]
    assert {code(whole[:n]) for n in range(len(whole)) if n not in passed} == {"truncated"}
    assert passed[-1] == len(whole) - 8
    assert len(passed) == (2 if twice else 1)


def test_what_it_would_become_is_added_up_before_anything_is_allocated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = bomb()
    assert len(value) < 10_000
    assert code(value) == "too-large"
    monkeypatch.setattr(frames, "EXPANDED_BYTES", 5 * 4 * 4 - 1)
    plain = stream({"vector": COLUMNS["vector"]})
    assert code(plain) is None, "what is not compressed is as large as it is"
    long = {"vector": fixed([X]), "note": ["a" * 79]}
    assert code(stream(long, "zstd")) == "too-large"


@pytest.mark.parametrize("tail", [b"x", b"junk of some length", b"\xff", stream(COLUMNS)])
def test_what_follows_the_end_is_not_dropped_in_silence(tail: bytes) -> None:
    assert code(stream(COLUMNS) + tail) == "decode"


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6),
       st.sampled_from([stream(COLUMNS), stream(COLUMNS, "zstd")]))  # fmt: skip
def test_damage_is_refused_or_overlooked_never_raised(
    changes: list[tuple[int, int]], value: bytes
) -> None:
    damaged = bytearray(value)
    for place, byte in changes:
        damaged[place % len(damaged)] = byte
    assert code(bytes(damaged)) in {None, "truncated", "decode", "too-large"}
