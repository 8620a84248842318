"""Purging: rows that have left are taken off the disk, where no scan can follow (R0).

A node that still covers, or waits to split, scans its rows in their places, so its dead stay. A sink, be it
N0, and a leaf of the lowest level never look at a row again, nor does a node that was a sink at those it
holds: there a row that left is cut out of its segment.
Nothing that is told changes by it (counts go on counting what came and what left, proofs and copies are of
what is live), so two shards need not purge at the same time, and when is nobody's business but the store's.

The rows behind one that is cut out get other numbers. What keeps such numbers (a view, an index of
places) holds them against `Store.versions`, and what reads a segment again against its length, which
only falls. The directory of the ids at N0 says where rows were when they came: beside a segment of N0 that
was cut lie the numbers that its rows had (`core.leaving.Leaving.now`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import orjson

from pctstream.core.block import encode
from pctstream.core.drawer import Change
from pctstream.core.leaving import firsts
from pctstream.core.names import Path
from pctstream.keyspace import (
    FIRSTS,
    LEAVES,
    LEFT,
    NUMBERS,
    OF_ROWS,
    PLACES,
    PURGED,
    ROWS,
    at_offset,
    of_node,
)
from pctstream.leavings import Places
from pctstream.store import Store

Final = npt.NDArray[np.bool_] | None
"""bool[nodes] of a portion; None: of N0, all."""
BATCH_BYTES = 8 << 20
"""Written at once."""


def purge(store: Store, path: Path, final: Final) -> int:
    """Cut out the rows that have left, of the nodes (numbers within the portion) that are ``final``;
    how many rows that were. Each WriteBatch leaves the portion whole."""
    with store.renumbering:
        gone = store.gone(path)
        before, cut = store.purged(path), 0
        store.write([*_gathered(store, path, gone), _counted(path, before)])
        for changes, rows in _batches(store, path, gone, final):
            cut += rows
            store.write([*changes, _counted(path, before + cut)])
        store.renumbered(path)
    return cut


def _counted(path: Path, rows: int) -> Change:
    return of_node(PURGED, path), orjson.dumps(rows)


def _gathered(store: Store, path: Path, gone: dict[int, Places]) -> list[Change]:
    """What left, under the segment that each row is in: so a segment can be written by itself."""
    changes: dict[bytes, bytes | None] = dict.fromkeys(
        at_offset(LEFT, path, offset) for offset, _ in store.left(path)
    )
    for segment, rows in gone.items():
        changes[at_offset(LEFT, path, segment)] = _left(segment, rows)
    return list(changes.items())


def _left(segment: int, rows: Places) -> bytes:
    return np.stack([np.full(len(rows), segment), rows], axis=1).astype("<i8").tobytes()


def _batches(
    store: Store, path: Path, gone: dict[int, Places], final: Final
) -> Iterator[tuple[list[Change], int]]:
    changes: list[Change] = []
    cut = 0
    for segment, dead in sorted(gone.items()):
        some, rows = _cut(store, path, segment, dead, final)
        changes += some
        cut += rows
        if sum(len(value or b"") for _, value in changes) > BATCH_BYTES:
            yield changes, cut
            changes, cut = [], 0
    if changes:
        yield changes, cut


def _cut(
    store: Store, path: Path, segment: int, dead: Places, final: Final
) -> tuple[list[Change], int]:
    """The segment without its ``dead``, where they are ``final``, and how many rows go; entries that
    never brought one go with them."""
    leaves = store.leaves(path, segment)
    if final is not None:
        if not len(leaves) or dead.max() >= len(leaves):
            return [], 0  # it was let go of, or somebody else wrote
        goes = dead[final[leaves[dead]]]
    else:
        goes = dead
    block = store.segment(path, segment) if len(goes) else None
    if block is None or goes.max() >= len(block):
        return [], 0
    keep = np.ones(len(block), np.bool_)
    keep[goes] = False
    changes: dict[bytes, bytes | None] = dict.fromkeys(
        at_offset(kind, path, segment) for kind in OF_ROWS
    )
    if keep.any():
        rows = block.keep(keep)
        changes[at_offset(ROWS, path, segment)] = encode(rows)
        changes[at_offset(FIRSTS, path, segment)] = orjson.dumps(firsts(rows))
        if final is not None:
            changes[at_offset(LEAVES, path, segment)] = leaves[keep].astype("<i4").tobytes()
        else:
            numbers = store.numbers(path, segment)
            numbers = np.arange(len(block), dtype=np.int32) if numbers is None else numbers
            changes[at_offset(NUMBERS, path, segment)] = numbers[keep].astype("<i4").tobytes()
        if store.placing is not None:
            changes[at_offset(PLACES, path, segment)] = store.placing(rows)
        if len(left := (np.cumsum(keep) - 1)[dead[keep[dead]]]):
            changes[at_offset(LEFT, path, segment)] = _left(segment, left)
    return list(changes.items()), block.keep(~keep).brought
