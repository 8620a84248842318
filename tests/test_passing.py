"""Passes beside the turns of other nodes, and one of them at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from core.rows import block_of
from sim.memory import MemoryKV

from pctstream.agents.passing import Passes
from pctstream.agents.shard import Shard
from pctstream.core.block import Source
from pctstream.core.effects import Apply, Regrow
from pctstream.core.node import Gates, Shape
from pctstream.core.portion import Portion
from pctstream.core.unit import Unit
from pctstream.store import Store

INGEST = Source("t.P0", 0)
SHAPE = Shape(2, gap=30, sink_rows=400, prototypes=60, kmeans_iterations=2, max_level=3, fanout=3)
GATES = Gates(2, {1: 4.0, 2: 1.0})


def portion(store: Store, number: int) -> tuple[Portion, bool]:
    """With 20 segments in the store, and whether its leaves want a pass."""
    path, pipe = (0, number), Source(f"t.P0.{number}", 0)
    node = Portion(path, pipe, np.zeros(2, np.float32), 5, SHAPE, 400)
    node.adopt(GATES)
    rows = np.random.default_rng(number).normal(0, 3, (400, 2)).astype(np.float32)
    wanted = False
    for at in range(20):
        some = block_of([(INGEST, at, i) for i in range(20)], rows[20 * at : 20 * at + 20])
        for effect in node.feed(Unit(pipe, at - 1, at, some)):
            wanted |= isinstance(effect, Regrow)
            if isinstance(effect, Apply):
                store.apply(effect)
    return node, wanted


def test_between_the_segments_of_a_pass_others_have_their_turns_and_their_passes_wait() -> None:
    store = Store(MemoryKV())
    shard = Shard(0, "t", store, 400)
    (one, wanted), (other, _) = portion(store, 1), portion(store, 2)
    assert wanted
    seen: list[Any] = []

    def between(_: Shard, node: Any) -> None:
        assert shard.growing
        if not seen:
            assert node is one
            before = other.subtree.nodes[0].state
            assert passes.run(shard, other, lambda: None) == []
            assert other.waits and other.subtree.nodes[0].state == before
        seen.append(node)

    passes = Passes(between, slice_s=0.0)
    states = [n.state for n in one.subtree.nodes]
    effects = passes.run(shard, one, lambda: seen.append("ended"))
    assert len(seen) == 21 and seen[-1] == "ended"
    assert [n.state for n in one.subtree.nodes] != states and effects
    assert not shard.growing
    effects = other.feed(Unit(other.source, 19, 20, None))
    assert isinstance(effects[-1], Regrow), "it comes with the next turn"
    passes.run(shard, other, lambda: None)
    assert not other.waits
