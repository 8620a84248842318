"""The views of a worker's nodes: in memory within a bound (bytes), those not asked for longest make room.

A portion that comes from another shard is read before this shard owns it (`prepare`): whoever asks
just after the switch would wait for that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np

from pctstream.agents.shard import Shard
from pctstream.agents.view import View
from pctstream.core.names import Path, node_name
from pctstream.core.routing import Routing
from pctstream.errors import NotReady

IDLE_S = 10.0
"""A view that was asked for more recently does not make room for another."""
ASKED_S = 60.0
"""Where nobody has asked for so long, rows that come are not read beforehand: it takes a processor."""
ROW_BYTES = 64
"""What a row takes beside its vector."""


class Views:
    """All of one worker; what is done to those of a shard is done under its `lock`."""

    def __init__(
        self, shards: Mapping[int, Shard], routing: Routing, limit: int, dropped: Callable[[], None]
    ) -> None:
        self._shards, self._routing, self._limit = shards, routing, limit
        self._dropped = dropped
        self._views: dict[tuple[int, Path], View] = {}
        self._locks: dict[int, threading.Lock] = {}

    @property
    def nbytes(self) -> int:
        """What all views take of memory."""
        return sum(view.nbytes for view in list(self._views.values()))

    def lock(self, number: int) -> threading.Lock:
        return self._locks.setdefault(number, threading.Lock())

    def of(self, shard: Shard, path: Path) -> View:
        """The view of a node, made anew where it is no copy of the store any more; NotReady if the node
        is not here."""
        if path not in shard.nodes:
            raise NotReady(f"{node_name(path)} is no longer here: ask again")
        view = self._known(shard, path)
        if view is None:
            view = self._views[shard.number, path] = View(shard, path, self._routing.dimension)
        return view

    def _known(self, shard: Shard, path: Path) -> View | None:
        """The view of a node, if it is a copy of its store still."""
        view = self._views.get((shard.number, path))
        return view if view is not None and view.fresh and view.shard is shard else None

    def level(self, shard: Shard, path: Path) -> bool:
        """Whether a view is in memory and has all that its node's store has."""
        view = self._known(shard, path)
        return view is not None and view.level

    def drop(self, shard: Shard, path: Path) -> None:
        self._views.pop((shard.number, path), None)

    def all_fit(self, shard: Shard, paths: list[Path]) -> bool:
        """Whether there is room for the views of these nodes beside all that there are."""
        return self.nbytes + sum(self._size(shard, path) for path in paths) <= self._limit

    def fits(self, shard: Shard, path: Path) -> bool:
        """Whether the node's view may stay; the views that were not asked for longest make room."""
        size = self._size(shard, path)
        total = sum(v.nbytes for k, v in list(self._views.items()) if k != (shard.number, path))
        for key, view in sorted([*self._views.items()], key=lambda item: item[1].used):
            if total + size <= self._limit:
                break
            stale = not view.fresh or self._shards.get(key[0]) is not view.shard
            if key != (shard.number, path) and (stale or time.monotonic() - view.used > IDLE_S):
                total -= view.nbytes
                self._views.pop(key, None)
                self._dropped()
        return total + size <= self._limit

    def prepare(self, shard: Shard, path: Path, closing: threading.Event) -> None:
        """Read a node's rows beside the questions; nothing where they do not fit, or nobody asks."""
        if all(time.monotonic() - v.used > ASKED_S for v in list(self._views.values())):
            return
        with self.lock(shard.number):
            if path not in shard.nodes or not self.fits(shard, path):
                return
            view = View(shard, path, self._routing.dimension)
        with suppress(NotReady):
            while not closing.is_set() and not view.refresh(-np.inf):
                pass  # a piece of it
            with self.lock(shard.number):
                if view.fresh and self._known(shard, path) is None:
                    self._views[shard.number, path] = view

    def _size(self, shard: Shard, path: Path) -> int:
        """Bytes of memory that a view of the node will take, about."""
        return shard.nodes[path].held_rows * (5 * self._routing.dimension + ROW_BYTES) * 5 // 4
