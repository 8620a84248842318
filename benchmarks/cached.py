"""What a worker takes once all its rows were searched, against the rows' own bytes.

One worker; so many rows in blocks, then exact questions until its memory does not grow any more: the rows
lie in memory then, laid out to be searched (`limits.search_bytes` has room for all). Resident memory is
looked at ten times a second. The bar: 1.3 times the raw bytes of those rows (4 d bytes each) and 300 MB.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import httpx
from figures import Figures
from memory import FIRST_ROWS, MB, Run, blocks_of
from pyarrow import ipc
from turns import machine

from pctstream.core.block import matrix

TIMES, MORE_MB, K, QUIET, AT_MOST = 1.3, 300.0, 10, 3, 40


def questions(dimension: int) -> list[Any]:
    """Lists of 64 vectors each, like the rows."""
    rows = [
        matrix(ipc.open_stream(b).read_next_batch()["vector"])
        for b, _ in blocks_of(dimension, 512)[:8]
    ]
    return [rows[i][:64].tolist() for i in range(len(rows))]


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Megabytes resident, when ready, with the rows stored, and searched."""
    with Run(1, asked.dimension, {"tree.max_level": asked.levels}) as run:
        ready = run.sampler.now()
        run.ask(FIRST_ROWS)
        run.through()
        run.ask(asked.rows)
        run.through()
        time.sleep(5.0)
        stored, held, quiet = run.sampler.now(), 0, 0
        http = httpx.Client(timeout=120.0)
        for i in range(AT_MOST):
            some = questions(asked.dimension)[i % 8]
            # a first answer may be late while rows are laid out: asked again
            http.post(f"{run.urls[0]}/v1/search", json={"vectors": some, "k": K, "exact": True})
            time.sleep(1.0)
            quiet = quiet + 1 if run.sampler.now() <= 1.01 * held else 0
            held = max(held, run.sampler.now())
            if quiet == QUIET:
                break
        time.sleep(5.0)
        rows, searched = run.rows, run.sampler.now()
    raw = rows * 4 * asked.dimension / MB
    return {"rows": rows, "dimension": asked.dimension, "ready_mb": ready, "stored_mb": stored,
            "searched_mb": searched, "raw_mb": raw, "allowed_mb": TIMES * raw + MORE_MB,
            "a_million_mb": (searched - ready) * 1e6 / rows}  # fmt: skip


def main() -> int:
    """Exit code 1 if it takes more."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--levels", type=int, default=6, help="max_level of the tree")
    asked = parser.parse_args()
    figures = Figures("cached", "numpy", "rocksdict")
    print(machine("numpy", "rocksdict"), flush=True)
    found = measure(asked)
    print(json.dumps({n: round(v) for n, v in found.items()}), flush=True)
    what = f"MB of a worker with {found['raw_mb']:.0f} MB of rows searched"
    figures.most(what, found["searched_mb"], found["allowed_mb"])
    return figures.keep(found)


if __name__ == "__main__":
    sys.exit(main())
