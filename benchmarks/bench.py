"""Every benchmark that has a bar or a peer, one after the other; then the pictures of what they found.

    python benchmarks/bench.py                  all of it (`make bench`)
    python benchmarks/bench.py --only codecs    some of it; the other figures stay as they are
    python benchmarks/bench.py --small          each at a size that says nothing but that it runs

What is found goes to `figures.json` (`figures.py`), the pictures to `docs/pictures` (`plots.py`); a small
run keeps its figures to itself. A benchmark that misses a bar does not end the others.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import plots
from figures import FILE, read, told

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
MISSED, SMALL_ROWS = 1, "8000"
MILLION = "--stopped 0 --threefold 0"


class Piece(NamedTuple):
    """A benchmark: what it is asked, what a small run of it is asked, whether it starts a broker."""

    name: str
    asked: str = ""
    small: str = ""
    broker: bool = False


PIECES = (
    Piece("kernels", "", "--quick --runs 1"),
    Piece("codecs", "", "--dimensions 2 --runs 1"),
    Piece("growth", "", "--dimensions 2 --units 2 --runs 1"),
    Piece(
        "summaries",
        "",
        "--kinds mixture --centres 40 --birch 500 --dbstream 50 --runs 1",
    ),
    Piece("neighbors", "", "--centroids 2000"),
    Piece("search", "", "--kinds mixture"),
    Piece("spatial", "", "--sizes 5000 --rates"),
    Piece("end_to_end", "--full", "--quick --no-peers --share 0.1", broker=True),
    Piece("latency", "", "--warm 2 --seconds 2 --runs 1", broker=True),
    Piece("rebuild", "", "--rows 100000 --runs 1", broker=True),
    Piece("moves", "", "--only writes --seconds 2 --rounds 1 --most 5000", broker=True),
    Piece("memory", MILLION, f"{MILLION} --rows 50000 --workers 1", broker=True),
    Piece("cached", "", "--rows 50000", broker=True),
    Piece("scaling", "", "--rows 50000 --portions 10 --runs 1", broker=True),
)


def run(piece: Piece, small: bool, file: Path) -> int:
    """Its exit code: 0, 1 where a bar was missed, or what it died of."""
    words = (piece.small if small else piece.asked).split()
    print(f"== {piece.name} {' '.join(words)}", flush=True)
    began = time.monotonic()
    env = os.environ | {"PCT_FIGURES": str(file), "PYTHONPATH": path_of(TESTS)}
    env |= {"PCT_BENCH_ROWS": SMALL_ROWS} if small else {}
    code = subprocess.call([sys.executable, str(HERE / f"{piece.name}.py"), *words], env=env)
    print(f"   {time.monotonic() - began:.0f} s, exit code {code}", flush=True)
    return code


def path_of(*folders: Path) -> str:
    """PYTHONPATH with these first."""
    return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])


def main() -> int:
    """Exit code 1 if a bar was missed, 2 if a benchmark did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [piece.name for piece in PIECES]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--small", action="store_true")
    parser.add_argument(
        "--no-broker", dest="broker", action="store_false", help="without those that start one"
    )
    asked = parser.parse_args()
    pieces = [p for p in PIECES if p.name in asked.only and (asked.broker or not p.broker)]
    with tempfile.TemporaryDirectory(prefix="pct-figures-") as folder:
        file = Path(folder) / FILE.name if asked.small else FILE
        codes = {piece.name: run(piece, asked.small, file) for piece in pieces}
        every = read(file)
        for name in codes:
            for bar in every.get(name, {}).get("bars", ()):
                print(f"{name:11} {told(bar)}")
        if not asked.small:
            plots.draw(every)
    ended = {name: code for name, code in codes.items() if code not in (0, MISSED)}
    # a traceback ends with 1 too, and keeps nothing
    ended |= {name: code for name, code in codes.items() if code and name not in every}
    if ended:
        print(f"did not end as they should: {ended}", file=sys.stderr)
    if asked.small:
        return 2 if ended else 0
    return 2 if ended else max(codes.values())


if __name__ == "__main__":
    sys.exit(main())
