"""The C heap of a worker, told to give back what is free.

As shipped, glibc keeps up to 8 arenas a core, and after the first large array is freed it takes
arrays of up to 32 MB from them too: they are never given back, since something small and alive lies
behind each. A worker that had taken a million rows so held 1,345 MB, 670 of them free; with these
three settings 739 (docs: mallopt(3); measured in benchmarks/RESULTS.md).
"""

from __future__ import annotations

import ctypes

ARENAS, MAPPED_FROM_BYTES, KEPT_FREE_BYTES = 2, 131_072, 4_194_304
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
