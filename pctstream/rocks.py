"""RocksDB as the `KV` of a shard's store, by rocksdict.

A file whose bytes are not those that were written is noticed when they are read. An iterator does not
say so: it ends there, as if nothing more came (seen: 1,672 of 5,050 keys), and `items` and `keys` of
rocksdict leave it at that. So everything here asks it how it ended. A store that is damaged is marked
(`shards/3.damaged`) and never opened again: it follows from its logs (R0), and is made again from them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path as FilePath
from typing import Any

from pctstream.core.drawer import Change
from pctstream.errors import NotReady, StoreDamaged, StoreFailed

Hurt = Callable[[str], None]
CLOSE_S = 0.001
DAMAGED = "Corruption"
"""How RocksDB's errors begin that say so; rocksdict raises bare Exception for every status."""


class Asking:
    """What an answer of RocksDB means that is none."""

    def __init__(self, path: FilePath, hurt: Hurt) -> None:
        self._path = path
        self._hurt = hurt

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """A view may ask while the shard moves to another worker: that is no failure of the disk."""
        try:
            yield
        except Exception as error:
            if type(error).__name__ == "DbClosedError" or _borrowed(error):
                raise NotReady("the shard is moving to another worker: ask again") from None
            if DAMAGED not in str(error):
                raise
            raise self.damaged(error) from None

    def damaged(self, error: Exception) -> StoreDamaged:
        """Mark the store, and tell whoever wants to know at once."""
        why = f"the store {self._path} is damaged: {error}; the shard is made again from its logs"
        with contextlib.suppress(OSError):
            mark(self._path).write_text(f"{why}\n")
        self._hurt(why)
        return StoreDamaged(why)


def mark(path: FilePath) -> FilePath:
    """The file that says that the store at ``path`` is damaged."""
    return path.with_name(f"{path.name}.damaged")


class Caches:
    """What the databases of a process share: one cache of ``size`` bytes for blocks read, in which
    the rows not flushed yet (memtables) count too, with a quarter of it at most."""

    def __init__(self, size: int) -> None:
        from rocksdict import Cache, WriteBufferManager

        self.blocks = Cache(size)
        self.writes = WriteBufferManager.new_write_buffer_manager_with_cache(
            size // 4, False, self.blocks
        )


class RocksKV:
    """``KV`` over one RocksDB database; its LOCK fences other processes on this machine."""

    def __init__(self, path: FilePath, caches: Caches | int, hurt: Hurt = lambda _: None) -> None:
        from rocksdict import BlockBasedOptions, Options, Rdict

        if isinstance(caches, int):
            caches = Caches(caches)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_max_background_jobs(2)
        options.set_write_buffer_size(16 << 20)
        options.set_write_buffer_manager(caches.writes)
        options.set_max_write_buffer_number(3)
        options.set_max_open_files(256)
        options.set_enable_blob_files(True)
        options.set_min_blob_size(4096)
        table = BlockBasedOptions()
        table.set_block_cache(caches.blocks)
        options.set_block_based_table_factory(table)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._asking = Asking(path, hurt)
        try:
            self._db: Any = Rdict(str(path), options)
        except Exception as error:
            if DAMAGED in str(error):
                raise StoreDamaged(f"the store {path} is damaged: {error}") from None
            raise StoreFailed(f"cannot open the store {path}: {error}") from None

    def get(self, key: bytes) -> bytes | None:
        with self._asking():
            found: bytes | None = self._db.get(key)
        return found

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        with self._asking():
            at = self._db.iter()
            for key in _along(at, prefix, start):
                yield key, at.value()

    def keys(self, prefix: bytes, start: bytes = b"") -> Iterator[bytes]:
        with self._asking():
            yield from _along(self._db.iter(), prefix, start)

    def frozen(self) -> FrozenKV:
        """As it is at this moment, whatever is written meanwhile."""
        with self._asking():
            return FrozenKV(self._db, self._asking)

    def write(self, changes: Sequence[Change]) -> None:
        from rocksdict import WriteBatch

        batch = WriteBatch(raw_mode=True)
        for key, value in changes:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        try:
            self._db.write(batch)
        except Exception as error:
            if DAMAGED in str(error):
                raise self._asking.damaged(error) from None
            raise StoreFailed(
                f"the disk refused a write: {error}; nothing was skipped, free space and the "
                "worker goes on from its watermarks"
            ) from None

    def close(self) -> None:
        with self._asking():
            while True:
                try:
                    self._db.close()
                    return
                except RuntimeError as error:
                    if not _borrowed(error):
                        raise
                    time.sleep(CLOSE_S)  # somebody reads at this very moment


def _borrowed(error: Exception) -> bool:
    """Whether rocksdict says that somebody closes the database, or reads what is to be closed."""
    return isinstance(error, RuntimeError) and "borrowed" in str(error)


def _along(at: Any, prefix: bytes, start: bytes) -> Iterator[bytes]:
    """Keys that an iterator comes by; it says how it ended."""
    at.seek(max(prefix, start))
    while at.valid() and (key := at.key()).startswith(prefix):
        yield key
        at.next()
    at.status()


class FrozenKV:
    """A moment of a database; it must be let go of before the database is closed for good.

    An iterator sees the database as it was when it was made. (So would a snapshot, but in rocksdict
    0.3.29 the iterators of a snapshot see what came later.)
    """

    def __init__(self, database: Any, asking: Asking) -> None:
        self._at: Any = database.iter()
        self._asking = asking
        self._asked = 0

    def get(self, key: bytes) -> bytes | None:
        return next((value for found, value in self.scan(key) if found == key), None)

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        with self._asking():
            asked = self._seek(max(prefix, start))
            while self._at.valid() and (key := self._at.key()).startswith(prefix):
                yield key, self._at.value()
                if asked != self._asked:  # somebody else looked meanwhile
                    asked = self._seek(key)
                self._at.next()
            if asked == self._asked:
                self._at.status()

    def _seek(self, key: bytes) -> int:
        self._at.seek(key)
        self._asked += 1
        return self._asked

    def keys(self, prefix: bytes, start: bytes = b"") -> Iterator[bytes]:
        return (key for key, _ in self.scan(prefix, start))

    def frozen(self) -> FrozenKV:
        return self

    def write(self, changes: Sequence[Change]) -> None:
        raise StoreFailed("a moment that is past cannot be written to")

    def close(self) -> None:
        self._at = None
