"""The author of the tree: rows in turn, and records that follow from the log alone."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core import life
from pctstream.core.block import Vectors
from pctstream.core.cover import refine
from pctstream.core.names import ROOT
from pctstream.core.routing import Routing
from pctstream.core.tree import Author, Turns

SETTINGS: dict[str, Any] = {
    "fanout": 4, "epsilon": 2.0, "gap": 10, "sink_rows": 200, "stop": "gap", "prototypes": 50,
    "kmeans_iterations": 3, "metric": "euclidean", "level_rows": 100, "level_idle_s": 1.0,
    "level_timeout_s": 9.0,
}  # fmt: skip


def merged(partitions: list[list[float]]) -> list[float]:
    """Row k of each before row k + 1 of any."""
    longest = max(map(len, partitions), default=0)
    return [p[k] for k in range(longest) for p in partitions if k < len(p)]


@given(st.integers(0, 2**32))
def test_turns_are_the_naive_merge_however_the_rows_arrive(seed: int) -> None:
    chance = random.Random(seed)
    partitions = [
        [p + k / 100 for k in range(chance.choice([0, 1, 5, 12]))]
        for p in range(chance.randint(1, 4))
    ]
    turns = Turns(range(len(partitions)), 1)
    left = [list(p) for p in partitions]
    got: list[float] = []
    while any(left) or len(got) < sum(map(len, partitions)):
        p = chance.randrange(len(left))
        count = chance.randint(0, 4)
        turns.put(p, np.array(left[p][:count], np.float32).reshape(-1, 1))
        del left[p][:count]
        ends = {q for q, rest in enumerate(left) if not rest}
        got += turns.take(ends).ravel().tolist()
        assert got == [float(np.float32(x)) for x in merged(partitions)][: len(got)]
    assert len(got) == sum(map(len, partitions))
    assert all(turns.buffered(p) == 0 for p in range(len(left)))


def test_a_partition_without_rows_holds_the_others_until_it_is_at_its_end() -> None:
    turns = Turns([0, 1], 2)
    turns.put(0, np.ones((3, 2), np.float32))
    assert turns.take(set()).shape == (0, 2)
    assert turns.buffered(0) == 3
    assert len(turns.take({1})) == 3


def rows_of(seed: int, count: int, spread: float = 0.2) -> Vectors:
    chance = np.random.default_rng(seed)
    centres = np.array([[0, 0], [9, 0], [0, 9]], np.float32)
    near = chance.normal(0, spread, (count, 2))
    return (centres[chance.integers(0, 3, count)] + near).astype(np.float32)


def appended(log: Routing, records: list[dict[str, Any]]) -> None:
    for record in records:
        assert log.fold(record, log.position + 1, 0.0)


def grown(author: Author, rows: Vectors, cuts: list[int], idle: bool = False) -> Routing:
    log = Routing()
    assert author.wants(log) == "dimension"
    appended(log, [author.first_record(2)])
    assert author.wants(log) == "rows"
    author.sample(np.zeros((0, 2), np.float32), idle=True)
    for piece in np.split(rows, cuts):
        author.sample(piece)
    author.sample(np.zeros((0, 2), np.float32), idle)
    if author.wants(log) == "append":
        appended(log, author.records(log))
    if author.wants(log) == "topics":
        appended(log, [author.split(log)])
    return log


def test_the_record_is_the_cover_of_exactly_the_rows_up_to_the_one_that_ended_it() -> None:
    rows = rows_of(1, 150)
    log = grown(Author(SETTINGS, {0: 1.0, 1: 1.0}, "a"), rows, [40, 41, 90])
    cover = log.covers[ROOT]
    assert cover.rows < 150
    assert cover == refine(rows[: cover.rows], cover.prototypes, 2.0, 3, 10)
    far = np.linalg.norm(cover.prototypes[:, None] - cover.prototypes[None], axis=2)
    assert (far[np.triu_indices(cover.k, 1)] > 2.0).all()
    near = np.linalg.norm(rows[: cover.rows, None] - cover.prototypes[None], axis=2).min(axis=1)
    assert (near <= 2.0).all()
    assert log.states[ROOT] == life.SPLITTING
    assert sorted(log.owners) == [(0, i) for i in range(cover.k)]
    assert set(log.owners.values()) <= {0, 1}


@pytest.mark.parametrize("epsilon", [2.0, "auto"])
def test_the_cover_does_not_depend_on_how_the_rows_were_read(epsilon: Any) -> None:
    rows = rows_of(2, 400)
    settings = SETTINGS | {"epsilon": epsilon}
    hashes = {
        grown(Author(settings, {0: 1.0}, "a"), rows, cuts).covers[ROOT].hash
        for cuts in ([], [1], [255, 256, 257], list(range(7, 400, 7)))
    }
    assert len(hashes) == 1


def test_few_rows_are_enough_for_an_epsilon_once_no_more_come() -> None:
    rows = rows_of(3, 60)
    settings = SETTINGS | {"epsilon": "auto"}
    assert grown(Author(settings, {0: 1.0}, "a"), rows, []).states[ROOT] == life.COVERING
    assert grown(Author(settings, {0: 1.0}, "a"), rows, [], True).states[ROOT] == life.SPLITTING
    few = grown(Author(settings, {0: 1.0}, "a"), rows[:15], [], True)
    assert few.states[ROOT] == life.COVERING


@pytest.mark.parametrize(
    ("limits", "named"),
    [({"topics": 2}, "topics"), ({"nodes": 3}, "nodes"), ({"prototypes": 2}, "prototypes")],
)
def test_a_tree_that_may_not_grow_so_wide_ends_as_a_sink_and_says_by_which_limit(
    limits: dict[str, int], named: str
) -> None:
    rows = rows_of(4, 150)
    assert grown(Author(SETTINGS | {"topics": 3, "nodes": 4}, {0: 1.0}, "a"), rows, []).covers
    log = grown(Author(SETTINGS | limits, {0: 1.0}, "a"), rows, [])
    assert log.states[ROOT] == life.SINK
    assert log.limits == {ROOT: named}


def test_rows_that_no_cover_fits_make_a_sink() -> None:
    rows = np.arange(500, dtype=np.float32).reshape(-1, 2) * 10
    author = Author(SETTINGS, {0: 1.0}, "a")
    log = grown(author, rows, [30])
    assert log.states[ROOT] == life.SINK
    assert author.wants(log) == "nothing"


def test_an_author_that_comes_late_goes_on_from_what_it_reads() -> None:
    """R5: it acts on the log, not on what it found itself."""
    log = grown(Author(SETTINGS, {0: 1.0}, "a"), rows_of(1, 150), [])
    waiting = Routing()
    late = Author(SETTINGS, {0: 1.0}, "b")
    first = Author(SETTINGS, {0: 1.0}, "a")
    appended(waiting, [first.first_record(2)])
    first.sample(rows_of(1, 150))
    late.sample(rows_of(9, 150))
    records = late.records(waiting)
    appended(waiting, first.records(waiting))
    for record in records:
        assert not waiting.fold(record, 9, 0.0)
    assert late.wants(waiting) == "topics"
    appended(waiting, [late.split(waiting)])
    assert waiting.covers[ROOT] == log.covers[ROOT]
    assert waiting.owners == log.owners
    assert late.wants(waiting) == "level"
