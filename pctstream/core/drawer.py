"""Where a directory of ids lies, and how what changes there is said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

HERE, BELOW = "here", "below"
"""The directories of ids: of the rows stored at N0, and of those that went down."""
Change = tuple[bytes, bytes | None]
"""A key and its value from now on; None: it goes."""


class Drawer(Protocol):
    """A part of a store under keys of its own."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]: ...

    def keys(self, prefix: bytes) -> Iterator[bytes]: ...
