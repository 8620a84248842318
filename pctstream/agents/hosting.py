"""Which directory a shard's store lives in on this machine.

`shards/<s>` is the place; RocksDB's LOCK is the fence between processes. A new host waits for the
lock for one session timeout; then it takes the next free `shards/<s>.<n>` and rebuilds there, which
R0 and R1 make right from any stale copy. The one in use is written to `shards/<s>.current`; the
others are removed once nobody holds them. A store that is damaged is such a one from then on. A directory
that is not there is first filled from a snapshot, where there is one (`recovery`).

A warm copy (`store.standby`) lies in another of these directories, whichever nobody holds once the shard's
owner has told that it is at work: one that was used before is a stale copy, and is caught up. When it takes
over, its directory is the one in use.
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
        self._warm: dict[int, tuple[Path, Store]] = {}
        self._spares = cfg.store.standby > 0
        snapshots = cfg.store.snapshots
        self._recovery = (
            None if not snapshots or log is None else Recovery(cfg, snapshots, log, tell)
        )

    def open(self, shard: int) -> Store | None:
        """The shard's store, or None while another process may still let go of it, or while it is made."""
        if shard in self._warm:
            folder, warm = self._warm.pop(shard)
            self._note(shard, folder)
            return warm
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

    def warm(self, shard: int) -> Store | None:
        """A store for a warm copy of a shard whose owner is at work; None while it is made."""
        for folder in self._unused(shard):
            try:
                store = self._open(shard, folder)
            except StoreDamaged:
                continue
            except StoreFailed as error:
                if "lock" not in str(error).lower():
                    raise
                continue
            if store is not None:
                self._warm[shard] = folder, store
            return store
        return None

    def let_go(self, shard: int) -> None:
        """The warm copy of this shard was closed."""
        self._warm.pop(shard, None)

    def spoil(self, shard: int, why: str) -> None:
        """The warm copy of this shard is of no use to whoever hosts it: it is never opened again."""
        folder, _ = self._warm.pop(shard)
        mark(folder).write_text(f"{why}\n")

    def warm_sizes(self) -> dict[int, int]:
        """Bytes of the files of the warm copies here."""
        return {shard: _bytes(folder) for shard, (folder, _) in self._warm.copy().items()}

    def _unused(self, shard: int) -> list[Path]:
        """Where a warm copy may lie: sound directories, the current one last, then a new one."""
        current = self._current(shard)
        there = [p for p in self._folder.glob(f"{shard}.[0-9]*") if p.is_dir()]
        there += [p for p in (self._folder / str(shard),) if p.is_dir()]
        there.sort(key=lambda p: (p == current, int(p.name.partition(".")[2] or 0)))
        number = max((int(p.name.partition(".")[2] or 0) for p in there), default=-1) + 1
        new = self._folder / (f"{shard}.{number}" if number else str(shard))
        return [*(p for p in there if not mark(p).exists()), new]

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
        if other == current or not other.is_dir() or (self._spares and not mark(other).exists()):
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
