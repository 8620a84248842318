"""The room of a worker: what waits is counted while somebody holds it, and no longer."""

from __future__ import annotations

import random
import threading
import time

from pctstream.pipes.room import SAY_S, Load, Room


def test_room_is_the_sum_of_the_loads_that_somebody_holds() -> None:
    chance = random.Random(5)
    room = Room(50, 400)
    held: list[tuple[int, int, Load]] = []
    left: list[int] = []
    for step in range(2000):
        what = chance.random()
        if what < 0.5:
            rows, size = chance.randrange(6), chance.randrange(60)
            held.append((rows, size, room.load(rows, size, lambda n=step: left.append(n))))
        elif held:
            load = held.pop(chance.randrange(len(held)))[2]
            for _ in range(chance.randrange(3)):
                load.leave()
            del load  # one that never left is lost: nobody holds it any more
        rows, size = sum(r for r, _, _ in held), sum(s for _, s, _ in held)
        assert (room.rows, room.bytes) == (rows, size)
        more = chance.randrange(200)
        reached = (
            "rows_in_flight" if rows >= 50 else "bytes_in_flight" if size + more >= 400 else ""
        )
        assert room.full(more) == reached
    assert len(set(left)) == len(left)
    held.clear()
    assert (room.rows, room.bytes) == (0, 0)


def test_who_waits_for_room_goes_on_when_some_leaves() -> None:
    room = Room(10, 10)
    load = room.load(10, 0)
    assert not room.wait(0.01)
    threading.Timer(0.1, load.leave).start()
    start = time.monotonic()
    assert room.wait(20.0)
    assert time.monotonic() - start < 10.0
    assert room.waited["rows_in_flight"] >= 0.1
    assert room.waited["bytes_in_flight"] == 0.0


def test_a_room_that_stays_full_is_told_once_and_its_end_too() -> None:
    said: list[str] = []
    room = Room(10, 10, said.append)
    load = room.load(1, 12)
    assert not room.wait(0.0)
    assert said == []
    room._since = time.monotonic() - SAY_S
    for _ in range(3):
        assert not room.wait(0.0)
    load.leave()
    for _ in range(3):
        assert room.wait(0.0)
    assert len(said) == 2
    assert "limits.bytes_in_flight" in said[0]
    assert "reading goes on" in said[1]
