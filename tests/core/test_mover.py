"""Which step of which move is next, from what the two shards say."""

from __future__ import annotations

from typing import Any

from core.moving import Log

from pctstream.core.mover import FENCE_S, VERIFY_S, Mover, SendFence

PROOF = {"count": 7, "hash": "aa"}


class Going:
    """Moves that go on as far as reports let them."""

    def __init__(self, concurrent: int = 1, grace_s: float = 10.0) -> None:
        self.log = Log()
        self.mover = Mover("a", concurrent, grace_s)
        self.reports: dict[tuple[str, int], dict[str, Any]] = {}
        self.told: dict[str, dict[str, Any]] = {}
        self.now = 0.0

    def step(self) -> Any:
        """What is next; carried out, and as a word."""
        step = self.mover.look(self.log.routing, self.reports, self.told, self.now)
        if step is None or isinstance(step, SendFence):
            return step and (step.move, "fence")
        assert self.log.write(step)
        return step["move"], step.get("stage", step["type"])

    def whole(self, move: str, shard: int, **more: Any) -> None:
        said = {"whole": True, "at": 9, "end": 10, "proofs": {}}
        self.reports[move, shard] = said | more


def until_verifying(going: Going, move: str, target: int) -> None:
    assert going.step() == (move, "COPYING")
    assert going.step() is None
    going.whole(move, target)
    assert [going.step(), going.step()] == [(move, "SHADOWING"), (move, "VERIFYING")]


def test_a_move_from_its_plan_to_the_drop() -> None:
    going = Going()
    move = going.log.move("N0,0", 1)
    until_verifying(going, move, 1)
    assert [going.step(), going.step()] == [(move, "fence"), None]
    going.whole(move, 0, proofs={"12": PROOF})
    assert going.step() is None
    going.whole(move, 1, proofs={"12": PROOF})
    assert going.step() == (move, "DONE")
    proof = going.log.routing.moves.of(move).proof
    assert proof == {"offset": 12, "count": 7, "hash_from": "aa", "hash_to": "aa"}
    assert going.step() is None
    going.now = 11.0
    assert going.step() is None, "the target has not told of it in its epoch"
    going.told["N0,0"] = {"epoch": going.log.routing.epoch}
    assert going.step() == (move, "dropped")
    assert going.step() is None


def test_only_answers_to_one_fence_are_compared_and_unequal_ones_end_the_move() -> None:
    going = Going()
    move = going.log.move("N0,0", 1)
    until_verifying(going, move, 1)
    going.step()
    going.whole(move, 0, proofs={"12": PROOF})
    going.whole(move, 1, proofs={"15": {"count": 9, "hash": "bb"}})
    assert going.step() is None
    going.whole(
        move, 1, proofs={"12": {"count": 8, "hash": "bb"}, "15": {"count": 9, "hash": "bb"}}
    )
    assert going.step() == (move, "ABORTED")
    ended = going.log.routing.moves.of(move)
    assert ended.why.startswith("at offset 12 shard 0 holds 7 rows (aa), shard 1 8 (bb)")
    assert going.log.routing.roles(1) == {(0, 1): "owner"}


def test_a_fence_that_nobody_answers_is_sent_again_and_at_last_given_up() -> None:
    going = Going()
    move = going.log.move("N0,0", 1)
    until_verifying(going, move, 1)
    sent = 0
    while (step := going.step()) is None or step[1] == "fence":
        sent += step is not None
        going.now += 1.0
    assert step == (move, "ABORTED")
    assert abs(sent - VERIFY_S / FENCE_S) <= 1
    assert "no fence was answered" in going.log.routing.moves.of(move).why


def test_a_shadow_far_behind_is_not_asked_for_a_proof() -> None:
    going = Going()
    move = going.log.move("N0,0", 1)
    going.step()
    for end in (-1, 900):
        going.whole(move, 1, end=end)
        assert going.step() == ((move, "SHADOWING") if end == -1 else None)
    going.whole(move, 1, at=899, end=900)
    assert going.step() == (move, "VERIFYING")


def test_one_at_a_time_in_the_order_they_were_planned() -> None:
    going = Going()
    first, second = going.log.move("N0,0", 1), going.log.move("N0,1", 2)
    until_verifying(going, first, 1)
    assert going.step() == (first, "fence")
    assert going.step() is None
    for shard in (0, 1):
        going.whole(first, shard, proofs={"3": PROOF})
    assert [going.step(), going.step()] == [(first, "DONE"), (second, "COPYING")]
    both = Going(concurrent=2)
    names = [both.log.move("N0,0", 1), both.log.move("N0,1", 2)]
    assert [both.step(), both.step()] == [(name, "COPYING") for name in names]


def test_a_paused_move_waits_and_others_go_on() -> None:
    going = Going(concurrent=2)
    first = going.log.move("N0,0", 1, until="SHADOWING")
    second = going.log.move("N0,1", 2)
    going.step()
    going.step()
    going.whole(first, 1)
    assert going.step() == (first, "SHADOWING")
    assert going.log.routing.moves.of(first).paused
    assert going.step() is None
    going.whole(second, 2)
    assert going.step() == (second, "SHADOWING")
    going.log.order("resume", move=first)
    assert going.step() == (first, "VERIFYING")


def test_another_agent_takes_up_where_the_first_died() -> None:
    going = Going()
    move = going.log.move("N0,0", 1)
    until_verifying(going, move, 1)
    going.step()
    going.mover = Mover("b", 1, 10.0)
    assert going.step() == (move, "fence")
    for shard in (0, 1):
        going.whole(move, shard, proofs={"12": PROOF, "14": PROOF})
    assert going.step() == (move, "DONE")
