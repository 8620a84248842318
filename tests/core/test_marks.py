"""Marks against a set of everything seen, on streams as the rules allow them."""

from __future__ import annotations

import random

from core.rows import block_of
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core.block import Source
from pctstream.core.marks import Marks

SOURCES = [Source("t", p) for p in range(3)]


@given(st.integers(0, 2**32), st.integers(1, 7))
def test_what_passes_the_marks_is_what_a_set_never_saw(seed: int, most: int) -> None:
    """Writers repeat a prefix from where the last one was acked, and interleave (R3)."""
    chance = random.Random(seed)
    logs = {s: [(o, i) for o in range(chance.randint(0, 8)) for i in range(chance.randint(1, 3))]
            for s in SOURCES}  # fmt: skip
    writers = [(s, chance.randint(0, len(logs[s])) if n else 0) for n in range(3) for s in SOURCES]
    reached = dict.fromkeys(SOURCES, 0)
    stream: list[tuple[Source, int, int]] = []
    heads = {n: at for n, (_, at) in enumerate(writers)}
    while heads:
        n = chance.choice(sorted(heads))
        source, at = writers[n][0], heads[n]
        if at == len(logs[source]):
            del heads[n]
        elif at > reached[source]:
            heads[n] = reached[source]  # a writer begins at or below what lies in the pipe
        else:
            stream.append((source, *logs[source][at]))
            reached[source] = max(reached[source], at + 1)
            heads[n] += 1
    marks, seen = Marks(), set()
    at = 0
    while at < len(stream):
        part = stream[at : at + chance.randint(1, most)]
        at += len(part)
        expected = [row not in seen and not seen.add(row) for row in part]
        assert marks.advance(block_of(part, [[0.0]] * len(part))).tolist() == expected
        marks = Marks.from_json(marks.to_json()) if chance.random() < 0.3 else marks.copy()
    for source in SOURCES:
        last = logs[source][-1] if logs[source] else (-1, -1)
        assert marks.of(source) == last
        assert marks.count(source) == len(set(logs[source]))
        assert all(marks.reached(source, row) for row in logs[source])
        assert not marks.reached(source, (last[0], last[1] + 1))


def test_a_copy_does_not_move_with_the_original() -> None:
    marks = Marks()
    copy = marks.copy()
    copy.advance(block_of([(SOURCES[0], 4, 1)], [[0.0]]))
    assert marks.of(SOURCES[0]) == (-1, -1)
