"""What it costs that a level opens: the passes over a portion's stored rows, against reading them alone.

One portion in one process, its rows in RocksDB as they came, in units of a turn; its root has covered.

    cover    the pass that gives the root its cover: k-means over exactly the rows it scanned
    split    the pass after the level has closed: every row goes to a child and is scanned there
    read     the same segments read from the store, and nothing done with them: the floor of both

CPU seconds of one thread, medians of turns; each turn is a portion and a store of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import traffic
from figures import Figures
from turns import machine, one_blas_thread

from pctstream.core.block import Block, Source
from pctstream.core.effects import Apply, Effect, Regrow
from pctstream.core.node import Gates, Shape
from pctstream.core.portion import Portion
from pctstream.core.unit import Unit
from pctstream.rocks import RocksKV
from pctstream.store import Store

PATH, INGEST, PIPE = (0, 0), Source("bench.P0", 0), Source("bench.P0.0", 0)
UNIT_ROWS = 8192


def rows_of(dimension: int) -> Block:
    """The rows of a unit, as they come out of an ingest partition."""
    none = np.zeros(UNIT_ROWS, np.int32)
    return Block((INGEST,), none, np.arange(UNIT_ROWS), none, traffic.rows(dimension, UNIT_ROWS))


def timed(act: Callable[[], object]) -> float:
    start = time.thread_time()
    act()
    return time.thread_time() - start


def one_pass(portion: Portion, store: Store) -> list[Effect]:
    """As the performer does it."""
    portion.begin_pass()
    for last, rows, leaves in store.placed(PATH):
        portion.revisit(last, rows, leaves)
    effects = portion.end_pass()
    for effect in effects:
        if isinstance(effect, Apply):
            store.apply(effect)
    return effects


def turn(dimension: int, units: int, folder: Path) -> dict[str, float]:
    """Seconds of each pass over so many units of rows."""
    rows = rows_of(dimension)
    store = Store(RocksKV(folder, 64 << 20))
    shape = Shape(dimension, max_level=3, balance=True)
    portion = Portion(PATH, PIPE, rows.vectors.mean(axis=0), 1, shape, 4000)
    epsilon = traffic.epsilon(dimension)
    portion.adopt(Gates(1, {1: epsilon, 2: epsilon / 2}))
    grow = False
    for i in range(units):
        block = replace(rows, offset=rows.offset + (i << 20))
        for effect in portion.feed(Unit(PIPE, i - 1, i, block, (), 0)):
            grow |= isinstance(effect, Regrow)
            if isinstance(effect, Apply):
                store.apply(effect)
    took = {"read": timed(lambda: [None for _ in store.placed(PATH)])}
    assert grow and portion.rows == units * len(rows)
    took["cover"] = timed(lambda: one_pass(portion, store))
    asked = portion.adopt(Gates(2, {1: epsilon, 2: epsilon / 2}))
    assert any(isinstance(effect, Regrow) for effect in asked)
    took["split"] = timed(lambda: one_pass(portion, store))
    assert len(portion.subtree.nodes) > traffic.PIPES
    store.close()
    return {name: units * len(rows) / seconds for name, seconds in took.items()}


def main() -> int:
    """Shows; there is no bar here."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dimensions", type=int, nargs="*", default=[32, 128])
    parser.add_argument("--units", type=int, default=16, help="of as many rows as a turn takes")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the result as JSON too")
    asked = parser.parse_args()
    one_blas_thread()
    figures = Figures("growth", "numpy", "numba", "rocksdict")
    print(machine("numpy", "numba", "rocksdict"))
    found: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="pct-growth-"))
    try:
        for dimension in asked.dimensions:
            turn(dimension, 1, folder / "warm")
            shutil.rmtree(folder / "warm")
            rates: list[dict[str, float]] = []
            for run in range(asked.runs):
                rates.append(turn(dimension, asked.units, folder / str(run)))
                shutil.rmtree(folder / str(run))
            medians = {name: median(rate[name] for rate in rates) for name in rates[0]}
            found[str(dimension)] = medians
            told = ", ".join(f"{name} {rate:,.0f}" for name, rate in medians.items())
            print(f"d={dimension:<4} rows/s: {told}; reading alone takes "
                  f"{medians['split'] / medians['read']:.2f} of a split", flush=True)  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if asked.json:
        print(json.dumps(found))
    return figures.keep(found)


if __name__ == "__main__":
    sys.exit(main())
