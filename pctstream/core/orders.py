"""Orders: what people and policies ask of the tree, answered by the records they became (R5).

Whoever wants something puts it on `<tree>.control`. The tree agent copies each order, in order and
once (``at``, its place there, only grows), to `<tree>.routing`; every reader of that log judges it by
the same state and so comes to the same answer. Nothing is done because an order was given, only
because its record counted.

    move    portion, to, reason       one portion to another shard; `until` a stage: there it pauses
    plan    plan, reason, apply       a plan for the ledger (`ledger`), applied at once if it says so
    apply   plan, moves, epoch        all moves of a plan; refused in another epoch
    decision, realised                what else the ledger is told
    pause, resume, cancel   move
    pin, unpin              portion   a pinned one stays, whatever a plan would gain
    promote                 portion   its root becomes a trunk node (`promotion`)
    drain, undrain          shard     a drained one takes nothing more and is to be emptied
    spatial set, base, reason         other limits of the spatial index (`tuning`)
    succeed tree, urls, reason        another tree answers in place of this one (`successor`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pctstream.core import ledger
from pctstream.core.ledger import Ledger
from pctstream.core.moves import PLANNED, STAGES, UNDER_WAY
from pctstream.core.names import Path, level, node_name, node_path
from pctstream.core.successor import Successor, successor
from pctstream.core.tuning import Tuning
from pctstream.errors import IllegalTransition, NotFound, PctError, QueryRefused

if TYPE_CHECKING:
    from pctstream.core.routing import Routing

KINDS = ("move", "plan", "apply", "pause", "resume", "cancel", "pin", "unpin", "drain", "undrain",
         "spatial", "succeed", "promote")  # fmt: skip
LEDGER = ("plan", "decision", "realised")
ANSWERS = 10_000
"""Kept: whoever gave an order waits seconds for its answer."""


class Answer(NamedTuple):
    """What became of an order: the seq of its record, the moves it made, why it was refused."""

    seq: int
    moves: tuple[str, ...] = ()
    refused: str = ""
    code: str = ""
    status: int = 0


class Orders:
    """The orders taken so far, and what stands because of them."""

    def __init__(self) -> None:
        self.at = -1
        """The last order on `.control` that has its record."""
        self.answers: dict[str, Answer] = {}
        self.pinned: set[Path] = set()
        self.drained: set[int] = set()
        self.ledger = Ledger()
        self.tuning = Tuning()
        self.successor: Successor | None = None
        """The tree that answers in place of this one."""

    def take(self, log: Routing, record: Mapping[str, Any], time_s: float) -> None:
        """The record of an order: judged, carried out, answered."""
        at = int(record["at"])
        if at <= self.at:
            return
        self.at = at
        order = record["order"]
        name = str(order.get("id", ""))
        try:
            made = self._carry_out(log, order, time_s)
        except PctError as error:
            answer = Answer(log.seq, (), error.message, error.code, error.status)
        except (LookupError, TypeError, ValueError, AttributeError):
            answer = Answer(log.seq, (), "an order that says too little", "query", 422)
        else:
            answer = Answer(log.seq, made)
        self.answers[name] = answer
        if len(self.answers) > ANSWERS:
            del self.answers[next(iter(self.answers))]

    def _carry_out(self, log: Routing, order: Mapping[str, Any], time_s: float) -> tuple[str, ...]:
        check(log, order)
        kind = order["do"]
        if kind == "move":
            return self._move(log, [order], [f"m{log.seq}"], "", time_s)
        if kind in ("plan", "apply"):
            name, plan = str(order.get("plan", "")), order
            if kind == "plan":
                name, plan = self.ledger.plan(log.seq, order, time_s), order["plan"]
            if kind == "plan" and not order.get("apply"):
                return ()
            names = [f"m{log.seq}.{i}" for i in range(len(plan["moves"]))]
            self.ledger.apply(name, names)
            return self._move(log, plan["moves"], names, name, time_s)
        if kind in LEDGER:
            if kind == "realised":
                self.ledger.realise(order)
            else:
                self.ledger.decide(log.seq, order, time_s)
            return ()
        if kind == "succeed":
            self.successor = successor(str(log.tree.get("tree", "")), order, time_s)
        elif kind == "spatial":
            self.tuning.take(log.seq, order, time_s)
        elif kind == "cancel":
            said = {"why": order.get("reason") or "it was called off"}
            log.moves.step(order["move"], "ABORTED", log.seq, said, time_s)
        elif kind in ("pause", "resume"):
            log.moves.pause(order["move"], kind == "pause", log.seq, time_s)
        elif kind == "promote":
            log.promotions.ask(node_path(order["portion"]))
        elif kind in ("pin", "unpin"):
            path = node_path(order["portion"])
            (self.pinned.add if kind == "pin" else self.pinned.discard)(path)
        else:
            shard = int(order["shard"])
            (self.drained.add if kind == "drain" else self.drained.discard)(shard)
        return ()

    def _move(
        self, log: Routing, wanted: Sequence[Mapping[str, Any]], names: Sequence[str],
        plan: str, time_s: float,
    ) -> tuple[str, ...]:  # fmt: skip
        for name, move in zip(names, wanted, strict=True):
            path = node_path(move["portion"])
            said = {"reason": move.get("reason") or move.get("why") or "",
                    "plan": plan, "until": move.get("until", "")}  # fmt: skip
            log.moves.plan(name, path, log.owners[path], int(move["to"]), log.seq, said, time_s)
        return tuple(names)


def check(log: Routing, order: Mapping[str, Any]) -> None:
    """A PctError where the order cannot be followed as things are: what to do instead."""
    kind = order.get("do")
    if kind == "move":
        _movable(log, order["portion"], order["to"])
        if order.get("until", "") not in ("", *UNDER_WAY):
            raise QueryRefused(f"until: one of {', '.join(s for s in STAGES if s in UNDER_WAY)}")
    elif kind == "apply":
        _applicable(log, order, f"plan {order.get('plan', '')}")
    elif kind in LEDGER:
        ledger.check(log.orders.ledger, order)
        if kind == "plan" and order.get("apply"):
            _applicable(log, order["plan"], "")
    elif kind in ("pause", "resume", "cancel"):
        move = log.moves.of(order["move"])
        if not move.open:
            raise IllegalTransition(f"move {move.id} is {move.stage}: it cannot be {kind}d any more"
                                    .replace("canceld", "cancelled"))  # fmt: skip
        if kind != "cancel" and move.paused == (kind == "pause"):
            raise IllegalTransition(f"move {move.id} is {'paused' if move.paused else 'going on'}")
    elif kind == "promote":
        _promotable(log, order["portion"])
    elif kind in ("pin", "unpin"):
        _portion(log, order["portion"])
    elif kind in ("drain", "undrain"):
        _shard(log, order["shard"])
    elif kind == "succeed":
        successor(str(log.tree.get("tree", "")), order, 0.0)
    elif kind == "spatial":
        log.orders.tuning.merged(order)
    else:
        raise QueryRefused(f"do: {kind!r} is no order, one of {', '.join(KINDS)}")


def _applicable(log: Routing, plan: Mapping[str, Any], name: str) -> None:
    """Whether all moves of a plan may begin in this epoch."""
    if plan["epoch"] != log.epoch:
        raise IllegalTransition(
            f"{name or 'the plan'} was made in epoch {plan['epoch']}, now it is {log.epoch}: make "
            "it again"
        )
    names = [move["portion"] for move in plan["moves"]]
    if len(set(names)) < len(names):
        raise QueryRefused("moves: a portion is named twice")
    for move in plan["moves"]:
        _movable(log, move["portion"], move["to"])


def _portion(log: Routing, name: str) -> Path:
    path = node_path(name)
    if path not in log.owners:
        raise NotFound(f"no portion {name}: `pctstream status` shows them")
    if log.above.has(path):
        raise IllegalTransition(f"{name} is above the cut: only portions are moved")
    return path


def _shard(log: Routing, shard: Any) -> int:
    count = int(log.tree.get("shards", 0))
    if not isinstance(shard, int) or not 0 <= shard < count:
        raise NotFound(f"no shard {shard!r}: they are numbered 0 to {count - 1}")
    return shard


def _movable(log: Routing, name: str, to: Any) -> None:
    path = _standing(log, name)
    target = _shard(log, to)
    if log.owners[path] == target:
        raise IllegalTransition(f"{node_name(path)} is on shard {target} already")
    if target in log.orders.drained:
        raise IllegalTransition(f"shard {target} is drained: it takes nothing more")


def _promotable(log: Routing, name: str) -> None:
    path = _standing(log, name)
    if level(path) >= log.shape.max_level:
        raise IllegalTransition(f"{name} is at tree.max_level: it has no children")


def _standing(log: Routing, name: str) -> Path:
    """A portion of which nothing is under way."""
    path = _portion(log, name)
    if (move := log.moves.current(path)) is not None:
        what = "waits for its turn" if move.stage == PLANNED else f"is {move.stage}"
        raise IllegalTransition(f"{node_name(path)} is moving already: {move.id} {what}")
    if path in log.promotions.asked:
        raise IllegalTransition(f"{node_name(path)} is promoted: its children will be portions")
    if path in log.orders.pinned:
        raise IllegalTransition(f"{node_name(path)} is pinned: `pctstream moves unpin` it first")
    return path
