"""A portion's subtree against a plain recursion over the sequence of its rows."""

from __future__ import annotations

import random

import numpy as np
import pytest
from core.rows import block_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sim.memory import MemoryKV
from sim.recursion import Tree, as_stored, recursion

from pctstream.core import life
from pctstream.core.block import Block, Source
from pctstream.core.effects import Apply, Effect, Regrow
from pctstream.core.names import Path
from pctstream.core.node import Gates, Shape
from pctstream.core.portion import Portion
from pctstream.core.unit import Unit
from pctstream.store import Store

PIPE = Source("t.P0.3", 0)
INGEST = Source("t.P0", 0)
CENTRE = np.zeros(2, np.float32)
ROOT: Path = (0, 3)
SHAPE = Shape(2, gap=30, sink_rows=400, prototypes=60, kmeans_iterations=2, max_level=4, fanout=3)
EPSILONS = {1: 4.0, 2: 1.6, 3: 0.7}


def rows_of(seed: int, count: int) -> np.ndarray:
    """Clusters of clusters, and a little of everything."""
    rng = np.random.default_rng(seed)
    far, near = rng.normal(0, 6, (4, 2)), rng.normal(0, 1.5, (5, 2))
    rows = far[rng.integers(0, 4, count)] + near[rng.integers(0, 5, count)]
    return (rows + rng.normal(0, 0.3, (count, 2))).astype(np.float32)


class Host:
    """A portion over a store, as the performer drives it."""

    def __init__(
        self, shape: Shape = SHAPE, budget: int = 4000, gates: Gates | None = None
    ) -> None:
        self.store = Store(MemoryKV())
        self._shape, self._budget = shape, budget
        self.gates = gates or Gates(1, EPSILONS)
        self.passes = self.seen = 0
        self.restart()

    def restart(self) -> None:
        found = self.store.position(PIPE)
        position = found[0] if found else None
        saved, nodes = self.store.state(ROOT), self.store.subtree(ROOT)
        self.node = Portion(
            ROOT, PIPE, CENTRE, 5, self._shape, self._budget, 7.0, position, saved, nodes
        )
        self.perform(self.node.adopt(self.gates))

    def open(self, level: int, epsilons: dict[int, float] = EPSILONS) -> None:
        self.gates = Gates(level, epsilons)
        self.perform(self.node.adopt(self.gates))

    def feed(self, rows: np.ndarray) -> None:
        at = self.node.taken + 1
        places = [(INGEST, at * 10_000 + i, 0) for i in range(len(rows))]
        self.perform(self.node.feed(Unit(PIPE, at - 1, at, block_of(places, rows))))

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Apply):
                self.store.apply(effect)
            if isinstance(effect, Regrow):
                self.passes += 1
                self.node.begin_pass()
                for offset, rows, leaves in self.store.placed(ROOT):
                    self.seen += len(rows)
                    self.node.revisit(offset, rows, leaves)
                self.perform(self.node.end_pass())

    def through(
        self, rows: np.ndarray, chance: random.Random, epsilons: dict[int, float] = EPSILONS
    ) -> None:
        """All the rows, in units of any size, while levels open and the process dies."""
        at = 0
        while at < len(rows):
            size = chance.choice([1, 7, 60, 400])
            self.feed(rows[at : at + size])
            at += size
            if chance.random() < 0.1:
                self.open(min(4, self.gates.open_level + 1), epsilons)
            if chance.random() < 0.05:
                self.restart()
        for level in range(self.gates.open_level, 5):
            self.open(level, epsilons)
        self.perform(self.node.hurry())

    def told(self) -> Tree:
        """Everything of every node, as the store has it."""
        return as_stored(self.store, ROOT)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["gap", "block"]))
def test_the_tree_is_a_function_of_the_rows_alone(seed: int, stop: str) -> None:
    """R0: whatever the units, the moments at which levels close, and the restarts."""
    chance = random.Random(seed)
    rows = rows_of(seed, chance.randint(50, 2500))
    shape = SHAPE._replace(stop=stop)
    host = Host(shape)
    host.through(rows, chance)
    assert host.told() == recursion(ROOT, rows, CENTRE, shape, 4000, EPSILONS)
    host.restart()
    assert not host.node.subtree.work


def test_a_level_is_not_begun_before_the_one_above_has_closed() -> None:
    host = Host()
    host.feed(rows_of(1, 1500))
    assert [n.state for n in host.node.subtree.nodes] == [life.WAITING]
    host.open(2)
    levels = [n.level for n in host.node.subtree.nodes]
    assert max(levels) == 2
    assert any(n.state == life.WAITING for n in host.node.subtree.nodes)
    host.open(3)
    assert max(n.level for n in host.node.subtree.nodes) == 3
    for node in host.node.subtree.nodes:
        modes = [mode for mode, *_ in node.history]
        assert modes == list(range(life.MODES[node.state] + 1)), "none is skipped"


def test_no_node_is_born_before_the_level_above_has_closed() -> None:
    """Though its first rows may be older: the level closed because no row came for a while."""
    host = Host()
    host.feed(rows_of(1, 1500))
    closed = (0.0, 100.0, 300.0, 400.0)
    for level in (2, 3, 4):
        host.gates = Gates(level, EPSILONS, closed[:level])
        host.perform(host.node.adopt(host.gates))
    host.restart()
    for node in host.node.subtree.nodes:
        times = [time for _, _, time, _ in node.history]
        assert times == sorted(times)
        assert node.level == 1 or times[0] >= closed[node.level - 1]
        assert node.state != life.SPLITTING or times[2] >= closed[node.level]


def test_a_node_that_may_not_have_so_many_below_it_is_a_sink_and_says_so() -> None:
    host = Host(budget=40)
    host.feed(rows_of(1, 1500))
    host.open(4)
    told = host.told()
    assert told == recursion(ROOT, rows_of(1, 1500), CENTRE, SHAPE, 40, EPSILONS)
    assert len(told) <= 41
    assert "nodes" in {t["limit"] for t in told.values()}


def test_an_epsilon_that_comes_late_is_proposed_by_the_first_nodes_and_finds_the_same() -> None:
    rows = rows_of(2, 1200)
    late = Host()
    late.open(1, {1: EPSILONS[1]})
    late.feed(rows[:600])
    late.open(4, {1: EPSILONS[1]})
    proposals = [n.proposal for n in late.node.subtree.nodes if n.level == 2]
    assert any(proposals)
    assert all(p is None or p[1] > 0 for p in proposals)
    assert {n.state for n in late.node.subtree.nodes if n.level == 2} == {life.COVERING}
    late.feed(rows[600:900])
    late.open(4)
    late.feed(rows[900:])
    assert late.told() == recursion(ROOT, rows, CENTRE, SHAPE, 4000, EPSILONS)


def test_examining_rows_changes_nothing() -> None:
    host = Host()
    host.feed(rows_of(3, 900))
    host.open(4)
    before = host.told()
    block: Block = block_of([(INGEST, i, 0) for i in range(50)], rows_of(4, 50))
    host.node.examine(block)
    assert not host.node.subtree.take_records()
    assert host.told() == before


@pytest.mark.parametrize("seed", range(3))
def test_restored_without_rows_it_goes_on(seed: int) -> None:
    host = Host()
    host.restart()
    host.feed(rows_of(seed, 300))
    host.restart()
    host.feed(rows_of(seed + 9, 300))
    both = np.concatenate([rows_of(seed, 300), rows_of(seed + 9, 300)])
    assert (
        host.told()[ROOT]["counts"]
        == recursion(ROOT, both, CENTRE, SHAPE, 9, EPSILONS)[ROOT]["counts"]
    )


def test_leaves_that_end_one_by_one_do_not_make_all_rows_be_read_for_each() -> None:
    """Passes together stay linear in the rows; what was put off is done as soon as nothing comes."""
    shape = SHAPE._replace(gap=60, sink_rows=4000, prototypes=200, max_level=3)
    epsilons = {1: 3.0, 2: 3.0}
    rng = np.random.default_rng(5)
    share = 1.0 / np.arange(1, 61)
    which = np.concatenate([np.arange(60), rng.choice(60, 30_000, p=share / share.sum())])
    rows = (np.c_[which * 10.0, which * 0.0] + rng.normal(0, 0.1, (len(which), 2))).astype("f4")
    host = Host(shape, 4000, Gates(3, epsilons))
    for at in range(0, len(rows), 100):
        host.feed(rows[at : at + 100])
    assert host.seen < 20 * len(rows)
    host.perform(host.node.hurry())
    assert not host.node.waits
    assert host.told() == recursion(ROOT, rows, CENTRE, shape, 4000, epsilons)


def test_what_the_routing_says_again_brings_no_pass_and_no_news() -> None:
    """Each step of a move is a record that all nodes hear of: it must not cost all rows each time."""
    shape = SHAPE._replace(gap=60, sink_rows=4000, prototypes=200, max_level=3)
    host = Host(shape, 4000, Gates(2, {1: 3.0, 2: 0.2}))
    which = np.random.default_rng(5).permutation(np.repeat(np.arange(20), 100))
    rows = (np.c_[which * 10.0, which * 0.0]).astype("f4")
    parts = iter(np.array_split(rows, 200))
    while not host.node.waits:
        host.feed(next(parts))
    assert host.node.subtree.ended, (
        "leaves have ended, and too few rows came since for another pass"
    )
    passes, version = host.passes, host.node.version
    host.open(2, {1: 3.0, 2: 0.2})
    assert (host.passes, host.node.version) == (passes, version)
    host.open(3, {1: 3.0, 2: 0.2})
    assert host.passes > passes
