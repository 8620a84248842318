"""Nodes that re-open: against a plain recursion over the rows, and what must follow from it."""

from __future__ import annotations

import random

import numpy as np
from core.test_subtree import CENTRE, EPSILONS, ROOT, SHAPE, Host
from hypothesis import given, settings
from hypothesis import strategies as st
from sim.recursion import recursion

from pctstream.core.node import Gates, Shape

LIVING = SHAPE._replace(miss_limit=0.1, miss_window=32, miss_cooldown=64)
BUDGET = 4000


def drifting(seed: int, count: int) -> np.ndarray:
    """Clusters that move on, some by jumps; a few rows lie anywhere."""
    rng = np.random.default_rng(seed)
    far, near = rng.normal(0, 6, (4, 2)), rng.normal(0, 1.5, (5, 2))
    rows = far[rng.integers(0, 4, count)] + near[rng.integers(0, 5, count)]
    rows = rows + np.linspace(0, rng.uniform(0, 20), count)[:, None] * rng.normal(0, 1, 2)
    for at in rng.integers(0, count, 3):
        rows[at:] += rng.normal(0, 5, 2)
    rows[rng.random(count) < 0.02] *= 3
    return (rows + rng.normal(0, 0.3, (count, 2))).astype(np.float32)


def grown(rows: np.ndarray, shape: Shape = LIVING, budget: int = BUDGET, level: int = 4) -> Host:
    """All levels open from the start, in units of 50 rows."""
    host = Host(shape, budget, Gates(level, EPSILONS))
    for at in range(0, len(rows), 50):
        host.feed(rows[at : at + 50])
    host.perform(host.node.hurry())
    return host


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["gap", "block"]), st.sampled_from([60, BUDGET]))
def test_a_living_tree_is_a_function_of_the_rows_alone(seed: int, stop: str, budget: int) -> None:
    """R0: whatever the units, the moments at which levels close, and the restarts."""
    chance = random.Random(seed)
    rows = drifting(seed, chance.randint(50, 3000))
    shape = LIVING._replace(stop=stop, sink_rows=chance.choice([90, 400]))
    host, at = Host(shape, budget), 0
    while at < len(rows):
        size = chance.choice([1, 7, 60, 400])
        host.feed(rows[at : at + size])
        at += size
        if chance.random() < 0.1:
            host.open(min(4, host.gates.open_level + 1))
        if chance.random() < 0.05:
            host.restart()
    for level in range(host.gates.open_level, 5):
        host.open(level)
    assert host.told() == recursion(ROOT, rows, CENTRE, shape, budget, EPSILONS)
    host.restart()
    assert not host.node.subtree.work
