"""Warming up leaves nothing to be compiled in a turn, nor when a solver asks for neighbours.

numba compiles a kernel anew for every combination of types, and an array that may be written is of
another type than one that may not. On a machine that has compiled nothing yet a turn that needs one
more waits for it, and behind the lock of all compilation for whatever else is being compiled: seconds
of one core, for which the monitor ends a worker.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SEEDS = (1, 16, 83)
"""Runs of the simulator in which trees grow, portions move, ids come again and rows leave."""
SPATIAL = {"pctstream.core.box", "pctstream.core.density_map", "pctstream.core.membership"}
"""What the spatial index compiles it compiles in a thread of its own, behind the turns."""
RUNS = f"""
import gc
import numpy as np
from numba.core.registry import CPUDispatcher
from sim.run import run
from pctstream.core.neighbors import Neighbors
from pctstream.core.solver import NodeSummary, level_cover
from pctstream.core.warm import warm

def compiled():
    return {{
        (kernel.py_func.__module__, kernel.py_func.__name__, str(types))
        for kernel in gc.get_objects() if isinstance(kernel, CPUDispatcher)
        for types in kernel.signatures if kernel.py_func.__module__.startswith("pctstream")
        and kernel.py_func.__module__ not in {SPATIAL}
    }}

warm()
before = compiled()
for seed in {SEEDS}:
    run(seed)
tree = {{(0,): NodeSummary((0,), 20, None, None)}}
for i in range(20):
    tree[0, i] = NodeSummary((0, i), 1, 0.5, np.array([i, 0, 1], np.float32))
Neighbors(tree, level_cover(tree, 1)).within(np.zeros(3), 4.0)
print(len(before))
print(*map(" ".join, sorted(compiled() - before)), sep="\\n", end="")
"""


def test_every_kernel_of_a_turn_is_compiled_before_the_first_row() -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", RUNS], env=env, capture_output=True, text=True, check=True
    )
    number, *later = done.stdout.splitlines()
    assert int(number) > 10
    assert later == []
