"""The read model: which of two records of a portion counts."""

from __future__ import annotations

from typing import Any

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
