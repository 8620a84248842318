"""The pyramid of moments: what is kept for every age, how many, and what is read back."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from core.trees import grown
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core.moments import KEPT, MOST, Moment, at, made_up, order, slot
from pctstream.core.names import level
from pctstream.core.solver import level_cover
from pctstream.errors import Gone, NotFound, Unreadable
from pctstream.tables import ReadModel, told

RATIO = 1.0 / (KEPT - 1.5)


def kept(ticks: range) -> set[int]:
    """The ticks that are left when all of these were taken one after the other."""
    return set({slot(n): n for n in ticks}.values())


@given(st.integers(0, 10**9), st.integers(1, 6000))
def test_for_every_age_a_moment_is_kept_that_is_little_older(first: int, count: int) -> None:
    now = first + count - 1
    held = kept(range(first, now + 1))
    assert len(held) <= KEPT * (count.bit_length() + 1) <= MOST
    ages = sorted(now - n for n in held)
    for age in range(count):
        most = age * (1 + RATIO) + 1
        if most < count:  # as long ago ticks were taken
            older = next(a for a in ages if a >= age)
            assert older <= most, (age, older)


def test_years_of_minutes_are_few_moments() -> None:
    minutes = range(30_000_000, 30_000_000 + 4 * 525_600)
    assert len(kept(minutes)) <= KEPT * 22


@given(st.integers(0, 10**6), st.integers(1, 3000))
def test_a_missed_tick_is_made_up_for_by_the_one_of_the_highest_order(
    after: int, more: int
) -> None:
    found = made_up(after, after + more)
    assert after < found <= after + more
    assert order(found) == max(order(n) for n in range(after + 1, after + more + 1))


def moment(seed: int, number: int, time: float, most: int = 10_000) -> Moment:
    nodes = grown(np.random.default_rng(seed), depth=3, dimension=2)
    return Moment.of(number, time, 7, nodes, most)


def test_a_moment_goes_as_deep_as_its_nodes_may_be_many() -> None:
    nodes = grown(np.random.default_rng(3), depth=3, dimension=2)
    sizes = [sum(level(p) <= at for p in nodes) for at in range(4)]
    assert sizes[0] == 1 and sizes[1] < sizes[2] < sizes[3] == len(nodes)
    for most, depth in ((0, 0), (sizes[1], 1), (sizes[2] - 1, 1), (sizes[2], 2), (sizes[3], None)):
        found = Moment.of(1, 0.0, 1, nodes, most)
        assert found.depth == depth
        assert len(found.nodes) == (sizes[3] if depth is None else sizes[depth])


def test_the_cover_of_a_moment_is_the_cover_of_then() -> None:
    then = grown(np.random.default_rng(5), depth=3, dimension=2)
    told_ = Moment.of(9, 12.5, 7, then, 10_000).record()
    now = {p: type(n)(p, n.rows * 3 + 1, 99.0, n.centroid) for p, n in then.items()}
    found = Moment.read(told_)
    assert (found.number, found.time, found.epoch) == (9, 12.5, 7)
    for number in range(4):
        was, again = level_cover(then, number), level_cover(found.summaries(now), number)
        assert again.paths == was.paths and again.rows.tolist() == was.rows.tolist()
        assert np.array_equal(again.x, was.x, equal_nan=True)
        assert np.array_equal(again.radius, was.radius, equal_nan=True)


@pytest.mark.parametrize("seed", range(5))
def test_every_reader_keeps_the_same_whatever_it_reads_twice(seed: int) -> None:
    """As a compacted log gives them: the last of each key, before it perhaps older ones."""
    records = [{**moment(1, n, 60.0 * n).record(), "worker": "w"} for n in range(100, 160)]
    again = records + random.Random(seed).choices(records, k=40)
    one, other = ReadModel(), ReadModel()
    for record in again:
        one.fold(record)
    for number in sorted(kept(range(100, 160))):
        other.fold(records[number - 100])
    assert {r["offset"] for r in one.of("moment")} == kept(range(100, 160))
    assert {r["offset"] for r in other.of("moment")} == kept(range(100, 160))


def test_which_moment_answers_for_a_time() -> None:
    deep, flat = moment(5, 1, 100.0).record(), moment(5, 2, 160.0, most=1).record()
    assert at([flat, deep], 159.9, 3).time == 100.0
    assert at([flat, deep], 160.0, 0).time == 160.0
    assert at([flat, deep], 1e12, 0).time == 160.0
    with pytest.raises(Gone, match="begins at 100"):
        at([flat, deep], 99.9, 0)
    with pytest.raises(Gone, match="down to 0"):
        at([flat, deep], 160.0, 1)
    with pytest.raises(NotFound):
        at([], 160.0, 0)


@pytest.mark.parametrize(
    "change",
    [{"rows": "!"}, {"rows": "AAAA"}, {"names": "N0,x"}, {"names": 3}, {"radius": None},
     {"depth": "deep"}, {"time": []}],
)  # fmt: skip
def test_a_record_that_nobody_wrote_is_refused(change: dict[str, Any]) -> None:
    record = {**moment(5, 1, 100.0).record(), **change}
    with pytest.raises(Unreadable):
        Moment.read(record)
    assert told(b'{"kind": "moment", "slot": "0.1"}') == {}
