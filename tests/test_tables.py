"""The read model: which of two records counts."""

from __future__ import annotations

from typing import Any

import pytest

from pctstream import tables
from pctstream.core.chunks import chunks
from pctstream.core.density import Counters, Density
from pctstream.tables import ReadModel


def portion(state: str, history: list[list[float]], **changed: Any) -> dict[str, Any]:
    record = {
        "kind": "portion", "portion": "N0,3", "worker": "a", "epoch": 3, "offset": 8,
        "nodes": {"path": [""], "state": [state], "history": [history]},
    }  # fmt: skip
    return record | changed


def test_an_old_owners_record_of_the_same_place_does_not_undo_what_has_grown_since() -> None:
    """It stopped between two reports; woken, it tells of a portion that has grown elsewhere."""
    model = ReadModel()
    covering, split = [0, -1, 0.0, 3], [[0, -1, 0.0, 3], [1, 8, 0.0, 3], [2, 8, 0.0, 3]]
    grown = portion("splitting", split, worker="b")
    assert model.fold(grown) is grown
    assert model.fold(portion("covering", [covering])) is None
    assert model.held("portion:N0,3") is grown
    ended = portion("sink", [covering])
    assert model.fold(ended) is None


def test_a_sink_has_grown_farther_than_what_covers() -> None:
    model = ReadModel()
    covering = [[0, -1, 0.0, 3]]
    sink = portion("sink", covering)
    assert model.fold(sink) is sink
    assert model.fold(portion("covering", covering)) is None
    again = portion("sink", covering)
    assert model.fold(again) is again, "told again it is as good"


def test_of_two_who_look_out_the_later_counts_though_the_other_saw_more() -> None:
    """It stood still, was replaced, and wakes: its last records are higher in their series."""

    def score(author: int, offset: int, value: float) -> dict[str, Any]:
        return {
            "kind": "drift",
            "portion": "N0,3",
            "author": author,
            "offset": offset,
            "score": value,
        }

    model = ReadModel()
    held = score(8, 50, 1.0)
    assert model.fold(score(7, 49, 9.0)) and model.fold(held)
    assert model.fold(score(7, 60, 9.0)) is None
    assert model.fold(score(8, 49, 9.0)) is None
    assert model.table("drift") == {"N0,3": held}
    assert model.of("drift") == [held] and model.portions() == {}


def test_densities_are_shown_as_numbers_by_node_and_chunk() -> None:
    density, model = Density(5.0), ReadModel()
    for t in range(400):
        density.tell(t + 1.0, Counters(10 * t, 640 * t, 5.0 * t, t))
    for record in chunks("N0,3", density, 0):
        model.fold(record | {"author": 1, "leaf": False, "slot": "N0,3"})
    shown = {key: tables.shown(value) for key, value in model.table("density").items()}
    assert list(shown) == ["N0,3:0", "N0,3:1"]
    assert [w["number"] for value in shown.values() for w in value["windows"]] == list(range(1, 80))
    assert shown["N0,3:1"]["windows"][0] == {
        "number": 60, "rows": 50.0, "bytes": 3200.0, "mean_distance": 0.5,
        "uncovered": pytest.approx(0.1), "spread": 1,
    }  # fmt: skip


def test_the_next_host_counts_though_its_store_was_lost_and_it_begins_anew() -> None:
    """Until its ingest partition gets new rows it stays below the place its predecessor told of:
    the position's two numbers need not come to the same sum again."""
    model = ReadModel()
    before = portion("splitting", [], generation=4, offset=2, time=100.0)
    after = portion("splitting", [], generation=5, offset=0, time=109.0, worker="b")
    assert model.fold(before) is before
    assert model.fold(after) is after
    assert model.fold(before | {"time": 110.0}) is None, "its predecessor wakes"


def test_a_worker_that_is_back_before_the_group_noticed_counts_though_it_begins_anew() -> None:
    """Static membership: the group makes no new generation for it."""
    model = ReadModel()
    before = portion("splitting", [], generation=4, began=50.0, offset=2)
    after = portion("splitting", [], generation=4, began=60.0, offset=0)
    assert model.fold(before) is before
    assert model.fold(after) is after


def test_generations_count_anew_once_the_broker_has_forgotten_the_group() -> None:
    model = ReadModel()
    before = portion("splitting", [], generation=40, time=100.0)
    after = portion("splitting", [], generation=1, time=100.0 + 7 * 86_400)
    assert model.fold(before) is before
    assert model.fold(after) is after
