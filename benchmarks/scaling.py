"""How cost grows: rows/s, memory and CPU as there are more rows in the tree, and more portions.

    rows      one tree of 48 portions that grow (`--levels`), 32 numbers a row; at each size of --rows, five
              turns of so many rows more, the plain loop and the system by turns; memory at rest, files
    portions  trees whose N0 has 10, 100 and 1,000 children (leaves), and plain loops with as many pipes,
              on one broker; each tree and its loop alternate likewise

Of each turn: rows/s, and CPU microseconds for a row of the workers and of the broker (its compiler and its
own threads included). Flat means that the largest size has at least FLAT of the smallest one's rows/s.
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
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
from contest import Contender, Contest
from figures import Figures
from memory import resident
from turns import machine

from pctstream.pipes.bounds import bounds

FLAT, FED = 0.85, 262_144
TURN_ROWS = 131_072
REST_S = 5.0


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds of CPU that these processes took so far."""
    total = 0
    for pid in pids:
        said = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(said[11]) + int(said[12])
    return total / os.sysconf("SC_CLK_TCK")


def turn(contest: Contest, one: Contender, rows: int) -> dict[str, float]:
    """One turn of a contender."""
    pids, broker = [p.pid for p in one.processes], [contest.broker_pid]
    before = cpu_s(pids)
    wrote = cpu_s(broker)
    rate = contest.turn(one, "blocks", rows)
    return {"rows_per_second": rate, "cpu_us": 1e6 * (cpu_s(pids) - before) / rows,
            "broker_us": 1e6 * (cpu_s(broker) - wrote) / rows}  # fmt: skip


def medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(f"{statistics.median(t[name] for t in turns):.4g}") for name in turns[0]}


def at_rest(contest: Contest, one: Contender) -> dict[str, float]:
    """Megabytes: of the largest worker, of the broker, and of the stores' files."""
    time.sleep(REST_S)
    files = sum(f.stat().st_size for f in Path(one.cfg.store.dir).rglob("*.sst"))
    return {"worker_mb": max(resident(p.pid) for p in one.processes) / 1e6,
            "broker_mb": resident(contest.broker_pid) / 1e6, "files_mb": files / 1e6}  # fmt: skip


def alternating(
    contest: Contest, contenders: list[Contender], runs: int, rows: int
) -> list[dict[str, float]]:
    """Medians of each."""
    turns: list[list[dict[str, float]]] = [[] for _ in contenders]
    for _ in range(runs):
        for one, took in zip(contenders, turns, strict=True):
            took.append(turn(contest, one, rows))
    return [medians(took) for took in turns]


def nodes(one: Contender) -> int:
    """Of the whole tree."""
    levels = httpx.get(f"{one.urls[0]}/v1/tree", timeout=30).json()["levels"]
    return sum(level["nodes"] for level in levels)


def grow(contest: Contest, one: Contender, rows: int) -> None:
    """Until so many rows are applied."""
    while (done := one.done()) < rows:
        more = min(FED, rows - done)
        contest.feed(one, "blocks", more)
        contest.wait(one, done + more)


def by_rows(folder: Path, asked: argparse.Namespace, say: Any) -> list[dict[str, Any]]:
    """One tree as it gets more rows."""
    found = []
    with Contest(folder) as contest:
        floor = contest.floor(asked.dimension, 1)
        system = contest.system(asked.dimension, asked.levels)
        turn(contest, system, TURN_ROWS)  # a broker that was just started compiles itself
        turn(contest, floor, TURN_ROWS)
        for rows in asked.rows:
            floor.signal(signal.SIGSTOP)
            grow(contest, system, rows)
            plain, own = alternating(contest, [floor, system], asked.runs, TURN_ROWS // 2)
            one = {"rows": rows, "levels": asked.levels, "floor": plain, "system": own,
                   "nodes": nodes(system), **at_rest(contest, system)}  # fmt: skip
            found.append(one)
            print(json.dumps(one), file=say, flush=True)
    return found


def by_portions(folder: Path, asked: argparse.Namespace, say: Any) -> list[dict[str, Any]]:
    """Trees of more and more portions."""
    found = []
    with Contest(folder) as contest:
        for portions in asked.portions:
            gap = max(3000, 10 * portions)
            floor = contest.floor(asked.dimension, 1, portions)
            system = contest.system(asked.dimension, called=f"system-{portions}", portions=portions,
                                    **{"tree.gap": gap})  # fmt: skip
            for contender in (floor, system):
                turn(contest, contender, TURN_ROWS)
            ends = contest.ends(system.pipes)
            plain, own = alternating(contest, [floor, system], asked.runs, TURN_ROWS)
            sent = sum(end - ends[s] for s, (_, end) in bounds(contest.admin, system.pipes).items())
            one = {"portions": portions, "floor": plain, "system": own,
                   "rows_a_message": asked.runs * TURN_ROWS / sent, **at_rest(contest, system)}  # fmt: skip
            contest.end([floor, system])
            found.append(one)
            print(json.dumps(one), file=say, flush=True)
    return found


def judge(found: dict[str, list[dict[str, Any]]], figures: Figures) -> None:
    for what, sizes in found.items():
        if len(sizes) > 1:
            first, last = (one["system"]["rows_per_second"] for one in (sizes[0], sizes[-1]))
            name = f"rows/s at {sizes[-1][what]:,} {what} / at {sizes[0][what]:,}"
            figures.least(name, last / first, FLAT)


def main() -> int:
    """Exit code 1 where it is not flat."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000, 5_000_000])
    parser.add_argument("--portions", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--dimension", type=int, default=32)
    parser.add_argument(
        "--levels", type=int, default=6, help="max_level of the tree that gets rows"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    say = sys.stderr if asked.json else sys.stdout
    figures = Figures("scaling", "confluent-kafka", "rocksdict")
    print(machine("confluent-kafka", "rocksdict"), file=say, flush=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, wanted, measure in (
        ("rows", asked.rows, by_rows),
        ("portions", asked.portions, by_portions),
    ):
        if wanted:
            folder = Path(tempfile.mkdtemp(prefix="pct-scaling-"))
            try:
                found[name] = measure(folder, asked, say)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    judge(found, figures)
    if asked.json:
        print(json.dumps(found))
    return figures.keep(found)


if __name__ == "__main__":
    sys.exit(main())
