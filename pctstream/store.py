"""One shard's store: everything the shard knows, changed only by whole WriteBatches.

Layout, keys in order:

    i/<topic>            position of an input: stored, routed, epoch, topic id, leader epoch
    n/<node>             counts, marks and radius of a node, as JSON
    r/<node>/<offset>    a segment: rows of one applied unit, as an Arrow block
    l/<node>/<offset>    the leaf of each of its rows: numbers of nodes, int32
    w/<node>/<offset>    the first origin of each source in it (not at N0)
    x/<node>/<offset>    what left when the input was at this offset: (segment, row), int64
    t/<node>/<number>    a node of the portion's subtree: state and counts, as JSON
    c/<node>/<number>    its cover
    d/<node>/<name>/..   a directory of ids of N0 (`core.directory`)
    b/<node>/            the Bloom filter of its ids as it was some time ago (`agents.blooms`)
    p/, g/               places of rows and regions, where a spatial index is kept (`chart`)

A segment is written once, under the last offset of the unit it came in, in the same WriteBatch as the
position that counts it: after a kill -9 either both are there or neither (R2). Segments are large
values that never change, so they go to blob files, where compaction does not copy them.

``KV`` is all the store needs of a database: the simulator runs this same code over a dict.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from pctstream.chart import Chart, place_key, places_prefix
from pctstream.core.block import Block, Source, decode, encode
from pctstream.core.cover import Cover
from pctstream.core.effects import Apply
from pctstream.core.leaving import firsts
from pctstream.core.names import ROOT, Path, node_name
from pctstream.core.position import UNKNOWN, LogIdentity, Position
from pctstream.core.subtree import NodeRecord
from pctstream.leavings import KV, Change, Leavings, drawer_prefix, first_key, left_key, of_rows

_OFFSET = struct.Struct(">q")
_NUMBER = struct.Struct(">i")

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

    def apply(self, effect: Apply, log: LogIdentity = UNKNOWN) -> None:
        """Everything of one effect in one WriteBatch."""
        node = node_name(effect.path)
        position = effect.position
        changes: list[Change] = [
            _input(effect.source, position, log),
            (_node_key(node), orjson.dumps(effect.state)),
        ]
        if effect.rows is not None:
            changes.append((_row_key(node, position.stored), encode(effect.rows)))
            if self.placing is not None:
                changes.append((place_key(node, position.stored), self.placing(effect.rows)))
            if effect.path != ROOT:
                changes.append(
                    (first_key(node, position.stored), orjson.dumps(firsts(effect.rows)))
                )
        if effect.left is not None:
            left = effect.left.astype("<i8").tobytes()
            changes.append((left_key(node, position.taken), left))
        for name, filed in effect.filed:
            changes += [(drawer_prefix(node, name) + key, value) for key, value in filed]
        if effect.leaves is not None:
            changes.append((_leaf_key(node, position.stored), _int32(effect.leaves)))
        changes += [(_leaf_key(node, offset), _int32(leaves)) for offset, leaves in effect.labels]
        for number, record, cover in effect.nodes:
            changes.append((_tree_key(b"t", node, number), orjson.dumps(record)))
            if cover is not None:
                whole = b"".join(cover.to_pieces(1 << 30))
                changes.append((_tree_key(b"c", node, number), whole))
        if effect.purge:
            gone = [*of_rows(node), places_prefix(node), drawer_prefix(node, "here")]
            changes += [(key, None) for prefix in gone for key in self._kv.keys(prefix)]
        self._kv.write(changes)
        came = effect.rows is not None or effect.left is not None
        if came or effect.purge:
            self._changed(effect.path, int(came), int(effect.purge))

    def _changed(self, path: Path, came: int, went: int) -> None:
        appended, purged = self.versions.get(path, (0, 0))
        self.versions[path] = appended + came, purged + went

    def reach(self, source: Source, position: Position, log: LogIdentity) -> None:
        """An input whose rows do not stay here (a bridged partition) is done so far."""
        self._kv.write([_input(source, position, log)])

    def position(self, source: Source) -> tuple[Position, LogIdentity] | None:
        """How far this input is done and of which log that is true; None if it was never read."""
        raw = self._kv.get(_input_key(source))
        if raw is None:
            return None
        fields = orjson.loads(raw)
        log = LogIdentity(fields["topic_id"], fields.get("leader_epoch", -1))
        return Position(fields["stored"], fields["routed"], fields["epoch"]), log

    def state(self, path: Path) -> dict[str, Any] | None:
        """The saved counts of a node."""
        raw = self._kv.get(_node_key(node_name(path)))
        return None if raw is None else orjson.loads(raw)

    def nodes(self) -> list[str]:
        """Names of the nodes that have state here."""
        return [key[2:].decode() for key in self._kv.keys(b"n/")]

    def segments(self, path: Path, after: int = -1) -> Iterator[tuple[int, Block]]:
        """(last offset, rows) of each segment of a node ``after`` an offset, in the order applied."""
        prefix = _rows_prefix(node_name(path))
        for key, value in self._kv.scan(prefix, _row_key(node_name(path), after + 1)):
            yield _OFFSET.unpack(key[len(prefix) :])[0], decode(value)

    def placed(self, path: Path) -> Iterator[tuple[int, Block, npt.NDArray[np.int32]]]:
        """(last offset, rows, number of each one's leaf) of a portion's segments, in order.

        Rows and leaves are written together. Where they do not fit, somebody else wrote: `verify`
        says of which rows, and until then they lie at the portion's root.
        """
        node = node_name(path)
        for offset, rows in self.segments(path):
            leaves = np.frombuffer(self._kv.get(_leaf_key(node, offset)) or b"", "<i4")
            fits = len(leaves) == len(rows)
            yield offset, rows, leaves.astype(np.int32) if fits else np.zeros(len(rows), np.int32)

    def offsets(self, path: Path, after: int = -1) -> Iterator[int]:
        """The last offset of each segment of a node ``after`` an offset; rows are not read."""
        prefix = _rows_prefix(node_name(path))
        for key in self._kv.keys(prefix, _row_key(node_name(path), after + 1)):
            yield _OFFSET.unpack(key[len(prefix) :])[0]

    def segment(self, path: Path, offset: int) -> Block | None:
        """The rows of one segment."""
        raw = self._kv.get(_row_key(node_name(path), offset))
        return None if raw is None else decode(raw)

    def leaves(self, path: Path, offset: int) -> npt.NDArray[np.int32]:
        """The number of the leaf of each row of a segment, as of now; empty where none was written."""
        raw = self._kv.get(_leaf_key(node_name(path), offset)) or b""
        return np.frombuffer(raw, "<i4").astype(np.int32)

    def tree_nodes(self, path: Path) -> list[NodeRecord]:
        """The nodes of a portion, by number, without their covers."""
        prefix = _tree_prefix(b"t", node_name(path))
        return [
            NodeRecord(_NUMBER.unpack(key[len(prefix) :])[0], orjson.loads(value))
            for key, value in self._kv.scan(prefix)
        ]

    def subtree(self, path: Path) -> list[NodeRecord]:
        """The nodes of a portion, by number, with their covers."""
        prefix = _tree_prefix(b"c", node_name(path))
        covers = {
            _NUMBER.unpack(key[len(prefix) :])[0]: Cover.from_pieces([value])
            for key, value in self._kv.scan(prefix)
        }
        return [r._replace(cover=covers.get(r.number)) for r in self.tree_nodes(path)]

    def bloom(self, path: Path) -> bytes | None:
        """The filter of a node's ids, as it was saved."""
        return self._kv.get(_bloom_key(node_name(path)))

    def keep_bloom(self, path: Path, raw: bytes) -> None:
        """Save it."""
        self._kv.write([(_bloom_key(node_name(path)), raw)])

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
        self._kv.write([(_node_key(node_name(path)), b"{}")])

    def take(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """A part of a copy, in one WriteBatch."""
        self._kv.write(pairs)

    def forget(self, path: Path, source: Source) -> None:
        """Nothing of the portion stays: first of all it is not whole any more, last its name goes."""
        self._kv.write([(_input_key(source), None)])
        for prefix in portion_prefixes(path):
            keys = self._kv.keys(prefix)
            while some := list(itertools.islice(keys, FORGET_KEYS)):
                self._kv.write([(key, None) for key in some])
        self._kv.write([(_node_key(node_name(path)), None)])
        self._changed(path, 0, 1)


def _input(source: Source, position: Position, log: LogIdentity) -> Change:
    fields = {
        "stored": position.stored,
        "routed": position.routed,
        "epoch": position.epoch,
        "topic_id": log.topic_id,
        "leader_epoch": log.leader_epoch,
    }
    return _input_key(source), orjson.dumps(fields)


def _int32(leaves: npt.NDArray[np.int32]) -> bytes:
    return leaves.astype("<i4").tobytes()


def _tree_prefix(kind: bytes, node: str) -> bytes:
    return kind + f"/{node}/".encode()


def _tree_key(kind: bytes, node: str, number: int) -> bytes:
    return _tree_prefix(kind, node) + _NUMBER.pack(number)


def _bloom_key(node: str) -> bytes:
    return f"b/{node}/".encode()


def _leaf_key(node: str, offset: int) -> bytes:
    return _leaves_prefix(node) + _OFFSET.pack(offset)


def _leaves_prefix(node: str) -> bytes:
    return f"l/{node}/".encode()


def portion_prefixes(path: Path) -> list[bytes]:
    """Of the keys of what a portion holds."""
    node = node_name(path)
    return [*of_rows(node), _tree_prefix(b"t", node), _tree_prefix(b"c", node), _bloom_key(node),
            places_prefix(node)]  # fmt: skip


def whole_keys(path: Path, source: Source) -> tuple[bytes, bytes]:
    """The two keys without which a portion is not whole."""
    return _node_key(node_name(path)), _input_key(source)


def _input_key(source: Source) -> bytes:
    return f"i/{source.topic}/{source.partition}".encode()


def _node_key(node: str) -> bytes:
    return f"n/{node}".encode()


def _rows_prefix(node: str) -> bytes:
    return f"r/{node}/".encode()


def _row_key(node: str, offset: int) -> bytes:
    return _rows_prefix(node) + _OFFSET.pack(offset)
