"""Weights that fade, against the sum over the rows that are there, one by one."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from core.rows import block_of
from core.test_subtree import INGEST, PIPE, ROOT, SHAPE, Host, rows_of
from core.trees import grown
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.agents.portions import node_columns
from pctstream.core import fading
from pctstream.core.fading import KEPT, NEVER, STEPS, Fading, brought
from pctstream.core.moments import Moment
from pctstream.core.node import Shape
from pctstream.core.solver import level_cover
from pctstream.core.unit import Unit
from pctstream.faded import faded_nodes

HALF_LIFE_S = 8.0
FADES = SHAPE._replace(half_life_s=HALF_LIFE_S)


class Timed(Host):
    """Rows come with times."""

    times: Sequence[float | None] = ()
    """Of the rows that `through` brings."""

    def feed(self, rows: np.ndarray) -> None:
        self.feed_at(rows, list(self.times[: len(rows)]))
        self.times = self.times[len(rows) :]

    def feed_at(self, rows: np.ndarray, times: list[float | None]) -> None:
        at = self.node.taken + 1
        places = [(INGEST, at * 10_000 + i, 0) for i in range(len(rows))]
        block = replace(block_of(places, rows), times=pa.array(times, pa.float64()))
        self.perform(self.node.feed(Unit(PIPE, at - 1, at, block)))


def weighed(host: Host) -> dict[str, float]:
    """By the definition, from the rows that lie in the store."""
    records = [r.record for r in host.store.tree_nodes(ROOT)]
    lie = [
        (tuple(records[leaf]["path"]), time)
        for _, rows, leaves in host.store.placed(ROOT)
        for leaf, time in zip(leaves.tolist(), fading.times_of(rows).tolist(), strict=True)
    ]
    steps = [(path, math.floor(t / (HALF_LIFE_S / STEPS))) for path, t in lie if t == t]
    newest = max(step for _, step in steps)
    return {
        ",".join(map(str, node["path"][len(ROOT) :])): sum(
            2.0 ** ((step - newest) / STEPS)
            for path, step in steps
            if step > newest - KEPT and path[: len(node["path"])] == tuple(node["path"])
        )
        for node in records
    }


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_every_node_tells_the_sum_over_its_rows_by_their_age(seed: int) -> None:
    """Whatever the units, the order of the times, when levels close, and the restarts (R0)."""
    chance = random.Random(seed)
    rows = rows_of(seed, chance.randint(50, 1500))
    spread = chance.choice([0.0, 10.0, 300.0])
    times: list[float | None] = [
        i * 0.1 + chance.uniform(-spread, spread) for i in range(len(rows))
    ]
    times[7] = None
    host = Timed(FADES)
    host.times = times
    host.through(rows, chance)
    records = [node.record for node in host.store.tree_nodes(ROOT)]
    columns = node_columns(ROOT, host.store.tree_nodes(ROOT), FADES)
    clock, told = fading.told(records)
    assert clock == max(math.floor(t * STEPS / HALF_LIFE_S) for t in times if t is not None)
    assert dict(zip(columns["path"], told, strict=True)) == pytest.approx(weighed(host))


def test_nothing_is_counted_where_nothing_fades() -> None:
    host = Timed(SHAPE)
    host.feed_at(rows_of(1, 50), [1.0] * 50)
    assert not any("fading" in node.record for node in host.store.tree_nodes(ROOT))


@pytest.mark.parametrize("times", [[1e300, -1e300, 0.0], [math.nan, math.inf, -math.inf]])
def test_times_of_any_size_are_taken(times: list[float]) -> None:
    one = Fading(60.0)
    one.extend(1)
    one.came(np.zeros(3, np.int32), one.steps(np.array(times)))
    assert one.weights(1)[0] == (1.0 if math.isfinite(times[0]) else 0.0)
    assert one.clock > NEVER or not math.isfinite(times[0])


def test_a_portion_that_rests_weighs_less_beside_one_that_goes_on() -> None:
    def record(name: str, clock: int, rows: int) -> dict[str, object]:
        return {"portion": name, "clock": clock, "nodes": {"path": [""], "faded": [rows]}}

    told = faded_nodes([record("N0,0", 40, 8), record("N0,1", 40 + 2 * STEPS, 8)])
    assert told == {(0, 0): 2.0, (0, 1): 8.0}
    assert brought(8.0, 0, 10**15) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_the_weights_of_a_cover_are_shares_of_faded_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes = grown(rng, depth=1 + seed % 4, dimension=2, holding=False)
    leaves = {p for p in nodes if not any(q[:-1] == p for q in nodes)}
    own = {p: float(rng.random()) * nodes[p].rows for p in leaves}
    faded = {
        p: replace(n, faded=f)
        for p, n in nodes.items()
        for f in [sum(w for q, w in own.items() if q[: len(p)] == p)]
    }
    for level in range(5):
        cover = level_cover(faded, level)
        for path, w in zip(cover.paths, cover.w.tolist(), strict=True):
            below = sum(v for q, v in own.items() if q[: len(path)] == path)
            assert w == pytest.approx(below / sum(own.values()) if sum(own.values()) else 0.0)
    then = Moment.of(3, 1.0, 2, faded, 10_000)
    again = Moment.read(then.record()).summaries(nodes)
    assert level_cover(again, 2).w.tolist() == level_cover(faded, 2).w.tolist()
    assert "faded" not in Moment.of(3, 1.0, 2, nodes, 10_000).record()


def test_a_tree_made_before_does_not_fade() -> None:
    assert Shape.of({"dimension": 2}).half_life_s == 0.0
