"""How long a disk lasts on which nothing is cut by itself: pipes and stores only grow.

Kafka's client cannot ask a broker for the bytes of its logs, so the estimate is made of what is seen
here: the free space of the data directory's file system, its own growth between two looks, and what a
row has cost so far, from the directory's size and the rows that the workers count.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pctstream.doctor.finding import Finding, fail, ok, warn

LEAST_FREE = 1 << 30
"""Bytes: below that Kafka and RocksDB may stop at any moment."""
LEAST_S = 7 * 86_400
"""Seconds: a disk that is full sooner is worth a warning."""
LEAST_ROWS = 10_000
"""Below that, what files take at least hides what a row costs."""
NOISE = 256 << 10
"""Bytes: heartbeats and logs make a directory grow by that much without a row."""
FIX = (
    "give store.dir a larger disk, stop the producers in time, or cut the logs behind a snapshot "
    "(`pctstream snapshot --trim`): nothing goes by itself"
)


@dataclass(frozen=True, slots=True)
class Look:
    """The data directory at a moment: seconds of a monotonic clock, bytes on the disk."""

    at: float
    used: int
    free: int

    @classmethod
    def at_now(cls, folder: Path) -> Look:
        """Look at a directory that may not exist yet."""
        there = folder
        while not there.exists():
            there = there.parent
        disk = os.statvfs(there)
        return cls(time.monotonic(), sum(_sizes(folder)), disk.f_bavail * disk.f_frsize)


@dataclass(frozen=True, slots=True)
class Rows:
    """What the workers say: rows so far, rows per second now; 0 where nobody answers."""

    count: int = 0
    per_s: float = 0.0


def outlast(first: Look, last: Look, rows: Rows, broker_here: bool) -> Finding:
    """The finding of the disk.

    >>> now = Look(2.0, 10 << 30, 90 << 30)
    >>> outlast(Look(0.0, 10 << 30, 90 << 30), now, Rows(), True).said[:46]
    '90.0 GiB free, 10.0 GiB used by the broker and'
    """
    seconds = last.at - first.at
    growth = max(0, last.used - first.used) / seconds if seconds > 0 else 0.0
    per_row = last.used / rows.count if rows.count >= LEAST_ROWS else 0.0
    whose = (
        "the broker and the stores" if broker_here else "the stores (the broker's disk is not seen)"
    )
    said = f"{size(last.free)} free, {size(last.used)} used by {whose}"
    if per_row:
        said += f", {per_row:,.0f} bytes a row so far: room for {last.free / per_row:,.0f} more"
    left = math.inf
    if per_row and rows.per_s > 0:
        left = last.free / (per_row * rows.per_s)
        said += f"; at the workers' {rows.per_s:,.0f} rows/s it lasts {span(left)}"
    elif last.used - first.used > NOISE:
        left = last.free / growth
        said += f"; at the {growth / 1e6:,.2f} MB/s seen in {seconds:.1f} s it lasts {span(left)}"
    else:
        said += f"; it did not grow in {seconds:.1f} s"
    if last.free < LEAST_FREE:
        return fail("disk", said, FIX)
    if left < LEAST_S:
        return warn("disk", said, FIX)
    return ok("disk", said)


def size(count: int) -> str:
    """
    >>> size(3 << 29), size(3 << 20)
    ('1.5 GiB', '3 MiB')
    """
    return f"{count / (1 << 30):,.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):,.0f} MiB"


def span(seconds: float) -> str:
    """A time in the largest unit that fits.

    >>> span(90), span(86400 * 3), span(1e10)
    ('90 s', '72 h', '317 years')
    """
    for unit, size, most in (
        ("s", 1, 600),
        ("min", 60, 180),
        ("h", 3600, 96),
        ("days", 86_400, 1000),
    ):
        if seconds < size * most:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds / (365.25 * 86_400):,.0f} years"


def _sizes(folder: Path) -> Iterator[int]:
    """Bytes that each file takes on the disk: Kafka's indexes are longer than what is in them."""
    waiting = [folder]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:  # it may go while we look
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        yield entry.stat(follow_symlinks=False).st_blocks * 512
