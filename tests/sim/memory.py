"""A store's memory: a dict with atomic batches. It survives a crash; the process does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pctstream.core.drawer import Change

Watch = Callable[[Sequence[Change]], None]


class MemoryKV:
    """``pctstream.store.KV`` over a dict; ``watch`` sees each batch after it is in."""

    def __init__(self, watch: Watch | None = None) -> None:
        self._data: dict[bytes, bytes] = {}
        self.watch = watch

    def get(self, key: bytes) -> bytes | None:
        return self._data.get(key)

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        data = self._data.copy()  # of one moment, whoever writes meanwhile
        keys = sorted(key for key in data if key.startswith(prefix) and key >= start)
        return iter([(key, data[key]) for key in keys])

    def keys(self, prefix: bytes, start: bytes = b"") -> Iterator[bytes]:
        return (key for key, _ in self.scan(prefix, start))

    def frozen(self) -> MemoryKV:
        moment = MemoryKV()
        moment._data = dict(self._data)
        return moment

    def write(self, changes: Sequence[Change]) -> None:
        for key, value in changes:
            if value is None:
                self._data.pop(key, None)
            else:
                self._data[key] = value
        if self.watch is not None:
            self.watch(changes)

    def close(self) -> None:
        """Nothing to let go of: another incarnation may go on with the same data."""
