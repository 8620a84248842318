"""The ledger: which plans were made, on what grounds, and what came of them.

It is a fold of `<tree>.routing`, like everything that all workers must agree on: a plan made at one
worker is asked for and applied at any other, and outlives them all. Three orders write it (`orders`):

    plan      a plan and what it was made from; if it says so its moves begin at once
    decision  why no plan is made now; told when that answer changes, not once per window
    realised  what an applied plan gained, once its horizon has come

The last `KEPT` plans and decisions are kept, here; the log has all of them. A plan is named after the
record that it is in, so nobody has to give it a name.

>>> ledger = Ledger()
>>> plan = {"epoch": 3, "moves": [], "before": {"max_load": 2.0}, "after": {"max_load": 1.0}}
>>> ledger.plan(7, {"plan": plan, "reason": "to try it"}, 10.0)
'p7'
>>> ledger.of("p7").to_json()["reason"], ledger.of("p7").applied
('to try it', False)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pctstream.errors import IllegalTransition, NotFound

KEPT = 200
"""Plans, and as many decisions."""

Said = Mapping[str, Any]


@dataclass(slots=True)
class Planned:
    """A plan of the ledger; ``made``: the moves it became."""

    id: str
    seq: int
    time: float
    plan: Said
    reason: str = ""
    decision: Said | None = None
    """What the policy saw when it made it; None for a person's."""
    applied: bool = False
    made: list[str] = field(default_factory=list)
    realised: Said | None = None

    def to_json(self) -> dict[str, Any]:
        return {**self.plan, "id": self.id, "time": self.time, "reason": self.reason,
                "by": "policy" if self.decision else "person", "applied": self.applied,
                "made": list(self.made), "decision": self.decision,
                "realised": self.realised}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decided:
    """Why no plan was made at that time."""

    id: str
    time: float
    decision: Said

    @property
    def answer(self) -> str:
        return str(self.decision["answer"])

    def to_json(self) -> dict[str, Any]:
        return {**self.decision, "id": self.id, "time": self.time}


class Ledger:
    """One thread folds, others read."""

    def __init__(self) -> None:
        self.plans: dict[str, Planned] = {}
        self.decisions: dict[str, Decided] = {}
        self.full = 0.0
        """rows/s: the most that all shards were seen to carry together; 0: nobody told."""

    def plan(self, seq: int, order: Said, time_s: float) -> str:
        """Take a plan; its name."""
        said = order["plan"]
        entry = Planned(f"p{seq}", seq, time_s, said, str(order.get("reason", "")))
        if decision := order.get("decision"):
            entry.decision = dict(decision)
            self._see(entry.decision)
        self.plans[entry.id] = entry
        _bound(self.plans)
        return entry.id

    def apply(self, name: str, moves: Iterable[str]) -> None:
        """These are the moves that a plan became; nothing if it is forgotten."""
        if (entry := self.plans.get(name)) is not None:
            entry.applied = True
            entry.made = [*entry.made, *moves]

    def decide(self, seq: int, order: Said, time_s: float) -> None:
        entry = Decided(f"d{seq}", time_s, dict(order["decision"]))
        self._see(entry.decision)
        self.decisions[entry.id] = entry
        _bound(self.decisions)

    def realise(self, order: Said) -> None:
        self.of(str(order["plan"])).realised = dict(order["realised"])

    def of(self, name: str) -> Planned:
        """The plan of this name; NotFound if there is none, or none any more."""
        found = self.plans.get(name)
        if found is None:
            raise NotFound(f"no plan {name!r}: `GET /v1/plans` lists the last {KEPT}")
        return found

    @property
    def last_answer(self) -> tuple[float, str]:
        """When the policy answered last, and what; of a new tree it is taken to be calm."""
        found = [(entry.time, entry.answer) for entry in list(self.decisions.values())[-1:]]
        if (plan := self.last_proposal) is not None:
            found.append((plan.time, "plan"))
        return max([(0.0, "calm"), *found])

    @property
    def last_proposal(self) -> Planned | None:
        """The last plan that the policy made."""
        made = [entry for entry in list(self.plans.values()) if entry.decision]
        return made[-1] if made else None

    def _see(self, decision: Said) -> None:
        self.full = max(self.full, float(decision.get("full") or 0.0))


def check(ledger: Ledger, order: Said) -> None:
    """A PctError, or what a fold suppresses, where the order says what the ledger cannot take."""
    if order["do"] == "plan":
        int(order["plan"]["epoch"])
        for move in order["plan"]["moves"]:
            str(move["portion"]), int(move["from"]), int(move["to"])
        for spread in ("before", "after"):
            float(order["plan"][spread]["max_load"])
    elif order["do"] == "decision":
        str(order["decision"]["answer"]), str(order["decision"]["why"])
    else:
        entry = ledger.of(str(order["plan"]))
        float(order["realised"]["gain"])
        if entry.realised is not None or not entry.applied:
            raise IllegalTransition(f"plan {entry.id} has been told of, or was never applied")


Entry = TypeVar("Entry", Planned, Decided)


def _bound(entries: dict[str, Entry]) -> None:
    while len(entries) > KEPT:
        del entries[next(iter(entries))]
