"""Sinks that scan again, against a plain recursion over the sequence of their rows."""

from __future__ import annotations

import random

import numpy as np
import pytest
from core.rows import block_of
from core.test_subtree import CENTRE, INGEST, PIPE, ROOT, SHAPE, Host
from hypothesis import given, settings
from hypothesis import strategies as st
from sim.recursion import recursion

from pctstream.core import life
from pctstream.core.find import FindCover
from pctstream.core.node import Gates, Node, Shape
from pctstream.core.trunk import Trunk
from pctstream.core.unit import Unit

Y = 50
AGAIN = SHAPE._replace(sink_rows=Y, gap=12, sink_scans=True, prototypes=12)
WIDE, DEEP = Gates(1, {1: 1.0, 2: 0.7, 3: 0.5}), Gates(1, {1: 22.0, 2: 1.0, 3: 0.5})
"""Where noise makes a sink of the portion's root, or of the nodes below it."""


def noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """All over the place: no 12 balls of radius 1 cover it."""
    return rng.uniform(-40, 40, (count, 2)).astype(np.float32)


def clusters(rng: np.random.Generator, count: int, k: int = 4) -> np.ndarray:
    """In a few places, which such balls cover, and at each in a few."""
    far, near = rng.uniform(-30, 30, (k, 2)), rng.normal(0, 0.15, (3, 2))
    rows = far[rng.integers(0, k, count)] + near[rng.integers(0, 3, count)]
    return (rows + rng.normal(0, 0.02, (count, 2))).astype(np.float32)


def root_of(host: Host) -> Node:
    return host.node.subtree.nodes[0]


def test_a_sink_whose_rows_come_to_have_a_cover_splits() -> None:
    rng = np.random.default_rng(1)
    before, after = noise(rng, 2 * Y + 20), clusters(rng, 900)
    host = Host(AGAIN, gates=WIDE)
    host.feed(before)
    node = root_of(host)
    assert (node.state, node.limit) == (life.SINK, "prototypes")
    host.feed(after)
    # the scan from 2 Y on met noise; that from 4 Y on has nothing but clusters
    assert (node.state, node.limit) == (life.SPLITTING, "")
    assert node.cover is not None
    stays = 4 * Y + node.cover.rows
    told, counts = host.told(), host.node.subtree.counts
    assert len(told[ROOT]["held"]) == stays
    assert counts.rows[1 : 1 + node.cover.k].sum() == len(before) + len(after) - stays
    assert counts.uncovered[0] == 0
    for level in (2, 3, 4):
        host.open(level, WIDE.epsilons)
    told = host.told()
    assert told == recursion(
        ROOT, np.concatenate([before, after]), CENTRE, AGAIN, 4000, WIDE.epsilons
    )


@pytest.mark.parametrize("shape", [AGAIN._replace(sink_scans=False), Shape(2)])
def test_a_tree_that_was_made_before_has_sinks_for_good(shape: Shape) -> None:
    """Its record 0 says nothing of it."""
    assert not shape.sink_scans
    rng = np.random.default_rng(1)
    host = Host(AGAIN._replace(sink_scans=shape.sink_scans), gates=WIDE)
    host.feed(noise(rng, 2 * Y))
    host.feed(clusters(rng, 900))
    assert root_of(host).state == life.SINK
    assert "epsilon" not in host.store.subtree(ROOT)[0].record


def test_noise_stays_a_sink_and_all_its_scans_look_at_fewer_rows_than_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked = [0]
    feed = FindCover.feed

    def counted(find: FindCover, rows: np.ndarray) -> None:
        before = find.rows
        feed(find, rows)
        looked[0] += find.rows - before

    monkeypatch.setattr(FindCover, "feed", counted)
    host = Host(AGAIN._replace(prototypes=4000), gates=WIDE)
    rows = noise(np.random.default_rng(2), 16 * Y + 20)
    for piece in np.split(rows, range(60, len(rows), 60)):
        host.feed(piece)
    assert root_of(host).state == life.SINK
    # Y at first, Y at 2 Y, 4 Y and 8 Y, and what there is of the next
    assert looked[0] == 4 * Y + 20
    assert host.passes == 0, "to be a sink takes no pass"


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["gap", "block"]))
def test_the_tree_is_a_function_of_the_rows_alone(seed: int, stop: str) -> None:
    """R0: whatever the units, the moments at which levels close, and the restarts, in the middle of a scan
    too; and where an epsilon comes late, so that all is found in a pass."""
    chance, rng = random.Random(seed), np.random.default_rng(seed)
    parts = [chance.choice([noise, clusters])(rng, chance.randint(1, 400)) for _ in range(5)]
    rows = np.concatenate([noise(rng, chance.randint(0, 120)), *parts])
    shape = AGAIN._replace(
        stop=stop, prototypes=chance.choice([6, 12, 60]), miss_limit=chance.choice([0.0, 0.1]),
        miss_window=32, miss_cooldown=1,
    )  # fmt: skip
    budget = chance.choice([5, 30, 4000])
    epsilons = chance.choice([WIDE, DEEP]).epsilons
    host = Host(shape, budget, Gates(1, epsilons if chance.random() < 0.7 else {}))
    host.through(rows, chance, epsilons)
    assert host.told() == recursion(ROOT, rows, CENTRE, shape, budget, epsilons)
    host.restart()
    assert not host.node.subtree.work


def test_children_that_are_there_before_their_level_scan_nothing_until_it_is_open() -> None:
    rng = np.random.default_rng(1)
    rows = np.concatenate([noise(rng, 2 * Y), clusters(rng, 900)])
    host = Host(AGAIN, gates=WIDE)
    host.feed(rows)
    children = host.node.subtree.nodes[1:]
    assert {(n.state, n.find) for n in children} == {(life.COVERING, None)}
    assert not host.node.subtree.work
    host.open(2, WIDE.epsilons)
    assert {n.state for n in children} == {life.WAITING}


def test_a_trunk_node_stays_a_sink() -> None:
    """Its children would be topics: nobody else would know of them."""
    rng = np.random.default_rng(1)
    node = Trunk(ROOT, PIPE, CENTRE, 5, AGAIN, 4000, 7.0)
    node.adopt(WIDE)
    for at, rows in enumerate([noise(rng, 2 * Y), clusters(rng, 900)]):
        places = [(INGEST, at * 10_000 + i, 0) for i in range(len(rows))]
        node.feed(Unit(PIPE, at - 1, at, block_of(places, rows)))
    assert node.mode == life.SINK and len(node.subtree.nodes) == 1
