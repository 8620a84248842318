"""One history of the tree: the fold of `<tree>.routing` (R5).

Every record carries ``seq`` and counts iff it is the last one + 1; a repeat by a zombie is ignored
by everyone alike, because everyone reads the same log in the same order. Authors act only on what
they read back. Records are deltas: record 0 fixes what can never change, a cover comes in pieces
before the record that names its hash, and ``epoch`` is the seq of the last record that changed
covers or owners.

    seq 0   tree    dimension, metric, seed, limits
    seq 1   cover   N0, piece 1 of 2; 2: piece 2 of 2
    seq 3   split   N0, hash, owners of N0,0 N0,1 ...      -> epoch 3
    or 1    sink    N0                                     -> epoch 1
    ...     reopen, cover, reopened   N0's cover grows (`reopened`)  -> epoch
    ...     folded  children of N0 that get no more rows (`folder`)              -> epoch
    ...     cover, split   of a portion that is to be a trunk node (`promotion`) -> epoch
    ...     order   what somebody asked for (`orders`), judged by all alike
    ...     stage   a move goes on (`moves`); DONE: its target owns the portion -> epoch
    ...     dropped the source of a move lets go of its copy
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pctstream.core import life, moves
from pctstream.core.cover import Cover
from pctstream.core.moves import Moves
from pctstream.core.names import ROOT, Path, level, node_path
from pctstream.core.orders import Orders
from pctstream.core.outline import Outline
from pctstream.core.promoted import Promotions
from pctstream.core.records import FIXED
from pctstream.core.reopened import Reopened
from pctstream.errors import ConfigError, DataLoss, IllegalTransition, PctError

CLOSED_BY = ("ended", "rows", "idle", "timeout")


@dataclass(slots=True)
class Routing(Outline):
    """What everyone knows of the tree after the accepted records so far.

    One thread folds, others read: whoever walks over a mapping takes a copy of it first.
    """

    seq: int = -1
    epoch: int = 0
    position: int = -1
    tree: dict[str, Any] = field(default_factory=dict)
    covers: dict[Path, Cover] = field(default_factory=dict)
    owners: dict[Path, int] = field(default_factory=dict)
    since: dict[Path, int] = field(default_factory=dict)
    """The epoch from which on its owner answers for a portion."""
    moves: Moves = field(default_factory=Moves)
    orders: Orders = field(default_factory=Orders)
    states: dict[Path, str] = field(default_factory=dict)
    splits: dict[Path, int] = field(default_factory=dict)
    epsilons: dict[int, float] = field(default_factory=dict)
    """Of the levels whose epsilon was read from their rows."""
    levels: list[dict[str, Any]] = field(default_factory=list)
    """What closed each level, from 0 on: {level, closed_by, time, offset}."""
    limits: dict[Path, str] = field(default_factory=dict)
    """Of a sink: the limit that made it one."""
    history: dict[Path, list[dict[str, Any]]] = field(default_factory=dict)
    authors: dict[int, str] = field(default_factory=dict)
    reopened: Reopened = field(default_factory=Reopened)
    promotions: Promotions = field(default_factory=Promotions)
    done: int = -1
    """The seq of the last record that was taken whole: who reads from another thread goes by it."""
    _pieces: dict[str, dict[int, bytes]] = field(default_factory=dict)

    def fold(self, record: Mapping[str, Any], offset: int, time_s: float) -> bool:
        """Take the record at this place of the log; whether it counted.

        >>> log = Routing()
        >>> tree = {"seq": 0, "type": "tree", "author": "a", "dimension": 2}
        >>> log.fold(tree, 0, 0.0), log.fold(tree, 1, 0.0), log.tree["dimension"]
        (True, False, 2)
        """
        self.position = max(self.position, offset)
        seq = record.get("seq")
        if not isinstance(seq, int) or seq != self.seq + 1:
            return False
        self.seq = seq
        self.authors[seq] = str(record.get("author", ""))
        # a record that cannot be read says nothing, and says it to everyone alike
        with suppress(LookupError, TypeError, ValueError, AttributeError, PctError):
            self._take(record, seq, offset, time_s)
        self.done = seq
        return True

    def _take(self, record: Mapping[str, Any], seq: int, offset: int, time_s: float) -> None:
        kind = record.get("type")
        if kind == "tree" and not self.tree:
            self.tree = dict(record)
            self.states[ROOT] = life.COVERING
            self._log(ROOT, 0, offset, time_s)
        elif kind == "cover":
            self._cover(record, offset, time_s)
        elif kind == "split":
            self._split(record, offset, time_s)
        elif kind == "reopen":
            path = node_path(record["node"])
            self.reopened.begin(path, self.covers[path], record, seq)
        elif kind == "reopened":
            self._reopened(record, offset, time_s)
        elif kind == "not reopened":
            self.reopened.end(node_path(record["node"]), seq, str(record["why"]))
        elif kind == "folded":
            children = [int(child) for child in record["children"]]
            if self.reopened.fold(node_path(record["node"]), children, seq):
                self.epoch = seq
        elif kind == "not promoted":
            self.promotions.refuse(node_path(record["node"]), str(record["why"]))
        elif kind == "epsilon":
            self._epsilon(int(record["level"]), float(record["epsilon"]))
        elif kind == "level":
            self._close(int(record["level"]), str(record["closed_by"]), offset, time_s)
        elif kind == "order":
            self.orders.take(self, record, time_s)
        elif kind == "stage":
            self._stage(record, seq, time_s)
        elif kind == "dropped":
            self.moves.drop(str(record["move"]), seq, time_s)
        elif kind == "sink":
            path = node_path(record["node"])
            if self._step(path, life.TOO_LARGE):
                self.epoch = seq
                self.limits[path] = str(record.get("limit", ""))

    def _cover(self, record: Mapping[str, Any], offset: int, time_s: float) -> None:
        path, digest = node_path(record["node"]), str(record["hash"])
        pieces = self._pieces.setdefault(digest, {})
        pieces[int(record["piece"])] = base64.b64decode(record["data"])
        if len(pieces) < int(record["pieces"]):
            return
        del self._pieces[digest]
        try:
            cover = Cover.from_pieces([pieces[i] for i in sorted(pieces)])
        except DataLoss:
            cover = None
        if cover is None or cover.hash != digest:
            return
        if path in self.covers:
            self.reopened.found(path, self.covers[path], cover)
        elif self._step(path, life.COVER_FOUND):
            self.covers[path] = cover
            self._log(path, 1, offset, time_s)

    def _split(self, record: Mapping[str, Any], offset: int, time_s: float) -> None:
        path = node_path(record["node"])
        cover, owners = self.covers[path], _owners(record)
        if cover.hash != record["hash"] or not self._step(path, life.LEVEL_OPENED):
            return
        self.epoch = self.splits[path] = self.seq
        self.promotions.split(path, self.seq)
        self._log(path, 2, offset, time_s)
        self.reopened.epochs[path] = {self.seq: cover.k}
        self._born(owners, offset, time_s)
        if path == ROOT:
            self._close(0, "ended", offset, time_s)

    def _reopened(self, record: Mapping[str, Any], offset: int, time_s: float) -> None:
        path, owners = node_path(record["node"]), _owners(record)
        grown, k = self.reopened.grown[path], self.covers[path].k
        if grown.hash != record["hash"] or set(owners) != {(*path, i) for i in range(k, grown.k)}:
            return
        self.reopened.end(path, self.seq, "")
        self.epoch = self.seq
        self._log(path, 2, offset, time_s)
        self.reopened.first.setdefault(path, self.covers[path])
        self.covers[path] = grown
        self._born(owners, offset, time_s)
        self.reopened.epochs[path] = self.reopened.epochs[path] | {self.seq: grown.k}

    def _born(self, owners: Mapping[Path, int], offset: int, time_s: float) -> None:
        for child in owners:
            self.states[child] = self._newborn(child)
            self._log(child, 0, offset, time_s)
        self.since.update(dict.fromkeys(owners, self.seq))
        self.owners.update(owners)

    def _stage(self, record: Mapping[str, Any], seq: int, time_s: float) -> None:
        name, stage = str(record["move"]), str(record["stage"])
        if self.moves.step(name, stage, seq, record, time_s) and stage == moves.DONE:
            move = self.moves.of(name)
            self.owners[move.portion] = move.target
            self.epoch = self.since[move.portion] = seq

    def _epsilon(self, level: int, epsilon: float) -> None:
        if 0.0 < epsilon < math.inf:
            self.epsilons.setdefault(level, epsilon)

    def _close(self, level: int, closed_by: str, offset: int, time_s: float) -> None:
        if level == len(self.levels) and closed_by in CLOSED_BY:
            self.levels.append(
                {"level": level, "closed_by": closed_by, "time": time_s, "offset": offset}
            )

    def _step(self, path: Path, event: str) -> bool:
        try:
            self.states[path] = life.step(self.states[path], event)
        except (KeyError, IllegalTransition):
            return False
        return True

    def _log(self, path: Path, mode: int, offset: int, time_s: float) -> None:
        entry = {"mode": mode, "offset": offset, "time": time_s, "epoch": self.epoch}
        self.history.setdefault(path, []).append(entry)

    def _newborn(self, path: Path) -> str:
        return life.LEAF if level(path) >= int(self.tree.get("max_level", 6)) else life.COVERING

    def check(self, wanted: Mapping[str, Any]) -> None:
        """Refuse a configuration that record 0 contradicts (R5)."""
        for key in FIXED:
            was = self.tree.get(key)
            if key not in wanted or was is None or (key == "dimension" and wanted[key] == 0):
                continue
            if was != wanted[key]:
                raise ConfigError(
                    f"tree.{key} = {wanted[key]!r}, but this tree was made with {was!r}: put it "
                    "back, or choose another tree.name"
                )


def _owners(record: Mapping[str, Any]) -> dict[Path, int]:
    return {node_path(name): int(shard) for name, shard in record["owners"].items()}
