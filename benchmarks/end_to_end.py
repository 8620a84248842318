"""How much of a plain Kafka loop's rate the whole system keeps, by format and dimension.

All move the same rows through one broker; the system and the plain loops through the same two hops,
with the same client settings (those of pctstream.pipes.client): the ingest topic is read, its rows
are dealt out to 48 topics of one partition, and those are read to their ends.

    system   2 workers, 4 shards: routed by the cover of N0, applied once, stored in RocksDB; with
             --levels above 1 the portions also find covers and grow while they are measured
    floor-n  one or two plain loops (`plain.py`): row i goes to topic i mod 48; counted, no more; JSON
             is parsed, because nobody can deal out what he has not read
    faust-n, uvloop-n, fausted-n   so many workers of a Faust agent that only counts: on asyncio's loop,
             on uvloop, and JSON values (`peers.py`)
    quix-n, bytewax-n   so many quix-streams or bytewax processes that send each float32 row to the
             topic of its nearest centre, and read nothing back: one hop less than ours

A turn ends when all its rows are stored (the workers' own counter, asked every 50 ms), have arrived
(looked at every 5 ms), or are in the topic copied to. Turns alternate, so that what else the machine
does hits everybody; the ratios are those of the medians, against the best of a kind. In blocks of 128
numbers the bytes of each hop are counted too: they must not differ by more than 2 %. Faust's bars are
against one plain worker, as its documentation starts it; what uvloop and a second one give is printed too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import traffic
from contest import PEERS, Contender, Contest
from figures import Figures
from turns import machine

BAR_DIMENSION = 128
UNEQUAL = 0.02
OF_THE_LOOP = {("blocks", 128): 0.4, ("blocks", 784): 0.5}
"""(format, numbers a row) -> the least part of the plain loop's rate."""
TIMES = {"float32": (("faust-1", 20.0), ("quix", 3.0)), "json": (("fausted-1", 5.0),)}
"""Format -> contenders (all whose name begins so, the fastest counts), and how many times their rate."""
PEERS_OF = {"float32": ("faust-1", "uvloop-1", "uvloop-2", "quix-1", "quix-2", "bytewax-1", "bytewax-2"),
            "json": ("fausted-1",)}  # fmt: skip
ROWS = {"blocks": 262_144, "float32": 131_072, "json": 65_536, "faust": 16_384, "uvloop": 16_384,
        "fausted": 16_384, "quix": 32_768, "bytewax": 65_536}  # fmt: skip
"""Of a turn, at up to 128 numbers a row; above that fewer in proportion."""


def rows_of(kind: str, dimension: int, share: float) -> int:
    """Rows of a turn: whole blocks."""
    step = traffic.block_rows(dimension)
    return max(1, round(ROWS[kind] * share * min(1.0, 128 / dimension) / step)) * step


def compare(
    contest: Contest, contenders: list[tuple[Contender, int]], kind: str, runs: int, say: Any
) -> dict[str, Any]:
    """The rates of all by turns, and after the last turn the bytes of the hops, if both have such."""
    rates: dict[str, list[float]] = {one.name: [] for one, _ in contenders}
    hops: dict[str, list[int]] = {}
    for run in range(runs):
        for one, rows in contenders:
            weighed = (
                run == runs - 1 and kind == "blocks" and one.cfg.tree.dimension == BAR_DIMENSION
            )
            before = [contest.ends(s) for s in (one.ingest, one.pipes)] if weighed else []
            rates[one.name].append(contest.turn(one, kind, rows))
            if weighed:
                hops[one.name] = [contest.bytes(ends) for ends in before]
    medians = {name: statistics.median(of_one) for name, of_one in rates.items()}
    told = ", ".join(f"{name} {rate:,.0f}" for name, rate in medians.items())
    print(
        f"d={contenders[0][0].cfg.tree.dimension:<4}{kind:8} rows/s: {told}", file=say, flush=True
    )
    return {
        "kind": kind, "dimension": contenders[0][0].cfg.tree.dimension, "median": medians,
        "rows_per_second": {n: [round(x) for x in r] for n, r in rates.items()}, "bytes": hops,
    }  # fmt: skip


def best(found: dict[str, Any], kind: str) -> float:
    """The rate of the fastest contender whose name begins so; 0 where there is none."""
    return max((r for n, r in found["median"].items() if n.startswith(kind)), default=0.0)


def measure(contest: Contest, asked: argparse.Namespace, say: Any) -> list[dict[str, Any]]:
    """Every dimension and format, with the peers where the bar is."""
    found = []
    for dimension in asked.dimensions:
        traffic.check(dimension)
        ours = [contest.floor(dimension, n) for n in (1, 2)]
        ours.append(contest.system(dimension, asked.levels))
        for kind in asked.formats:
            count = rows_of(kind, dimension, asked.share)
            peers: list[tuple[Contender, int]] = []
            if dimension == BAR_DIMENSION and asked.peers:
                for name in PEERS_OF.get(kind, ()):
                    library, _, workers = name.partition("-")
                    least = rows_of(library, dimension, asked.share)
                    peers.append((contest.peer(library, dimension, int(workers)), least))
            runs = [(one, count) for one in ours] + peers
            found.append(compare(contest, runs, kind, asked.runs, say))
            traffic.rows.cache_clear()
            contest.end([one for one, _ in peers])
        contest.end(ours)
    return found


def judge(found: list[dict[str, Any]], figures: Figures, say: Any) -> None:
    """Print the ratios, and whether the bars hold."""
    for one in found:
        kind, dimension, ours = one["kind"], one["dimension"], best(one, "system")
        ratio = ours / best(one, "floor")
        line = f"d={dimension:<4}{kind:8} {ratio:.3f} of the plain loop"
        if least := OF_THE_LOOP.get((kind, dimension)):
            figures.least(f"{kind}, d={dimension}: of the plain loop", ratio, least)
            line += f" (at least {least})"
        if one["bytes"]:
            system = one["bytes"]["system"]
            unequal = max(abs(a / b - 1) for hops in one["bytes"].values()
                          for a, b in zip(hops, system, strict=True))  # fmt: skip
            figures.most(f"{kind}, d={dimension}: bytes of the hops differ by", unequal, UNEQUAL)
            line += f"; bytes differ by {unequal:.2%}"
        others = [name for name in one["median"] if not name.startswith(("system", "floor"))]
        line += "".join(f"; {ours / one['median'][name]:.1f} x {name}" for name in others)
        for name, times in TIMES.get(kind, ()):
            if rate := best(one, name):
                figures.least(f"{kind}, d={dimension}: times {name}", ours / rate, times)
                line += f" ({times:.0f} x {name} is wanted)"
        print(line, file=say, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dimensions", type=int, nargs="*", default=[BAR_DIMENSION])
    parser.add_argument("--formats", nargs="*", choices=traffic.FORMATS, default=traffic.FORMATS)
    parser.add_argument("--runs", type=int, default=5, help="turns of each contender")
    parser.add_argument("--share", type=float, default=1.0, help="of the rows of a turn")
    parser.add_argument("--levels", type=int, default=1,
                        help="max_level of the tree; above 1 portions also grow")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="a minute: 3 turns of half the rows")
    parser.add_argument("--full", action="store_true", help="2, 32, 128 and 784 numbers a row")
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    asked = parser.parse_args()
    if asked.full:
        asked.dimensions = [2, 32, 128, 784]
    if asked.quick:
        asked.runs, asked.share, asked.formats = 3, 0.5, ("blocks", "float32")
    if asked.peers and not PEERS.exists():
        parser.error("no .venv-bench: `make bench` makes it (or leave the peers out: --no-peers)")
    return asked


def main() -> int:
    """Exit code 1 if a bar is broken."""
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    say = sys.stderr if asked.json else sys.stdout
    figures = Figures("end_to_end", "confluent-kafka", "faust-streaming", "pyarrow", "rocksdict")
    folder = Path(tempfile.mkdtemp(prefix="pct-bench-"))
    print(
        machine("confluent-kafka", "faust-streaming", "pyarrow", "rocksdict"), file=say, flush=True
    )
    try:
        with Contest(folder) as contest:
            found = measure(contest, asked, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    judge(found, figures, say)
    if asked.json:
        print(json.dumps(found))
    return figures.keep(found)


if __name__ == "__main__":
    sys.exit(main())
