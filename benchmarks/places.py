"""What the spatial index costs: CPU microseconds of a turn's write with and without it, and what is behind.

One block of rows that lie around a few places, written again and again by the store of a shard on RocksDB,
as a turn does it; then read into the index and adjusted, as the surveyor's thread does it. CPU seconds of
one thread, medians. Where `spatial.enabled` is false the store looks whether there is somebody to make
places, and that is all.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from turns import machine

from pctstream.agents.ration import Ration
from pctstream.agents.shard import Shard
from pctstream.agents.spatial import ShardIndex
from pctstream.core import spatial
from pctstream.core.block import Block, Source
from pctstream.core.effects import Apply
from pctstream.core.places import Places
from pctstream.core.position import Position
from pctstream.rocks import RocksKV
from pctstream.settings import SpatialSettings
from pctstream.store import Store

DIMENSION, PATH, PIPE = 128, (0, 0), Source("places.P0.0", 0)
KINDS = {"off": None, "dim:0, dim:1": ("dim:0", "dim:1"), "fields of the payload": ("x", "y")}


def block(rows: int) -> Block:
    """Rows around thirty places, with a payload of three fields."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 1, (rows, DIMENSION)).astype(np.float32)
    places = rng.random((30, 2))[rng.integers(0, 30, rows)] + rng.normal(0, 0.01, (rows, 2))
    vectors[:, :2] = places
    payloads = [orjson.dumps({"x": x, "y": y, "kind": "tile"}) for x, y in places.tolist()]
    none = np.zeros(rows, np.int32)
    return Block((PIPE,), none, np.arange(rows), none, vectors, payloads=pa.array(payloads))


def measured(
    folder: Path, fields: tuple[str, str] | None, rows: int, runs: int
) -> dict[str, float]:
    """Microseconds of a write; if there is an index, of reading a block in and of an adjustment."""
    shard = Shard(0, "places", Store(RocksKV(folder, 64 << 20)), 50_000)
    settings = SpatialSettings(enabled=True, budget_per_min=1e12)
    index = (
        None if fields is None else ShardIndex(shard, Places(*fields), settings, Ration(1 << 40))
    )
    some, leaves = block(rows), np.zeros(rows, np.int32)
    took: dict[str, list[float]] = {}

    def timed(stage: str, act: Any, *given: Any) -> None:
        start = time.thread_time()
        act(*given)
        took.setdefault(stage, []).append(1e6 * (time.thread_time() - start))

    for run in range(runs):
        at = Position(run, run, 1)
        timed("write", shard.store.apply, Apply(PATH, PIPE, at, {}, some, leaves=leaves))
        if index is not None:
            timed("behind: read in", index.refresh, [PATH], time.monotonic() + 60)
            if run % 10 == 9:
                timed("behind: adjust, each 10 blocks", index.adjust, float(run), lambda: False)
    shard.store.close()
    return {stage: round(median(times), 1) for stage, times in took.items()}


def main() -> int:
    """Shows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    asked = parser.parse_args()
    print(machine("pyarrow", "rocksdict", "numba"))
    spatial.warm()
    folder, found = Path(tempfile.mkdtemp(prefix="pct-places-")), {}
    try:
        for rows in (16, 1024):
            for number, (kind, fields) in enumerate(KINDS.items()):
                one = measured(folder / f"{rows}-{number}", fields, rows, asked.runs)
                found[f"{rows} rows, {kind}"] = one
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for what, stages in found.items():
        print(f"{what:34}" + ", ".join(f"{stage} {us:,.0f}" for stage, us in stages.items()))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
