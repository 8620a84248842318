"""Nodes that re-open: against a plain recursion over the rows, and what must follow from it."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from core.test_subtree import CENTRE, EPSILONS, ROOT, SHAPE, Host
from hypothesis import given, settings
from hypothesis import strategies as st
from sim.recursion import recursion

from pctstream.agents.portions import node_columns
from pctstream.core import kernels, life
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
    host.perform(host.node.hurry())
    assert host.told() == recursion(ROOT, rows, CENTRE, shape, budget, EPSILONS)
    host.restart()
    assert not host.node.subtree.work


@pytest.mark.parametrize("seed", range(4))
def test_old_children_keep_names_and_rows_and_new_ones_take_the_next_names(seed: int) -> None:
    rows = drifting(seed, 2500)
    host = grown(rows[:1200])
    before = {n.path: len(n.children) for n in host.node.subtree.nodes}
    was = lies(host)
    for at in range(1200, 2500, 50):
        host.feed(rows[at : at + 50])
    host.perform(host.node.hurry())
    nodes = {n.path: n for n in host.node.subtree.nodes}
    assert any(len(n.children) > before.get(n.path, 0) > 0 for n in nodes.values()), (
        "none re-opened"
    )
    for path, node in nodes.items():
        names = [host.node.subtree.nodes[number].path for number in node.children]
        assert names == [(*path, i) for i in range(len(names))]
    for old, new in zip(was, lies(host), strict=False):
        assert new[: len(old)] == old, "a row only ever goes down"


def lies(host: Host) -> list[tuple[int, ...]]:
    """The path of the leaf of every row stored, in order."""
    paths = [n.path for n in host.node.subtree.nodes]
    return [paths[i] for _, _, leaves in host.store.placed(ROOT) for i in leaves.tolist()]


@pytest.mark.parametrize("seed", range(4))
def test_prototypes_stay_apart_and_radii_hold_all_members(seed: int) -> None:
    """R8; and a row may lie in another leaf than the centroids of today say."""
    host = grown(drifting(seed, 2500))
    tree = host.node.subtree
    for node in tree.nodes:
        if node.cover is not None:
            p = node.cover.prototypes.astype(float)
            apart = np.linalg.norm(p[:, None] - p[None], axis=2)[np.triu_indices(len(p), 1)]
            assert (apart > node.cover.epsilon).all()
    elsewhere = 0
    stored = np.concatenate([r.plain.vectors for _, r, _ in host.store.placed(ROOT)])
    for row, path in zip(stored, lies(host), strict=True):
        number = 0
        for depth in range(len(ROOT), len(path)):
            node = tree.nodes[number]
            assert node.cover is not None
            table = kernels.transpose(node.cover.centroids)
            elsewhere += int(kernels.nearest(row[None], table, node.cover.k)[0]) != path[depth]
            number = node.children[path[depth]]
            centre = node.cover.centroids[path[depth]].astype(float)
            assert np.linalg.norm(row - centre) <= tree.counts.radius[number] * (1 + 1e-12)
    assert elsewhere, "all rows lie where the centroids say: nothing was shown"


@pytest.mark.parametrize("budget", [30, 60, 200])
def test_no_portion_has_more_nodes_than_its_budget(budget: int) -> None:
    for seed in range(3):
        host = grown(drifting(seed, 3000), budget=budget)
        assert len(host.node.subtree.nodes) <= budget + 1
        assert all(n.spare >= 0 for n in host.node.subtree.nodes)


def test_what_does_not_settle_is_looked_for_in_vain_and_the_node_rests() -> None:
    """Rows all over a wide plane: no gap within `sink_rows`; it rests as long as it looked."""
    rng = np.random.default_rng(3)
    rows = np.concatenate([rng.normal(0, 0.3, (300, 2)), rng.uniform(-500, 500, (1400, 2))])
    host = Host(LIVING._replace(sink_rows=200, prototypes=1000), BUDGET, Gates(2, EPSILONS))
    looks = []
    for at in range(0, len(rows), 50):
        host.feed(rows[at : at + 50].astype(np.float32))
        host.perform(host.node.hurry())
        looks.append(bool(host.store.subtree(ROOT)[0].record.get("scanned")))
    root = host.node.subtree.nodes[0]
    assert root.state == life.SPLITTING and not root.runs
    assert [mode for mode, *_ in root.history][:3] == [0, 1, 2]
    # 200 rows of looking, 200 of rest, to the next window's end
    assert 0.35 <= sum(looks[6:]) / len(looks[6:]) <= 0.6
    assert 3 <= sum(a and not b for a, b in itertools.pairwise(looks)) <= 5


def test_what_a_tree_tells_of_itself() -> None:
    host = grown(drifting(1, 2500))
    columns = node_columns(ROOT, host.store.tree_nodes(ROOT), LIVING)
    for state, bound in zip(columns["state"], columns["miss_bound"], strict=True):
        assert (bound is not None) == (state == life.SPLITTING)
        assert bound is None or 0 < bound <= 1
    assert sum(columns["reopened"]) == sum(len(n.runs) for n in host.node.subtree.nodes) > 3
