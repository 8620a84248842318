"""The thread that makes and saves the Bloom filters of a worker's shards, beside the turns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from pctstream.agents.shard import Shard
from pctstream.errors import PctError

LOOK_S = 0.25


class Keeper:
    """Looks at all shards again and again."""

    def __init__(self, shards: Sequence[dict[int, Shard]], tell: Callable[[str], None]) -> None:
        """``shards``: those hosted here, and the warm copies."""
        self._shards = shards
        self._tell = tell
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="filters", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """What is under way is left; what changed is saved by who closes the stores."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        while not self._closing.wait(LOOK_S):
            for shard in [shard for some in self._shards for shard in list(some.values())]:
                try:
                    self.look(shard)
                except PctError as error:  # it is closed or moved; a store that fails ends its turn
                    if any(some.get(shard.number) is shard for some in self._shards):
                        self._tell(f"a filter of shard {shard.number} is left for later: {error}")

    def look(self, shard: Shard) -> None:
        """Make and save what is due."""
        blooms = shard.blooms
        for path in blooms.due():
            before = blooms.unreadable
            blooms.make(path, self._closing.is_set)
            if blooms.unreadable > before:
                self._tell(f"a filter of shard {shard.number} was unreadable and is made again")
        blooms.save()
