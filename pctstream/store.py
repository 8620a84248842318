"""One shard's store: everything the shard knows, changed only by whole WriteBatches.

A segment is written once, under the last offset of the unit it came in, in the same WriteBatch as the
position that counts it: after a kill -9 either both are there or neither (R2). Segments are large
values that never change, so they go to blob files, where compaction does not copy them. The keys stand in
`keyspace`.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from pctstream.chart import Chart
from pctstream.core.block import Block, Source, decode, encode
from pctstream.core.cover import Cover
from pctstream.core.drawer import Change
from pctstream.core.effects import Apply
from pctstream.core.leaving import firsts
from pctstream.core.names import Path
from pctstream.core.position import UNKNOWN, LogIdentity, Position
from pctstream.core.reopening import Aside
from pctstream.core.subtree import NodeRecord
from pctstream.keyspace import (
    ASIDE,
    BLOOM,
    COVERS,
    FIRSTS,
    LEAVES,
    LEFT,
    NODES,
    NUMBERS,
    OF_A_PORTION,
    OF_ROWS,
    PLACES,
    PURGED,
    ROWS,
    STATES,
    at_offset,
    number_of,
    of_aside,
    of_directory,
    of_input,
    of_kind,
    of_node,
    of_number,
    of_state,
    offset_of,
)
from pctstream.kv import KV
from pctstream.leavings import Leavings

FORGET_KEYS = 1000
"""Deleted in one WriteBatch."""


class Store(Leavings):
    """The rows, node states and positions of one shard."""

    def __init__(self, kv: KV) -> None:
        super().__init__(kv)
        self.chart = Chart(kv)
        self.versions: dict[Path, tuple[int, int]] = {}
        """(segments appended, purges) of each node since the store was opened: whoever keeps a copy
        of its rows looks again when this has changed."""
        self.placing: Callable[[Block], bytes] | None = None
        """Makes the places of rows; they are written with them."""
        self.renumbering = threading.Lock()
        """Held while rows of segments get other numbers (`purging`)."""

    def apply(self, effect: Apply, log: LogIdentity = UNKNOWN) -> None:
        """Everything of one effect in one WriteBatch."""
        path, position = effect.path, effect.position
        changes: list[Change] = [
            reached(effect.source, position, log),
            (of_state(path), orjson.dumps(effect.state)),
        ]
        if effect.rows is not None:
            changes.append((at_offset(ROWS, path, position.stored), encode(effect.rows)))
            if self.placing is not None:
                places = self.placing(effect.rows)
                changes.append((at_offset(PLACES, path, position.stored), places))
            begun = orjson.dumps(firsts(effect.rows))
            changes.append((at_offset(FIRSTS, path, position.stored), begun))
        if effect.left is not None:
            left = effect.left.astype("<i8").tobytes()
            changes.append((at_offset(LEFT, path, position.taken), left))
        for name, filed in effect.filed:
            changes += [(of_directory(path, name) + key, value) for key, value in filed]
        if effect.leaves is not None:
            changes.append((at_offset(LEAVES, path, position.stored), _int32(effect.leaves)))
        changes += [(at_offset(LEAVES, path, at), _int32(leaves)) for at, leaves in effect.labels]
        for number, record, cover, aside in effect.nodes:
            changes.append((of_number(NODES, path, number), orjson.dumps(record)))
            if aside is not None:
                changes += self._aside(path, number, aside)
            if cover is not None:
                whole = b"".join(cover.to_pieces(1 << 30))
                changes.append((of_number(COVERS, path, number), whole))
        if effect.purge:
            gone = [*(of_node(kind, path) for kind in OF_ROWS), of_directory(path, "here")]
            changes += [(key, None) for prefix in gone for key in self._kv.keys(prefix)]
        self._kv.write(changes)
        came = effect.rows is not None or effect.left is not None
        if came or effect.purge:
            self._changed(path, int(came), int(effect.purge))

    def _aside(self, path: Path, number: int, aside: Aside) -> Iterator[Change]:
        if not aside.first:
            yield from ((key, None) for key in self._kv.keys(of_number(ASIDE, path, number)))
        if len(aside.rows):
            yield of_aside(path, number, aside.first), aside.rows.astype("<f4").tobytes()

    def _changed(self, path: Path, came: int, went: int) -> None:
        appended, purged = self.version(path)
        self.versions[path] = appended + came, purged + went

    def version(self, path: Path) -> tuple[int, int]:
        """Of a node's rows, as `versions` has it."""
        return self.versions.get(path, (0, 0))

    def numbered_as(self, path: Path, purges: int) -> bool:
        """Whether rows have the numbers of so many purges, and none are about to get others."""
        with self.renumbering:
            return self.version(path)[1] == purges

    def write(self, changes: Sequence[Change]) -> None:
        """One WriteBatch of whoever holds `renumbering`."""
        self._kv.write(changes)

    def renumbered(self, path: Path) -> None:
        """Rows of this node have other numbers than before."""
        self._changed(path, 0, 1)

    def purged(self, path: Path) -> int:
        """How many rows of a portion were purged."""
        return int(orjson.loads(self._kv.get(of_node(PURGED, path)) or b"0"))

    def reach(self, source: Source, position: Position, log: LogIdentity) -> None:
        """An input whose rows do not stay here (a bridged partition) is done so far."""
        self._kv.write([reached(source, position, log)])

    def position(self, source: Source) -> tuple[Position, LogIdentity] | None:
        """How far this input is done and of which log that is true; None if it was never read."""
        raw = self._kv.get(of_input(source))
        if raw is None:
            return None
        fields = orjson.loads(raw)
        log = LogIdentity(fields["topic_id"], fields.get("leader_epoch", -1))
        return Position(fields["stored"], fields["routed"], fields["epoch"]), log

    def state(self, path: Path) -> dict[str, Any] | None:
        """The saved counts of a node."""
        raw = self._kv.get(of_state(path))
        return None if raw is None else orjson.loads(raw)

    def nodes(self) -> list[str]:
        """Names of the nodes that have state here."""
        return [key[2:].decode() for key in self._kv.keys(of_kind(STATES))]

    def segments(self, path: Path, after: int = -1) -> Iterator[tuple[int, Block]]:
        """(last offset, rows) of each segment of a node ``after`` an offset, in the order applied."""
        for key, value in self._kv.scan(of_node(ROWS, path), at_offset(ROWS, path, after + 1)):
            yield offset_of(key), decode(value)

    def placed(self, path: Path) -> Iterator[tuple[int, Block, npt.NDArray[np.int32]]]:
        """(last offset, rows, number of each one's leaf) of a portion's segments, in order.

        Rows and leaves are written together. Where they do not fit, somebody else wrote: `verify`
        says of which rows, and until then they lie at the portion's root.
        """
        for offset, rows in self.segments(path):
            leaves = self.leaves(path, offset)
            yield (
                offset,
                rows,
                leaves if len(leaves) == len(rows) else np.zeros(len(rows), np.int32),
            )

    def offsets(self, path: Path, after: int = -1) -> Iterator[int]:
        """The last offset of each segment of a node ``after`` an offset; rows are not read."""
        for key in self._kv.keys(of_node(ROWS, path), at_offset(ROWS, path, after + 1)):
            yield offset_of(key)

    def segment(self, path: Path, offset: int) -> Block | None:
        """The rows of one segment."""
        raw = self._kv.get(at_offset(ROWS, path, offset))
        return None if raw is None else decode(raw)

    def leaves(self, path: Path, offset: int) -> npt.NDArray[np.int32]:
        """The number of the leaf of each row of a segment, as of now; empty where none was written."""
        raw = self._kv.get(at_offset(LEAVES, path, offset)) or b""
        return np.frombuffer(raw, "<i4").astype(np.int32)

    def numbers(self, path: Path, offset: int) -> npt.NDArray[np.int32] | None:
        """The numbers that the rows left of a segment of N0 had before it was purged; None: it was not."""
        raw = self._kv.get(at_offset(NUMBERS, path, offset))
        if raw is None and self._kv.get(at_offset(FIRSTS, path, offset)) is not None:
            return None
        return np.frombuffer(raw or b"", "<i4").astype(np.int32)

    def tree_nodes(self, path: Path, most: int | None = None) -> list[NodeRecord]:
        """The nodes of a portion, by number (``most``: the first), without their covers."""
        found = itertools.islice(self._kv.scan(of_node(NODES, path)), most)
        return [NodeRecord(number_of(key), orjson.loads(value)) for key, value in found]

    def subtree(self, path: Path) -> list[NodeRecord]:
        """The nodes of a portion, by number, with their covers."""
        found = self._kv.scan(of_node(COVERS, path))
        covers = {number_of(key): Cover.from_pieces([value]) for key, value in found}
        kept: dict[int, list[bytes]] = {}
        for key, value in self._kv.scan(of_node(ASIDE, path)):
            kept.setdefault(number_of(key[:-4]), []).append(value)
        nodes = []
        for node in self.tree_nodes(path):
            cover, rows = covers.get(node.number), b"".join(kept.get(node.number, ()))
            if dimension := cover.dimension if cover else node.record.get("dimension"):
                aside = np.frombuffer(rows, "<f4").reshape(-1, dimension).astype(np.float32)
                node = node._replace(cover=cover, aside=Aside(0, aside))
            nodes.append(node)
        return nodes

    def bloom(self, path: Path) -> bytes | None:
        """The filter of a node's ids, as it was saved."""
        return self._kv.get(of_node(BLOOM, path))

    def keep_bloom(self, path: Path, raw: bytes) -> None:
        """Save it."""
        self._kv.write([(of_node(BLOOM, path), raw)])

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and its value, in the order of the keys."""
        return self._kv.scan(b"")

    def frozen(self) -> Store:
        """The store as it is at this moment, to be read in peace."""
        return Store(self._kv.frozen())

    def close(self) -> None:
        self._kv.close()

    # a portion as bytes, to go to another shard (DESIGN 7)

    def portion(self, path: Path, source: Source) -> Iterator[tuple[bytes, bytes]]:
        """Every key of a portion and its value; the two that say it is whole come last."""
        for prefix in portion_prefixes(path):
            yield from self._kv.scan(prefix)
        for key in whole_keys(path, source):
            if (value := self._kv.get(key)) is not None:
                yield key, value

    def expect(self, path: Path, source: Source) -> None:
        """A copy of this portion is about to come: what there was of it is gone."""
        self.forget(path, source)
        self._kv.write([(of_state(path), b"{}")])

    def take(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """A part of a copy, in one WriteBatch."""
        self._kv.write(pairs)

    def forget(self, path: Path, source: Source) -> None:
        """Nothing of the portion stays: first of all it is not whole any more, last its name goes."""
        self._kv.write([(of_input(source), None)])
        for prefix in portion_prefixes(path):
            keys = self._kv.keys(prefix)
            while some := list(itertools.islice(keys, FORGET_KEYS)):
                self._kv.write([(key, None) for key in some])
        self._kv.write([(of_state(path), None)])
        self._changed(path, 0, 1)


def reached(source: Source, position: Position, log: LogIdentity) -> Change:
    fields = {
        "stored": position.stored,
        "routed": position.routed,
        "epoch": position.epoch,
        "topic_id": log.topic_id,
        "leader_epoch": log.leader_epoch,
    }
    return of_input(source), orjson.dumps(fields)


def _int32(leaves: npt.NDArray[np.int32]) -> bytes:
    return leaves.astype("<i4").tobytes()


def portion_prefixes(path: Path) -> list[bytes]:
    """Of the keys of what a portion holds."""
    return [of_node(kind, path) for kind in OF_A_PORTION]


def whole_keys(path: Path, source: Source) -> tuple[bytes, bytes]:
    """The two keys without which a portion is not whole."""
    return of_state(path), of_input(source)
