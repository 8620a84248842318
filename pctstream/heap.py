"""The heaps of a worker: C's is told to give back what is free, Python's not to look at what stays.

As shipped, glibc keeps up to 8 arenas a core, and after the first large array is freed it takes
arrays of up to 32 MB from them too: they are never given back, since something small and alive lies
behind each. A worker that had taken a million rows so held 1,345 MB, 670 of them free; these three
settings alone made that 739 (mallopt(3); benchmarks/RESULTS.md).

Each mapping costs page faults, and so does a heap that is trimmed at every turn. Decoding, dealing out
and encoding 16,384 rows of 128 took 29 ms of CPU as shipped, 38 with mappings from 128 KiB on and 4 MiB
kept free, 20 with these; mappings from 4 MiB on are no faster and held 80 MB more at the peak.

Python's collector looks at every object that lives, again and again, and a worker that has loaded Faust
and its kernels has half a million that live as long as it does: half of the time that dealing out a small
unit took. None of them is looked at again once they are frozen. And it looks whenever 700 more objects
live: one row per message is one object per row, and all those that wait were looked through again and
again for 2.4 us a row, as much as it takes to make them. What cannot be freed without it are cycles, of
which a worker makes few; so it looks after YOUNG objects.
"""

from __future__ import annotations

import ctypes
import gc

ARENAS, MAPPED_FROM_BYTES, KEPT_FREE_BYTES = 2, 524_288, 33_554_432
YOUNG, OLDER, OLDEST = 50_000, 20, 20
"""New objects before the collector looks at those, and looks before it looks at older ones too."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def bound() -> bool:
    """Few arenas, and arrays mapped one by one; False where the C library has no such settings."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    wanted = (
        (_M_ARENA_MAX, ARENAS),
        (_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES),
        (_M_TRIM_THRESHOLD, KEPT_FREE_BYTES),
    )
    done = [int(mallopt(setting, value)) for setting, value in wanted]
    return all(done)


def settle() -> None:
    """What lives now stays: the collector looks at it no more, and seldom at what comes."""
    gc.set_threshold(YOUNG, OLDER, OLDEST)
    gc.freeze()
