"""What the spatial index costs the whole system: rows per second without it and with it.

The system of `end_to_end.py` (2 workers, 4 shards, 48 portions, 128 numbers a row) three times on one
broker, by turns; whose turn it is not stands still. All get the same blocks, whose rows have two fields
besides.

    off       spatial.enabled = false
    vector    places are dim:0 and dim:1
    payload   places are the two fields, which are parsed for it

Medians of rows per second, and of what the workers used of CPU for a row: that says what it costs where
something else runs on the machine, too. A turn ends when its rows are stored; what the index does behind
comes into the next turn of the same system.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
from pathlib import Path

import httpx
from contest import Contender, Contest
from turns import machine

DIMENSION, ROWS = 128, 131_072
ON: dict[str, object] = {"spatial.enabled": True}
KINDS: dict[str, dict[str, object]] = {
    "off": {},
    "vector": ON | {"spatial.x": "dim:0", "spatial.y": "dim:1"},
    "payload": ON | {"spatial.x": "x", "spatial.y": "y"},
}


def used(one: Contender) -> float:
    """CPU seconds of its workers so far."""
    ticks = 0
    for process in one.processes:
        said = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
        ticks += sum(map(int, said.split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Shows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=7)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix="pct-placed-"))
    print(machine("confluent-kafka", "pyarrow", "rocksdict"), flush=True)
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    costs: dict[str, list[float]] = {kind: [] for kind in KINDS}
    try:
        with Contest(folder) as contest:
            all_ = {k: contest.system(DIMENSION, called=k, **chosen) for k, chosen in KINDS.items()}
            for run in range(asked.runs + 1):
                for kind, one in all_.items():
                    before = used(one)
                    rate = contest.turn(one, "places", ROWS)
                    if run:  # the first is for the caches
                        rates[kind].append(rate)
                        costs[kind].append(1e6 * (used(one) - before) / ROWS)
            for kind in ("vector", "payload"):
                url = f"{all_[kind].urls[0]}/v1/spatial/density?cells=1"
                told = httpx.get(url, timeout=30.0).json()
                print(f"{kind}: {told['rows']:,} rows in the index, partial: {told['partial']}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for kind, of_one in rates.items():
        ratios = [a / b for a, b in zip(of_one, rates["off"], strict=True)]
        print(f"{kind:8} {statistics.median(of_one):,.0f} rows/s; of off: "
              f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); CPU "
              f"{statistics.median(costs[kind]):.1f} us a row ({min(costs[kind]):.1f} to "
              f"{max(costs[kind]):.1f})")  # fmt: skip
    print(json.dumps({kind: [round(rate) for rate in of_one] for kind, of_one in rates.items()}))
    print(json.dumps({kind: [round(cost, 1) for cost in of_one] for kind, of_one in costs.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
