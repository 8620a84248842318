"""The policy at work: once per window it looks at the situation and answers with orders to give.

1. Cool-downs are those of the history of moves, so one who takes over knows them.
2. A plan that was applied is told of once its horizon is over and its moves have ended: what the
   maximum load is, and what it would be had nothing moved.
3. A drained shard is emptied: only what is on it moves, whatever the drift, cool-down or not.
4. Else `Policy.decide`; its plan is given as an order, to be applied if `drift.automatic` says so. If
   not, the same plan is not proposed twice, and none twice within a cool-down.
   A portion that stays because it is too heavy for every shard is promoted, one at a time and none twice,
   if `drift.promote` says so.
5. Why there is none is told when that answer changed, and not more often than a cool-down lasts:
   noise about a threshold would fill a log that is never cut.

Who begins looks `RECENT` windows long before it decides, to know the recent maxima. How much all shards
carry together is configured, or the most that was seen: the ledger brings it over a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pctstream.core.layout import PortionLoad
from pctstream.core.ledger import Planned
from pctstream.core.moves import DONE
from pctstream.core.names import Path, node_name, node_path
from pctstream.core.orders import Answer
from pctstream.core.plan import Plan, plan
from pctstream.core.policy import RECENT, Decision, Policy, Trigger, Tuning
from pctstream.core.routing import Routing
from pctstream.core.situation import Situation, ended
from pctstream.core.staying import Stay

SHOWN = 256
"""Portions of which a record has the inputs, and why they stay: a message of Kafka's has an end."""

Order = dict[str, Any]


class Decider:
    """One tree's policy; ``automatic`` False: its plans are only proposed. ``full``: rows/s that all
    shards carry together, 0: as many as they were seen to. ``promotes``: what no shard can carry."""

    def __init__(
        self, tuning: Tuning, horizon_s: float, automatic: bool, full: float, promotes: bool = False
    ) -> None:
        self.policy = Policy(tuning)
        self._configured = full
        self._horizon_s = horizon_s
        self._automatic = automatic
        self._promotes = promotes and automatic
        self._looks = 0
        self._now = 0.0
        self._ended: set[str] = set()
        self._full = 0.0
        self._pending: Decision | None = None

    def look(self, log: Routing, now: Situation, time_s: float) -> list[Order]:
        """The orders to give in this window, in order; `answered` hears of the plan's."""
        self._now = time_s = max(self._now, time_s)
        self._looks += 1
        self._cool(log)
        seen = max(self._full, log.orders.ledger.full, now.total)
        self._full = self._configured or seen
        now = replace(now, full=self._full)
        if not now.portions or not now.rooms:
            return []
        return [*self._realised(log, now, time_s), *self._plan(log, now, time_s)]

    def answered(self, answer: Answer | None) -> None:
        """What became of the plan that was ordered; None: nobody knows yet."""
        pending, self._pending = self._pending, None
        if pending is not None and answer is not None and answer.refused:
            self.policy.withdraw(pending)

    def _cool(self, log: Routing) -> None:
        for move in log.moves.all():
            if not move.open and move.id not in self._ended:
                self._ended.add(move.id)
                self.policy.moved(move.portion, ended(move.history))

    def _plan(self, log: Routing, now: Situation, time_s: float) -> list[Order]:
        if emptied := self._emptied(now, time_s):
            self.policy.seen(now.portions)
            return [self._ordered(emptied, now, True)]
        if self._looks <= RECENT:
            self.policy.seen(now.portions)
            return []
        decision = self.policy.decide(
            time_s,
            now.portions,
            now.rooms,
            name="",
            epoch=now.epoch,
            held=now.held,
            full=now.full,
        )
        if heavy := self._too_heavy(log, decision):
            self.policy.withdraw(decision)  # where its children lie decides what moves
            return [{"do": "promote", "portion": node_name(heavy.portion), "reason": heavy.why}]
        if decision.answer == "plan":
            if self._automatic:
                self._pending = decision
            else:
                self.policy.withdraw(decision)  # nothing moves
                if not self._is_news(log, decision, time_s):
                    return []
            return [self._ordered(decision, now, self._automatic)]
        return self._refusal(log, decision, now, time_s)

    def _too_heavy(self, log: Routing, decision: Decision) -> Stay | None:
        """A portion that is to be promoted, if none is."""
        if not self._promotes or decision.plan is None or log.promotions.asked:
            return None
        refused = log.promotions.refused
        heavy = (s for s in decision.plan.not_moved if s.heavy and s.portion not in refused)
        return next(heavy, None)

    def _is_news(self, log: Routing, decision: Decision, time_s: float) -> bool:
        """Whether a proposal is another one than the last, and a cool-down later."""
        last = log.orders.ledger.last_proposal
        if last is None or decision.plan is None:
            return True
        proposed = [(m["portion"], m["to"]) for m in last.plan["moves"]]
        wanted = [(node_name(m.portion), m.target) for m in decision.plan.moves]
        late = time_s - last.time >= self.policy.tuning.cooldown_s
        return late and (wanted != proposed or last.plan["epoch"] != decision.plan.epoch)

    def _emptied(self, now: Situation, time_s: float) -> Decision | None:
        """The decision that moves what is on drained shards, and nothing else."""
        drained = {room.shard for room in now.rooms if room.state == "drained"}
        others = {p.path: "" for p in now.portions if p.owner not in drained}
        if all(p.path in others or p.path in now.held for p in now.portions):
            return None
        made = plan(now.portions, now.rooms, name="", epoch=now.epoch,
                    held={**others, **now.held}, full=now.full)  # fmt: skip
        if not made.moves:
            return None
        leaving = sorted({move.source for move in made.moves})
        why = f"shard {leaving[0]} is drained" if len(leaving) == 1 else f"{leaving} are drained"
        asked = Trigger(leaving[0], None, made.before.max_load, 0.0, why)
        demands = {p.path: p.predicted for p in now.portions}
        return Decision(time_s, asked, made, why, demands, "plan")

    def _ordered(self, decision: Decision, now: Situation, apply: bool) -> Order:
        assert decision.plan is not None and decision.trigger is not None
        held = {**self.policy.cooling(decision.time_s), **now.held}
        return {"do": "plan", "plan": body(decision.plan, held), "apply": apply,
                "reason": decision.trigger.why, "decision": self._grounds(decision, now)}  # fmt: skip

    def _refusal(
        self, log: Routing, decision: Decision, now: Situation, time_s: float
    ) -> list[Order]:
        """That no plan is made, if that is news: a new tree is taken to be calm."""
        since, known = log.orders.ledger.last_answer
        if decision.answer in (known, "once"):
            return []
        if time_s - since < self.policy.tuning.cooldown_s:
            return []
        return [{"do": "decision", "decision": self._grounds(decision, now)}]

    def _grounds(self, decision: Decision, now: Situation) -> dict[str, Any]:
        """What a decision was made from, as the ledger keeps it."""
        tuning, trigger, made = self.policy.tuning, decision.trigger, decision.plan
        loads = now.relative()
        largest = sorted(now.portions, key=lambda p: (-p.score, -decision.demands[p.path]))[:SHOWN]
        return {
            "time": decision.time_s,
            "answer": decision.answer,
            "why": decision.why,
            "trigger": None if trigger is None else told(trigger),
            "threshold": tuning.threshold,
            "tolerance": tuning.tolerance,
            "horizon_s": self._horizon_s,
            "full": self._full,
            "shards": [{"shard": r.shard, "weight": r.weight, "state": r.state,
                        "load": loads[r.shard]} for r in now.rooms],
            "inputs": [input_of(p, decision.demands[p.path]) for p in largest],
            "expected": None if made is None else gain(made.before.max_load, made.after.max_load),
        }  # fmt: skip

    def _realised(self, log: Routing, now: Situation, time_s: float) -> list[Order]:
        """What the oldest plan gained of which that can be said now."""
        for entry in list(log.orders.ledger.plans.values()):
            if not entry.applied or entry.realised is not None:
                continue
            moves = [move for name in entry.made if (move := log.moves.get(name))]
            if time_s - entry.time >= self._horizon_s and not any(move.open for move in moves):
                done = [move.id for move in moves if move.stage == DONE]
                found = realised(entry, now) | {"time": time_s, "done": len(done),
                                                "aborted": len(moves) - len(done)}  # fmt: skip
                return [{"do": "realised", "plan": entry.id, "realised": found}]
        return []


def realised(entry: Planned, now: Situation) -> dict[str, Any]:
    """The maximum load now, and with the plan's portions where they were; what was foreseen of each
    of them and what came, in rows/s."""
    before = {node_path(m["portion"]): int(m["from"]) for m in entry.plan["moves"]}
    with_plan, without = (max(now.relative(o).values(), default=0.0) for o in (None, before))
    inputs = (entry.decision or {}).get("inputs", ())
    foreseen = {i["portion"]: i["predicted"] for i in inputs}
    loads = {node_name(p.path): p.load for p in now.portions}
    rates = [
        {"portion": name, "predicted": foreseen.get(name), "realised": loads.get(name)}
        for name in map(node_name, list(before)[:SHOWN])
    ]
    return {**gain(without, with_plan), "rates": rates}


def gain(before: float, after: float) -> dict[str, float]:
    """Of two maximum loads: by what part the first is lowered.

    >>> gain(2.0, 1.5)
    {'before': 2.0, 'after': 1.5, 'gain': 0.25}
    """
    return {"before": before, "after": after, "gain": 1.0 - after / before if before > 0.0 else 0.0}


def told(trigger: Trigger) -> dict[str, Any]:
    """A trigger as JSON."""
    portion = None if trigger.portion is None else node_name(trigger.portion)
    return {"shard": trigger.shard, "portion": portion, "load": trigger.load,
            "score": trigger.score, "why": trigger.why}  # fmt: skip


def input_of(part: PortionLoad, counted: float) -> dict[str, Any]:
    """What was known of a portion; ``counted``: the rows/s that the decision took it for."""
    return {"portion": node_name(part.path), "shard": part.owner, "load": part.load,
            "predicted": part.predicted, "counted": counted, "score": part.score}  # fmt: skip


def body(made: Plan, held: Mapping[Path, str]) -> dict[str, Any]:
    """A plan as the ledger keeps it: those that may not move are named beside those that need not,
    of both together `SHOWN`, and how many more there are."""
    stays = {stay.portion: stay for stay in made.not_moved}
    stays |= {path: Stay(path, held[path]) for path in sorted(held) if path not in stays}
    shown = sorted(stays.values(), key=lambda s: (s.portion not in held, s.portion))[:SHOWN]
    found = made.to_json() | {"not_moved": [stay.to_json() for stay in shown]}
    return found | {"not_moved_more": len(stays) - len(shown)}
