"""The youngest part of a directory: a hash table in memory, by open addressing, compiled.

Keys are hashes already, so a key's low bits are its place; the next free one is taken where that has
another. An entry is never removed: what an id has become is written over it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pctstream.core.keys import Hashes
from pctstream.core.lanes import compiled, read_only

ENTRY = np.dtype(
    [("key", "<u8"), ("offset", "<i8"), ("child", "<i4"), ("source", "<i4"), ("index", "<i4")]
)
"""A key, and where the newest row of it is: the child of the node, and the row's place there."""
Entries = npt.NDArray[np.void]

NOWHERE, UNKNOWN = -1, -2
"""In ``child``: the id was deleted; nothing is known of it."""
_FIRST = 1 << 10
_FIELDS = ("offset", "child", "source", "index")


class Young:
    """Entries in no order; the last one put under a key counts.

    >>> table = Young()
    >>> some = np.array([(7, 10, 3, 0, 0), (8, 11, 4, 0, 0), (7, 12, 5, 0, 0)], ENTRY)
    >>> table.exchange(some)["child"].tolist(), len(table)
    ([-2, -2, 3], 2)
    """

    def __init__(self, room: int = _FIRST) -> None:
        self._count = 0
        self._slots = np.zeros(room, ENTRY)
        self._slots["child"] = UNKNOWN
        self.last = -1
        """The last unit that put something here."""

    @property
    def room(self) -> int:
        """Slots, a power of two."""
        return len(self._slots)

    def __len__(self) -> int:
        return self._count

    @property
    def entries(self) -> Entries:
        """All, by key."""
        found = self._slots[self._slots["child"] != UNKNOWN]
        ordered: Entries = found[np.argsort(found["key"])]
        return ordered

    def exchange(self, entries: Entries) -> Entries:
        """Put entries in, one after the other; what was there before each: ``child`` is UNKNOWN where
        nothing was."""
        while 2 * (self._count + len(entries)) > len(self._slots):
            self._grow()
        came, before = self._put(entries)
        self._count += came
        old = entries.copy()
        for name, column in zip(_FIELDS, before, strict=True):
            old[name] = column
        return old

    def _put(self, entries: Entries) -> tuple[int, list[Any]]:
        # a column of one entry is contiguous, that of several is not: two types to numba
        new = [entries[name].copy() for name in ("key", *_FIELDS)]
        before = [np.empty(len(entries), ENTRY[name]) for name in _FIELDS]
        slots = [self._slots[name] for name in ("key", *_FIELDS)]
        return int(_exchange(*slots, *new, *before)), before

    def look(self, keys: Hashes) -> Entries:
        """What is under each key; ``child`` UNKNOWN: nothing."""
        at = _places(
            self._slots["key"], self._slots["child"], read_only(np.ascontiguousarray(keys))
        )
        found: Entries = self._slots[at]
        return found

    def _grow(self) -> None:
        held = self._slots[self._slots["child"] != UNKNOWN]
        self._slots = np.zeros(2 * len(self._slots), ENTRY)
        self._slots["child"] = UNKNOWN
        self._put(held)


@compiled
def _places(t_key: Any, t_child: Any, key: Any) -> Any:
    """Where each key stands, or would."""
    mask, out = np.uint64(t_key.shape[0] - 1), np.empty(key.shape[0], np.int64)
    for i in range(key.shape[0]):
        at = np.int64(key[i] & mask)
        while t_child[at] != UNKNOWN and t_key[at] != key[i]:
            at = np.int64((np.uint64(at) + np.uint64(1)) & mask)
        out[i] = at
    return out


@compiled
def _exchange(
    t_key: Any, t_offset: Any, t_child: Any, t_source: Any, t_index: Any,
    key: Any, offset: Any, child: Any, source: Any, index: Any,
    old_offset: Any, old_child: Any, old_source: Any, old_index: Any,
) -> int:  # fmt: skip
    mask, came = np.uint64(t_key.shape[0] - 1), 0
    for i in range(key.shape[0]):
        at = np.int64(key[i] & mask)
        while t_child[at] != UNKNOWN and t_key[at] != key[i]:
            at = np.int64((np.uint64(at) + np.uint64(1)) & mask)
        came += t_child[at] == UNKNOWN
        old_child[i], old_source[i] = t_child[at], t_source[at]
        old_offset[i], old_index[i] = t_offset[at], t_index[at]
        t_key[at], t_child[at], t_source[at] = key[i], child[i], source[i]
        t_offset[at], t_index[at] = offset[i], index[i]
    return came
