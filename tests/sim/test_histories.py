"""Histories that Hypothesis makes up: the steps of many lives, shortened where one goes wrong.

A failure ends with the shortest history that shows it, as a command that replays it.
`PCT_SIM_HISTORIES=n` sets how many there are.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from sim.histories import STEPS, WORDS, Step, replay

HISTORIES = int(os.environ.get("PCT_SIM_HISTORIES", "300"))
PARTS = 12
STEPS_EACH = 50

steps = st.tuples(st.sampled_from(WORDS), st.integers(0, 999))
histories = st.lists(steps, min_size=STEPS_EACH, max_size=STEPS_EACH)
ended: dict[int, Counter[str]] = {}
"""Of each part: how its trees and moves ended."""


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_the_history_nothing_is_lost_doubled_or_altered(part: int) -> None:
    ends = ended[part] = Counter()

    @seed(part)
    @settings(
        max_examples=HISTORIES // PARTS, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.integers(0, 9999), histories)
    def holds(number: int, history: list[Step]) -> None:
        log = replay(number, history).workers[0].routing
        ends.update([log.states.get((0,), "nothing"), *(move.stage for move in log.moves.all())])

    holds()


def test_most_trees_grow_and_portions_move_in_the_histories() -> None:
    """Of all parts: Hypothesis draws the same world again and again, so one part may have sinks in most."""
    ends = sum(ended.values(), Counter())
    if len(ended) == PARTS:
        assert ends["splitting"] > HISTORIES / 2, ends
        assert ends["DONE"] > HISTORIES / 10, ends


def test_a_step_that_says_nothing_is_what_others_shrink_to() -> None:
    assert WORDS[0] == "nothing"
    assert set(WORDS) == set(STEPS)
