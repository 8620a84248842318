"""What `pctstream moves` and `pctstream status` say of plans, decisions and moves."""

from __future__ import annotations

from typing import Any

import click
from click.testing import CliRunner

from pctstream.cli import cli
from pctstream.commands.explained import decision_lines, move_line, move_lines, plan_lines
from pctstream.commands.moves import moves_command

MOVE: dict[str, Any] = {
    "id": "m7.0", "portion": "N0,3", "from": 1, "to": 2, "stage": "COPYING", "paused": False,
    "reason": "", "plan": "p7", "why": "", "proof": None, "eta_s": 4.0,
    "rows": {"total": 2000, "copied": 500}, "bytes": {"total": 9, "copied": 1},
    "history": [{"stage": "TRIGGERED", "time": 1.0, "epoch": 3, "score": 4.2, "threshold": 3.0,
                 "portion": "N0,3", "load": 1.9, "tolerance": 1.1, "why": "it grows"},
                {"stage": "PLANNED", "time": 2.0, "epoch": 7},
                {"stage": "COPYING", "time": 3.0, "epoch": 8, "note": "paused"}],
}  # fmt: skip
DECISION: dict[str, Any] = {
    "time": 1.0, "answer": "plan", "why": "a plan was made", "threshold": 3.0, "tolerance": 1.1,
    "horizon_s": 30.0, "full": 50.0,
    "trigger": {"shard": 1, "portion": "N0,3", "load": 1.9, "score": 4.2, "why": "shard 1 grows"},
    "shards": [{"shard": 1, "weight": 1.0, "state": "active", "load": 1.4},
               {"shard": 2, "weight": 1.0, "state": "drained", "load": 0.6}],
    "inputs": [{"portion": "N0,3", "shard": 1, "load": 10.0, "predicted": 20.0, "counted": 20.0,
                "score": 4.2}],
    "expected": {"before": 1.9, "after": 1.0, "gain": 0.4737},
}  # fmt: skip
PLAN: dict[str, Any] = {
    "id": "p7", "epoch": 3, "time": 2.0, "reason": "shard 1 grows", "by": "policy",
    "applied": True, "made": ["m7.0"], "decision": DECISION, "realised": None,
    "moves": [{"portion": "N0,3", "from": 1, "to": 2, "rows": 2000, "bytes": 9, "why": "w"}],
    "before": {"max_load": 1.9, "mean": 1.0}, "after": {"max_load": 1.0, "mean": 1.0},
    "bound": {"max_load": 1.0, "gap": 0.0}, "not_moved": [{"portion": "N0,4", "why": "pinned"}],
    "not_moved_more": 3, "stages": [{"move": "m7.0", "portion": "N0,3", "stage": "COPYING"}],
}  # fmt: skip


def test_a_move_is_one_line_and_its_history_begins_with_the_score() -> None:
    line = "move m7.0 N0,3 from shard 1 to 2: COPYING, 500 of 2,000 rows, 4 s to copy, of p7"
    assert move_line(MOVE) == line
    first, score, planned, copying = move_lines(MOVE)
    assert first == line
    assert score.endswith("TRIGGERED score 4.2, threshold 3; it grows")
    assert planned.endswith("PLANNED")
    assert copying.endswith("COPYING (paused)")


def test_a_move_that_ended_says_why_and_shows_its_proof() -> None:
    proof = {"count": 2000, "hash_from": "ab", "hash_to": "cd"}
    lines = move_lines(MOVE | {"stage": "ABORTED", "why": "they differ", "proof": proof})
    assert lines[0].endswith("of p7: they differ")
    assert lines[-1] == "  proof: 2,000 rows, hashes UNEQUAL: ab cd"


def test_a_plan_shows_its_grounds_who_stays_and_what_it_gained() -> None:
    said = "\n".join(plan_lines(PLAN))
    for part in ("plan p7 of epoch 3 by a policy, applied: 1 moves of 9 bytes",
                 "maximum load 1.90 -> 1.00", "stays N0,4: pinned", "and 3 more stay",
                 "because shard 1 grows", "1: 1.40, 2: 0.60 drained", "10 rows/s, 20 foreseen in 30 s",
                 "a gain of 47.4%", "move m7.0 of N0,3: COPYING", "not yet known"):  # fmt: skip
        assert part in said, part
    realised = {"time": 40.0, "before": 2.0, "after": 1.5, "gain": 0.25, "done": 1, "aborted": 0,
                "rates": [{"portion": "N0,3", "predicted": 20.0, "realised": 18.0},
                          {"portion": "N0,9", "predicted": None, "realised": None}]}  # fmt: skip
    said = "\n".join(plan_lines(PLAN | {"realised": realised}))
    assert "maximum load 1.50, and 2.00 had nothing moved: a gain of 25.0%" in said
    assert "N0,3: 20 rows/s foreseen, 18 came" in said
    assert "N0,9: ? rows/s foreseen, ? came" in said


def test_a_persons_plan_and_a_refusal_have_no_grounds_to_show() -> None:
    said = "\n".join(plan_lines(PLAN | {"decision": None, "applied": False, "by": "person"}))
    assert "because" not in said
    assert "not yet known" not in said
    refusal = DECISION | {"trigger": None, "expected": None, "why": "no score"}
    assert "no score" in decision_lines(refusal)[0]
    assert not any("expected" in line for line in decision_lines(refusal))


def test_every_command_is_there_and_says_what_it_does() -> None:
    assert isinstance(moves_command, click.Group)
    names = {"plan", "apply", "start", "list", "pause", "resume", "cancel", "pin", "unpin", "drain",
             "undrain", "explain", "promote"}  # fmt: skip
    assert set(moves_command.commands) == names
    for name in names:
        answer = CliRunner().invoke(cli, ["moves", name, "--help"])
        assert answer.exit_code == 0
        assert "--json" in answer.output
        assert moves_command.commands[name].help
