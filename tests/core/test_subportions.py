"""Rows come, leave and are tidied in steps: what is found is that of brute force at every moment, no step
reads more than it may, and an approximate question of a big sink scans a small part of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.registry import CPUDispatcher

from pctstream.core import cells, codes, halving, recall, search, sweep
from pctstream.core.alive import Alive, numbers
from pctstream.core.recall import learn
from pctstream.core.run import Run, Sizes, unsettled
from pctstream.core.runs import Runs
from pctstream.core.table import Table
from pctstream.core.ties import candidates

SMALL = Sizes(tail=8, full=64, share=4)


def steps(runs: Runs, most: int | None = None) -> Iterator[int]:
    """The rows of each step, as it is carried out."""
    while (most is None or most > 0) and (step := runs.due()):
        made = step.made()
        yield step.rows
        assert runs.replace(step, made)
        most = None if most is None else most - 1


def whole(runs: Runs, pieces: list[np.ndarray]) -> None:
    """Every row is in one run, as it came, and places are in order."""
    seen = []
    for run in runs.all():
        places = numbers(run.place[:, 0], run.place[:, 1])
        assert (np.diff(places) > 0).all()
        seen.append(places)
        for (segment, row), vector in zip(run.place.tolist(), run.cells.all_vectors(), strict=True):
            assert pieces[segment][row].tobytes() == vector.tobytes()
    every = np.sort(np.concatenate([np.zeros(0, np.int64), *seen]))
    wanted = [numbers(i, np.arange(len(p))) for i, p in enumerate(pieces)]
    assert every.tolist() == np.concatenate([np.zeros(0, np.int64), *wanted]).tolist()


def asked(runs: Runs, gone: set[int], query: np.ndarray, k: int) -> list[tuple[float, int]]:
    """The k nearest rows that have not left, by distance and place."""
    every = runs.all()
    table = Table([run.cells for run in every], runs.dimension)
    masks, places = [np.zeros(0, np.bool_)], [np.zeros(0, np.int64)]
    for run in every:
        alive = Alive(run)
        alive.leave(np.array(sorted(gone), np.int64))
        masks.append(alive.slots)
        place = numbers(run.place[:, 0], run.place[:, 1])
        places.append(np.where(run.cells.rows >= 0, place[run.cells.rows], -1))
    mask, place = np.concatenate(masks), np.concatenate(places)
    found = table.search(query[None], k, mask=mask)
    away, slots = candidates(table, found, 0, query, k, np.inf, mask)
    return sorted(zip(away.tolist(), place[slots].tolist(), strict=True))[:k]


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_found_is_what_brute_force_finds_while_rows_come_leave_and_are_tidied(seed: int) -> None:
    rng = np.random.default_rng(seed)
    d = int(rng.integers(1, 4))
    runs, pieces = Runs(d, SMALL), []
    gone: set[int] = set()
    for segment in range(int(rng.integers(5, 40))):
        n = int(rng.integers(0, 60))
        rows = rng.integers(-3, 4, (n, d)).astype(np.float32) + np.float32(segment % 3)
        pieces.append(rows)
        runs.add(rows, rng.integers(0, 3, n).astype(np.int32), segment)
        for read in steps(runs, int(rng.integers(0, 4))):
            assert read <= SMALL.most
        if rng.random() < 0.3 and n:
            gone |= set(numbers(segment, rng.choice(n, n // 2, replace=False)).tolist())
    x = np.concatenate([np.zeros((0, d), np.float32), *pieces])
    place = np.concatenate([np.zeros(0, np.int64),
                            *(numbers(i, np.arange(len(p))) for i, p in enumerate(pieces))])  # fmt: skip
    here = ~np.isin(place, list(gone))
    for round_ in range(2):
        query, k = rng.integers(-4, 6, d) / 2, int(rng.integers(1, 20))
        away = np.sqrt(np.cumsum((x.astype(np.float64) - query) ** 2, axis=1)[:, -1])
        wanted = sorted(zip(away[here].tolist(), place[here].tolist(), strict=True))[:k]
        assert asked(runs, gone, query, k) == wanted
        if round_ == 0:
            assert all(read <= SMALL.most for read in steps(runs))
    whole(runs, pieces)
    assert all(sub.rows <= SMALL.full for sub in runs.subs)


def test_work_is_bounded_and_few_runs_hold_the_rows() -> None:
    rng = np.random.default_rng(5)
    runs, pieces, laid_out = Runs(3, SMALL), [], 0
    for segment in range(300):
        # the stream moves on, and at times it stands still: then all rows are equal
        still = segment % 5 == 0
        rows = (segment / 30 + rng.normal(size=(1 if still else 40, 3))).astype(np.float32)
        pieces.append(np.repeat(rows, 40, axis=0) if still else rows)
        runs.add(pieces[-1], rng.integers(0, 2, 40).astype(np.int32), segment)
        for read in steps(runs, 3 if segment % 2 else None):
            assert read <= SMALL.most
            laid_out += read
    assert all(read <= SMALL.most for read in steps(runs))
    whole(runs, pieces)
    assert len(runs) == 12_000
    assert 12_000 / SMALL.full <= len(runs.subs) < 4 * 12_000 / SMALL.full
    assert all(sub.rows <= SMALL.full and len(sub.runs) <= 5 for sub in runs.subs)
    assert not any(unsettled(sub.runs) for sub in runs.subs)
    assert not any(run.rough for sub in runs.subs for run in sub.runs)
    # each row a few times, however many there are
    assert laid_out < 12 * 12_000


def test_what_is_no_longer_there_is_not_replaced() -> None:
    rng = np.random.default_rng(6)
    runs = Runs(2, SMALL)
    runs.add(rng.normal(size=(50, 2)).astype(np.float32), np.zeros(50, np.int32), 0)
    old = runs.due()
    assert old is not None
    made = old.made()
    assert runs.replace(old, made)
    before = runs.all()
    assert not runs.replace(old, made)
    assert [*map(id, runs.all())] == [*map(id, before)]


@pytest.mark.parametrize("tidy", [True, False])
def test_a_big_sink_is_not_scanned_whole(tidy: bool) -> None:
    """One leaf, so the tree says nothing of where its rows lie; it comes in small segments."""
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(100, 32))
    every = centres[rng.integers(0, 100, 24_300)] + 0.3 * rng.normal(size=(24_300, 32))
    rows, queries = every[:24_000].astype(np.float32), every[24_000:].astype(np.float32)
    runs = Runs(32, Sizes.of(32)._replace(full=2048) if tidy else None)
    for segment, part in enumerate(np.array_split(rows, 60)):
        runs.add(part, np.zeros(len(part), np.int32), segment)
        for _ in steps(runs, 2):
            pass
    for read in steps(runs):
        assert read <= runs.sizes.most
    assert len(runs.subs) >= len(rows) / runs.sizes.full
    table = Table([run.cells for run in runs.all()], 32)
    probes = learn(table, 10, np.random.default_rng(0)).probes(0.95)
    asked_for = queries.astype(np.float64)
    exact, some = table.search(asked_for, 10), table.search(asked_for, 10, probes=probes)
    recalls = sorted(len({*a} & {*b}) / 10 for a, b in zip(exact.slot, some.slot, strict=True))
    assert np.mean(recalls) >= 0.95
    assert np.mean(recalls[: len(recalls) // 10]) >= 0.7
    assert some.rows.mean() <= 0.15 * len(rows)
    truth = ((rows.astype(np.float64)[None] - asked_for[:20, None]) ** 2).sum(axis=2)
    near = np.sqrt(np.sort(truth, axis=1)[:, :10])
    assert np.allclose(exact.distance[:20], near, rtol=1e-12)


def test_a_run_may_hold_a_part_of_a_segment() -> None:
    rows = np.arange(4, dtype=np.float32)[:, None]
    run = Run.of(rows, np.zeros(4, np.int32), np.array([[2, 1], [2, 5], [3, 0], [7, 2]]))
    alive = Alive(run)
    alive.leave(numbers(2, np.array([0, 5, 9])))
    alive.leave(np.concatenate([numbers(3, np.array([1])), numbers(8, np.array([2]))]))
    kept = run.cells.rows[alive.slots & (run.cells.rows >= 0)]
    assert sorted(kept.tolist()) == [0, 2, 3]


def test_each_kernel_is_compiled_once() -> None:
    """Whatever the shards warm up with is what rows need later: nobody waits for a compiler."""
    rng = np.random.default_rng(8)
    runs = Runs(5, SMALL)
    for segment in range(20):
        rows = rng.normal(size=(40, 5)).astype(np.float32)
        rows.flags.writeable = False
        runs.add(rows, np.zeros(40, np.int32), segment)
        for _ in steps(runs):
            pass
    table = Table([run.cells for run in runs.all()], 5)
    table.search(np.zeros((2, 5)), 3, mask=np.ones(table.slots, np.bool_))
    learn(table, 3, rng, 4)
    kernels = [
        kernel
        for module in (cells, codes, halving, recall, search, sweep)
        for kernel in vars(module).values()
        if isinstance(kernel, CPUDispatcher) and kernel.py_func.__module__ == module.__name__
    ]
    assert len(kernels) > 10
    assert [kernel.py_func.__name__ for kernel in kernels if len(kernel.signatures) > 1] == []
