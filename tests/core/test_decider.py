"""The policy at work, window by window, against a routing log that its orders are written to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from core.rows import cover_of
from core.test_ledger import Log

from pctstream.core.decider import SHOWN, Decider, body
from pctstream.core.layout import PortionLoad, ShardRoom
from pctstream.core.names import ROOT, Path
from pctstream.core.plan import plan
from pctstream.core.policy import PERSIST, RECENT, Tuning
from pctstream.core.situation import GROWN_UP, Capacities, Features, Situation, cooling, situation

WINDOW_S, HORIZON_S = 5.0, 30.0
EVEN = {(0, i): 10.0 for i in range(4)}
SKEWED = {(0, 0): 20.0, (0, 1): 20.0, (0, 2): 5.0, (0, 3): 5.0}
"""Of `Log`: N0,0 and N0,1 are on shard 0."""


class World:
    """A log and the decider of its tree; what it orders is written, its moves are carried out."""

    def __init__(self, automatic: bool = True, promotes: bool = False, **capacities: Any) -> None:
        self.promotes = promotes
        self.log = Log()
        self.given: list[dict[str, Any]] = []
        self.capacities = Capacities(3, capacities.pop("active", 3), {}, 1.0)
        self.automatic = automatic
        self.take_over()

    def take_over(self) -> None:
        self.decider = Decider(Tuning(), HORIZON_S, self.automatic, 1.0, self.promotes)

    @property
    def now(self) -> float:
        """The log's records are a second apart; windows go on from there."""
        return float(self.log._offset)

    def situation(self, loads: dict[Path, float], score: float) -> Situation:
        told = {f"N0,{p[1]}": {"rate": x, "time": self.now, "rows": 9, "bytes": 900}
                for p, x in loads.items()}  # fmt: skip
        drift = {name: {"time": self.now, "score": score, "parts": {"level_then": t["rate"]},
                        "history": [{}] * GROWN_UP}
                 for name, t in told.items()}  # fmt: skip
        return situation(self.log.routing, told, drift, Features(), self.capacities, self.now, 5.0)

    def window(
        self, loads: dict[Path, float], score: float = 9.0, finish: bool = True
    ) -> list[str]:
        """One window later: what was ordered."""
        self.log._offset += int(WINDOW_S)
        said = []
        for order in self.decider.look(self.log.routing, self.situation(loads, score), self.now):
            answer = self.log.give(order)
            assert not answer.refused, answer
            if order["do"] == "plan":
                self.decider.answered(answer)
            said.append(order["do"])
            self.given.append(order)
            for move in answer.moves if finish else ():
                self.log.done(move)
                seq = self.log.routing.seq + 1
                self.log.fold({"seq": seq, "type": "dropped", "author": "a", "move": move})
        return said

    def owners(self) -> dict[Path, int]:
        return dict(self.log.routing.owners)


def windows(world: World, count: int, loads: dict[Path, float], score: float = 9.0) -> list[str]:
    return [said for _ in range(count) for said in world.window(loads, score)]


def test_a_skewed_load_is_evened_out_and_told_of() -> None:
    world = World()
    assert windows(world, RECENT + PERSIST - 1, SKEWED) == []
    assert world.window(SKEWED) == ["plan"]
    (entry,) = world.log.routing.orders.ledger.plans.values()
    assert entry.decision is not None
    assert entry.applied
    moved = [p for p in EVEN if world.owners()[p] != Log().routing.owners[p]]
    assert len({(0, 0), (0, 1)} & set(moved)) == 1
    trigger = entry.decision["trigger"]
    assert (trigger["shard"], trigger["score"]) == (0, 9.0)
    assert trigger["load"] == pytest.approx(40 / (50 / 3))
    assert {i["portion"]: i["counted"] for i in entry.decision["inputs"]} == {
        f"N0,{p[1]}": x for p, x in SKEWED.items()
    }
    # once the horizon is over, what it gained is told, and that all is calm after the cool-down
    said = windows(world, 12, SKEWED)
    assert said.count("realised") == 1
    realised = entry.realised
    assert realised is not None
    assert realised["before"] == pytest.approx(40 / (50 / 3))
    assert realised["after"] < realised["before"]
    assert realised["gain"] == pytest.approx(entry.decision["expected"]["gain"])
    assert (realised["done"], realised["aborted"]) == (len(moved), 0)


def test_an_even_load_moves_nothing_and_says_nothing() -> None:
    world = World()
    noise = np.random.default_rng(0)
    for _ in range(60):
        loads = {p: float(noise.poisson(1000)) / 100 * (0.5 if p[1] < 2 else 1.0) for p in EVEN}
        assert world.window(loads, score=0.5) == []


def test_without_a_score_nothing_moves_and_that_is_told_once() -> None:
    world = World()
    said = windows(world, 40, SKEWED, score=1.0)
    assert said == ["decision"]
    (kept,) = world.log.routing.orders.ledger.decisions.values()
    assert kept.answer == "no-score"
    assert "score above 3" in kept.to_json()["why"]
    # who takes over says it no second time; an answer that changes to and fro is not told each time
    world.take_over()
    assert windows(world, 20, SKEWED, score=1.0) == []
    flapping = [s for i in range(40) for s in world.window(SKEWED if i % 2 else EVEN, score=1.0)]
    assert len(flapping) <= 40 * WINDOW_S / Tuning().cooldown_s + 1


def test_one_who_takes_over_keeps_the_cool_downs() -> None:
    world = World()
    windows(world, RECENT + PERSIST, SKEWED)
    moved = [m.portion for m in world.log.routing.moves.all()]
    assert moved
    world.take_over()
    # the other way round: what moved would have to move again
    back = {p: 60.0 if p in moved else 1.0 for p in EVEN}
    begun = world.now
    while world.now - begun < Tuning().cooldown_s - 2 * WINDOW_S:
        world.window(back)
        again = [m.portion for m in world.log.routing.moves.all()]
        assert again.count(moved[0]) == 1


def test_a_drained_shard_is_emptied_whatever_the_drift_and_nothing_else_moves() -> None:
    for automatic in (True, False):
        world = World(automatic)
        world.log.give({"do": "pin", "portion": "N0,1"})
        world.log.give({"do": "drain", "shard": 0})
        assert windows(world, 4, EVEN, score=0.0)[0] == "plan"
        was, now = Log().routing.owners, world.owners()
        assert now[(0, 0)] != 0
        assert {p: s for p, s in now.items() if p != (0, 0)} == {
            p: s for p, s in was.items() if p != (0, 0)
        }
        assert [m.portion for m in world.log.routing.moves.all()] == [(0, 0)]
        (entry,) = world.log.routing.orders.ledger.plans.values()
        assert {"portion": "N0,1", "why": "it is pinned"} in entry.plan["not_moved"]


def test_where_it_is_not_automatic_plans_are_proposed() -> None:
    world = World(automatic=False)
    assert windows(world, RECENT + PERSIST, SKEWED) == ["plan"]
    (entry,) = world.log.routing.orders.ledger.plans.values()
    assert not entry.applied
    assert world.log.routing.moves.all() == []
    assert windows(world, 40, SKEWED) == []
    other = {(0, 0): 30.0, (0, 1): 1.0, (0, 2): 20.0, (0, 3): 1.0}
    assert windows(world, 10, other) == ["plan"]


def test_what_no_shard_can_carry_is_promoted_once_if_that_is_wanted() -> None:
    heavy = {(0, 0): 60.0, (0, 1): 10.0, (0, 2): 10.0, (0, 3): 10.0}
    world = World(promotes=True)
    assert windows(world, RECENT + PERSIST + 3, heavy).count("promote") == 1
    assert world.log.routing.promotions.asked == {(0, 0)}
    assert "2.00 of the share" in next(o for o in world.given if o["do"] == "promote")["reason"]
    for other in (World(), World(automatic=False, promotes=True)):
        assert "promote" not in windows(other, RECENT + PERSIST + 3, heavy)


def test_a_refused_plan_is_made_again() -> None:
    world = World()
    world.window(SKEWED)
    while True:
        world.log._offset += int(WINDOW_S)
        now = world.situation(SKEWED, 9.0)
        orders = world.decider.look(world.log.routing, now, world.now)
        if orders:
            break
    late = {**orders[0], "plan": {**orders[0]["plan"], "epoch": now.epoch - 1}}
    answer = world.log.give(late)
    assert answer.status == 409
    world.decider.answered(answer)
    assert "plan" in windows(world, PERSIST, SKEWED)


def test_portions_go_to_active_shards_unless_they_are_there() -> None:
    world = World(active=2)
    rooms = world.situation(EVEN, 0.0).rooms
    assert [(r.shard, r.state) for r in rooms] == [
        (0, "active"), (1, "active"), (2, "excluded")
    ]  # fmt: skip
    world.log.done(world.log.give({"do": "move", "portion": "N0,3", "to": 1}).moves[0])
    assert [r.shard for r in world.situation(EVEN, 0.0).rooms] == [0, 1]


def test_what_is_old_is_not_counted_and_who_moves_counts_at_its_target() -> None:
    log = Log()
    now = 1000.0
    told = {"N0,0": {"rate": 7.0, "time": now - 1}, "N0,1": {"rate": 7.0, "time": now - 100}}
    drift: dict[str, Any] = {"N0,0": {"time": now - 100, "score": 5.0,
                             "parts": {"level_then": 90.0}, "history": [{}] * GROWN_UP}}  # fmt: skip
    log.give({"do": "move", "portion": "N0,0", "to": 2})
    log.give({"do": "pin", "portion": "N0,1"})
    seen = situation(log.routing, told, drift, Features(), Capacities(3, 3, {}), now, 5.0)
    first, second, *_ = seen.portions
    assert (first.load, first.predicted, first.score, first.owner) == (7.0, 7.0, 0.0, 2)
    assert (second.load, second.predicted) == (0.0, 0.0)
    assert seen.held.keys() == {(0, 0), (0, 1)}
    assert "it is to move to shard 2" in seen.held[0, 0]
    assert seen.relative() == pytest.approx({0: 0.0, 1: 0.0, 2: 3.0})
    assert seen.relative({(0, 0): 0}) == pytest.approx({0: 3.0, 1: 0.0, 2: 0.0})


def test_a_forecast_made_of_few_windows_is_not_believed() -> None:
    log, now = Log(), 1000.0
    told = {"N0,0": {"rate": 7.0, "time": now}}
    scores = []
    for windows in (0, GROWN_UP - 1, GROWN_UP):
        drift = {"N0,0": {"time": now, "score": 5.0, "parts": {"level_then": 90.0},
                          "history": [{}] * windows}}  # fmt: skip
        seen = situation(log.routing, told, drift, Features(), Capacities(3, 3, {}), now, 5.0)
        scores.append((seen.portions[0].score, seen.portions[0].predicted))
    assert scores == [(0.0, 7.0), (0.0, 7.0), (5.0, 90.0)]


def test_a_move_that_ended_keeps_its_portion_for_the_cool_down() -> None:
    log = Log()
    name = log.give({"do": "move", "portion": "N0,0", "to": 2}).moves[0]
    log.done(name)
    done = log.routing.moves.of(name).history[-1]["time"]
    assert cooling(log.routing, done + 59.0, 60.0) == {
        (0, 0): "moved lately: it stays for another 1 s"
    }
    assert cooling(log.routing, done + 60.0, 60.0) == {}


def test_features_come_from_covers() -> None:
    log = Log()
    own = cover_of([[0, 0], [0, 3], [3, 0], [3, 3], [0, 0]], 1.0)
    features = Features().take({(0, 2): own})
    parent = log.routing.covers[ROOT]
    found = features.of((0, 2), parent)
    np.testing.assert_array_equal(found["centroid"], parent.centroids[2])
    np.testing.assert_array_equal(found["low"], own.centroids.min(axis=0))
    np.testing.assert_array_equal(found["high"], own.centroids.max(axis=0))
    assert found["intrinsic"] == pytest.approx(2.0)  # a square: two directions alike
    line = cover_of([[0, 0], [1, 1], [2, 2], [3, 3], [0, 0]], 0.5)
    assert features.take({(0, 2): line}).of((0, 2), parent)["intrinsic"] == pytest.approx(1.0)
    assert features.of((0, 1), parent).keys() == {"centroid"}
    assert features.of((0, 1), None) == {}


def test_a_plan_of_any_size_fits_a_message() -> None:
    parts = [PortionLoad((0, i), i % 50, 9.0, float(i % 7), score=9.0) for i in range(2000)]
    held = dict.fromkeys([p.path for p in parts[:700]], "it is pinned")
    rooms = [ShardRoom(s) for s in range(50)]
    made = plan(parts, rooms, name="", epoch=3, held=held)
    kept = body(made, held)
    assert len(kept["not_moved"]) == SHOWN
    assert {stay["why"] for stay in kept["not_moved"]} == {"it is pinned"}
    moved = {move.portion for move in made.moves}
    assert kept["not_moved_more"] == 2000 - len(moved) - SHOWN
    # and one that moves them all
    parts = [replace(part, owner=0, rows=10**9, bytes=10**12) for part in parts]
    rooms = [ShardRoom(0, state="drained"), *rooms[1:]]
    kept = body(plan(parts, rooms, name="", epoch=3), {})
    assert len(kept["moves"]) == 2000
    assert len(orjson.dumps(kept)) < 800_000
