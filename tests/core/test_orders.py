"""An order becomes a record, and every reader of the records comes to the same answer."""

from __future__ import annotations

from typing import Any

import pytest
from core.moving import Log

from pctstream.core.records import order_record, stage_record
from pctstream.core.routing import Routing


@pytest.mark.parametrize(
    ("order", "status", "said"),
    [
        ({"do": "move", "portion": "N0,0", "to": 0}, 409, "on shard 0 already"),
        ({"do": "move", "portion": "N0,0", "to": 3}, 404, "0 to 2"),
        ({"do": "move", "portion": "N0,0", "to": "1"}, 404, "no shard '1'"),
        ({"do": "move", "portion": "N0,7", "to": 1}, 404, "no portion N0,7"),
        ({"do": "move", "portion": "N0", "to": 1}, 404, "no portion N0"),
        ({"do": "move", "portion": "P0,1", "to": 1}, 400, "not a node's name"),
        ({"do": "move", "portion": "N0,0"}, 422, "says too little"),
        ({"do": "move", "portion": "N0,0", "to": 1, "until": "DONE"}, 422, "until"),
        ({"do": "pause", "move": "m99"}, 404, "no move"),
        ({"do": "apply", "plan": "p", "epoch": 1, "moves": []}, 409, "made in epoch 1"),
        ({"do": "dance"}, 422, "is no order"),
        ({}, 422, "is no order"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    order: dict[str, Any], status: int, said: str
) -> None:
    log = Log()
    before = dict(log.routing.owners), log.routing.epoch
    answer = log.order(order.pop("do", None), **order)
    assert (answer.status, said in answer.refused) == (status, True), answer
    assert (log.routing.owners, log.routing.epoch) == before
    assert log.routing.moves.all() == []


def test_a_portion_has_one_move_and_it_may_be_held() -> None:
    log = Log()
    first = log.move("N0,0", 1)
    assert "is moving already" in log.order("move", portion="N0,0", to=2).refused
    assert log.order("resume", move=first).status == 409
    assert not log.order("pause", move=first).refused
    assert log.routing.moves.of(first).paused
    assert log.order("pause", move=first).status == 409
    assert not log.order("cancel", move=first).refused
    assert log.routing.moves.of(first).stage == "ABORTED"
    assert log.order("resume", move=first).status == 409
    assert log.move("N0,0", 2) != first


def test_pins_and_drains_hold_until_they_are_taken_back() -> None:
    log = Log()
    log.order("pin", portion="N0,0")
    assert "pinned" in log.order("move", portion="N0,0", to=1).refused
    log.order("unpin", portion="N0,0")
    log.order("drain", shard=1)
    assert "drained" in log.order("move", portion="N0,0", to=1).refused
    log.order("undrain", shard=1)
    log.move("N0,0", 1)


def test_all_moves_of_a_plan_or_none() -> None:
    log = Log()
    moves = [{"portion": "N0,0", "to": 2, "why": "less"}, {"portion": "N0,1", "to": 0}]
    epoch = log.routing.epoch
    bad = [*moves, {"portion": "N0,9", "to": 0}]
    assert log.order("apply", plan="p1", epoch=epoch, moves=bad).status == 404
    twice = [moves[0], moves[0]]
    assert log.order("apply", plan="p1", epoch=epoch, moves=twice).status == 422
    assert log.routing.moves.all() == []
    answer = log.order("apply", plan="p1", epoch=epoch, moves=moves)
    planned = [log.routing.moves.of(name) for name in answer.moves]
    assert [(m.portion, m.target, m.plan) for m in planned] == [
        ((0, 0), 2, "p1"), ((0, 1), 0, "p1")
    ]  # fmt: skip
    assert planned[0].reason == "less"


def test_an_order_that_a_zombie_copies_again_counts_once() -> None:
    log = Log()
    move = log.move("N0,0", 1)
    again = {"do": "move", "id": "o0", "portion": "N0,1", "to": 0}
    assert log.write(order_record(again, 0, log.routing.seq + 1, "z"))
    assert [m.id for m in log.routing.moves.all()] == [move]


def test_owners_change_when_a_move_is_done_and_never_else() -> None:
    log = Log()
    move = log.move("N0,0", 1)
    for stage in ("SHADOWING", "DONE", "nonsense"):
        log.write(stage_record(move, stage, log.routing.seq + 1, "a", {"proof": {}}))
        assert log.routing.moves.of(move).stage == "PLANNED"
    for stage in ("COPYING", "SHADOWING", "VERIFYING"):
        log.write(stage_record(move, stage, log.routing.seq + 1, "a"))
        assert (log.routing.owners[0, 0], log.routing.roles(1)[0, 0]) == (0, "shadow")
    log.write(stage_record(move, "DONE", log.routing.seq + 1, "a", {"proof": {"count": 3}}))
    assert (log.routing.owners[0, 0], log.routing.epoch) == (1, log.routing.seq)
    assert (log.routing.since[0, 0], log.routing.since[0, 1]) == (log.routing.seq, 2)
    assert log.routing.roles(0) == {(0, 0): "leaving"}
    assert log.routing.roles(1) == {(0, 0): "owner", (0, 1): "owner"}
    assert log.order("cancel", move=move).status == 409
    log.write({"seq": log.routing.seq + 1, "type": "dropped", "author": "a", "move": move})
    assert log.routing.roles(0) == {}


def test_the_log_alone_brings_everything_back() -> None:
    log = Log()
    records: list[dict[str, Any]] = []
    fold = log.routing.fold
    log.write = lambda record: (records.append(record), fold(record, 99, 0.0))[1]  # type: ignore[method-assign]
    move = log.move("N0,0", 1)
    log.order("pin", portion="N0,1")
    for stage in ("COPYING", "SHADOWING", "VERIFYING", "DONE"):
        log.write(stage_record(move, stage, log.routing.seq + 1, "a", {"proof": {}}))
    again = Log().routing
    assert isinstance(again, Routing)
    for record in records:
        again.fold(record, 99, 0.0)
    assert again.owners == log.routing.owners
    assert again.epoch == log.routing.epoch
    assert again.orders.pinned == {(0, 1)}
    assert [m.to_json() for m in again.moves.all()] == [
        m.to_json() for m in log.routing.moves.all()
    ]
