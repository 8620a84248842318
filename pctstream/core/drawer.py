"""Where a directory of ids lies, and how what changes there is said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

Change = tuple[bytes, bytes | None]
"""A key and its value from now on; None: it goes."""


class Drawer(Protocol):
    """A part of a store under keys of its own."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]: ...

    def keys(self, prefix: bytes) -> Iterator[bytes]: ...
