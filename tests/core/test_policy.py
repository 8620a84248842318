from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from pctstream.core import loads
from pctstream.core.layout import Float64, PortionLoad, ShardRoom
from pctstream.core.policy import PERSIST, RECENT, Policy, Tuning
from pctstream.core.simulate import Carrying, Run, last, perfect, simulate

ROOMS = [ShardRoom(s) for s in range(4)]
PATHS = [(0, i) for i in range(32)]
ROUND = {path: i % 4 for i, path in enumerate(PATHS)}


def parts(values: list[float], scores: list[float], owners: list[int] | None = None,
          now: list[float] | None = None) -> list[PortionLoad]:  # fmt: skip
    owners = owners or [i % 2 for i in range(len(values))]
    now = now or values
    return [
        PortionLoad((0, i), owners[i], now[i], values[i], bytes=1000, score=scores[i])
        for i in range(len(values))
    ]


def decide(policy: Policy, time_s: float, given: list[PortionLoad], **more: str) -> list[int]:
    """The portions that the decision moves."""
    rooms = [ShardRoom(0), ShardRoom(1)]
    decision = policy.decide(time_s, given, rooms, name="p", epoch=0, **more)  # type: ignore[arg-type]
    return [m.portion[1] for m in decision.plan.moves] if decision.plan else []


def test_a_plan_needs_overload_and_a_score_and_both_again() -> None:
    even, skewed = [10.0] * 4, [30.0, 10.0, 10.0, 10.0]
    for values, scores, moves in [
        (even, [9.0] * 4, False),
        (skewed, [1.0] * 4, False),
        (skewed, [1.0, 9.0, 1.0, 9.0], False),  # scores of the other shard
        (skewed, [9.0, 1.0, 1.0, 1.0], True),
    ]:
        policy = Policy(Tuning())
        made = [decide(policy, 5.0 * t, parts(values, scores)) for t in range(PERSIST)]
        assert made[:-1] == [[]] * (PERSIST - 1)
        assert bool(made[-1]) == moves


def test_one_window_of_a_high_score_moves_nothing() -> None:
    policy = Policy(Tuning())
    values = [30.0, 10.0, 10.0, 10.0]
    for t in range(20):
        score = 9.0 if t % 2 else 0.0
        assert decide(policy, 5.0 * t, parts(values, [score, 0.0, 0.0, 0.0])) == []


def test_a_person_needs_no_overload() -> None:
    policy = Policy(Tuning())
    given = parts([10.0, 10.0, 12.0, 8.0], [0.0] * 4)
    assert decide(policy, 0.0, given, person="tidy up")
    asked = policy.decide(0.0, given, [ShardRoom(0)] * 1 + [ShardRoom(1)], name="p", epoch=0,
                          person="tidy up", held={p.path: "pinned" for p in given})  # fmt: skip
    assert asked.trigger and asked.trigger.why == "tidy up" and not asked.plan.moves  # type: ignore[union-attr]


def test_who_moved_cools_down_and_others_make_room() -> None:
    policy = Policy(Tuning(cooldown_s=60.0))
    policy.moved((0, 0), 0.0)
    given = parts([30.0, 10.0, 10.0, 10.0], [9.0, 0.0, 0.0, 0.0])
    rooms = [ShardRoom(0), ShardRoom(1)]
    for t in (50.0, 55.0):
        decision = policy.decide(t, given, rooms, name="p", epoch=0)
    assert decision.plan
    assert [m.portion for m in decision.plan.moves] == [(0, 2)]
    assert [s.why for s in decision.plan.not_moved] == ["moved lately: it stays for another 5 s"]
    assert policy.cooling(59.9).keys() >= {(0, 0)}
    assert (0, 0) not in policy.cooling(60.0)


def test_a_low_load_counts_only_after_recent_windows_without_a_high_one() -> None:
    policy = Policy(Tuning())
    for t, load in enumerate([50.0, 10.0, 10.0, 10.0]):
        given = parts([load, 10.0], [0.0, 0.0])
        decision = policy.decide(5.0 * t, given, [ShardRoom(0), ShardRoom(1)], name="p", epoch=0)
        assert decision.demands[0, 0] == (50.0 if t < RECENT else 10.0)


def test_a_shard_that_had_a_plan_waits_until_it_shows() -> None:
    policy = Policy(Tuning(cooldown_s=0.0))
    given = parts([20.0, 10.0, 20.0, 10.0], [9.0] * 4)
    made = [decide(policy, 5.0 * t, given) for t in range(PERSIST + RECENT + 1)]
    # nobody carries the plan out, so it is made again, but not at once
    assert [bool(m) for m in made] == [False] * (PERSIST - 1) + [True] + [False] * RECENT + [True]


def tried(series: Float64, forecast: object, **tuning: float) -> Run:
    how = {"last": last, "perfect": perfect(series), "none": None}[str(forecast)]
    return simulate(series, PATHS, ROUND, ROOMS, Tuning(**tuning), Carrying(), how)


@pytest.mark.parametrize("seed", range(3))
def test_a_stationary_stream_moves_nothing(seed: int) -> None:
    # 30 minutes; rates differ by a tenth, so that no shard is overloaded to begin with
    rng = np.random.default_rng(seed)
    series = 90.0 + loads.stationary(rng, 360, 32) / 10.0
    assert tried(series, "last").moves == []
    assert tried(series, "perfect").moves == []
    # nor with scores that are noise, and a shard that is always too full
    noisy = np.random.default_rng(seed + 100)
    full = series * np.where(np.arange(32) % 4 == 0, 1.5, 1.0)
    run = simulate(
        full, PATHS, ROUND, ROOMS, Tuning(), Carrying(full=float(full.sum(axis=1).max())),
        lambda seen, _: (seen[-1], np.abs(noisy.normal(0, 1, 32))),
    )  # fmt: skip
    assert run.moves == [] and run.overload_s > 0


@pytest.mark.parametrize("period", [2, 3, 4, 12, 24])
@pytest.mark.parametrize("forecast", ["last", "perfect"])
def test_a_square_wave_moves_a_portion_once_per_cool_down_at_most(
    period: int, forecast: str
) -> None:
    series = loads.square(np.random.default_rng(period), 360, 32, period=period)
    full = float(series.sum(axis=1).max())
    how = last if forecast == "last" else perfect(series)
    run = simulate(series, PATHS, ROUND, ROOMS, Tuning(), Carrying(full=full), how)
    times: dict[tuple[int, ...], list[float]] = {}
    for done in run.moves:
        times.setdefault(done.move.portion, []).append(done.planned_s)
    assert all(b - a >= 60.0 for t in times.values() for a, b in itertools.pairwise(t))
    if period <= RECENT:  # the maximum of the recent windows is the same all the time
        assert max(Counter(d.move.portion for d in run.moves).values(), default=0) <= 1


def test_knowing_what_comes_pays() -> None:
    before = after = blind = moves = blind_moves = 0.0
    for seed in range(3):
        series = loads.hot_spot(np.random.default_rng(seed), 144, 32)
        never, now, ahead = (tried(series, how) for how in ("none", "last", "perfect"))
        before += never.overload_s
        blind, after = blind + now.overload_s, after + ahead.overload_s
        blind_moves, moves = blind_moves + len(now.moves), moves + len(ahead.moves)
    assert before > 500 and blind < before / 2
    assert after <= blind / 2
    assert moves <= 1.5 * blind_moves
