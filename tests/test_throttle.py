"""A rate that is held, and that gives way."""

from __future__ import annotations

import random

import pytest

from pctstream.agents.throttle import BURST_S, LEAST, Throttle


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("rate", [1e6, 5e7])
def test_the_rate_is_held_whatever_the_pieces(rate: float) -> None:
    clock, chance, sent = Clock(), random.Random(3), 0
    throttle = Throttle(rate, clock=clock)
    while clock.now < 30.0:
        size = chance.choice([1, 1000, 262_144, 3_000_000])
        clock.now += throttle.spend(size)
        clock.now += chance.random() * 0.01  # what writing the piece takes
        sent += size
    assert sent / clock.now == pytest.approx(rate, rel=0.10)


def test_a_pause_is_not_made_up_for() -> None:
    clock = Clock()
    throttle = Throttle(1e6, clock=clock)
    clock.now = 100.0
    clock.now += throttle.spend(1_000_000)
    assert clock.now == pytest.approx(101.0 - BURST_S)


def test_it_gives_way_to_what_matters_more_and_comes_back() -> None:
    clock, busy = Clock(), [True]
    throttle = Throttle(1e6, lambda: busy[0], clock)
    for _ in range(2000):
        clock.now += throttle.spend(1000)
    assert throttle.share == LEAST
    busy[0] = False
    begun, sent = clock.now, 0
    while clock.now < begun + 10.0:
        clock.now += throttle.spend(1000)
        sent += 1000
    assert throttle.share == 1.0
    assert sent > 0.7 * 10.0 * 1e6
