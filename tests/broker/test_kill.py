"""kill -9: nothing lost, nothing doubled, history only grows, serving again soon.

The crash points stand where a half-done step would show: around the WriteBatch that applies rows, after
rows were produced and before that is known, around the WriteBatch that advances `routed`. A trial whose
worker did not die proves nothing and fails.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from broker.system import READY_S, SESSION_TIMEOUT_S, System, mixture, records, wait_for

Make = Callable[..., System]
POINTS = ("before-apply", "after-apply", "after-produce", "before-routed", "after-routed")
PART = 6000
SEED = int(os.environ.get("PCT_KILL_SEED") or random.SystemRandom().randrange(10**6))
INSTANTS = int(os.environ.get("PCT_KILLS", "3"))
ALONE = "PCT_KILLS" in os.environ


def grown(system: Make) -> System:
    one = system(shards__count=4, tree__epsilon=8.0, tree__gap=500)
    one.start(0, 1)
    one.feed(mixture(PART))
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.settle()
    return one


def after_a_death(one: System, fed: int, before: list[bytes], *numbers: int) -> None:
    """What holds after every trial.

    A worker's start is three seconds of imports and kernels, so how soon it is ready is asked where
    nothing else runs on the machine (`make chaos`), not between other tests.
    """
    died = time.monotonic()
    one.start(*numbers)
    if ALONE:
        assert time.monotonic() - died <= SESSION_TIMEOUT_S + 10
    verdict = one.verify()
    assert (verdict.lost, verdict.duplicated, verdict.altered) == (0, 0, 0)
    assert verdict.applied == fed
    assert [m.value for m in records(one, "routing")][: len(before)] == before
    wait_for("totals not smaller than before", lambda: one.get("/v1/tree")["rows"] == fed)


def fed_to_death(one: System, trial: str, points: Sequence[str]) -> int:
    """Rows fed until every worker died at its point: a point is passed once a unit, and how many
    units rows make, and which worker has N0, nobody can say beforehand."""
    deadline = time.monotonic() + READY_S
    rows = 0
    while alive := [n for n in range(len(points)) if one.workers[n].poll() is None]:
        missed = [points[n] for n in alive]
        assert time.monotonic() < deadline, f"nobody died at {missed}: nothing was shown"
        names = [f"{trial}-{rows + i}" for i in range(500)]
        one.feed(mixture(500, seed=rows + len(trial)), names)
        rows += len(names)
        with suppress(subprocess.TimeoutExpired):
            one.workers[alive[0]].wait(1.0)
    assert [one.died(n) for n in range(len(points))] == [-9] * len(points)
    return rows


@pytest.mark.timeout(300)
def test_kill_at_every_crash_point(system: Make) -> None:
    one = grown(system)
    fed = PART
    # both workers die in a trial, each at its own point, so that five points take three trials
    for trial, points in enumerate((POINTS[0:2], POINTS[2:4], POINTS[4:])):
        before = [m.value or b"" for m in records(one, "routing")]
        for number, point in enumerate(points):
            one.kill(number)
            one.start(number, ready=False, PCT_CRASH_AT=f"{point}:3")
        one.wait_ready()
        fed += fed_to_death(one, f"{trial}", points)
        after_a_death(one, fed, before, *range(len(points)))


@pytest.mark.timeout(300)
def test_kill_at_random_instants(system: Make) -> None:
    print(f"PCT_KILL_SEED={SEED}")
    chance = random.Random(SEED)
    one = grown(system)
    fed = PART
    for trial in range(INSTANTS):
        before = [m.value or b"" for m in records(one, "routing")]
        for part in range(4):
            one.feed(mixture(PART, seed=fed), [f"{trial}-{part}-{i}" for i in range(PART)])
            fed += PART
            if part == 1:
                # the instant is the point of the trial, not something to wait for
                time.sleep(chance.uniform(0.0, 0.4))
                one.kill(0)
        after_a_death(one, fed, before, 0)


@pytest.mark.timeout(200)
def test_kill_while_the_root_covers(system: Make) -> None:
    """The growth step: killed between the first row and the split, both workers in turn."""
    one = system(shards__count=4, tree__epsilon=8.0, tree__gap=3000)
    one.start(0, 1)
    one.feed(mixture(2000))
    for number in (0, 1):
        one.kill(number)
        one.start(number)
    one.feed(mixture(10_000, seed=1), [f"b{i}" for i in range(10_000)])
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    verdict = one.verify()
    assert verdict.sound
    assert verdict.applied == 12_000


def rests(one: System) -> Any:
    """The tree, once all rows are in it and nothing more is decided: its level is closed, of which
    the epsilon is a record too."""
    tree = one.get("/v1/tree")
    decided = all(level["closed_by"] and level["epsilon"] for level in tree["levels"])
    return tree["rows"] == PART and decided and tree


def as_hosted(one: System) -> bool:
    """Whether each worker tells of every shard what its host tells."""
    told = [one.get("/v1/shards", n)["shards"] for n in (0, 1)]
    places = [[(i["node"], i["stored"], i["routed"]) for i in s["inputs"]] for t in told for s in t]
    half = len(told[0])
    hosts = [{s["shard"]: s["worker"] for s in t} for t in told]
    return half == 4 and hosts[0] == hosts[1] and places[:half] == places[half:]


def test_restart_of_everything_and_a_lost_data_directory(system: Make) -> None:
    one = grown(system)
    tree = wait_for("a tree that rests", lambda: rests(one))
    one.kill(0)
    one.kill(1)
    one.start(0, 1)
    assert one.verify().applied == PART
    again = wait_for("a tree that rests", lambda: rests(one))
    assert (again["epoch"], again["levels"]) == (tree["epoch"], tree["levels"])
    one.kill(0)
    one.kill(1)
    shutil.rmtree(one.folder / "shards")
    shutil.rmtree(one.folder / "workers")
    one.start(0, 1)
    wait_for("views of the shards as they are now", lambda: as_hosted(one))
    verdict = one.verify()
    assert verdict.sound
    assert verdict.applied == PART
    rebuilt = wait_for("a tree that rests", lambda: rests(one))
    assert (rebuilt["epoch"], rebuilt["levels"]) == (tree["epoch"], tree["levels"])


def test_a_dead_worker_is_replaced(system: Make) -> None:
    one = grown(system)
    one.kill(0)
    died = time.monotonic()
    wait_for("the survivor hosts every shard", lambda: one.get("/readyz", 1) and all(
        s["worker"] == "worker-1" for s in one.get("/v1/shards", 1)["shards"]))  # fmt: skip
    if ALONE:
        assert time.monotonic() - died <= SESSION_TIMEOUT_S + 10
    one.feed(mixture(PART, seed=7), [f"b{i}" for i in range(PART)])
    assert one.verify().applied == 2 * PART


def test_a_worker_that_stood_still_is_fenced_until_it_has_rejoined(system: Make) -> None:
    one = grown(system)
    one.workers[0].send_signal(19)
    wait_for("the other takes its shards", lambda: len({
        s["shard"] for s in one.get("/v1/shards", 1)["shards"] if s["worker"] == "worker-1"}) == 4
        or None, SESSION_TIMEOUT_S + 25)  # fmt: skip
    one.workers[0].send_signal(18)
    one.feed(mixture(PART, seed=9), [f"b{i}" for i in range(PART)])
    one.wait_ready()
    assert one.verify().applied == 2 * PART


def test_a_clean_stop_loses_nothing(system: Make) -> None:
    one = grown(system)
    one.workers[1].terminate()
    assert one.died(1, 30) == 0
    one.start(1)
    assert one.verify().applied == PART
