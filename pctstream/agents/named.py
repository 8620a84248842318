"""What the rows of a shard's nodes are called, as hashes, so that a filter is made anew without them.

A filter that has become too small is made for twice as many keys. In small segments, as they come in a
quiet stream, reading the rows for that costs as much as applying them did; their hashes are 8 bytes each.
They are of the segments as they are numbered now: rows that left are in them, purged ones are not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pctstream.core.identity import names64
from pctstream.core.keys import Hashes
from pctstream.core.names import Path
from pctstream.store import Store

ROWS = 2_000_000
"""Of a shard: 16 MB. A node whose rows go beyond it is read from the store when its filter is made."""


@dataclass(slots=True)
class Node:
    """Of one node, by the last offset of each segment."""

    purges: int
    whole: bool
    """All segments are here; else those that came since they began to be read."""
    segments: dict[int, Hashes] = field(default_factory=dict)


class Named:
    """Of one shard; any thread may add while another reads."""

    def __init__(self, store: Store, most: int = ROWS) -> None:
        self._store = store
        self._most = most
        self._changing = threading.RLock()
        self._nodes: dict[Path, Node] = {}
        self._rows = 0

    def begin(self, path: Path) -> None:
        """This node has no row."""
        self._fresh(path, True)

    def _fresh(self, path: Path, whole: bool) -> Node:
        with self._changing:
            self.drop(path)
            node = self._nodes[path] = Node(self._store.version(path)[1], whole)
            return node

    def drop(self, path: Path) -> None:
        """What is known of it is not needed, or not true any more."""
        with self._changing:
            node = self._nodes.pop(path, None)
            if node is not None:
                self._rows -= sum(map(len, node.segments.values()))

    def add(self, path: Path, last: int, hashes: Hashes) -> None:
        """A segment comes to this node."""
        with self._changing:
            node = self._nodes.get(path)
            if node is None:
                return
            self._rows += len(hashes) - len(node.segments.get(last, ()))
            node.segments[last] = hashes
            if self._rows > self._most:
                self.drop(path)

    def segments(self, path: Path, after: int = -1) -> Iterable[tuple[int, Hashes]]:
        """(last offset, hashes) of each segment ``after`` an offset: all that were there at the call.

        No segment may be under way to the store at the call; from it on those that come are added.
        """
        with self._changing:
            node, purges = self._nodes.get(path), self._store.version(path)[1]
            if node is not None and node.whole and node.purges == purges:
                known = node.segments.items()
                return [(last, hashes) for last, hashes in known if last > after]
            return self._read(path, after, self._fresh(path, False) if after < 0 else None)

    def _read(self, path: Path, after: int, node: Node | None) -> Iterator[tuple[int, Hashes]]:
        """The same from the store, into the node that is fresh."""
        for last, rows in self._store.segments(path, after):
            hashes = names64(rows)
            if node is not None and node is self._nodes.get(path):
                self.add(path, last, hashes)
            yield last, hashes
        # where it was begun again or purged meanwhile, or had no room, this one is nobody's
        if node is not None and node.purges == self._store.version(path)[1]:
            node.whole = True
