"""When a plan is made, and what keeps it from being undone a minute later.

A plan is made for a shard when, in `PERSIST` decisions in a row,
    its relative load at the horizon is above the tolerance, and
    one of its portions has a drift score above the threshold (if that one may not move, others do);
or when a person asks. Five things stand against swinging to and fro:

1. Recent maximum. A portion counts with the largest of its forecast and its last `RECENT` loads:
   a low load may be the symptom of the overload, and every second window of a wave is low.
2. Dead band. A plan aims at the middle between an even spread and the tolerance, no lower, so that
   it moves little, and leaves the shard well below what sets off the next. Where all shards carry
   more than comes an even spread is below 1, and so much deeper is the room that a plan makes: who
   aims at 1.05 of what a shard carries is over 1.1 before the next ramp has been seen twice. A shard
   that had a plan sets off none until it has been below the middle between its share and the
   tolerance, or for `RECENT` decisions: so long it still counts with what it had before.
3. Cool-down. A portion that moved, or is to move, stays at least `cooldown_s`.
4. Least gain. A plan that lowers the maximum by less than `min_gain` is not made, and one that moves
   the part b of all bytes must gain (1 + b) times that.
5. Persistence, above: chance alone crosses a threshold of three deviations once in 400 windows.

No clock: whoever asks says what time it is, in seconds that never fall. The state is small and can be
made again from the last windows and the history of moves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pctstream.core.layout import Layout, PortionLoad, ShardRoom
from pctstream.core.names import Path, node_name
from pctstream.core.plan import Plan, plan

RECENT = 3
"""Windows whose largest load counts."""
PERSIST = 2
"""Decisions in a row that must find the same."""
ANSWERS = ("calm", "no-score", "once", "not-shown-yet", "no-gain", "plan")


@dataclass(frozen=True, slots=True)
class Tuning:
    """What of `[drift]` a policy heeds; threshold in units of noise, tolerance as a relative load."""

    threshold: float = 3.0
    tolerance: float = 1.10
    cooldown_s: float = 60.0
    min_gain: float = 0.05

    def enough(self, even: float = 1.0) -> float:
        """The relative load that a plan aims at, where ``even`` is that of an even spread."""
        return (even + self.tolerance) / 2.0


@dataclass(frozen=True, slots=True)
class Trigger:
    """What set a plan off: a shard's load at the horizon and a portion's score, or a person."""

    shard: int | None
    portion: Path | None
    load: float
    score: float
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One look at the loads; plan: None without a trigger. why: what is being waited for."""

    time_s: float
    trigger: Trigger | None
    plan: Plan | None
    why: str
    demands: Mapping[Path, float]
    """rows/s that each portion counted with."""
    answer: str
    """The same in a word, one of `ANSWERS`: whether it changed since the last decision."""


class Policy:
    """One tree's decisions, window by window.

    >>> policy = Policy(Tuning())
    >>> parts = [PortionLoad((0, i), 0, 5.0, 9.0, score=9.0) for i in range(2)]
    >>> rooms = [ShardRoom(0), ShardRoom(1)]
    >>> [policy.decide(5.0 * t, parts, rooms, name="p", epoch=1).why for t in range(2)]
    ['shard 0 is predicted at 2.00 of its share: once, 2 in a row are needed', 'a plan was made']
    """

    def __init__(self, tuning: Tuning) -> None:
        self.tuning = tuning
        self._loads: dict[Path, deque[float]] = {}
        self._free_at: dict[Path, float] = {}
        self._quiet: dict[int, int] = {}
        self._seen: dict[int, int] = {}

    def moved(self, portion: Path, time_s: float) -> None:
        """A move ended, done or not: the cool-down begins anew."""
        self._free_at[portion] = time_s + self.tuning.cooldown_s

    def cooling(self, time_s: float) -> dict[Path, str]:
        """The portions that stay for having moved, and until when."""
        return {path: f"moved lately: it stays for another {free - time_s:.0f} s"
                for path, free in self._free_at.items() if free > time_s}  # fmt: skip

    def seen(self, portions: Sequence[PortionLoad]) -> None:
        """A window that is looked at and not decided on: who begins knows no maximum yet."""
        self._demands(portions)

    def withdraw(self, decision: Decision) -> None:
        """A plan that nobody followed: its portions did not move, its shard may set off the next."""
        for move in decision.plan.moves if decision.plan else ():
            self._free_at.pop(move.portion, None)
            self._quiet.pop(move.source, None)

    def decide(
        self,
        time_s: float,
        portions: Sequence[PortionLoad],
        shards: Sequence[ShardRoom],
        *,
        name: str,
        epoch: int,
        held: Mapping[Path, str] | None = None,
        person: str = "",
        full: float = 0.0,
    ) -> Decision:
        """Once per window. held: pinned or moving, and why. person: the reason one gave, if any.
        full: rows/s that all shards carry together, 0: not known.

        A person's plan heeds pins and nothing else: it aims at the least load there is.
        """
        parts = self._demands(portions)
        demands = {p.path: p.predicted for p in parts}
        held = dict(held or {})
        if person:
            made = plan(parts, shards, name=name, epoch=epoch, held=held,
                        threshold=self.tuning.threshold, full=full)  # fmt: skip
            asked = Trigger(None, None, made.before.max_load, 0.0, person)
            return self._made(time_s, asked, made, demands, "a person asked")
        stay = {**self.cooling(time_s), **held}
        trigger, why, answer = self._trigger(Layout.of(parts, shards, full=full))
        if trigger is None:
            return Decision(time_s, None, None, why, demands, answer)
        total = sum(demands.values())
        enough = self.tuning.enough(total / max(full, total, 1e-9))
        made = plan(parts, shards, name=name, epoch=epoch, held=stay, enough=enough,
                    threshold=self.tuning.threshold, min_gain=self.tuning.min_gain, full=full)  # fmt: skip
        return self._made(time_s, trigger, made, demands, "a plan was made")

    def _demands(self, portions: Sequence[PortionLoad]) -> list[PortionLoad]:
        here = {p.path for p in portions}
        for gone in self._loads.keys() - here:
            del self._loads[gone]
        for p in portions:
            self._loads.setdefault(p.path, deque(maxlen=RECENT)).append(p.load)
        return [replace(p, predicted=max(p.predicted, *self._loads[p.path])) for p in portions]

    def _trigger(self, layout: Layout) -> tuple[Trigger | None, str, str]:
        relative = layout.relative(layout.owner)
        found: list[Trigger] = []
        why, answer = f"no shard is predicted above {self.tuning.tolerance:g} of its share", "calm"
        for s, room in enumerate(layout.shards):
            load, shard = float(relative[s]), room.shard
            if load < self.tuning.enough():
                self._quiet.pop(shard, None)
            part = self._hottest(layout, s)
            if load <= self.tuning.tolerance or part is None:
                self._seen.pop(shard, None)
                if load > self.tuning.tolerance:
                    answer = "no-score"
                    why = (f"shard {shard} is predicted at {load:.2f} of its share, but no portion "
                           f"of it has a score above {self.tuning.threshold:g}")  # fmt: skip
                continue
            self._seen[shard] = self._seen.get(shard, 0) + 1
            said = f"shard {shard} is predicted at {load:.2f} of its share"
            if self._quiet.get(shard, 0) > 0:
                self._quiet[shard] -= 1
                answer, why = "not-shown-yet", f"{said}, but the last plan for it has not yet shown"
            elif self._seen[shard] < PERSIST:
                answer, why = "once", f"{said}: once, {PERSIST} in a row are needed"
            else:
                why = (f"{said}, above {self.tuning.tolerance:g}; {node_name(part.path)} on it has "
                       f"a score of {part.score:.1f}, above {self.tuning.threshold:g}")  # fmt: skip
                found.append(Trigger(shard, part.path, load, part.score, why))
        if not found:
            return None, why, answer
        worst = max(found, key=lambda t: t.load)
        return worst, worst.why, "plan"

    def _hottest(self, layout: Layout, s: int) -> PortionLoad | None:
        """The portion of the shard with the highest score above the threshold.

        It may itself be cooling down or pinned: then others of its shard make room for it.
        """
        here = [layout.portions[p] for p in np.flatnonzero(layout.owner == s)]
        hot = [p for p in here if p.score > self.tuning.threshold]
        return max(hot, key=lambda p: p.score, default=None)

    def _made(
        self, time_s: float, trigger: Trigger, made: Plan, demands: Mapping[Path, float], why: str
    ) -> Decision:
        for move in made.moves:
            self.moved(move.portion, time_s)
        if made.moves:
            for shard in {move.source for move in made.moves} | {trigger.shard}:
                if shard is not None:
                    self._quiet[shard] = RECENT
        else:
            why = "no plan is worth making"
        answer = "plan" if made.moves else "no-gain"
        return Decision(time_s, trigger, made, why, demands, answer)
