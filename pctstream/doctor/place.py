"""The data directory: may we write there, which stores are in it and who holds them."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from pathlib import Path

from pctstream.config import Config
from pctstream.doctor.finding import Finding, fail, ok, warn

FIX = "change its owner or rights, or name another with --data-dir"


def directory(folder: Path) -> Finding:
    """Whether files can be made in the data directory, or the directory itself."""
    there = folder
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        return fail("directory", f"{there} is a file", "name another directory with --data-dir")
    if there != folder:
        if os.access(there, os.W_OK | os.X_OK):
            return ok("directory", f"{folder} is not there yet, it can be made")
        return fail("directory", f"{folder} cannot be made: no right to write to {there}", FIX)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return fail("directory", f"{folder} cannot be written to ({error.strerror})", FIX)
    return ok("directory", f"{folder} can be written to")


def stores(cfg: Config) -> Finding:
    """The shards that have a store here, those in use, and those that can be no shards of this tree."""
    folder = Path(cfg.store.dir) / "shards"
    names = [p for p in folder.glob("*") if p.is_dir() and re.fullmatch(r"\d+(\.\d+)?", p.name)]
    numbers = sorted({int(path.name.split(".")[0]) for path in names})
    if not numbers:
        return ok("stores", f"none in {folder} yet")
    beyond = [number for number in numbers if number >= cfg.shards.count]
    if beyond:
        return fail(
            "stores",
            f"{folder} has a store of shard {beyond[0]}, but shards.count is {cfg.shards.count}",
            "this is another tree's directory, or shards.count was changed: put it back",
        )
    unreadable = [path for path in names if not os.access(path, os.R_OK | os.W_OK | os.X_OK)]
    if unreadable:
        return fail("stores", f"{unreadable[0]} is not ours to read and write", FIX)
    held = sum(locked(path / "LOCK") for path in names)
    left = len(names) - len(numbers)
    said = f"{len(numbers)} of {cfg.shards.count} shards have a store here, {held} in use"
    if left and not held:
        return warn("stores", f"{said}, {left} left over from a takeover",
                    "the next worker that hosts them removes them")  # fmt: skip
    return ok("stores", said)


def locked(file: Path) -> bool:
    """Whether another process holds the lock of a RocksDB.

    A shared lock is tried and let go at once: who opens the store in that moment tries again.
    """
    try:
        with file.open("rb") as lock:
            fcntl.lockf(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
