"""A cover that grows: what counts of its records, what an author asks for, who is told."""

from __future__ import annotations

from typing import Any

import numpy as np
from core.rows import cover_of

from pctstream.core import life
from pctstream.core.names import ROOT
from pctstream.core.records import (
    cover_records,
    not_reopened_record,
    reopen_record,
    reopened_record,
    split_record,
    tree_record,
)
from pctstream.core.reopener import MARK_S, Mark, Reopener, Reports, missed
from pctstream.core.reopening import Reopening
from pctstream.core.routing import Routing

COVER = cover_of([[0, 0], [9, 9], [0, 1]], 2.0)
SETTINGS = {
    "metric": "euclidean", "gap": 3, "shards": 2, "nodes": 41, "miss_limit": 0.1, "miss_cooldown": 2048,
    "sink_rows": 50, "prototypes": 20, "stop": "gap",
}  # fmt: skip
CAPACITIES = {0: 1.0, 1: 1.0}
Record = dict[str, Any]


def grown_by(rows: list[list[float]]) -> Any:
    """COVER and what these rows add to it."""
    found = Reopening(COVER, split().shape, 9)
    found.open()
    found.take(np.array(rows, np.float32))
    return found.grown()


def split() -> Routing:
    """A tree whose N0 has split into two at record 2."""
    log = Routing()
    records = [tree_record(SETTINGS, 2, "a"), *cover_records(ROOT, COVER, 1, "a")]
    records.append(split_record(ROOT, COVER, {(0, 0): 0, (0, 1): 1}, 2, "a"))
    fold(log, records)
    assert log.states[ROOT] == life.SPLITTING
    return log


def fold(log: Routing, records: list[Record]) -> None:
    for record in records:
        assert log.fold(record, record["seq"], float(record["seq"]))


def shard(epoch: int, beyond: int, windows: int, recent: list[int], routed: int) -> Record:
    faded = beyond * (2.0 - 0.5 ** (windows - 1)) if windows else 0.0
    return {
        "root": {"witness": [[0, 0, windows, faded], recent], "routed_rows": windows * 1024},
        "inputs": [{"node": "N0", "epoch": epoch, "routed": routed}],
    }


def test_children_come_behind_those_that_are_and_nothing_else_changes() -> None:
    log = split()
    grown = grown_by([[30, 0], [0, 30], [0, 0], [9, 9], [30, 1]])
    assert grown.k == 4
    assert np.array_equal(grown.centroids[:2], COVER.centroids)
    before = log.budget((0, 0)), log.budget((0, 1))
    fold(log, [reopen_record(ROOT, COVER, {0: 7, 1: 0}, 3, "b")])
    assert log.reopened.open[ROOT].starts == {0: 7, 1: 0}
    assert log.epoch == 2
    fold(log, [*cover_records(ROOT, grown, 4, "b"),
               reopened_record(ROOT, grown, {(0, 2): 1, (0, 3): 0}, 5, "b")])  # fmt: skip
    assert (log.epoch, log.splits, log.covers[ROOT]) == (5, {ROOT: 2}, grown)
    assert log.cover_of(ROOT) == COVER
    assert log.reopened.epochs == {ROOT: {2: 2, 5: 4}}
    assert [log.reopened.epoch_of((0, i)) for i in range(4)] == [2, 2, 5, 5]
    assert log.owners == {(0, 0): 0, (0, 1): 1, (0, 2): 1, (0, 3): 0}
    assert log.since[(0, 3)] == 5
    assert log.states[(0, 2)] == life.COVERING
    assert (log.budget((0, 0)), log.budget((0, 1))) == before, (
        "R0: an old child may do what it might"
    )
    total = 1 + 4 + sum(log.budget((0, i)) for i in range(4))
    assert total <= SETTINGS["nodes"]
    assert not log.reopened.open


def test_what_does_not_fit_does_not_count() -> None:
    log = split()
    grown = grown_by([[30, 0], [30, 1], [30, 0], [30, 0]])
    other = cover_of([[0, 0], [50, 50], [9, 9], [0, 1]], 2.0)
    fold(log, cover_records(ROOT, grown, 3, "b"))  # nothing was begun
    fold(log, [reopened_record(ROOT, grown, {(0, 2): 0}, 4, "b")])
    fold(log, [reopen_record(ROOT, grown, {0: 0}, 5, "b")])  # of another cover
    assert not log.reopened.open
    fold(
        log,
        [reopen_record(ROOT, COVER, {0: 1}, 6, "b"), reopen_record(ROOT, COVER, {0: 2}, 7, "c")],
    )
    assert log.reopened.open[ROOT].starts == {0: 1}, "one at a time"
    fold(log, cover_records(ROOT, other, 8, "b"))  # it changes the children there are
    fold(log, [reopened_record(ROOT, other, {(0, 2): 0}, 9, "b")])
    fold(log, cover_records(ROOT, grown, 10, "b"))
    fold(log, [reopened_record(ROOT, grown, {(0, 1): 0, (0, 2): 0}, 11, "b")])
    assert (log.epoch, log.covers[ROOT], log.owners[(0, 1)]) == (2, COVER, 1)
    fold(log, [not_reopened_record(ROOT, "sink_rows", 12, "b"),
               not_reopened_record(ROOT, "gap", 13, "b")])  # fmt: skip
    assert (log.reopened.open, log.reopened.grown, log.reopened.count) == ({}, {}, {"sink_rows": 1})
    assert log.reopened.ended[ROOT] == (12, "sink_rows")


def test_the_bound_of_all_shards_together_begins_it_and_it_rests_after_that() -> None:
    log = split()
    author = Reopener(SETTINGS, CAPACITIES, "b")
    calm, wild = shard(2, 10, 2, [40, 90], 120), shard(2, 300, 2, [5, 9], 77)
    assert author.look(log, Reports({0: wild})) is None, "somebody has told nothing yet"
    assert author.look(log, Reports({0: calm, 1: calm})) is None
    assert (
        author.look(log, Reports({0: shard(2, 300, 0, [], 0), 1: shard(2, 300, 1, [], 0)})) is None
    )
    bound = missed(log, {0: calm, 1: calm})
    assert bound is not None
    assert 0.01 < bound < 0.02
    record = author.look(log, Reports({0: calm, 1: wild}))
    assert record == reopen_record(ROOT, COVER, {0: 41, 1: 6}, 3, "b")
    fold(log, [record])
    assert author.look(log, Reports({0: calm, 1: wild})) is None
    fold(log, [not_reopened_record(ROOT, "gap", 4, "b")])
    assert author.look(log, Reports({0: calm, 1: wild})) is None, "it rests"
    assert author.look(log, Reports({0: calm, 1: shard(2, 300, 3, [5], 77)})) is None
    assert author.look(log, Reports({0: calm, 1: shard(2, 300, 4, [], 77)})) is not None


def test_an_author_finds_it_from_the_rows_and_another_goes_on_where_it_died() -> None:
    log = split()
    first = Reopener(SETTINGS, CAPACITIES, "b")
    fold(log, [first.begin(log, ROOT, {0: 0, 1: 0})])
    assert first.wants(log) == "rows"
    first.sample(np.array([[30, 0], [0, 0], [9, 9]], np.float32))
    assert first.wants(log) == "rows"
    first.sample(np.array([[30, 1], [70, 70]], np.float32))
    assert first.wants(log) == "append", "three quiet rows"
    (pieces,) = first.records(log)
    fold(log, [pieces])
    second = Reopener(SETTINGS, CAPACITIES, "c")
    assert second.wants(log) == "topics", "what was recorded is not looked for again"
    assert second.children(log) == [(0, 2)]
    fold(log, [second.end(log)])
    assert log.covers[ROOT].prototypes.tolist() == [[0, 0], [9, 9], [30, 0]]
    assert second.wants(log) == first.wants(log) == "nothing"


def test_rows_from_before_the_drift_do_not_end_it() -> None:
    log = split()
    author = Reopener(SETTINGS | {"sink_rows": 50}, CAPACITIES, "b")
    fold(log, [author.begin(log, ROOT, {0: 0, 1: 0})])
    assert author.wants(log) == "rows"
    calm = [[0, 0]] * 8
    author.sample(np.array([*calm, [30, 0], [0, 0]], np.float32))
    assert author.wants(log) == "rows"
    author.sample(np.array(calm, np.float32))
    assert author.wants(log) == "append"
    assert author.records(log)[0]["type"] == "cover"
    other = Reopener(SETTINGS, CAPACITIES, "c")
    assert other.wants(log) == "rows"
    other.sample(np.array(calm * 10, np.float32))
    assert other.wants(log) == "append", "so many rows added nothing that it is in vain"
    assert other.records(log)[0]["why"] == "gap"


def test_it_stays_as_it_is_where_more_children_may_not_come() -> None:
    log = split()
    author = Reopener(SETTINGS | {"topics": 3}, CAPACITIES, "b")
    fold(log, [author.begin(log, ROOT, {0: 0, 1: 0})])
    assert author.wants(log) == "rows"
    author.sample(np.array([[30, 0], [0, 70], [9, 9]], np.float32))
    assert author.wants(log) == "append"
    (record,) = author.records(log)
    assert (record["type"], record["why"]) == ("not reopened", "nodes")


def test_markers_go_to_who_does_not_route_by_the_newest_epoch_until_all_do() -> None:
    log = split()
    author = Reopener(SETTINGS, CAPACITIES, "b")
    assert author.unmarked(log, Reports(), 0.0) == []
    grown = grown_by([[30, 0], [30, 1], [30, 0], [30, 0]])
    fold(log, [reopen_record(ROOT, COVER, {0: 0}, 3, "b"), *cover_records(ROOT, grown, 4, "b"),
               reopened_record(ROOT, grown, {(0, 2): 0}, 5, "b")])  # fmt: skip
    old, new = shard(2, 0, 0, [], 9), shard(5, 0, 0, [], 9)
    both = [Mark(ROOT, 0, 5), Mark(ROOT, 1, 5)]
    assert author.unmarked(log, Reports({0: old}), 100.0) == both
    assert author.unmarked(log, Reports({0: old, 1: old}), 100.0 + MARK_S / 2) == []
    assert author.unmarked(log, Reports({0: new, 1: old}), 100.0 + MARK_S) == both[1:]
    assert author.unmarked(log, Reports({0: new, 1: new}), 1000.0) == []


def portion(epoch: int, beyond: int, windows: int, routed: int) -> Record:
    """What the owner of a trunk node tells."""
    witness = shard(0, beyond, windows, [3, 8], 0)["root"]["witness"]
    return {
        "witness": witness,
        "routed": {"epoch": epoch, "offset": routed},
        "rows": windows * 1024,
    }


def test_a_trunk_node_is_re_opened_by_what_its_owner_tells_and_marked_in_its_pipe() -> None:
    log = split()
    below = (0, 1)
    fold(log, [*cover_records(below, COVER, 3, "a"),
               split_record(below, COVER, {(0, 1, 0): 0, (0, 1, 1): 1}, 4, "a")])  # fmt: skip
    author = Reopener(SETTINGS, CAPACITIES, "b")
    calm = {0: shard(2, 10, 2, [40], 120), 1: shard(2, 10, 2, [40], 120)}
    assert author.look(log, Reports(calm, {"N0,1": portion(4, 10, 2, 9)})) is None
    assert author.look(log, Reports(calm, {"N0,1": portion(3, 300, 2, 9)})) is None, (
        "another cover's"
    )
    record = author.look(log, Reports(calm, {"N0,1": portion(4, 300, 2, 9)}))
    assert record == reopen_record(below, COVER, {0: 4}, 5, "b")
    fold(log, [record])
    assert author.look(log, Reports(calm, {"N0,1": portion(4, 300, 2, 9)})) is None
    assert (author.wants(log), author.path, author.starts) == ("rows", below, {0: 4})
    author.sample(np.array([[30, 0], [0, 0], [9, 9], [30, 1], [70, 70]], np.float32))
    assert author.wants(log) == "append"
    fold(log, author.records(log))
    assert (author.wants(log), author.children(log)) == ("topics", [(0, 1, 2)])
    fold(log, [author.end(log)])
    assert log.reopened.epochs[below] == {4: 2, 7: 3}
    assert log.owners.keys() == {(0, 0), (0, 1), (0, 1, 0), (0, 1, 1), (0, 1, 2)}
    told = Reports(calm, {"N0,1": portion(4, 0, 0, 9)})
    assert author.unmarked(log, told, 10.0) == [Mark(below, 0, 7)]
    assert author.unmarked(log, Reports(calm, {"N0,1": portion(7, 0, 0, 9)}), 100.0) == []
