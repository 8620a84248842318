"""The ledger of plans: everybody who reads the log knows the same plans, and applies them alike."""

from __future__ import annotations

from typing import Any

import pytest
from core.rows import cover_of

from pctstream.core.ledger import KEPT
from pctstream.core.names import ROOT
from pctstream.core.orders import Answer, check
from pctstream.core.records import cover_records, order_record, split_record, tree_record
from pctstream.core.routing import Routing
from pctstream.errors import IllegalTransition, NotFound

COVER = cover_of([[0, 0], [0, 9], [9, 0], [9, 9], [0, 1]], 2.0)
Order = dict[str, Any]


class Log:
    """A routing log of four portions on three shards, two of them on shard 0."""

    def __init__(self) -> None:
        self.routing = Routing()
        self._offset = 0
        self.records: list[dict[str, Any]] = []
        settings = {"metric": "euclidean", "epsilon": 2.0, "gap": 1, "shards": 3}
        owners = {(0, 0): 0, (0, 1): 0, (0, 2): 1, (0, 3): 2}
        pieces = cover_records(ROOT, COVER, 1, "a")
        self.fold(tree_record(settings, 2, "a"))
        for record in [*pieces, split_record(ROOT, COVER, owners, 1 + len(pieces), "a")]:
            self.fold(record)

    def fold(self, record: dict[str, Any]) -> None:
        assert self.routing.fold(record, self._offset, float(self._offset))
        self.records.append(record)
        self._offset += 1

    def give(self, order: Order) -> Answer:
        """An order becomes a record; the answer to it."""
        name = f"o{self._offset}"
        self.fold(order_record({**order, "id": name}, self._offset, self.routing.seq + 1, "a"))
        return self.routing.orders.answers[name]

    def done(self, move: str) -> None:
        for stage in ("COPYING", "SHADOWING", "VERIFYING", "DONE"):
            self.fold({"seq": self.routing.seq + 1, "type": "stage", "author": "a", "move": move,
                       "stage": stage, "proof": {"count": 1}})  # fmt: skip


def plan(log: Log, **more: Any) -> Order:
    moves = [{"portion": "N0,0", "from": 0, "to": 1, "rows": 1, "bytes": 9, "why": "w"},
             {"portion": "N0,1", "from": 0, "to": 2, "rows": 1, "bytes": 9, "why": "w"}]  # fmt: skip
    body = {"epoch": log.routing.epoch, "moves": moves, "before": {"max_load": 2.0},
            "after": {"max_load": 1.0}, "not_moved": []}  # fmt: skip
    return {"do": "plan", "plan": body, "reason": "r", **more}


def apply(log: Log, name: str) -> Answer:
    body = log.routing.orders.ledger.of(name).plan
    return log.give({"do": "apply", "plan": name, "epoch": body["epoch"], "moves": body["moves"]})


def test_a_plan_waits_until_it_is_applied() -> None:
    log = Log()
    answer = log.give(plan(log))
    name = f"p{answer.seq}"
    assert (answer.moves, log.routing.moves.all()) == ((), [])
    assert log.routing.orders.ledger.of(name).to_json()["by"] == "person"
    applied = apply(log, name)
    entry = log.routing.orders.ledger.of(name)
    assert entry.applied
    assert entry.made == list(applied.moves) == [f"m{applied.seq}.0", f"m{applied.seq}.1"]
    assert {m.plan for m in log.routing.moves.all()} == {name}
    # once more: its portions are moving; and when one has, owners are others
    assert apply(log, name).status == 409
    log.done(entry.made[0])
    refused = apply(log, name)
    assert (refused.status, "make it again" in refused.refused) == (409, True)
    assert entry.made == list(applied.moves)


def test_a_plan_that_is_to_be_applied_is_applied_or_not_there_at_all() -> None:
    log = Log()
    made = log.give(plan(log, apply=True))
    assert len(made.moves) == 2
    refused = log.give(plan(log, apply=True))
    assert (refused.status, refused.moves) == (409, ())
    assert list(log.routing.orders.ledger.plans) == [f"p{made.seq}"]
    late = plan(log)
    late["plan"]["epoch"] -= 1
    assert log.give({**late, "apply": True}).status == 409
    assert not log.give(late).refused


@pytest.mark.parametrize("bad", [
    {"do": "plan"}, {"do": "plan", "plan": 3}, {"do": "plan", "plan": {"epoch": 1}},
    {"do": "plan", "plan": {"epoch": 1, "moves": [{}]}}, {"do": "decision"},
    {"do": "decision", "decision": {"answer": "calm"}}, {"do": "realised", "plan": "p0"},
])  # fmt: skip
def test_what_cannot_be_read_changes_nothing(bad: Order) -> None:
    log = Log()
    assert log.give(bad).refused
    assert (log.routing.orders.ledger.plans, log.routing.orders.ledger.decisions) == ({}, {})


def test_what_a_plan_gained_is_told_once_and_of_applied_ones() -> None:
    log = Log()
    name = f"p{log.give(plan(log)).seq}"
    realised = {"do": "realised", "plan": name, "realised": {"gain": 0.5}}
    assert log.give(realised).status == 409
    apply(log, name)
    assert not log.give(realised).refused
    other = {**realised, "realised": {"gain": 0.1}}
    assert log.give(other).status == 409
    assert log.routing.orders.ledger.of(name).realised == {"gain": 0.5}
    with pytest.raises(IllegalTransition):
        check(log.routing, other)


def test_it_is_bounded_and_knows_what_was_answered_last() -> None:
    log = Log()
    ledger = log.routing.orders.ledger
    assert ledger.last_answer == (0.0, "calm")
    for i in range(KEPT + 5):
        log.give({"do": "decision", "decision": {"answer": f"a{i}", "why": "w", "full": i % 50}})
        log.give(plan(log))
    assert len(ledger.plans) == len(ledger.decisions) == KEPT
    assert ledger.full == 49.0
    # a person's plan is no answer of the policy's
    assert ledger.last_answer[1] == f"a{KEPT + 4}"
    log.give(plan(log, decision={"answer": "plan", "why": "w"}))
    assert ledger.last_answer[1] == "plan"
    with pytest.raises(NotFound):
        ledger.of("p3")


def test_two_readers_of_one_log_have_one_ledger() -> None:
    log = Log()
    first = log.give(plan(log, decision={"answer": "plan", "why": "w", "full": 7.0}))
    apply(log, f"p{first.seq}")
    other = Routing()
    for offset, record in enumerate(log.records):
        other.fold(record, offset, float(offset))
        other.fold(record, offset, float(offset))  # a zombie's repeat
    theirs, ours = other.orders.ledger, log.routing.orders.ledger
    assert [e.to_json() for e in theirs.plans.values()] == [
        e.to_json() for e in ours.plans.values()
    ]
    assert theirs.full == ours.full == 7.0
