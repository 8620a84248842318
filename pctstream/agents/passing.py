"""Passes: a portion sees all its stored rows again, so that its nodes go on (`core.growth`).

That takes as long as reading them does, and rows must not wait for it. So other nodes of the shard, N0
first of all, have their turns in the middle of a pass, every few milliseconds: they share nothing with the
portion but the store, and its own turns come one after the other. And a worker has one pass at a time,
which leaves a thread for the other shards and bounds what passes hold; a portion that comes meanwhile has
its own with its next turn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pctstream.agents.shard import Node, Shard
from pctstream.core.effects import Effect
from pctstream.core.portion import Portion

Between = Callable[[Shard, Node], None]
SLICE_S = 0.01
"""Of a pass, before turns of other nodes go on."""


class Passes:
    """Of one worker; ``between(shard, node)`` takes turns of other nodes than this one."""

    def __init__(self, between: Between | None = None, slice_s: float = SLICE_S) -> None:
        self._between = between or (lambda _, __: None)
        self._slice_s = slice_s
        self._one = threading.Lock()

    def run(self, shard: Shard, portion: Portion, ended: Callable[[], None]) -> list[Effect]:
        """What a pass brings; nothing yet where another one is under way. ``ended``: all rows were seen."""
        if not self._one.acquire(blocking=False):
            portion.put_off()
            return []
        try:
            with shard.looking_again():
                portion.begin_pass()
                self._show(shard, portion)
                ended()
                return portion.end_pass()
        finally:
            self._one.release()

    def _show(self, shard: Shard, portion: Portion) -> None:
        gone, since = shard.store.gone(portion.path), time.monotonic()
        for last, rows, leaves in shard.store.placed(portion.path):
            portion.revisit(last, rows, leaves, gone.get(last))
            if time.monotonic() - since >= self._slice_s:
                self._between(shard, portion)
                shard.pulses, since = shard.pulses + 1, time.monotonic()
