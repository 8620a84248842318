"""Moves, plans and decisions in words: what was seen, what was weighed, what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

SHOWN = 8
"""Portions of which the grounds of a decision are shown, those with the highest scores."""
Said = Mapping[str, Any]


def clock(seconds: float) -> str:
    """A time of day, here."""
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{int(seconds % 1 * 10)}"


def move_line(move: Said) -> str:
    """One line of `pctstream moves list` and of `pctstream status`."""
    rows = move["rows"]
    paused = ", paused" if move["paused"] else ""
    eta = "" if move["eta_s"] is None else f", {move['eta_s']:.0f} s to copy"
    plan = f", of {move['plan']}" if move["plan"] else ""
    why = f": {move['why']}" if move["why"] else ""
    return (f"move {move['id']} {move['portion']} from shard {move['from']} to {move['to']}: "
            f"{move['stage']}{paused}, {rows['copied']:,} of {rows['total']:,} rows"
            f"{eta}{plan}{why}")  # fmt: skip


def move_lines(move: Said) -> list[str]:
    """A move with its history, and its proof once there is one."""
    lines = [move_line(move)]
    lines += [f"  reason: {move['reason']}"] if move["reason"] else []
    for entry in move["history"]:
        note = f" ({entry['note']})" if "note" in entry else ""
        if "score" in entry:
            score = f"score {entry['score']:.1f}, threshold {entry['threshold']:g}; "
            note = f" {score if entry['portion'] else ''}{entry['why']}"
        lines.append(f"  {clock(entry['time'])} {entry['stage']}{note}")
    if proof := move["proof"]:
        same = "equal" if proof["hash_from"] == proof["hash_to"] else "UNEQUAL"
        lines.append(f"  proof: {proof['count']:,} rows, hashes {same}: "
                     f"{proof['hash_from']} {proof['hash_to']}")  # fmt: skip
    return lines


def plan_line(plan: Said) -> str:
    """One line: what a plan does to the maximum load."""
    before, after = plan["before"]["max_load"], plan["after"]["max_load"]
    state = "applied" if plan["applied"] else "not applied"
    size = sum(move["bytes"] for move in plan["moves"])
    return (f"plan {plan['id']} of epoch {plan['epoch']} by a {plan['by']}, {state}: "
            f"{len(plan['moves'])} moves of {size:,} bytes, maximum load {before:.2f} -> "
            f"{after:.2f}")  # fmt: skip


def plan_lines(plan: Said) -> list[str]:
    """A plan: its grounds, its moves, who stays and why, what it gained."""
    bound = plan["bound"]
    lines = [plan_line(plan)]
    lines += [f"  reason: {plan['reason']}"] if plan["reason"] else []
    lines.append(f"  no plan is below {bound['max_load']:.2f}: this one is within "
                 f"{bound['gap']:.1%} of the best")  # fmt: skip
    for move in plan["moves"]:
        lines.append(f"  {move['portion']} from shard {move['from']} to {move['to']}, "
                     f"{move['rows']:,} rows: {move['why']}")  # fmt: skip
    lines += [f"  stays {stay['portion']}: {stay['why']}" for stay in plan["not_moved"]]
    if more := plan.get("not_moved_more", 0):
        lines.append(f"  and {more:,} more stay")
    if plan["decision"]:
        lines += decision_lines(plan["decision"])
    for stage in plan.get("stages", ()):
        lines.append(f"  move {stage['move']} of {stage['portion']}: {stage['stage']}")
    if real := plan["realised"]:
        lines.append(f"  realised at {clock(real['time'])}: maximum load {real['after']:.2f}, and "
                     f"{real['before']:.2f} had nothing moved: a gain of {real['gain']:.1%}; "
                     f"{real['done']} moves done, {real['aborted']} aborted")  # fmt: skip
        for rate in real["rates"]:
            lines.append(f"    {rate['portion']}: {number(rate['predicted'])} rows/s foreseen, "
                         f"{number(rate['realised'])} came")  # fmt: skip
    elif plan["applied"]:
        lines.append("  not yet known what it gained: its horizon or its moves are not over")
    return lines


def decision_lines(decision: Said) -> list[str]:
    """What the policy saw, and what it made of it."""
    lines = [f"  decided at {clock(decision['time'])}: {decision['why']}"]
    if trigger := decision["trigger"]:
        lines.append(f"  because {trigger['why']}")
    loads = [f"{s['shard']}: {s['load']:.2f}" + ("" if s["state"] == "active" else f" {s['state']}")
             for s in decision["shards"]]  # fmt: skip
    lines.append(f"  load of the shards over their share, tolerance {decision['tolerance']:g}: "
                 + ", ".join(loads))  # fmt: skip
    for part in decision["inputs"][:SHOWN]:
        lines.append(f"    {part['portion']} on shard {part['shard']}: {part['load']:.0f} rows/s, "
                     f"{part['predicted']:.0f} foreseen in {decision['horizon_s']:g} s, counted as "
                     f"{part['counted']:.0f}, score {part['score']:.1f}")  # fmt: skip
    if expected := decision["expected"]:
        lines.append(f"  expected: maximum load {expected['before']:.2f} -> "
                     f"{expected['after']:.2f}, a gain of {expected['gain']:.1%}")  # fmt: skip
    return lines


def number(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"
