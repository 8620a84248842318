"""A file of a snapshot, read again from the disk: what must be in it, and whether it still is.

1. From its beginning to its end: what it says of itself, how many keys and what they hash to, how far each
   input is, which rows have left. 2. Again: the rows of each node that have not left, as a count and a hash
   without an order (`core.proof`), which the store made of it must give as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pctstream import stamp
from pctstream.core.block import Block, decode
from pctstream.core.proof import proof
from pctstream.errors import ConfigError, Unreadable
from pctstream.keyspace import INPUTS, LEFT, ROWS, of_kind, offset_of
from pctstream.pairs import CopyBroken, Incoming
from pctstream.snapshots.manifest import Entry, Place

PIECE_BYTES = 1 << 20
Gone = dict[str, dict[int, list[int]]]
"""Node -> segment -> numbers of the rows that have left."""


def pieces(file: Path) -> Iterator[bytes]:
    """A file as it is read."""
    with file.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            yield piece


def incoming(file: Path) -> Incoming:
    """A file of a snapshot; Unreadable where it is none."""
    try:
        return Incoming(pieces(file))
    except (CopyBroken, OSError) as error:
        raise damaged(file, error) from None


def damaged(file: Path, why: object) -> Unreadable:
    return Unreadable(f"{file} is damaged ({why}): take another snapshot, or use an older one")


def examined(file: Path) -> Entry:
    """What is in a file that was just written; Unreadable if that is not what was sent."""
    coming = incoming(file)
    told = coming.told
    places, gone = [], Gone()
    try:
        for pairs in coming:  # 1
            for key, value in pairs:
                if key.startswith(of_kind(INPUTS)):
                    places.append(_place(key, value))
                elif key.startswith(of_kind(LEFT)):
                    segments = gone.setdefault(_node(key), defaultdict(list))
                    for segment, row in np.frombuffer(value, "<i8").reshape(-1, 2).tolist():
                        segments[segment].append(row)
    except CopyBroken as error:
        raise damaged(file, error) from None
    schema = int(told.get("schema", 0))
    if schema > stamp.SCHEMA:
        raise ConfigError(
            f"the workers are pctstream {told.get('version')} with stores of schema {schema}, this is "
            f"schema {stamp.SCHEMA}: take the snapshot with their version"
        )
    nodes = dict.fromkeys(orjson.loads(told["nodes"]), proof([]).to_json())
    for node, rows in groupby(_rows(file, gone), itemgetter(0)):  # 2
        nodes[node] = proof(block for _, block in rows).to_json()
    return Entry(
        int(told["shard"]), file.name, schema, int(told["epoch"]), file.stat().st_size, coming.pairs,
        coming.hash, nodes, tuple(places),
    )  # fmt: skip


def _rows(file: Path, gone: Gone) -> Iterator[tuple[str, Block]]:
    """The rows that have not left, node by node."""
    for pairs in incoming(file):
        for key, value in pairs:
            if key.startswith(of_kind(ROWS)):
                node, rows = _node(key), decode(value)
                if left := gone.get(node, {}).get(offset_of(key)):
                    keep = np.ones(len(rows), np.bool_)
                    keep[left] = False
                    rows = rows.keep(keep)
                yield node, rows.plain


def _node(key: bytes) -> str:
    return key[2 : key.index(b"/", 2)].decode()


def _place(key: bytes, value: bytes) -> Place:
    said: dict[str, Any] = orjson.loads(value)
    topic, _, partition = key[2:].decode().rpartition("/")
    return Place(
        topic, int(partition), said["stored"], said["routed"], said["epoch"], said["topic_id"],
        said.get("leader_epoch", -1),
    )  # fmt: skip
