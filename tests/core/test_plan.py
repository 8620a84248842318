from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from core.cases import Case, Oracle, random_case

from pctstream.core.bound import lower_bound
from pctstream.core.layout import Layout, PortionLoad, ShardRoom
from pctstream.core.plan import Plan, plan
from pctstream.core.reshard import reshard
from pctstream.errors import IllegalTransition, UsageError

CLOSE = 1e-6


def planned(case: Case, **more: object) -> Plan:
    parts, rooms, pins = case
    held = dict.fromkeys(pins, "pinned")
    return plan(parts, rooms, name="p", epoch=3, held=held, **more)  # type: ignore[arg-type]


def hot(i: int, owner: int, load: float, **more: object) -> PortionLoad:
    given: dict[str, object] = {"rows": 10, "bytes": 1000, "score": 9.0, **more}
    return PortionLoad((0, i), owner, load, load, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("exact", [320, 0], ids=["programs", "search"])
@pytest.mark.parametrize("seed", range(1000, 1030))
def test_tiny_plans_against_every_assignment_there_is(seed: int, exact: int) -> None:
    case = random_case(seed, most=6, shards=3)
    oracle = Oracle(case)
    every = [list(p) for p in itertools.product(range(len(case[1])), repeat=len(case[0]))]
    every = [p for p in every if oracle.legal(p)]
    made = planned(case, exact=exact)
    places = oracle.places({m.portion: m.target for m in made.moves})
    assert places in every
    load = oracle.most(places)
    assert load == pytest.approx(made.after.max_load)
    best = min(map(oracle.most, every))
    assert made.bound <= best * (1 + CLOSE)
    if exact:
        assert load <= 1.05 * best
        least = min(oracle.size(p) for p in every if oracle.most(p) <= load * (1 + CLOSE))
        assert oracle.size(places) <= 1.25 * least


@pytest.mark.parametrize("seed", range(2000, 2020))
def test_plans_against_an_integer_program_of_its_own(seed: int) -> None:
    # 200 larger ones: benchmarks/plans.py
    case = random_case(seed, most=18, shards=4)
    oracle = Oracle(case, gap=1e-3)
    made = planned(case)
    places = oracle.places({m.portion: m.target for m in made.moves})
    load = oracle.most(places)
    assert oracle.legal(places)
    assert load <= 1.05 * oracle.least_load()
    assert oracle.size(places) <= 1.25 * oracle.least_bytes(load) + CLOSE


@pytest.mark.parametrize("exact", [320, 0], ids=["programs", "search"])
def test_a_plan_is_never_worse_than_the_seeds_reshard(exact: int) -> None:
    for seed in range(40):
        case = random_case(seed, most=25 if exact else 40, shards=3 if exact else 6)
        parts, rooms, pins = case
        oracle = Oracle(case)
        theirs = oracle.places(reshard(parts, rooms, 1.0, pins))
        if not oracle.legal(theirs):  # it leaves portions on a drained shard
            continue
        made = planned(case, threshold=1.0, exact=exact)
        ours = oracle.places({m.portion: m.target for m in made.moves})
        assert oracle.most(ours) <= oracle.most(theirs) * (1 + CLOSE)
        if oracle.most(theirs) <= oracle.most(ours):
            assert oracle.size(ours) <= oracle.size(theirs)


def test_reshard_is_the_loop_that_it_says() -> None:
    for seed in range(40):
        parts, rooms, pins = random_case(seed, most=12)
        # no two shards are equal: which of equal ones it is, likeness says
        rooms = [replace(r, weight=r.weight * (1 + r.shard / 100)) for r in rooms]
        total = sum(p.predicted for p in parts)
        weight = sum(r.weight for r in rooms if r.state != "drained")
        at = {p.path: p.owner for p in parts}
        for p in sorted(parts, key=lambda p: -p.score):
            if p.score <= 2.0 or p.path in pins:
                continue
            load = {
                r.shard: sum(q.predicted for q in parts if at[q.path] == r.shard) for r in rooms
            }
            load[at[p.path]] -= p.predicted
            may = [r for r in rooms if r.state in ("active", "new")
                   or (r.state == "excluded" and r.shard == p.owner)]  # fmt: skip
            best = min(may, key=lambda r: (load[r.shard] + p.predicted) * weight / r.weight / total)
            at[p.path] = best.shard
        want = {p.path: at[p.path] for p in parts if at[p.path] != p.owner}
        assert reshard(parts, rooms, 2.0, pins) == want


def test_a_large_plan_has_a_bound_and_keeps_to_what_is_allowed() -> None:
    rng = np.random.default_rng(1)
    rooms = [ShardRoom(s, float(w)) for s, w in enumerate(rng.choice([1.0, 2.0], 20))]
    rooms[4] = replace(rooms[4], state="drained")
    rooms[5] = replace(rooms[5], state="excluded")
    parts = [
        hot(i, int(rng.integers(0, 20) ** 2 // 20), float(rng.lognormal(3, 1)),
            bytes=int(rng.lognormal(10, 1)))
        for i in range(600)
    ]  # fmt: skip
    pins = {p.path: "pinned" for p in parts[:30]}
    made = plan(parts, rooms, name="p", epoch=0, held=pins)
    after = {p.path: p.owner for p in parts} | {m.portion: m.target for m in made.moves}
    assert made.gap <= 0.021 and made.after.max_load < made.before.max_load / 2
    assert {after[p.path] for p in parts if p.path not in pins} <= set(range(20)) - {4}
    assert not {m.portion for m in made.moves} & pins.keys()
    assert 5 not in {m.target for m in made.moves}
    oracle = Oracle((parts, rooms, set(pins)))
    assert oracle.most(oracle.places(after)) == pytest.approx(made.after.max_load)


def test_of_two_equal_shards_the_one_with_nearer_ranges_wins() -> None:
    wins = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        middles = rng.normal(0, 4, (2, 8))
        places = [(1, middles[0]), (2, middles[1])]
        parts = []
        for i in range(8):
            owner, middle = places[i % 2]
            at = (middle + rng.normal(0, 0.5, 8)).astype(np.float32)
            parts.append(hot(i, owner, 1.0, score=0.0, centroid=at, low=at - 1, high=at + 1))
        near = int(rng.integers(0, 2))
        at = (middles[near] + rng.normal(0, 1.5, 8)).astype(np.float32)
        for i in (8, 9):
            parts.append(hot(i, 0, 40.0, centroid=at, low=at - 1, high=at + 1))
        stay = {p.path: "pinned" for p in parts[:8]}
        made = plan(parts, [ShardRoom(s) for s in range(3)], name="p", epoch=0, held=stay)
        (move,) = made.moves
        wins += move.target == near + 1
    assert wins >= 95


def test_every_portion_above_the_threshold_moves_or_says_why() -> None:
    for seed in range(50):
        case = random_case(seed, most=20, shards=4)
        made = planned(case, threshold=2.0, exact=0, min_gain=0.3 if seed % 3 == 0 else 0.0)
        moved = {m.portion for m in made.moves}
        told = {s.portion: s.why for s in made.not_moved}
        above = {p.path for p in case[0] if p.score > 2.0}
        assert told.keys() == above - moved
        assert all(told.values())
        assert all(told[p] == "pinned" for p in case[2] & above)


def test_the_reasons_name_what_stands_against_it() -> None:
    rooms = [ShardRoom(0), ShardRoom(1)]
    giant = plan([hot(0, 0, 90.0), hot(1, 1, 10.0, score=0.0)], rooms, name="p", epoch=0)
    assert not giant.moves and "so no move helps" in giant.not_moved[0].why
    assert giant.not_moved[0].heavy and "moves promote N0,0" in giant.not_moved[0].why
    two = plan([hot(0, 0, 45.0), hot(1, 1, 50.0, score=0.0)], rooms, name="p", epoch=0)
    assert "no less than the maximum" in two.not_moved[0].why and not two.not_moved[0].heavy
    alone = plan([hot(0, 0, 90.0)], [ShardRoom(0)], name="p", epoch=0)
    assert alone.not_moved[0].why == "no other shard takes portions"
    cheap = plan([hot(0, 0, 10.0, bytes=10**6), hot(1, 0, 10.0)], rooms, name="p", epoch=0)
    assert [m.portion for m in cheap.moves] == [(0, 1)]
    assert "by moving N0,1, which takes fewer bytes" in cheap.not_moved[0].why


def test_a_drained_shard_is_emptied_whatever_the_gain() -> None:
    rooms = [ShardRoom(0, state="drained"), ShardRoom(1), ShardRoom(2)]
    parts = [hot(i, i % 3, 10.0) for i in range(6)]
    made = plan(parts, rooms, name="p", epoch=0, min_gain=1.0)
    assert {m.source for m in made.moves} == {0}
    assert made.after.max_load == pytest.approx(1.0)
    kept = plan(parts, rooms, name="p", epoch=0, held={(0, 0): "pinned by a person"})
    assert [s.why for s in kept.not_moved if s.portion == (0, 0)] == ["pinned by a person"]
    nowhere = [replace(room, state="drained") for room in rooms]
    assert plan(parts, nowhere, name="p", epoch=0).moves == ()


def test_a_plan_that_gains_too_little_for_its_bytes_is_not_made() -> None:
    rooms = [ShardRoom(0), ShardRoom(1)]
    parts = [hot(0, 0, 55.0, bytes=1), hot(1, 0, 5.0, bytes=9), hot(2, 1, 40.0, bytes=90)]
    free = plan(parts, rooms, name="p", epoch=0)
    assert free.before.max_load == pytest.approx(1.2)
    assert [m.portion for m in free.moves] == [(0, 1)]
    # it gains 1/12 and moves 9 of 100 bytes
    assert plan(parts, rooms, name="p", epoch=0, min_gain=0.076).moves == free.moves
    refused = plan(parts, rooms, name="p", epoch=0, min_gain=0.077)
    assert refused.moves == () and refused.after == refused.before
    assert all("lowers the maximum load by 8.3%" in s.why for s in refused.not_moved)


def test_enough_is_enough() -> None:
    rooms = [ShardRoom(s) for s in range(4)]
    parts = [hot(i, 0 if i < 16 else i % 4, 10.0) for i in range(40)]
    best = plan(parts, rooms, name="p", epoch=0)
    some = plan(parts, rooms, name="p", epoch=0, enough=1.3)
    assert best.after.max_load == pytest.approx(1.0)
    assert some.after.max_load <= 1.3 and len(some.moves) < len(best.moves)
    assert plan(parts, rooms, name="p", epoch=0, enough=9.0).moves == ()


def test_the_order_of_the_input_does_not_show() -> None:
    for seed in range(5):
        parts, rooms, pins = case = random_case(seed, most=16, shards=4)
        assert planned((parts[::-1], rooms[::-1], pins)) == planned(case)


def test_a_plan_of_another_epoch_is_refused() -> None:
    made = planned(random_case(0, most=5, shards=2))
    made.check(3)
    with pytest.raises(IllegalTransition, match="epoch 3, now it is 4") as refused:
        made.check(4)
    assert refused.value.status == 409


def test_the_answer_has_the_contracts_shape() -> None:
    made = plan([hot(0, 0, 9.0), hot(1, 0, 9.0)], [ShardRoom(0), ShardRoom(1)], name="7", epoch=2)
    said = made.to_json()
    assert said.keys() == {"id", "epoch", "moves", "before", "after", "bound", "not_moved"}
    (move,) = said["moves"]
    assert move.keys() == {"portion", "from", "to", "rows", "bytes", "why"}
    assert said["bound"] == {"max_load": pytest.approx(1.0), "gap": pytest.approx(0.0, abs=1e-9)}
    assert said["not_moved"][0].keys() == {"portion", "why"}


@pytest.mark.parametrize(
    "parts, rooms",
    [
        ([], []),
        ([hot(0, 7, 1.0)], [ShardRoom(0)]),
        ([hot(0, 0, float("nan"))], [ShardRoom(0)]),
        ([hot(0, 0, -1.0)], [ShardRoom(0)]),
        ([hot(0, 0, 1.0), hot(0, 0, 1.0)], [ShardRoom(0)]),
        ([hot(0, 0, 1.0)], [ShardRoom(0, 0.0)]),
        ([hot(0, 0, 1.0)], [ShardRoom(0), ShardRoom(0)]),
    ],
)
def test_what_cannot_be_planned_is_refused(parts: list, rooms: list) -> None:
    with pytest.raises(UsageError):
        plan(parts, rooms, name="p", epoch=0)


def test_nothing_to_plan() -> None:
    made = plan([], [ShardRoom(0)], name="p", epoch=0)
    assert made.moves == () and made.gap == 0.0
    idle = plan([hot(i, 0, 0.0) for i in range(3)], [ShardRoom(0), ShardRoom(1)], name="p", epoch=0)
    assert idle.moves == () and idle.before.max_load == 0.0


def test_the_bound_knows_the_largest_portion_and_two_that_must_meet() -> None:
    rooms = [ShardRoom(0), ShardRoom(1)]
    three = [hot(i, 0, 10.0) for i in range(3)]
    assert lower_bound(Layout.of(three, rooms)) == pytest.approx(20 / 15)
    giant = [hot(0, 0, 80.0), hot(1, 0, 10.0), hot(2, 0, 10.0)]
    assert lower_bound(Layout.of(giant, rooms)) == pytest.approx(80 / 50)
