"""Lanes against what a queue per shard must do: order, exclusion, whose error it is."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pctstream.agents.lanes import Lanes
from pctstream.agents.shard import Shard, Turn
from pctstream.core.names import ROOT

BOUND_S = 20.0


def turn(number: int, what: int) -> Any:
    """A turn of a node of its own on this shard."""
    store: Any = None
    node: Any = type("At", (), {"path": (0, number, what)})()
    return Turn(Shard(number, "t", store, 1), node, list)


def place(of: Turn) -> tuple[int, int]:
    _, number, what = of.node.path
    return number, what


def together(take: Any, turns: list[Turn]) -> list[Any]:
    """Run all; what became of each."""

    async def run() -> list[Any]:
        with ThreadPoolExecutor(2) as pool:
            lanes = Lanes(take, pool)
            futures = [lanes.run(t) for t in turns]
            found = await asyncio.wait_for(
                asyncio.gather(*futures, return_exceptions=True), BOUND_S
            )
            assert not lanes.in_hand()
            return found

    return asyncio.run(run())


def test_turns_of_a_shard_are_taken_in_order_and_never_two_at_a_time() -> None:
    taken: list[tuple[int, int]] = []
    locks = [threading.Lock() for _ in range(3)]

    def take(one: Turn) -> None:
        number, _ = place(one)
        assert locks[number].acquire(blocking=False), "two turns of a shard at a time"
        taken.append(place(one))
        locks[number].release()

    turns = [turn(i % 3, i) for i in range(150)]
    assert together(take, turns) == [None] * 150
    for shard in range(3):
        mine = [w for n, w in taken if n == shard]
        assert mine == sorted(mine) and len(mine) == 50


def test_n0_comes_before_the_portions_that_wait() -> None:
    taken, go_on = [], threading.Event()

    def take(one: Turn) -> None:
        assert go_on.wait(BOUND_S)
        taken.append(one.node.path)

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            lanes = Lanes(take, pool)
            turns = [turn(0, i) for i in range(3)]
            root = turn(0, 9)
            root.node.path = ROOT
            futures = [lanes.run(t) for t in (*turns, root)]
            go_on.set()
            await asyncio.wait_for(asyncio.gather(*futures), BOUND_S)

    asyncio.run(run())
    portions = [path for path in taken if path != ROOT]
    assert portions == sorted(portions) and len(portions) == 3
    assert taken.index(ROOT) <= 1, "it waits for the turn under way alone"


def test_n0_of_another_shard_comes_before_portions_that_wait_for_a_thread() -> None:
    """And those of several shards one after the other, none before its time."""
    taken, go_on = list[tuple[int, bool]](), threading.Event()

    def take(one: Turn) -> None:
        assert go_on.wait(BOUND_S)
        taken.append((one.shard.number, one.node.path == ROOT))

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            lanes = Lanes(take, pool)
            roots = [turn(number, 9) for number in (2, 1, 3)]
            for root in roots:
                root.node.path = ROOT
            turns = [turn(number, 0) for number in range(5)]
            futures = [lanes.run(t) for t in (*turns, *roots)]
            go_on.set()
            await asyncio.wait_for(asyncio.gather(*futures), BOUND_S)

    asyncio.run(run())
    assert taken[0] == (0, False), "that one was under way"
    assert [number for number, root in taken if root] == [2, 1, 3]
    assert taken[-1] == (4, False)
    assert {n for n, _ in taken[1:-1]} == {1, 2, 3}


def test_an_error_is_its_own_turns_and_the_others_go_on() -> None:
    def take(one: Turn) -> None:
        if place(one)[1] % 7 == 3:
            raise ValueError(place(one)[1])

    found = together(take, [turn(i % 2, i) for i in range(70)])
    wrong = [i for i, of_one in enumerate(found) if isinstance(of_one, ValueError)]
    assert wrong == [i for i in range(70) if i % 7 == 3]


def test_shards_do_not_wait_for_each_other() -> None:
    met = threading.Barrier(2)
    assert together(lambda _: met.wait(BOUND_S) and None, [turn(0, 0), turn(1, 1)]) == [None, None]


def test_a_turn_whose_agent_is_gone_is_not_taken() -> None:
    taken, first, go_on = [], threading.Event(), threading.Event()

    def take(one: Turn) -> None:
        first.set()
        assert go_on.wait(BOUND_S)
        taken.append(place(one))

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            lanes = Lanes(take, pool)
            one, gone, last = (lanes.run(turn(0, i)) for i in range(3))
            await asyncio.to_thread(first.wait, BOUND_S)
            assert set(lanes.in_hand()) == {(0, (0, 0, i)) for i in range(3)}
            gone.cancel()
            go_on.set()
            await asyncio.wait_for(asyncio.gather(one, last), BOUND_S)
            with pytest.raises(asyncio.CancelledError):
                await gone

    asyncio.run(run())
    assert taken == [(0, 0), (0, 2)]


def test_in_the_middle_of_a_long_turn_those_that_wait_for_its_shard_are_taken() -> None:
    """N0's among them; whoever comes after that waits for its end, or for the next such place."""
    taken: list[str] = []
    go_on, inside = threading.Event(), threading.Event()

    def take(one: Turn) -> None:
        path = one.node.path
        taken.append(f"begin {path[-1]}")
        if path[-1] == 0 and path != ROOT:
            inside.set()
            assert go_on.wait(BOUND_S)
            lanes.between(0)
        taken.append(f"end {path[-1]}")
        if path[-1] == 2:
            raise ValueError

    async def run() -> list[Any]:
        nonlocal lanes
        with ThreadPoolExecutor(1) as pool:
            lanes = Lanes(take, pool)
            long = lanes.run(turn(0, 0))
            await asyncio.to_thread(inside.wait, BOUND_S)
            others = [lanes.run(turn(0, i)) for i in (1, 2)]
            elsewhere = lanes.run(turn(1, 7))
            go_on.set()
            both = asyncio.gather(long, *others, elsewhere, return_exceptions=True)
            found = await asyncio.wait_for(both, BOUND_S)
            assert not lanes.in_hand()
            return found

    lanes: Any = None
    found = asyncio.run(run())
    assert taken[:6] == ["begin 0", "begin 1", "end 1", "begin 2", "end 2", "end 0"]
    assert [type(f) for f in found] == [type(None), type(None), ValueError, type(None)]
