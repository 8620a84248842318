"""Children that are folded: against a plain recursion over the rows, and what must follow from it."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from core.test_fading import Timed
from core.test_reopening import BUDGET, LIVING, drifting, lies
from core.test_subtree import CENTRE, EPSILONS, PIPE, ROOT
from core.trees import grown
from hypothesis import given, settings
from hypothesis import strategies as st
from sim.recursion import recursion

from pctstream.agents.portions import folded, miss_bound
from pctstream.core.folding import GRAINS, light, living
from pctstream.core.moments import Moment
from pctstream.core.names import Path
from pctstream.core.node import Gates, Node, Shape
from pctstream.core.promotion import turned
from pctstream.core.solver import NodeSummary, level_cover

FOLDS = LIVING._replace(half_life_s=40.0, fold_share=0.02)


def ages(seed: int, count: int) -> list[float | None]:
    """A row each tenth of a second, some of them late, early, or without a time."""
    chance = random.Random(seed)
    spread = chance.choice([0.0, 10.0, 100.0])
    times: list[float | None] = [i * 0.1 + chance.uniform(-spread, spread) for i in range(count)]
    times[7] = None
    return times


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["gap", "block"]), st.sampled_from([60, BUDGET]))
def test_who_is_folded_is_a_function_of_the_rows_alone(seed: int, stop: str, budget: int) -> None:
    """R0: whatever the units, the moments at which levels close, and the restarts."""
    chance = random.Random(seed)
    rows = drifting(seed, chance.randint(200, 2500))
    times = ages(seed, len(rows))
    shape = FOLDS._replace(stop=stop, sink_rows=chance.choice([90, 400]),
        miss_limit=chance.choice([0.0, 0.1, 0.3]), miss_cooldown=chance.choice([1, 64, 100]),
        fold_share=chance.choice([0.01, 0.1, 0.4]), half_life_s=chance.choice([5.0, 40.0]),
        sink_scans=chance.random() < 0.5)  # fmt: skip
    host = Timed(shape, budget)
    host.times = times
    host.through(rows, chance)
    known = np.array([np.nan if t is None else t for t in times])
    wanted = recursion(ROOT, rows, CENTRE, shape, budget, EPSILONS, 0, known)
    assert host.told() == wanted
    host.restart()
    assert not host.node.subtree.work


HERE = np.array([[0, 0], [9, 0], [0, 9], [9, 9]])
"""Four places, each a child of the root, with a child or two of its own."""


class Stream:
    """A tenth of a second between rows around some of the places."""

    def __init__(self, shape: Shape = FOLDS) -> None:
        self.host = Timed(shape, BUDGET)
        self.host.open(4)
        self._rng = np.random.default_rng(4)
        self.rows = np.zeros((0, 2), np.float32)

    def feed(self, places: list[int], count: int) -> np.ndarray:
        at = HERE[self._rng.choice(places, count)] + self._rng.normal(0, 0.5, (count, 2))
        rows = at.astype(np.float32)
        for start in range(0, count, 50):
            some = rows[start : start + 50]
            times = [(len(self.rows) + i) * 0.1 for i in range(len(some))]
            self.rows = np.concatenate([self.rows, some])
            self.host.feed_at(some, times)
        self.host.perform(self.host.node.hurry())
        return rows

    @property
    def root(self) -> Node:
        return self.host.node.subtree.nodes[0]

    def child(self, place: int) -> int:
        """The child of the root that is nearest to a place, of those that get rows."""
        cover, left = self.root.cover, self.root.folded
        assert cover is not None
        away = np.linalg.norm(cover.centroids - HERE[place], axis=1)
        away[left] = np.inf
        return int(away.argmin())


def test_a_folded_child_keeps_its_rows_and_its_siblings_get_what_comes() -> None:
    stream = Stream()
    stream.feed([0, 1, 2, 3], 800)
    gone, children = stream.child(3), len(stream.root.children)
    assert not stream.root.folded
    stream.feed([0, 1, 2], 4000)
    assert gone in stream.root.folded, "nobody came for ten half-lives"
    left = [i for i in range(children) if i not in stream.root.folded]
    assert {stream.child(p) for p in (0, 1, 2)} <= set(left), "those that rows come to stay"
    was = lies(stream.host)
    assert sum(path[len(ROOT)] == gone for path in was) > 100
    stream.host.restart()
    come = stream.feed([3], 30)
    cover, now = stream.root.cover, lies(stream.host)
    assert cover is not None
    assert now[: len(was)] == [*was], "rows stay where they are"
    away = np.linalg.norm(come[:, None].astype(float) - cover.centroids[left].astype(float), axis=2)
    assert [path[len(ROOT)] for path in now[len(was) :]] == [left[i] for i in away.argmin(axis=1)]
    tree = stream.host.node.subtree
    for row, path in zip(stream.rows, now, strict=True):
        centre = cover.centroids[path[len(ROOT)]].astype(float)
        number = stream.root.children[path[len(ROOT)]]
        assert np.linalg.norm(row - centre) <= tree.counts.radius[number] * (1 + 1e-12)


def test_where_the_stream_comes_back_a_new_child_is_found_with_a_new_name() -> None:
    stream = Stream()
    stream.feed([0, 1, 2, 3], 800)
    stream.feed([0, 1, 2], 4000)
    folded, k = list(stream.root.folded), len(stream.root.children)
    assert folded
    stream.feed([0, 1, 2, 3], 1500)
    names = [stream.host.node.subtree.nodes[n].path for n in stream.root.children]
    assert names == [(*ROOT, i) for i in range(len(names))] and len(names) > k
    back = stream.child(3)
    assert back >= k and set(folded) <= set(stream.root.folded)
    cover = stream.root.cover
    assert cover is not None
    assert np.linalg.norm(cover.centroids[back] - HERE[3]) < cover.epsilon
    rest = living(cover, stream.root.folded)
    apart = np.linalg.norm(rest.prototypes[:, None] - rest.prototypes[None], axis=2)
    assert (apart[np.triu_indices(rest.k, 1)] > cover.epsilon).all()
    known = np.arange(len(stream.rows)) * 0.1
    wanted = recursion(ROOT, stream.rows, CENTRE, FOLDS, BUDGET, EPSILONS, 0, known)
    assert stream.host.told() == wanted


def test_one_row_from_the_future_folds_nobody() -> None:
    stream = Stream()
    stream.feed([0, 1, 2, 3], 800)
    before = [list(node.folded) for node in stream.host.node.subtree.nodes]
    stream.host.feed_at(HERE[:1].astype(np.float32), [1e12])
    way = lies(stream.host)[-1]
    stream.feed([0, 1, 2, 3], 2000)
    for number, was in enumerate(before):
        node = stream.host.node.subtree.nodes[number]
        assert node.folded == was or way[: len(node.path)] != node.path
    assert not stream.root.folded and stream.root.path == way[:2]


def test_a_stream_that_stays_folds_nobody_and_one_child_is_always_left() -> None:
    stream = Stream()
    stream.feed([0, 1, 2, 3], 6000)
    assert not stream.root.folded
    other = Stream(FOLDS._replace(fold_share=0.5, miss_limit=0.0))
    other.feed([0, 1, 2, 3], 6000)
    other.feed([0], 1000)
    assert 0 < len(other.root.living) < len(other.root.children)
    assert light(np.array([5, 0, 0, 0]) * GRAINS, [1, 2], 0.5, 0.0, 99, 4) == [3]
    assert light(np.array([5, 0, 0, 0]) * GRAINS, [0, 1, 2], 0.5, 0.0, 99, 4) == []


def test_light_children_of_a_long_tail_are_not_folded_and_found_again_for_ever() -> None:
    """Of these 80 places the last 70 have a sixth of all rows together."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, 81) ** 1.5
    places = np.stack(np.divmod(rng.permutation(80), 9), axis=1) * 10.0
    shape = Shape(2, gap=1000, max_level=2, miss_limit=9e-3, half_life_s=20.0, fold_share=1e-3)
    host = Timed(shape, BUDGET, Gates(2, {1: 3.0}))
    for at in range(120):
        rows = places[rng.choice(80, 1000, p=share / share.sum())] + rng.normal(0, 0.2, (1000, 2))
        times: list[float | None] = [at + i * 1e-3 for i in range(1000)]
        host.feed_at(rows.astype(np.float32), times)
        host.perform(host.node.hurry())
    root = host.node.subtree.nodes[0]
    assert len(root.children) > 60 and len(root.runs) <= 1


def test_nothing_is_counted_where_nobody_folds() -> None:
    for shape in (FOLDS._replace(fold_share=0.0), FOLDS._replace(half_life_s=0.0)):
        stream = Stream(shape)
        stream.feed([0, 1, 2, 3], 500)
        assert not any("came" in node.record for node in stream.host.store.tree_nodes(ROOT))
    assert Shape.of({"dimension": 2}).fold_share == 0.0


def test_what_a_portion_tells_of_its_folded_nodes() -> None:
    stream = Stream()
    stream.feed([0, 1, 2, 3], 800)
    stream.feed([0, 1, 2], 4000)
    nodes = stream.host.store.tree_nodes(ROOT)
    gone = [(*n.path, i) for n in stream.host.node.subtree.nodes for i in n.folded]
    paths = [tuple(node.record["path"]) for node in nodes]
    told = folded([node.record for node in nodes])
    assert gone and sorted(gone) == sorted(p for p, one in zip(paths, told, strict=True) if one)
    of = {"watch": [100, 0, 0, 0.0, 1], "folded": [2]}
    assert miss_bound(of, Shape(2)) == pytest.approx(0.0296, rel=0.01), "of the rows since"
    assert miss_bound(of | {"folded": []}, Shape(2)) == pytest.approx(0.003, rel=0.01)
    alone = turned(
        ROOT, PIPE, stream.host.node.position, stream.host.node.state, stream.host.node.subtree
    )
    assert stream.root.folded and alone.root.record["folded"] == [], "a trunk node folds nobody"


@pytest.mark.parametrize("seed", range(40))
def test_in_a_cover_folded_rows_stand_with_the_nearest_sibling_that_is_left(seed: int) -> None:
    """One folded node after the other, by the definition; and so it is kept of a moment."""
    rng = np.random.default_rng(seed)
    nodes = grown(rng, depth=1 + seed % 4, dimension=2)
    tops = [p for p in nodes if len(p) > 2 and rng.random() < 0.3]
    nodes |= {p: replace(nodes[p], folded=True) for p in tops}
    whole = {p: replace(n, folded=False) for p, n in nodes.items()}
    for level in range(6):
        plain, cover = level_cover(whole, level), level_cover(nodes, level)
        rows = dict(zip(plain.paths, plain.rows.tolist(), strict=True))
        reach = dict(zip(plain.paths, plain.radius.tolist(), strict=True))
        moved: dict[Path, Path] = {}
        for path in plain.paths:
            top = next((path[:d] for d in range(2, len(path) + 1) if nodes[path[:d]].folded), None)
            if top is None:
                continue
            free = [p for p in plain.paths if not any(p[:d] in tops for d in range(2, len(p) + 1))]
            near = {
                p[: len(top)] for p in free if p[: len(top) - 1] == top[:-1] and len(p) >= len(top)
            }
            if near:
                best = min(near, key=lambda p: (apart(nodes, p, top), p))
                below = [p for p in free if p[: len(best)] == best]
                moved[path] = min(below, key=lambda p: (apart(nodes, p, path), p))
        for path, host in moved.items():
            if own := rows.pop(path):
                rows[host] += own
                reach[host] = max(reach[host], apart(nodes, path, host) + reach[path])
        assert dict(zip(cover.paths, cover.rows.tolist(), strict=True)) == rows
        assert cover.w.sum() == pytest.approx(1.0 if cover.total else 0.0)
        for path, radius in zip(cover.paths, cover.radius.tolist(), strict=True):
            assert radius == pytest.approx(reach[path], nan_ok=True)
        then = Moment.read(Moment.of(3, 1.0, 2, nodes, 10_000).record()).summaries(whole)
        again = level_cover(then, level)
        assert again.paths == cover.paths and again.rows.tolist() == cover.rows.tolist()


def apart(nodes: dict[Path, NodeSummary], one: Path, other: Path) -> float:
    a, b = nodes[one].centroid, nodes[other].centroid
    assert a is not None and b is not None
    return float(np.linalg.norm(a.astype(float) - b.astype(float)))
