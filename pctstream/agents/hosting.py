"""Which directory a shard's store lives in on this machine.

`shards/<s>` is the place; RocksDB's LOCK is the fence between processes. A new host waits for the
lock for one session timeout; then it takes the next free `shards/<s>.<n>` and rebuilds there, which
R0 and R1 make right from any stale copy. The one in use is written to `shards/<s>.current`; the
others are removed once nobody holds them. A store that is damaged is such a one from then on. A directory
that is not there is first filled from a snapshot, where there is one (`recovery`).
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pctstream.agents.recovery import Recovery
from pctstream.config import Config
from pctstream.core.routing import Routing
from pctstream.errors import PctError, StoreDamaged, StoreFailed
from pctstream.rocks import Caches, Hurt, RocksKV, mark
from pctstream.stamp import stamped
from pctstream.store import Store


class Hosting:
    """Opens the stores of this worker's shards."""

    def __init__(
        self, cfg: Config, tell: Callable[[str], None] = lambda _: None, hurt: Hurt = lambda _: None,
        log: Routing | None = None,
    ) -> None:  # fmt: skip
        """``tell`` what is done about a damaged store; ``hurt`` is called where one shows itself; ``log``
        says which portions of a snapshot a shard answers for."""
        self._tell = tell
        self._hurt = hurt
        self._folder = Path(cfg.store.dir) / "shards"
        self._tree = cfg.tree.name
        self.caches = Caches(cfg.store.cache_bytes)
        self._patience_s = cfg.kafka.session_timeout_s
        self._tried: dict[int, float] = {}
        self._told: set[Path] = set()
        snapshots = cfg.store.snapshots
        self._recovery = (
            None if not snapshots or log is None else Recovery(cfg, snapshots, log, tell)
        )

    def open(self, shard: int) -> Store | None:
        """The shard's store, or None while another process may still let go of it, or while it is made."""
        first = self._tried.setdefault(shard, time.monotonic())
        current = self._current(shard)
        if self._recovery and not self._recovery.looked(shard, current):
            return None
        if mark(current).exists():
            current = self._anew(shard, current, mark(current).read_text().strip())
        try:
            store = self._open(shard, current)
        except StoreDamaged as error:
            current = self._anew(shard, current, str(error))
            store = self._open(shard, current)
        except StoreFailed as error:
            if "lock" not in str(error).lower():
                raise
            if time.monotonic() - first < self._patience_s:
                return None
            current = self._next(shard, current)
            store = self._open(shard, current)
        if store is None:
            return None
        self._tried.pop(shard, None)
        self._note(shard, current)
        self._remove_others(shard, current)
        return store

    def sizes(self, shards: Iterable[int]) -> dict[int, int]:
        """Bytes of the files of the stores of these shards, here on disk."""
        return {shard: _bytes(self._current(shard)) for shard in shards}

    def _note(self, shard: int, current: Path) -> None:
        """Whole or not at all: on a full disk half a name would be another directory."""
        marker = self._marker(shard)
        if not marker.exists() or marker.read_text() != current.name:
            draft = marker.with_suffix(".draft")
            draft.write_text(current.name)
            draft.replace(marker)

    def _open(self, shard: int, folder: Path) -> Store | None:
        if self._recovery and not self._recovery.looked(shard, folder):
            return None
        kv = RocksKV(folder, self.caches, self._hurt)
        try:
            stamped(kv, self._tree, shard, folder)
        except PctError:
            kv.close()
            raise
        if self._recovery:
            self._recovery.opened(folder)
        return Store(kv)

    def _anew(self, shard: int, damaged: Path, why: str) -> Path:
        following = self._next(shard, damaged)
        if damaged not in self._told:
            self._told.add(damaged)
            self._tell(f"shard {shard} is made again from its logs in {following.name}: {why}")
        return following

    def _marker(self, shard: int) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f"{shard}.current"

    def _current(self, shard: int) -> Path:
        marker = self._marker(shard)
        name = marker.read_text().strip() if marker.exists() else str(shard)
        return self._folder / (name if name.split(".")[0] == str(shard) else str(shard))

    def _next(self, shard: int, current: Path) -> Path:
        _, _, number = current.name.partition(".")
        return self._folder / f"{shard}.{int(number or 0) + 1}"

    def _remove_others(self, shard: int, current: Path) -> None:
        for other in self._folder.glob(f"{shard}.[0-9]*"):
            self._remove(other, current)
        self._remove(self._folder / str(shard), current)

    def _remove(self, other: Path, current: Path) -> None:
        if other == current or not other.is_dir():
            return
        try:
            RocksKV(other, 1 << 20).close()
        except StoreDamaged:
            pass  # then its lock was free
        except StoreFailed:
            return  # somebody still holds it
        shutil.rmtree(other, ignore_errors=True)
        mark(other).unlink(missing_ok=True)


def _bytes(folder: Path) -> int:
    size = 0
    for file in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # compacted away meanwhile
            size += file.stat().st_size
    return size
