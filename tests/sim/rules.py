"""The rules of DESIGN 5, asserted by number while things happen.

``Rules`` hears of every message that lands or is acked and of every record that is folded; a
``Ledger`` hears of every batch written to one store. What they compare with is the maker's truth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from sim.memory import MemoryKV
from sim.rows import Truth

from pctstream.agents.shard import Shard
from pctstream.core import ingest, life
from pctstream.core.block import Block, Origin, Source, decode
from pctstream.core.cover import Cover
from pctstream.core.drawer import Change
from pctstream.core.effects import Parcel
from pctstream.core.moves import DONE, UNDER_WAY
from pctstream.core.names import ROOT, Path, level, node_name, node_path, topic_path
from pctstream.core.root import Root
from pctstream.core.routing import Routing
from pctstream.core.unit import Message
from pctstream.store import Store

INGEST = "pct.P0"
Rows = dict[Origin, bytes]


def rows_of(block: Block | None) -> list[tuple[Origin, bytes]]:
    if block is None:
        return []
    block = block.plain
    return list(zip(block.origins(), (v.tobytes() for v in block.vectors), strict=True))


class Rules:
    """What must hold over the whole run."""

    def __init__(
        self,
        truth: Truth,
        sink_rows: int,
        most: int,
        cut: int,
        told: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.truth = truth
        self._told = told
        self.most_stored = sink_rows + most
        self.cut = cut
        self.where: dict[Origin, Path] = {}
        self.beyond: dict[int, set[Origin]] = defaultdict(set)
        """Level -> origins stored there by somebody, or on their way further down."""
        self.pipes: dict[Source, list[list[Origin]]] = defaultdict(list)
        self.distinct: dict[Source, list[int]] = defaultdict(list)
        self.dead: list[str] = []
        self.covering = True
        self.promoted: set[Path] = set()
        """Portions that are, or will be, trunk nodes."""
        self._rows_in: dict[Source, set[Origin]] = defaultdict(set)
        self._in_pipe: dict[Source, set[Origin]] = defaultdict(set)
        self._last: dict[tuple[Source, Source], Origin] = {}
        self._acked: set[Origin] = set()
        self._acked_dead: set[str] = set()
        self._acked_to: dict[Source, int] = defaultdict(lambda: -1)
        self._proved: dict[tuple[str, str], Any] = {}
        self._states: dict[int, Any] = {}
        self._hashes: set[str] = set()
        self.purged: set[Origin] = set()
        """Rows that some store took off its disk after they had left."""

    def landed(self, source: Source, offset: int, parcel: Parcel) -> None:
        """A message is in the log."""
        if source.topic == "pct.dlq":
            self.dead.append((parcel.key or b"").decode())
        path = topic_path("pct", source.topic)
        if path is None or len(path) < 2:
            return
        kinds = [value.decode() for name, value in parcel.headers if name == "pct-type"]
        message = Message(offset, None, parcel.value, pct_type=kinds[0] if kinds else None)
        block = ingest.decode_pipe(source, [message], offset - 1, offset).rows
        rows = rows_of(block)
        for origin, vector in rows:
            assert self.truth.good.get(origin) == vector, f"R7: {origin} is not the row it was"
        for origin in [] if block is None else block.origins():
            if origin not in self._in_pipe[source]:
                lane = (source, Source(origin.topic, origin.partition))
                before = self._last.get(lane)
                assert before is None or before < origin, f"R3: {origin} reached it after {before}"
                self._last[lane] = origin
                self._in_pipe[source].add(origin)
        assert len(self.pipes[source]) == offset, f"R6: {source} has a hole"
        self.pipes[source].append([origin for origin, _ in rows])
        self.beyond[len(path) - 2].update(origin for origin, _ in rows)
        self._rows_in[source].update(origin for origin, _ in rows)
        self.distinct[source].append(len(self._rows_in[source]))

    def acked(self, source: Source, offset: int) -> None:
        """A live producer has heard that this message is in the log."""
        if source.topic == "pct.dlq":
            self._acked_dead.add(self.dead[offset])
        elif source in self.pipes:
            self._acked.update(self.pipes[source][offset])

    def acked_to(self, source: Source) -> int:
        """The highest offset of an ingest partition below which every row is acked or refused."""
        messages = self.truth.by_offset[source]
        at = self._acked_to[source] + 1
        while at < len(messages) and all(
            str(o) in self._acked_dead
            if o in self.truth.bad
            else o in self._acked or o in self.truth.deletes
            for o in messages[at]
        ):
            at += 1
        self._acked_to[source] = at - 1
        return at - 1

    def folded(self, log: Routing, record: dict[str, Any], accepted: bool) -> None:
        """R5: whoever has read this far says the same, and only the next seq counts."""
        covers = {path: cover.hash for path, cover in log.covers.items()}
        moves = [move.to_json() for move in log.moves.all()]
        state = (log.seq, log.epoch, log.tree, covers, log.owners, log.states, log.splits, log.authors,
                 log.reopened.epochs, log.reopened.open, log.reopened.folded, moves,
                 log.orders.answers)  # fmt: skip
        self.promoted |= log.promotions.epochs.keys()
        shadows = [move.portion for move in log.moves.all() if move.stage in UNDER_WAY]
        assert len(shadows) == len(set(shadows)), "R9: a portion in two moves"
        for proof in (move.proof for move in log.moves.all() if move.proof):
            assert proof["hash_from"] == proof["hash_to"], (
                "R0: two shards read one pipe differently"
            )
        if accepted and record.get("type") == "dropped":
            path = log.moves.of(record["move"]).portion
            told = self._told.get(node_name(path))
            # without one the record was written in another run
            assert told is None or told["epoch"] >= log.since[path], (
                f"R9: {path} is dropped before its new owner answers"
            )
        self.covering &= ROOT not in log.states or log.states[ROOT] == life.COVERING
        seen = self._states.setdefault(log.position, repr(state))
        assert seen == repr(state), f"R5: two followers differ at {log.position}"
        assert sorted(log.authors) == list(range(log.seq + 1)), "R5: the seqs have a hole"
        assert not accepted or record["seq"] == log.seq, "R5: an old record counted"
        assert log.epoch <= log.seq, "R5: the epoch is of no record that counted"

    def proved(self, proofs: dict[tuple[str, int], dict[str, Any]]) -> None:
        """R0: whoever passes a fence, source or target, before a crash or after, held the same."""
        for (move, shard), found in proofs.items():
            for offset, held in found.items():
                first = self._proved.setdefault((move, offset), held)
                assert held == first, f"R0: at a fence of {move} shard {shard} holds other rows"

    def covered(self, cover: Cover, rows: Any, hasty: bool) -> None:
        """R8, and R0: the cover follows from the sequence of the rows."""
        apart = np.linalg.norm(
            cover.prototypes[:, None].astype(float) - cover.prototypes[None].astype(float), axis=2
        )
        pairs = apart[np.triu_indices(cover.k, 1)]
        assert (pairs > cover.epsilon).all(), "R8: two prototypes within epsilon"
        near = np.linalg.norm(
            rows[:, None].astype(float) - cover.prototypes[None].astype(float), axis=2
        )
        assert len(rows) == cover.rows, "R0: a cover is not of the rows scanned"
        assert (near.min(axis=1) <= cover.epsilon).all(), "R8: a scanned row is not covered"
        if not hasty:
            self._hashes.add(cover.hash)
            assert len(self._hashes) == 1, "R0: two authors found two covers in the same rows"

    def held(self, shard: Shard, log: Routing) -> None:
        """R9: who owns a portion has it, also until its new owner answers."""
        wanted = [path for path, owner in log.owners.items() if owner == shard.number]
        wanted += [
            move.portion for move in log.moves.unfinished
            if move.stage == DONE and move.source == shard.number
        ]  # fmt: skip
        lacking = [path for path in wanted if path not in shard.nodes]
        assert not lacking, f"R9: shard {shard.number} has let go of {lacking}, and answers for it"

    def visible(self, root: Root, ledger: Ledger) -> None:
        """R2, R7: a row that no portion has yet is counted at N0, and none more than held."""
        held = ledger.held["N0"]
        if root.mode == life.SPLITTING:
            hidden = sum(origin not in self.beyond[1] for origin in held)
            assert hidden <= root.rows <= len(held), "R7: held rows are not counted once"


class Ledger:
    """What must hold in one store, from its first batch on."""

    def __init__(self, rules: Rules, kv: MemoryKV, base: int = -1) -> None:
        self.held: dict[str, Rows] = defaultdict(dict)
        self.store = Store(kv)
        self._rules = rules
        self._base = base
        self._segments: dict[bytes, Rows] = {}
        self.gone: dict[str, set[Origin]] = defaultdict(set)
        """Rows that have left, of each node."""
        self.copied = False
        """An older copy is written here: what it had let go of before, it does not bring."""
        self.warm = False
        """Of a standby: that rows lie here is not that anybody who is asked has them."""
        self._positions: dict[Source, tuple[int, int]] = {}
        kv.watch = self._watch

    def _watch(self, changes: list[Change]) -> None:
        for key, _ in changes:
            node = key[2:-1].decode()
            if key.startswith(b"u/") and self._whole(node) and not self.copied:
                self._purged(node, changes)
                if "promoted" in (self.store.state(node_path(node)) or {}):
                    topic = f"{INGEST}{node[2:].replace(',', '.')}"
                    self._position(Source(topic, 0), turned=True)
                    self._counts(node)
                return
        for key, value in changes:
            if key.startswith(b"r/"):
                self._rows(key, value)
        for key, value in changes:
            if key.startswith(b"x/") and value is not None:
                self._left(key, value)
        for key, _ in changes:
            if key.startswith(b"i/"):
                topic, _, partition = key[2:].decode().rpartition("/")
                self._position(Source(topic, int(partition)))
            elif key.startswith(b"n/"):
                self._counts(key[2:].decode())

    def _whole(self, node: str) -> bool:
        """Whether it is here; else it is on its way, or goes."""
        if node == "N0":
            return True
        topic = f"{INGEST}{node[2:].replace(',', '.')}"
        return self.store.position(Source(topic, 0)) is not None

    def _purged(self, node: str, changes: list[Change]) -> None:
        """R0: only what has left is taken off the disk, and what is left of it is told as before."""
        for key, value in changes:
            if key.startswith(b"r/"):
                rows = {} if value is None else dict(rows_of(decode(value)))
                before = self._segments[key]
                assert rows.items() <= before.items(), "R7: purging alters rows"
                for origin in before.keys() - rows.keys():
                    assert origin in self.gone[node], f"R0: {origin} was purged, and had not left"
                    self.gone[node].discard(origin)
                    del self.held[node][origin]
                    self._rules.purged.add(origin)
                if value is None:
                    del self._segments[key]
                else:
                    self._segments[key] = rows
        told: set[Origin] = set()
        for segment, left in self.store.gone(node_path(node)).items():
            block = self.store.segment(node_path(node), segment)
            keep = np.zeros(len(block), np.bool_)
            keep[left] = True
            told |= {origin for origin, _ in rows_of(block.keep(keep))}
        assert told == self.gone[node], f"R11: other rows have left {node} than before"

    def live(self, node: str) -> Rows:
        """The rows of a node that have not left."""
        return {o: v for o, v in self.held[node].items() if o not in self.gone[node]}

    def _left(self, key: bytes, value: bytes) -> None:
        node = key[2 : key.index(b"/", 2)].decode()
        for segment, row in np.frombuffer(value, "<i8").reshape(-1, 2).tolist():
            block = self.store.segment(node_path(node), segment)
            if block is None:
                assert node == "N0", f"R11: {node} has no segment {segment}"
                continue  # on its way when N0 let go
            if block.changes is None or not block.changes.bare[row]:
                origin = block.slice(row, row + 1).origins()[0]
                assert origin not in self.gone[node], f"R11: {origin} left {node} twice"
                self.gone[node].add(origin)

    def _rows(self, key: bytes, value: bytes | None) -> None:
        node = key[2 : key.index(b"/", 2)].decode()
        held = self.held[node]
        if value is None:
            turned = (self.store.state(node_path(node)) or {}).get("promoted")
            here = level(node_path(node)) >= self._rules.cut and not turned
            for origin in self._segments.pop(key):
                # a copy of a portion may go: that its owner keeps one is said at rest
                assert here or origin in self._rules.beyond[level(node_path(node)) + 1], (
                    f"R2: {origin} left {node} before the node below had it"
                )
                del held[origin]
                self.gone[node].discard(origin)
            return
        rows = dict(rows_of(decode(value)))
        assert key not in self._segments, f"R2: segment {key!r} written twice"
        self._segments[key] = rows
        for origin, vector in rows.items():
            assert origin not in held, f"R3: {origin} twice in {node}"
            assert self._rules.truth.good.get(origin) == vector, f"R7: {origin} was altered"
            held[origin] = vector
            path = node_path(node)
            if not self.warm:
                self._rules.beyond[level(path)].add(origin)
            if level(path) >= self._rules.cut:
                self._lies(origin, path)

    def _lies(self, origin: Origin, path: Path) -> None:
        """Of one portion, or of the one that it was handed down to."""
        where = self._rules.where
        before = where.setdefault(origin, path)
        higher, lower = sorted((before, path), key=len)
        assert higher == lower or (
            higher in self._rules.promoted and lower[: len(higher)] == higher
        ), f"R7: {origin} in two portions"
        where[origin] = lower

    def _position(self, source: Source, turned: bool = False) -> None:
        found = self.store.position(source)
        if found is None:
            assert source.topic != INGEST, "R2: N0 forgets how far it was"
            self._positions.pop(source, None)
            return
        stored, routed = found[0].stored, found[0].routed
        before = self._positions.get(source, (-1, -1))
        if turned:
            assert routed == -1 and stored == max(before[0], -1), f"R2: {source} turned elsewhere"
        else:
            assert before <= (stored, routed) and before[1] <= routed, f"R2: {source} went back"
        self._positions[source] = (stored, routed)
        if source.topic == INGEST:
            assert routed <= self._rules.acked_to(source), f"R2: {source} routed beyond the acks"
            # what was routed as it came never was in the store
            first, node = max(*before, self._base), "N0"
            log = self._rules.truth.by_offset[source]
        else:
            first, node = before[0], f"N{source.topic[len(INGEST) - 1 :].replace('.', ',')}"
            log = self._rules.pipes[source]
            # above the cut as long as nothing was routed: one whose worker has not read of its split again
            # stores rows once more (a real one reads all there is before it begins)
            state = self.store.state(node_path(node)) or {}
            below = level(node_path(node)) >= self._rules.cut
            if ((self.held[node] and routed < 0) or below) and not state.get("promoted"):
                distinct = self._rules.distinct[source][stored] if stored >= 0 else 0
                purged = self.store.purged(node_path(node))
                assert len(self.held[node]) + purged == distinct, (
                    f"R0: {node} holds other rows than its pipe"
                )
            if "stored_rows" in state:
                first = max(first, before[1])
        held, bad = self.held[node], self._rules.truth.bad
        for origins in log[first + 1 : stored + 1]:
            for origin in origins:
                again = origin.topic == "theirs" and origin in self._rules.beyond[1]
                passed = again or origin in self._rules.truth.deletes
                passed |= origin in self._rules.purged
                passed |= self.copied and origin in self._rules.beyond[len(node_path(node))]
                assert origin in held or origin in bad or passed, (
                    f"R6: {origin} was lost on its way"
                )

    def _counts(self, node: str) -> None:
        state = self.store.state(node_path(node))
        if not state:
            assert level(node_path(node)) >= self._rules.cut, f"R2: {node} forgets its state"
            return
        trunk = "stored_rows" in state
        count = state["stored_rows" if trunk else "rows"]
        purged = self.store.purged(node_path(node))
        assert count == len(self.held[node]) + purged, f"R7: {node} counts {count}"
        root = node == "N0"
        if not root or state["stored_rows"] == 0:
            gone = len(self.gone[node]) + purged
            assert state["gone"] == gone, f"R11: {node} counts {state['gone']} gone, not {gone}"
        if root and self._rules.covering:
            assert count < self._rules.most_stored, "R12: a covering root stored too much"
