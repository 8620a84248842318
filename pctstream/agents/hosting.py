"""Which directory a shard's store lives in on this machine.

`shards/<s>` is the place; RocksDB's LOCK is the fence between processes. A new host waits for the
lock for one session timeout; then it takes the next free `shards/<s>.<n>` and rebuilds there, which
R0 and R1 make right from any stale copy. The one in use is written to `shards/<s>.current`; the
others are removed once nobody holds them.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from pctstream.config import Config
from pctstream.errors import PctError, StoreFailed
from pctstream.rocks import Caches, RocksKV
from pctstream.stamp import stamped
from pctstream.store import Store


class Hosting:
    """Opens the stores of this worker's shards."""

    def __init__(self, cfg: Config) -> None:
        self._folder = Path(cfg.store.dir) / "shards"
        self._tree = cfg.tree.name
        self.caches = Caches(cfg.store.cache_bytes)
        self._patience_s = cfg.kafka.session_timeout_s
        self._tried: dict[int, float] = {}

    def open(self, shard: int) -> Store | None:
        """The shard's store, or None while another process may still let go of it."""
        first = self._tried.setdefault(shard, time.monotonic())
        current = self._current(shard)
        try:
            kv = RocksKV(current, self.caches)
        except StoreFailed as error:
            if "lock" not in str(error).lower():
                raise
            if time.monotonic() - first < self._patience_s:
                return None
            current = self._next(shard, current)
            kv = RocksKV(current, self.caches)
        try:
            stamped(kv, self._tree, shard, current)
        except PctError:
            kv.close()
            raise
        self._tried.pop(shard, None)
        self._marker(shard).write_text(current.name)
        self._remove_others(shard, current)
        return Store(kv)

    def sizes(self, shards: Iterable[int]) -> dict[int, int]:
        """Bytes of the files of the stores of these shards, here on disk."""
        return {shard: _bytes(self._current(shard)) for shard in shards}

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
        except StoreFailed:
            return  # somebody still holds it
        shutil.rmtree(other, ignore_errors=True)


def _bytes(folder: Path) -> int:
    size = 0
    for file in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # compacted away meanwhile
            size += file.stat().st_size
    return size
