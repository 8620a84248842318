"""A shard without a store here begins with the newest snapshot, where there is one (R1).

`store.snapshots` names where they lie. A thread of its own looks, because a store may take minutes to be
made: until then the shard is not open. A store that lies here and ends before the place where a log of its
begins now (it was cut behind a snapshot) cannot be caught up: it is marked, and made anew. Where no
snapshot will do, why is said, and the shard begins with what its logs have: if that is not all, its
inputs say so (`agents.inputs`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from confluent_kafka.admin import AdminClient

from pctstream.config import Config
from pctstream.core.routing import Routing
from pctstream.errors import BrokerUnreachable, PctError, StoreFailed
from pctstream.pipes import client
from pctstream.pipes.bounds import bounds
from pctstream.rocks import Caches, RocksKV, mark
from pctstream.snapshots.against import continued, same_tree
from pctstream.snapshots.manifest import Manifest, newest_first
from pctstream.snapshots.moment import answered_for, source_of
from pctstream.snapshots.restoring import restored
from pctstream.store import Store

AGAIN_S = 1.0
"""The broker is asked again so often while it does not answer."""
CACHE_BYTES = 8 << 20


class Recovery:
    """Looks after the directories of a worker's shards before they are opened."""

    def __init__(
        self, cfg: Config, folder: Path, log: Routing, tell: Callable[[str], None]
    ) -> None:
        self._cfg, self._folder, self._log, self._tell = cfg, folder, log, tell
        self._looks: dict[Path, threading.Thread] = {}

    def looked(self, shard: int, store: Path) -> bool:
        """Whether all was done that can be for this directory; begun if it was not."""
        thread = self._looks.get(store)
        if thread is None:
            name, args = f"recovery {shard}", (shard, store)
            thread = threading.Thread(target=self._look, args=args, name=name, daemon=True)
            self._looks[store] = thread
            thread.start()
        return not thread.is_alive()

    def opened(self, store: Path) -> None:
        """The next time it is to be opened it is looked at again."""
        self._looks.pop(store, None)

    def _look(self, shard: int, store: Path) -> None:
        while True:
            try:
                admin = AdminClient(client.common(self._cfg, "recovery"))
                if not store.exists():
                    self._restore(admin, shard, store)
                elif (why := self._behind(admin, shard, store)) and any(self._whole(admin)):
                    mark(store).write_text(f"{why}\n")
                return
            except BrokerUnreachable:
                threading.Event().wait(AGAIN_S)
            except (PctError, OSError) as error:
                self._tell(f"shard {shard} is not restored from a snapshot: {error}")
                return

    def _whole(self, admin: AdminClient) -> Iterator[Manifest]:
        """The snapshots of this very tree, the newest first."""
        for one in newest_first(self._folder, self._cfg.tree.name):
            same_tree(admin, one)
            yield one

    def _restore(self, admin: AdminClient, shard: int, store: Path) -> None:
        for one in self._whole(admin):
            try:
                continued(admin, one, self._log, [shard])
                rows = restored(one, self._log, shard, store)
            except BrokerUnreachable:
                raise
            except PctError as error:
                self._tell(f"shard {shard} is not restored from {one.folder.name}: {error}")
                continue
            self._tell(f"shard {shard} was restored from {one.folder.name}: {rows:,} rows")
            return

    def _behind(self, admin: AdminClient, shard: int, folder: Path) -> str:
        """Why the store cannot be caught up, if a log of its begins beyond it."""
        try:
            kv = RocksKV(folder, Caches(CACHE_BYTES))
        except StoreFailed:
            return ""  # whoever opens it says why
        try:
            store, tree = Store(kv), self._cfg.tree.name
            sources = [source_of(tree, path, shard) for path in answered_for(self._log, shard)]
            found = {source: store.position(source) for source in sources}
        finally:
            kv.close()
        logs = bounds(admin, [source for source, at in found.items() if at])
        for source, (low, _) in logs.items():
            at = found[source]
            if at is not None and low > at[0].taken + 1:
                return (
                    f"its store ends at {source.topic}[{source.partition}] {at[0].taken}, and that log "
                    f"begins at {low} now"
                )
        return ""
