"""``KV``: all the store needs of a database; the simulator runs the store over a dict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from pctstream.core.drawer import Change


class KV(Protocol):
    """An ordered map of bytes with atomic batches."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]: ...

    def keys(self, prefix: bytes, start: bytes = b"") -> Iterator[bytes]: ...

    def frozen(self) -> KV: ...

    def write(self, changes: Sequence[Change]) -> None: ...

    def close(self) -> None: ...


class Part:
    """The keys of a database that begin alike, without that beginning (`core.drawer.Drawer`)."""

    def __init__(self, kv: KV, prefix: bytes) -> None:
        self._kv, self._prefix = kv, prefix

    def get(self, key: bytes) -> bytes | None:
        return self._kv.get(self._prefix + key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._kv.scan(self._prefix + prefix):
            yield key[len(self._prefix) :], value

    def keys(self, prefix: bytes) -> Iterator[bytes]:
        for key in self._kv.keys(self._prefix + prefix):
            yield key[len(self._prefix) :]
