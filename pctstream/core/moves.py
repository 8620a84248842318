"""Moves of portions between shards, as everyone reads them from `<tree>.routing` (DESIGN 7).

Two shards read one log, are proven equal, and then the other one answers:

1. PLANNED     written down; it waits for its turn.
2. COPYING     the target pulls the portion as its owner has it at some place of the pipe.
3. SHADOWING   the target applies the pipe from there on beside the owner: every new row is written at
               both, and the target is not asked.
4. VERIFYING   a fence is in the pipe; both say what they hold there.
5. DONE        equal: a new epoch, whose owner is the target. The source goes on applying the pipe until
               the target serves; then its copy is `dropped`.
   ABORTED     unequal, too late, or called off: the target drops its copy, nobody else is involved.

Writers of the pipe never learn of it: they know the portion, not its owner. A record that asks for a
step that is not in the table counts as a record and changes nothing, for everyone alike.

>>> moves = Moves()
>>> moves.plan("m7", (0, 3), 1, 2, 7, {}, 10.0)
>>> moves.of("m7").stage, moves.roles(2)
('PLANNED', {})
>>> moves.step("m7", "COPYING", 8, {}, 11.0), moves.roles(2)
(True, {(0, 3): 'shadow'})
>>> moves.step("m7", "DONE", 9, {}, 12.0)
False
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pctstream.core.names import Path, node_name
from pctstream.errors import IllegalTransition, NotFound

PLANNED = "PLANNED"
COPYING = "COPYING"
SHADOWING = "SHADOWING"
VERIFYING = "VERIFYING"
DONE = "DONE"
ABORTED = "ABORTED"
STAGES = (PLANNED, COPYING, SHADOWING, VERIFYING, DONE, ABORTED)

STEPS: Mapping[str, tuple[str, ...]] = {
    PLANNED: (COPYING, ABORTED),
    COPYING: (SHADOWING, ABORTED),
    SHADOWING: (VERIFYING, ABORTED),
    VERIFYING: (DONE, ABORTED),
    DONE: (),
    ABORTED: (),
}
UNDER_WAY = frozenset({COPYING, SHADOWING, VERIFYING})
"""A second shard has the portion, or is about to."""

OWNER, SHADOW, LEAVING = "owner", "shadow", "leaving"


@dataclass(slots=True)
class Move:
    """One portion on its way from a shard to another."""

    id: str
    portion: Path
    source: int
    target: int
    seq: int
    stage: str = PLANNED
    paused: bool = False
    dropped: bool = False
    reason: str = ""
    plan: str = ""
    until: str = ""
    """At this stage it pauses by itself: somebody wants to look before it goes on."""
    proof: dict[str, Any] | None = None
    why: str = ""
    """Of one that was aborted."""
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def open(self) -> bool:
        """It may still change who owns the portion."""
        return self.stage not in (DONE, ABORTED)

    @property
    def over(self) -> bool:
        """Nobody holds anything because of it any more."""
        return self.stage == ABORTED or self.dropped

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "portion": node_name(self.portion), "from": self.source,
                "to": self.target, "stage": self.stage, "paused": self.paused,
                "dropped": self.dropped, "reason": self.reason, "plan": self.plan or None,
                "why": self.why, "proof": self.proof, "history": list(self.history)}  # fmt: skip


class Moves:
    """Every move of the tree so far; one thread folds, others read."""

    def __init__(self) -> None:
        self._all: dict[str, Move] = {}
        self._current: dict[Path, Move] = {}

    def plan(
        self, name: str, portion: Path, source: int, target: int, seq: int,
        said: Mapping[str, Any], time_s: float,
    ) -> None:  # fmt: skip
        """A move is written down; IllegalTransition while the portion has one already (R9)."""
        if name in self._all or self.current(portion) is not None:
            raise IllegalTransition(f"{node_name(portion)} is moving already")
        move = Move(name, portion, source, target, seq)
        move.reason, move.plan = str(said.get("reason", "")), str(said.get("plan", ""))
        move.until = str(said.get("until", ""))
        move.history.append({"stage": PLANNED, "time": time_s, "epoch": seq})
        self._all[name] = self._current[portion] = move

    def step(self, name: str, stage: str, seq: int, said: Mapping[str, Any], time_s: float) -> bool:
        """The move goes to this stage; False where the table has no such step."""
        move = self._all.get(name)
        if move is None or stage not in STEPS[move.stage]:
            return False
        move.stage, move.paused = stage, stage == move.until
        move.history.append({"stage": stage, "time": time_s, "epoch": seq})
        if stage == DONE:
            move.proof = dict(said["proof"])
        if stage == ABORTED:
            move.why = str(said.get("why", ""))
            move.proof = dict(said["proof"]) if said.get("proof") else None
        return True

    def pause(self, name: str, paused: bool, seq: int, time_s: float) -> bool:
        """It stands still, or goes on; False once it is over."""
        move = self._all.get(name)
        if move is None or not move.open or move.paused == paused:
            return False
        move.paused = paused
        word = "paused" if paused else "resumed"
        move.history.append({"stage": move.stage, "time": time_s, "epoch": seq, "note": word})
        return True

    def drop(self, name: str, seq: int, time_s: float) -> bool:
        """The source lets go of its copy."""
        move = self._all.get(name)
        if move is None or move.stage != DONE or move.dropped:
            return False
        move.dropped = True
        move.history.append({"stage": DONE, "time": time_s, "epoch": seq, "note": "dropped"})
        return True

    def of(self, name: str) -> Move:
        """The move of this id; NotFound if there is none."""
        found = self._all.get(name)
        if found is None:
            raise NotFound(f"no move {name!r}: `pctstream moves list` shows them")
        return found

    def get(self, name: str) -> Move | None:
        return self._all.get(name)

    def all(self) -> list[Move]:
        """In the order they were planned."""
        return sorted(self._all.copy().values(), key=lambda move: move.seq)

    def current(self, portion: Path) -> Move | None:
        """The move of a portion that is not over."""
        move = self._current.get(portion)
        return None if move is None or move.over else move

    @property
    def unfinished(self) -> list[Move]:
        """Those that are not over, in order."""
        return [move for move in self.all() if not move.over]

    def roles(self, shard: int) -> dict[Path, str]:
        """What this shard has to hold of portions besides those it owns."""
        found = {}
        for move in list(self._current.values()):
            if move.stage in UNDER_WAY and move.target == shard:
                found[move.portion] = SHADOW
            elif move.stage == DONE and not move.dropped and move.source == shard:
                found[move.portion] = LEAVING
        return found
