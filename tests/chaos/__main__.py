"""`python -m chaos`: every fault on a real broker, and what must hold after each (docs/reliability.md).

    python -m chaos [--rows N] [--times N] [--only WORD,..] [--stay SECONDS]
    python -m chaos --soak SECONDS [--every SECONDS]

The run is void if a fault did not happen, and failed if a promise does not hold: exit code 1, and
everything is saved. A soak ends at the first, a run goes on with the next fault, so that its table says of
each what came of it. Only a whole run writes the table.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from chaos import brokers, copies, moving, report, stores, workers
from chaos.fault import Breach, Fault, Outcome, Void
from chaos.site import Site

FIRST = 0.08
"""Share of the rows that make the tree before anything happens."""
KILLS = [0.15, 0.30, 0.45, 0.60, 0.75, 0.90]
TIMES = {"kill -9 inside a move": 7, "kill -9 at a named point": 2, "kill -9 of the broker": 2}
FAULTS = [*workers.FAULTS, *moving.FAULTS, *brokers.FAULTS, *stores.FAULTS, *copies.FAULTS]
FOUND = (Breach, Void, AssertionError, httpx.HTTPError, LookupError)
BEGUN = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - BEGUN:6.0f} s  {text}", flush=True)


def schedule(rows: int, times: int = 1) -> Iterator[tuple[Fault, int]]:
    """Each fault, and up to how many rows are to be fed by its end; worker kills at their marks."""
    queue = [f for f in FAULTS for _ in range(times * TIMES.get(f.name, 1))]
    # those that come several times apart from each other
    queue.sort(key=lambda f: TIMES.get(f.name, 1))
    queue = [f for start in range(3) for f in queue[start::3]]
    edges = [FIRST, *KILLS, 1.0]
    size = math.ceil(len(queue) / (len(edges) - 1))
    for chunk, (low, high) in enumerate(itertools.pairwise(edges)):
        some = queue[chunk * size : (chunk + 1) * size]
        for at, fault in enumerate(some, start=1):
            yield fault, round(rows * (low + (high - low) * at / (len(some) + 1)))
        if chunk < len(KILLS):
            yield workers.KILL, round(rows * high)


def look(stay_s: float) -> None:
    """Time to look at what runs before it is ended."""
    if stay_s:
        say(f"it stays for {stay_s:.0f} s")
        with suppress(KeyboardInterrupt):
            time.sleep(stay_s)


def struck(site: Site, fault: Fault, upto: int, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes.setdefault(fault.name, Outcome(fault))
    say(f"{fault.name}, at {site.flow.fed:,} rows")
    try:
        site.trial(fault, max(500, upto - site.flow.fed), outcome)
    except FOUND as error:
        outcome.breach = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        say(f"   {outcome.breach}")
        raise


@contextmanager
def shown(site: Site, outcomes: dict[str, Outcome], stay_s: float) -> Iterator[None]:
    """Around a run: what came of it is printed, and what broke is kept."""
    try:
        yield
    except BaseException:
        look(stay_s)
        site.close(keep=True)
        raise
    finally:
        print("\n".join(map(report.line, outcomes.values())))


def chaos(folder: Path, rows: int, times: int, only: list[str], stay_s: float) -> int:
    outcomes: dict[str, Outcome] = {}
    site = Site(folder, say)
    with shown(site, outcomes, stay_s):
        site.grow(round(rows * FIRST))
        say(f"the tree is there: {len(site.covers())} covers")
        for fault, upto in schedule(rows, times):
            if not only or any(word in fault.name for word in only):
                with suppress(*FOUND):
                    struck(site, fault, upto, outcomes)
                site.mend(120.0)
        site.flow.upto(rows)
        site.flow.wait()
        verdict = site.check(deep=True)
        site.close(keep=any(outcome.result != "held" for outcome in outcomes.values()))
    wanted, seen = (sum(getattr(o, k) for o in outcomes.values()) for k in ("wanted", "seen"))
    summary = (
        f"Three workers, six shards, {verdict.ingested:,} rows of which {verdict.superseded:,} were "
        f"replaced by later ones of their id; {wanted} faults, of which {seen} were seen to happen; "
        f"{(time.monotonic() - BEGUN) / 60:.0f} minutes. At the end lost {verdict.lost}, "
        f"duplicated {verdict.duplicated}, altered {verdict.altered}."
    )
    say(summary)
    if not only:
        report.write(list(outcomes.values()), summary)
    return int(any(outcome.result != "held" for outcome in outcomes.values()))


def soak(folder: Path, seconds: float, every_s: float, stay_s: float) -> int:
    """A kill every so often, of a worker mostly, until the time is over or something breaks."""
    outcomes: dict[str, Outcome] = {}
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    say(f"seed {seed}, saved in {folder}")
    kills = [workers.KILL, workers.KILL, *moving.FAULTS, brokers.FAULTS[0]]
    site = Site(folder, say)
    with shown(site, outcomes, stay_s):
        site.grow(8000)
        while time.monotonic() - BEGUN < seconds:
            began = time.monotonic()
            struck(site, chance.choice(kills), site.flow.fed + 5000, outcomes)
            while time.monotonic() - began < min(every_s, seconds - (began - BEGUN)):
                site.flow.upto(site.flow.fed + 100)
                time.sleep(1.0)
        site.flow.wait()
        say(str(site.check(deep=True)))
        site.close(keep=False)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--only", default="", help="parts of names of faults, by comma")
    parser.add_argument("--times", type=int, default=1, help="each fault so many times")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds")
    parser.add_argument("--every", type=float, default=120.0, help="seconds between two kills")
    parser.add_argument("--stay", type=float, default=0.0, help="seconds, after a breach, to look")
    given = parser.parse_args()
    only = [word for word in given.only.split(",") if word]
    folder = Path(tempfile.mkdtemp(prefix="pctstream-chaos-"))
    try:
        if given.soak:
            code = soak(folder, given.soak, given.every, given.stay)
        else:
            code = chaos(folder, given.rows, given.times, only, given.stay)
    except FOUND as error:
        say(f"{type(error).__name__}: {error}\neverything is saved in {folder}")
        return 1
    if not code:
        shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
