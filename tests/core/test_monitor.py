"""Who stands still: against a judge that keeps everything and looks at all of it again."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from pctstream.core.monitor import GIVE_UP_S, LONGEST_S, Monitor, Sight, Stalled

H, PATIENCE = 3.0, 10.0
ME, OTHERS = "me", ("a", "b")


class Slow:
    """The definitions, over the whole history of what was seen and heard."""

    def __init__(self) -> None:
        self.ticks: list[float] = []
        self.looks: dict[tuple[int, str], list[tuple[float, Sight]]] = {}
        self.said: dict[int, tuple[float, str, dict[str, str | None]]] = {}

    def watched(self, since: float) -> float:
        """Seconds since then in which this worker looked; of a longer gap one heartbeat counts."""
        later = [t for t in self.ticks if t >= since]
        return sum(min(b - a, H) for a, b in pairwise(later))

    def stands(self, looks: list[tuple[float, Sight]]) -> bool:
        """Lag in every look of the last PATIENCE, and nowhere in it a position never seen before."""
        if looks[-1][1].lag <= 0:
            return False
        since = looks[0][0]
        best = looks[0][1].at
        before = looks[0][1]
        for time, sight in looks:
            farthest = max(best[0], sight.at[0]), max(best[1], sight.at[1])
            if farthest != best or before.lag <= 0:
                since = time
            best, before = farthest, sight
        return self.watched(since) > PATIENCE

    def stalled(self, hosted: set[int]) -> set[tuple[str, int, str]]:
        out = {(n, s, ME) for (s, n), looks in self.looks.items()
               if s in hosted and self.stands(looks)}  # fmt: skip
        for shard, (time, worker, nodes) in self.said.items():
            if shard not in hosted:
                silent = self.watched(time) > 2 * H
                out |= {(n, shard, worker) for n, why in nodes.items() if silent or why}
        return out


def sight(chance: random.Random, last: Sight) -> Sight:
    """Moves on, back, or not at all; with lag or without; rows come without being taken."""
    step = chance.choice([0, 0, 0, 0, 0, 0, 1, -1])
    lag = chance.choice([0, 2, 2, 2, 2, 2]) if chance.random() < 0.3 else last.lag
    at = (
        (last.at[0] + step, last.at[1])
        if chance.random() < 0.5
        else (last.at[0], last.at[1] + step)
    )
    return Sight(at, lag)


@pytest.mark.parametrize("seed", range(150))
def test_exactly_those_are_named_that_the_definitions_name(seed: int) -> None:
    chance = random.Random(seed)
    monitor, slow = Monitor(ME, H, PATIENCE), Slow()
    hosted = {0, 1}
    now = 0.0
    last = {(s, n): Sight((0, 0), 0) for s in (0, 1, 2) for n in ("N0", "N0,1")}
    named = 0
    for _ in range(150):
        now += chance.choice([0.25, 0.5, 1.0, 1.0, 2.0, 30.0 if chance.random() < 0.1 else 1.0])
        slow.ticks.append(now)
        monitor.tick(now)
        if chance.random() < 0.03:
            hosted = set(chance.sample([0, 1, 2], 2))
            slow.looks = {k: v for k, v in slow.looks.items() if k[0] in hosted}
        nodes_of = {s: ["N0"] if chance.random() < 0.05 else ["N0", "N0,1"] for s in hosted}
        slow.looks = {(s, n): at for (s, n), at in slow.looks.items() if n in nodes_of.get(s, ())}
        monitor.host(nodes_of)
        for shard in chance.sample([2, 3, 4], chance.choice([0, 0, 0, 1, 3])):
            nodes = {"N0": None, "N0,9": chance.choice([None, None, "hangs"])}
            worker = chance.choice(OTHERS)
            slow.said[shard] = (now, worker, nodes)
            monitor.heard(shard, worker, nodes)
        for key in last:
            if key[1] in nodes_of.get(key[0], ()):
                last[key] = sight(chance, last[key])
                slow.looks.setdefault(key, []).append((now, last[key]))
                monitor.look(*key, last[key], now)
        found = {(s.node, s.shard, s.worker) for s in monitor.stalled()}
        assert found == slow.stalled(hosted)
        named += len(found)
    assert named, "a history in which all went well shows nothing"


def stuck(seconds: int, **more: Any) -> list[tuple[float, tuple[int, str]]]:
    """When a node that never gets on is to be restored."""
    monitor = Monitor(ME, H, PATIENCE)
    out = []
    for quarter in range(4 * seconds):
        monitor.tick(quarter / 4)
        monitor.look(0, "N0", Sight((4, 4), 1, **more))
        out += [(quarter / 4, key) for key in monitor.due()]
    return out


def test_restarts_that_do_not_help_are_ever_farther_apart() -> None:
    times = [time for time, _ in stuck(3600)]
    apart = [b - a for a, b in pairwise(times)]
    assert times[0] == pytest.approx(PATIENCE, abs=0.5)
    assert apart[:4] == [PATIENCE, 2 * PATIENCE, 4 * PATIENCE, 8 * PATIENCE]
    assert apart == sorted(apart) and apart[-1] == LONGEST_S
    assert len(times) < 20


def test_where_a_restart_cannot_help_there_is_none() -> None:
    assert stuck(600, held="the broker acknowledges nothing") == []


def test_a_node_that_raises_is_restored_at_once_and_then_ever_later_until_it_gets_on() -> None:
    monitor = Monitor(ME, H, PATIENCE)
    monitor.tick(0.0)
    monitor.look(0, "N0,1", Sight((6, 6), 3))
    waits, now = [], 0.0
    for _ in range(6):
        waits.append(wait := monitor.raised(0, "N0,1"))
        end = now + wait
        while now < end:
            assert monitor.due() == []
            now += 0.25
            monitor.tick(now)
            # back to what the store has, and there again: that is no progress
            monitor.look(0, "N0,1", Sight((5, 5), 3), now)
            monitor.look(0, "N0,1", Sight((6, 6), 3), now)
        assert monitor.due() == ([(0, "N0,1")] if wait else [])
    assert waits == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0]
    assert monitor.known(0, "N0,1")[1] == 6
    assert "raised 6 times" in str(monitor.known(0, "N0,1")[2])
    monitor.look(0, "N0,1", Sight((7, 7), 3), now)
    assert monitor.raised(0, "N0,1") == 0.0


def test_what_was_known_of_a_node_before_it_came_here_stays() -> None:
    monitor = Monitor(ME, H, PATIENCE)
    monitor.adopt(0, "N0", Sight((4, 4), 1), 123.0, 7)
    assert monitor.known(0, "N0") == (123.0, 7, None)
    monitor.look(0, "N0", Sight((4, 4), 1), 500.0)
    assert monitor.known(0, "N0")[0] == 123.0
    monitor.look(0, "N0", Sight((5, 4), 1), 501.0)
    assert monitor.known(0, "N0")[:2] == (501.0, 7)
    monitor.host({0: ["N0,1"], 1: ["N0"]})
    assert not monitor.watches(0, "N0")


def test_a_worker_that_slept_does_not_accuse_the_others() -> None:
    monitor = Monitor(ME, H, PATIENCE)
    monitor.tick(0.0)
    monitor.heard(1, "a", {"N0": None})
    monitor.tick(1000.0)
    assert monitor.stalled() == []
    for second in range(1001, 1005):
        monitor.tick(float(second))
    assert monitor.stalled() == [Stalled("N0", 1, "a", "a has been silent for 7 s")]


def test_what_waited_for_something_else_has_its_patience_again_when_that_is_there() -> None:
    """A broker comes back after a minute: its nodes get on by themselves, or are restarted later."""
    monitor = Monitor(ME, H, PATIENCE)
    due = []
    for quarter in range(4 * 90):
        now = quarter / 4
        monitor.tick(now)
        held = "the broker acknowledges nothing" if now < 60 else ""
        monitor.look(0, "N0", Sight((4, 4), 1, held))
        monitor.look(0, "N0,1", Sight((4, 4 + (now >= 65)), 1, held))
        due += [(now, node) for _, node in monitor.due() if now < 75]
    assert due == [(60 + PATIENCE, "N0")]


def names(monitor: Monitor) -> list[str]:
    return [s.node for s in monitor.beyond()]


def test_what_no_restart_cures_is_beyond_this_process_after_a_minute() -> None:
    monitor = Monitor(ME, H, PATIENCE)
    for second in range(61):
        monitor.tick(float(second))
        monitor.look(0, "N0", Sight((4, 4), lag=2))
        monitor.look(0, "N0,0", Sight((second, 4), lag=2))
        monitor.look(0, "N0,1", Sight((4, 4), lag=2 if second < 30 or second > 31 else 0))
        monitor.due()
        assert names(monitor) == []
    monitor.tick(61.0)
    assert names(monitor) == ["N0"]
    monitor.look(0, "N0", Sight((5, 4), lag=2))
    assert names(monitor) == [], "it got on"


def test_who_waits_for_the_broker_is_not_beyond_and_has_its_time_afterwards() -> None:
    monitor = Monitor(ME, H, PATIENCE)
    for second in range(200):
        monitor.tick(float(second))
        held = "the broker acknowledges nothing" if second < 100 else ""
        monitor.look(0, "N0", Sight((4, 4), 2, held))
        assert (names(monitor) == ["N0"]) == (second - 100 > GIVE_UP_S), second


def test_a_long_patience_is_longer_than_a_minute() -> None:
    monitor = Monitor(ME, H, 100.0)
    for second in range(200):
        monitor.tick(float(second))
        monitor.look(0, "N0", Sight((4, 4), 2))
        assert names(monitor) == []
    for second in (200.0, 201.0):
        monitor.tick(second)
    assert names(monitor) == ["N0"]
