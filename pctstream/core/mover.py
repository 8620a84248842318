"""The tree agent's decisions about moves: what is the next step of each? (DESIGN 7)

It looks at the moves as `<tree>.routing` has them, at what the two shards report, and at the time, and
answers with one thing to do. It keeps nothing that matters: an agent that dies is done again by the
next one, which only waits a little longer, because its clock begins anew.

1. PLANNED -> COPYING      its turn has come: ``concurrent`` at once, in the order they were planned.
2. COPYING -> SHADOWING    the target reports that its copy is whole.
3. SHADOWING -> VERIFYING  the target is as far in the pipe as makes a fence worth while.
4. VERIFYING               a fence is sent, and again while no two answers are of one fence;
   -> DONE                 both say the same;
   -> ABORTED              they do not, or did not within ``VERIFY_S``.
5. DONE, then dropped      the target has told of the portion in its new epoch, and the grace is over.

A move that is paused stays where it is. Whatever is late is late for one move: the others go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pctstream.core import moves
from pctstream.core.moves import UNDER_WAY, Move
from pctstream.core.names import Path, node_name
from pctstream.core.records import dropped_record, stage_record
from pctstream.core.routing import Routing

CLOSE_MESSAGES = 64
"""So near the end of its pipe a shadow is asked for its proof: soon both have passed the fence."""
FENCE_S = 5.0
"""A fence that nobody answered is sent again: its answer may have died with a worker."""
VERIFY_S = 120.0
"""Without two answers to one fence for so long, the move is given up."""

Report = Mapping[str, Any]
Reports = Mapping[tuple[str, int], Report]


class SendFence(NamedTuple):
    """Write a fence for this move into the portion's pipe."""

    move: str
    portion: Path


Step = SendFence | dict[str, Any]


@dataclass(slots=True)
class Mover:
    """``reports``: of each (move, shard) the last one, as `agents.move` makes them."""

    author: str
    concurrent: int = 1
    grace_s: float = 10.0
    _since: dict[tuple[str, str], float] = field(default_factory=dict)
    _fenced: dict[str, float] = field(default_factory=dict)

    def look(
        self, log: Routing, reports: Reports, portions: Mapping[str, Report], now: float
    ) -> Step | None:
        """The next step, if one is due; ``portions``: what their owners told of them."""
        under_way = sum(move.stage in UNDER_WAY for move in log.moves.unfinished)
        for move in log.moves.unfinished:
            since = self._since.setdefault((move.id, move.stage), now)
            if move.stage == moves.PLANNED:
                if under_way < self.concurrent and not move.paused:
                    return self._to(log, move, moves.COPYING)
            elif move.stage == moves.DONE:
                if now - since >= self.grace_s and self._serves(log, move, portions):
                    return dropped_record(move.id, log.seq + 1, self.author)
            elif not move.paused and (step := self._under_way(log, move, reports, now, since)):
                return step
        return None

    def _under_way(
        self, log: Routing, move: Move, reports: Reports, now: float, since: float
    ) -> Step | None:
        there = reports.get((move.id, move.target), {})
        if move.stage == moves.COPYING:
            return self._to(log, move, moves.SHADOWING) if there.get("whole") else None
        if move.stage == moves.SHADOWING:
            near = there.get("whole") and 0 <= there["end"] <= there["at"] + 1 + CLOSE_MESSAGES
            return self._to(log, move, moves.VERIFYING) if near else None
        here = reports.get((move.id, move.source), {})
        proofs, others = here.get("proofs", {}), there.get("proofs", {})
        if both := sorted(proofs.keys() & others.keys(), key=int):
            return self._judged(log, move, both[-1], proofs[both[-1]], others[both[-1]])
        if now - since > VERIFY_S:
            why = f"no fence was answered by both shards within {VERIFY_S:.0f} s"
            return self._to(log, move, moves.ABORTED, {"why": why})
        if now - self._fenced.get(move.id, -FENCE_S) >= FENCE_S:
            self._fenced[move.id] = now
            return SendFence(move.id, move.portion)
        return None

    def _judged(self, log: Routing, move: Move, offset: str, here: Any, there: Any) -> Step:
        proof = {"offset": int(offset), "count": there["count"],
                 "hash_from": here["hash"], "hash_to": there["hash"]}  # fmt: skip
        if here == there:
            return self._to(log, move, moves.DONE, {"proof": proof})
        why = (f"at offset {offset} shard {move.source} holds {here['count']} rows ({here['hash']}), "
               f"shard {move.target} {there['count']} ({there['hash']})")  # fmt: skip
        return self._to(log, move, moves.ABORTED, {"why": why, "proof": proof})

    def _serves(self, log: Routing, move: Move, portions: Mapping[str, Report]) -> bool:
        told = portions.get(node_name(move.portion))
        return told is not None and told["epoch"] >= log.since[move.portion]

    def _to(
        self, log: Routing, move: Move, stage: str, said: Mapping[str, Any] | None = None
    ) -> Step:
        return stage_record(move.id, stage, log.seq + 1, self.author, said)
