"""What every benchmark does alike: take turns, answer medians, say what machine it was."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version

THREADS = "OPENBLAS_NUM_THREADS"


def one_blas_thread() -> None:
    """Start this program again with one BLAS thread, unless it was: NumPy reads that only once."""
    if os.environ.get(THREADS) != "1":
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {THREADS: "1"})


def seconds(contenders: Mapping[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """The median CPU seconds of each contender, on one thread: what else the machine does counts less.

    They take turns, after one turn that does not count.
    """
    took: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(runs + 1):
        for name, run in contenders.items():
            start = time.thread_time()
            run()
            if turn:
                took[name].append(time.thread_time() - start)
    return {name: statistics.median(times) for name, times in took.items()}


def machine(*packages: str) -> str:
    """One line for the head of a result: the date, cores, load, Python and these packages."""
    load = "/".join(f"{x:.1f}" for x in os.getloadavg())
    packed = ", ".join(f"{name} {version(name)}" for name in packages)
    when = time.strftime("%Y-%m-%d")
    python = platform.python_version()
    return f"{when}, {os.cpu_count()} cores, load {load}, Python {python}, {packed}"
