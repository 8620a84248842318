"""A trunk node that is rebuilt from its pipe: what was recorded of it holds before it finds it again."""

from __future__ import annotations

import numpy as np
from core.rows import block_of

from pctstream.core import life
from pctstream.core.block import Source
from pctstream.core.cover import Cover, refine
from pctstream.core.effects import Apply, Effect, Regrow, RouteHeld, Send
from pctstream.core.node import Gates, Shape
from pctstream.core.trunk import Trunk
from pctstream.core.unit import Unit

PIPE = Source("t.P0.3", 0)
SHAPE = Shape(2, gap=5, sink_rows=100, max_level=3)
CLOSED = Gates(2, {1: 1.0}, (50.0, 90.0))
ROWS = np.array([[0, 0], [4, 0]] * 8, np.float32)
COVER = refine(ROWS, ROWS[:2], 1.0, 1, 5)


def trunk() -> Trunk:
    """Fresh, as over a store that was lost; its level is closed long since."""
    return Trunk((0, 3), PIPE, np.zeros(2, np.float32), 5, SHAPE, 50, 50.0)


def unit() -> Unit:
    rows = block_of([(Source("t.P0", 0), i, 0) for i in range(len(ROWS))], ROWS)
    return Unit(PIPE, -1, 7, rows, (), 60_000)


def carried(node: Trunk, effects: list[Effect]) -> list[Effect]:
    """The effects, with each pass over the rows carried out."""
    done: list[Effect] = []
    for effect in effects:
        done.append(effect)
        if isinstance(effect, Regrow):
            node.begin_pass()
            rows = unit().rows
            assert rows is not None
            node.revisit(7, rows, np.zeros(len(rows), np.int32))
            done += carried(node, node.end_pass())
    return done


def written(effects: list[Effect]) -> list[tuple[str, list[int], Cover | None]]:
    """State, modes of the history and cover of the node as each batch has it."""
    return [
        (r.record["state"], [entry[0] for entry in r.record["history"]], r.cover)
        for effect in effects if isinstance(effect, Apply)
        for r in effect.nodes
    ]  # fmt: skip


def test_a_rebuilt_node_routes_from_its_first_row_and_says_that_it_has_split() -> None:
    node = trunk()
    effects = carried(node, node.adopt(CLOSED) + node.split(9, COVER))
    assert written(effects) == [(life.SPLITTING, [0, 1, 2], COVER)]
    assert isinstance(effects[-1], RouteHeld)
    assert [entry[2] for entry in node.subtree.nodes[0].history] == [50.0, 50.0, 90.0]
    node.rerouted()
    (sent,) = node.feed(unit())
    assert isinstance(sent, Send)
    assert {path: len(rows) for path, rows in sent.parcels} == {(0, 3, 0): 8, (0, 3, 1): 8}
    assert node.position.routed == -1, "not before the broker has acked it"
    assert all(isinstance(e, Apply) and e.rows is None for e in node.delivered(sent.ticket))
    assert (node.position.routed, node.mode, node.held_rows) == (7, life.SPLITTING, 0)


def test_a_node_that_stored_rows_before_it_reads_of_its_split_hands_them_down() -> None:
    """Its store is older than the record: it was still covering when the copy was made."""
    node = trunk()
    node.adopt(Gates(1, {}))
    carried(node, node.feed(unit()))
    assert node.mode == life.COVERING
    effects = carried(node, node.adopt(CLOSED) + node.split(9, COVER))
    assert written(effects)[-1] == (life.SPLITTING, [0, 1, 2], COVER)
    rows = unit().rows
    assert rows is not None
    (sent,) = node.reroute(7, rows)
    assert isinstance(sent, Send)
    assert sum(len(part) for _, part in sent.parcels) == len(ROWS)


def test_a_rebuilt_node_that_was_refused_ends_as_the_sink_it_was() -> None:
    node = trunk()
    effects = carried(node, node.adopt(CLOSED) + node.refuse("topics"))
    assert node.mode == life.COVERING, "its rows are not here yet"
    effects = carried(node, node.feed(unit()))
    assert [state for state, _, _ in written(effects)][-1] == life.SINK
    assert (node.mode, node.subtree.nodes[0].limit) == (life.SINK, "topics")
