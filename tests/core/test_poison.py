"""Halving down to the bad rows: exactly those, with few calls."""

from __future__ import annotations

from core.rows import T0, numbered, plain
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core.block import Block, decode
from pctstream.core.poison import sift
from pctstream.core.unit import Unit


@given(st.integers(1, 70), st.sets(st.integers(0, 69), max_size=6))
def test_exactly_the_bad_rows_are_refused(rows: int, bad: set[int]) -> None:
    calls = 0

    def examine(some: Block) -> None:
        nonlocal calls
        calls += 1
        if wrong := bad.intersection(some.offset.tolist()):
            raise KeyError(min(wrong))

    unit = Unit(T0, -1, 99, numbered(range(rows)), (), 12)
    clean = sift(examine, unit)
    found = sorted(b for b in bad if b < rows)
    assert [d.origin.offset for d in clean.dead] == found
    assert [d.message for d in clean.dead] == [f"KeyError({b})" for b in found]
    assert {(d.code, d.stage, d.time_ms) for d in clean.dead} <= {("apply", "apply", 12)}
    assert [plain(decode(d.value or b"")) for d in clean.dead] == [
        plain(numbered([b])) for b in found
    ]
    assert plain(clean.rows) == plain(numbered([r for r in range(rows) if r not in bad]))
    assert (clean.rows is None) == (len(found) == rows)
    assert (clean.source, clean.prev, clean.last) == (T0, -1, 99)
    assert calls <= 1 + 2 * len(found) * 7
    if not found:
        assert clean is unit
