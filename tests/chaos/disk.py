"""A disk of a size of its own for the shards' stores, so that it can be full."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

SIZE = 512 << 20
PIECE = 1 << 20


class Disk:
    """A tmpfs at ``place``, where this process may mount one; else there is none and nothing fills."""

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True)
        self._place = place
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "pctstream-chaos", str(place)]
        self.there = subprocess.run(command, capture_output=True, check=False).returncode == 0

    def fill(self) -> int:
        """Bytes that were left, and are not any more."""
        filled = 0
        with (self._place / "ballast").open("wb", buffering=0) as ballast:
            for size in (PIECE, 4096, 1):
                with suppress(OSError):
                    while True:
                        filled += ballast.write(bytes(size))
        return filled

    def free(self) -> None:
        (self._place / "ballast").unlink()

    def close(self, keep: Path | None) -> None:
        """Give the disk back; what lies on it is copied to ``keep``."""
        if self.there and keep is not None:
            shutil.copytree(self._place, keep)
        if self.there:
            subprocess.run(["umount", "-l", str(self._place)], capture_output=True, check=False)
