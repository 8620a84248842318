"""A portion becomes a trunk node: at which row, by which records, and where its children go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from core.rows import block_of, cover_of

from pctstream.core import life, placement
from pctstream.core.block import Source
from pctstream.core.effects import Effect, Pause, Promote, Reread, Resume
from pctstream.core.names import ROOT
from pctstream.core.node import Shape
from pctstream.core.portion import Portion
from pctstream.core.position import Position
from pctstream.core.promotion import Told
from pctstream.core.records import (
    cover_records,
    not_promoted_record,
    order_record,
    split_record,
    tree_record,
)
from pctstream.core.reopener import Mark, Reopener, Reports
from pctstream.core.routing import Routing
from pctstream.core.tree import Author, weighed
from pctstream.core.unit import Marker, Unit

PIPE, INGEST = Source("t.P0.3", 0), Source("t.P0", 0)
SHAPE = Shape(2, gap=4, sink_rows=100, max_level=3)
PLACES = np.array([[0, 0], [9, 0], [0, 9]], np.float32)
COVER = cover_of([[0, 0], [9, 9], [0, 1]], 2.0)
SETTINGS = {
    "metric": "euclidean", "gap": 3, "shards": 2, "nodes": 41, "max_level": 3, "topics": 9,
    "level_rows": 9, "level_idle_s": 1.0, "level_timeout_s": 9.0, "epsilon_ratio": 0.5,
}  # fmt: skip


def unit(first: int, count: int, *markers: Marker) -> Unit:
    places = [(INGEST, i, 0) for i in range(first, first + count)]
    rows = block_of(places, PLACES[np.arange(first, first + count) % 3])
    return Unit(PIPE, first - 1, first + count - 1, rows, markers=markers)


def marker(offset: int, behind: int) -> Marker:
    return Marker(offset, behind, 0, "a", (0, 3), 9)


def portion() -> Portion:
    return Portion((0, 3), PIPE, np.zeros(2, np.float32), 5, SHAPE, 50)


def kinds(effects: list[Effect]) -> list[type]:
    return [type(effect) for effect in effects]


def test_it_takes_what_lies_before_the_marker_and_nothing_behind_it() -> None:
    node = portion()
    node.hear(Told("a", 9, frozenset({9})))
    turned = node.feed(unit(0, 10, marker(6, 6)))[-1]
    assert isinstance(turned, Promote)
    assert turned.position == Position(5, -1, 9)
    assert turned.state["stored_rows"] == node.rows == 6
    assert turned.root.record["state"] == life.SPLITTING
    node.feed(unit(6, 4))
    assert node.rows == 6, "what comes is for the trunk node that it becomes"


def test_whoever_has_not_read_of_it_yet_waits_at_the_marker_alone() -> None:
    node = portion()
    node.hear(Told("a", 8, frozenset()))
    stands = [Pause(PIPE), Reread(PIPE, 6)]
    assert stands == [e for e in node.feed(unit(0, 10, marker(6, 6))) if e in stands]
    assert node.rows == 6
    assert node.feed(unit(6, 4, marker(6, 0))) == stands
    assert node.hear(Told("a", 9, frozenset({9}))) == [Resume(PIPE)]
    assert Promote in kinds(node.feed(unit(6, 4, marker(6, 0))))


@pytest.mark.parametrize("other", [{"epoch": 7}, {"history": "b"}, {"node": (0, 4)}])
def test_a_marker_of_a_record_that_did_not_count_is_passed_over(other: dict[str, Any]) -> None:
    node = portion()
    node.hear(Told("a", 9, frozenset({9})))
    assert Promote not in kinds(node.feed(unit(0, 10, marker(6, 6)._replace(**other))))
    assert node.rows == 10


def tree() -> Routing:
    """N0 has split into two at record 2; somebody wants N0,1 to be promoted."""
    log = Routing()
    records = [tree_record(SETTINGS, 2, "a"), *cover_records(ROOT, COVER, 1, "a"),
               split_record(ROOT, COVER, {(0, 0): 0, (0, 1): 1}, 2, "a")]  # fmt: skip
    for record in records:
        assert log.fold(record, record["seq"], 0.0)
    order(log, {"do": "promote", "portion": "N0,1"})
    return log


def order(log: Routing, what: dict[str, Any]) -> str:
    """Give it; why it was refused."""
    record = order_record(what | {"id": str(log.seq)}, log.orders.at + 1, log.seq + 1, "a")
    log.fold(record, record["seq"], 0.0)
    return log.orders.answers[what.get("id", str(log.seq - 1))].refused


def told(state: str) -> dict[str, dict[str, Any]]:
    paths = {"path": ["", "0", "1"], "state": [state, "", ""], "rows": [9, 6, 3]}
    return {"N0,0": {"rows": 1, "rate": 5.0}, "N0,1": {"rows": 9, "rate": 30.0, "nodes": paths}}


def test_while_it_is_asked_it_does_not_move_and_then_its_children_are_portions() -> None:
    log = tree()
    assert log.promotions.asked == {(0, 1)}
    assert "is promoted" in order(log, {"do": "move", "portion": "N0,1", "to": 0})
    assert "is promoted" in order(log, {"do": "promote", "portion": "N0,1"})
    author = Author(SETTINGS, {0: 1.0, 1: 1.0}, "b")
    assert author.trunk(log, {}, {})[0] == "nothing", "nobody has told of it"
    assert author.trunk(log, {}, told(life.SPLITTING))[0] == "nothing", "nor of its cover"
    assert author.trunk(log, {(0, 1): COVER}, told(life.SPLITTING)) == ("append", (0, 1))
    for record in author.trunk_records(log, (0, 1), COVER):
        assert log.fold(record, record["seq"], 0.0)
    assert author.trunk(log, {}, {}) == ("topics", (0, 1))
    record = author.split(log, (0, 1), told(life.SPLITTING))
    assert log.fold(record, record["seq"], 0.0)
    assert log.promotions.epochs == {(0, 1): log.epoch}
    assert log.portions == [(0, 0), (0, 1, 0), (0, 1, 1)]
    # two thirds and one of what the portion has, beside the little that shard 0 has
    assert [log.owners[p] for p in log.portions] == [0, 1, 0]
    assert (log.nodes_at(1, 1), log.nodes_at(-1, 1)) == ([(0, 1)], [(0, 1, 0)])
    assert "above the cut" in order(log, {"do": "move", "portion": "N0,1", "to": 0})
    reopener = Reopener(SETTINGS, {0: 1.0}, "b")
    assert reopener.unmarked(log, Reports(), 1.0) == [Mark((0, 1), 0, log.promotions.epochs[0, 1])]


@pytest.mark.parametrize(("scale", "told"), [(1.0, "the rows"), (1e6, "the rates")])
def test_few_rows_a_second_say_less_than_the_rows_that_lie_there(scale: float, told: str) -> None:
    """N0,0 has nine times the rows of N0,1; of the rows of the last window it had none."""
    log = tree()
    log.covers[0, 1] = COVER
    paths = {"path": ["", "0", "1"], "state": [life.SPLITTING, "", ""], "rows": [90, 60, 30]}
    portions = {
        "N0,0": {"rows": 810, "rate": 0.0},
        "N0,1": {"rows": 90, "rate": scale, "nodes": paths},
    }
    weights, loads = weighed(log, (0, 1), portions)
    assert weights[0, 1, 0] == pytest.approx(2 * weights[0, 1, 1])
    heavier = "the rows" if loads[0] > sum(weights.values()) else "the rates"
    assert heavier == told


@pytest.mark.parametrize("state", [life.COVERING, life.SINK])
def test_a_portion_without_children_stays_one_and_says_why(state: str) -> None:
    log = tree()
    author = Author(SETTINGS, {0: 1.0}, "b")
    assert author.trunk(log, {}, told(state)) == ("refuse", (0, 1))
    record = author.not_promoted(log, (0, 1), told(state))
    assert record == not_promoted_record((0, 1), state, log.seq + 1, "b")
    log.fold(record, record["seq"], 0.0)
    assert (log.promotions.asked, log.promotions.refused) == (set(), {(0, 1): state})
    assert order(log, {"do": "move", "portion": "N0,1", "to": 0}) == ""


def test_a_portion_that_nothing_came_to_stays_one() -> None:
    """It may be folded: then nothing will, and who waited for it to split would wait for ever."""
    log, empty = tree(), {"N0,1": {"rows": 0, "rate": 0.0, "nodes": {"path": [], "state": []}}}
    author = Author(SETTINGS, {0: 1.0}, "b")
    assert author.trunk(log, {}, empty) == ("refuse", (0, 1))
    record = author.not_promoted(log, (0, 1), empty)
    assert record == not_promoted_record((0, 1), life.COVERING, log.seq + 1, "b")


def test_where_pipes_would_be_too_many_it_stays_one() -> None:
    log = tree()
    author = Author(SETTINGS | {"topics": 3}, {0: 1.0}, "b")
    (record,) = author.trunk_records(log, (0, 1), COVER)
    assert (record["type"], record["why"]) == ("not promoted", "topics")


def test_sixty_percent_in_one_portion_are_spread_within_the_tolerance() -> None:
    """The rows of its children as they came: never more than a tenth of the portion each."""
    chance = np.random.default_rng(4)
    for _ in range(200):
        weights = chance.dirichlet(np.full(24, 8.0)) * 0.6
        others = chance.dirichlet(np.full(12, 8.0)) * 0.4
        capacities = dict.fromkeys(range(4), 1.0)
        where = placement.first_owners([(0, i) for i in range(1, 13)], capacities)
        loads = {s: sum(others[p[1] - 1] for p in where if where[p] == s) for s in capacities}
        children = {(0, 0, i): float(w) for i, w in enumerate(weights)}
        owners = placement.apart(children, loads, capacities)
        after = [loads[s] + sum(children[p] for p in owners if owners[p] == s) for s in capacities]
        assert max(after) / np.mean(after) <= 1.1
