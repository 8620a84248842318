"""How many rows have arrived, counted by one process and read by another: eight bytes of a file.

No pctstream here: the peers run in an environment of their own (requirements-bench.lock).
"""

from __future__ import annotations

import mmap
from pathlib import Path


class Arrivals:
    """One counter; whoever made it counts, anybody may look."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._cell = memoryview(mmap.mmap(opened.fileno(), 8)).cast("q")

    def add(self, rows: int) -> None:
        """So many more."""
        self._cell[0] += rows

    @property
    def rows(self) -> int:
        """All so far."""
        return int(self._cell[0])
