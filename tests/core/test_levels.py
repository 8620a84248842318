"""When a level closes: by what its nodes and rows do, and by a steady clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pctstream.core.cover import refine
from pctstream.core.levels import Levels
from pctstream.core.names import ROOT
from pctstream.core.records import (
    cover_records,
    epsilon_record,
    level_record,
    split_record,
    tree_record,
)
from pctstream.core.routing import Routing

SETTINGS: dict[str, Any] = {"level_rows": 100, "level_idle_s": 5.0, "level_timeout_s": 60.0}
TREE = {"tree": "t", "max_level": 3, "fanout": 2, "epsilon_ratio": 0.5}


def log_of(**tree: Any) -> Routing:
    """N0 has split into two portions."""
    prototypes = np.array([[0.0], [10.0]], np.float32)
    cover = refine(prototypes, prototypes, 4.0, 0, 1)
    log = Routing()
    records = [
        tree_record(TREE | tree, 1, "a"),
        *cover_records(ROOT, cover, 1, "a"),
    ]
    records.append(split_record(ROOT, cover, {(0, 0): 0, (0, 1): 1}, 2, "a"))
    for i, record in enumerate(records):
        assert log.fold(record, i, 0.0)
    return log


def report(number: int, nodes: dict[str, tuple[str, int]], grown_to: int = 1, **more: Any) -> Any:
    """A portion's record; ``nodes``: path below it -> (state, rows)."""
    states, rows = zip(*nodes.values(), strict=True)
    columns = {"path": list(nodes), "state": list(states), "rows": list(rows)}
    return {"portion": f"N0,{number}", "rows": max(rows), "grown_to": grown_to, "nodes": columns,
            "proposals": [], **more}  # fmt: skip


def reports(*given: Any) -> dict[str, Any]:
    return {r["portion"]: r for r in given}


WAITING, COVERING, SINK = ("waiting", 10), ("covering", 10), ("sink", 10)


def test_it_closes_when_all_have_ended_and_only_when_all_have_told() -> None:
    log, levels = log_of(), Levels(SETTINGS, "a")
    one, two = report(0, {"": WAITING}), report(1, {"": COVERING})
    assert levels.look(log, reports(one), 0.0) is None, "one portion has not told yet"
    assert levels.look(log, reports(one, two), 0.1) is None
    found = levels.look(log, reports(one, report(1, {"": SINK})), 0.2)
    assert found == level_record(1, "ended", 3, "a")
    assert log.fold(found, 3, 9.0)
    assert log.levels[1] == {"level": 1, "closed_by": "ended", "time": 9.0, "offset": 3}
    assert log.gates.open_level == 2
    stale = report(0, {"": WAITING}, grown_to=1), report(1, {"": SINK}, grown_to=2)
    assert levels.look(log, reports(*stale), 0.3) is None, "its nodes of level 2 are to come"
    split = {"": ("splitting", 10), "0": WAITING, "1": WAITING}
    found = levels.look(log, reports(report(0, split, 2), report(1, {"": SINK}, 2)), 0.4)
    assert found == level_record(2, "ended", 4, "a")
    log.fold(found, 4, 9.0)
    assert (
        levels.look(log, reports(report(0, split, 3), report(1, {"": SINK}, 3)), 999.0) is None
    ), "nodes at max_level do not cover"


@pytest.mark.parametrize(
    ("rows", "times", "closed_by"),
    [
        ([(40, 40), (60, 50)], [0.0, 1.0], "rows"),
        ([(40, 40), (40, 41), (40, 41), (40, 41)], [0.0, 4.0, 8.9, 9.1], "idle"),
        ([(1, 1), (2, 2), (3, 3), (4, 4)], [0.0, 30.0, 31.0, 61.0], "timeout"),
    ],
)
def test_what_closes_it(rows: list[tuple[int, int]], times: list[float], closed_by: str) -> None:
    log, levels = log_of(), Levels(SETTINGS, "a")
    for (a, b), now in zip(rows, times, strict=True):
        told = reports(report(0, {"": ("covering", a)}), report(1, {"": ("covering", b)}))
        found = levels.look(log, told, now)
        if now != times[-1]:
            assert found is None
    assert found == level_record(1, closed_by, 3, "a")


def test_an_epsilon_is_the_median_of_the_proposals_by_their_rows() -> None:
    log, levels = log_of(epsilon_ratio="auto"), Levels(SETTINGS, "a")
    few = report(0, {"": ("covering", 500)}, proposals=[(1, 8, 3.0)])
    none = report(1, {"": ("covering", 5)})
    assert levels.look(log, reports(few, none), 0.0) is None, "no full proposal, and rows may come"
    full = report(0, {"": ("covering", 500)}, proposals=[(1, 128, 2.5), (1, 128, 1.5), (1, 8, 9.0)])
    other = report(1, {"": ("covering", 500)}, proposals=[(1, 128, 2.0)])
    found = levels.look(log, reports(full, other), 0.1)
    assert found == epsilon_record(1, 2.0, 3, "a")
    log.fold(found, 3, 0.0)
    assert log.gates.epsilons == {1: 2.0}
    assert levels.look(log, reports(full, other), 0.2) == level_record(1, "rows", 4, "a")
    idle = Levels(SETTINGS, "a")
    fresh = log_of(epsilon_ratio="auto")
    assert idle.look(fresh, reports(few, none), 0.0) is None
    assert idle.look(fresh, reports(few, none), 5.0) == epsilon_record(1, 3.0, 3, "a")


def test_records_of_levels_count_once_and_in_order() -> None:
    log = log_of(epsilon_ratio="auto")
    for seq, record in enumerate(
        [
            level_record(2, "rows", 3, "a"),
            level_record(1, "a whim", 4, "a"),
            level_record(1, "timeout", 5, "a"),
            level_record(1, "rows", 6, "b"),
            epsilon_record(2, 0.0, 7, "a"),
            epsilon_record(2, 0.5, 8, "a"),
            epsilon_record(2, 0.7, 9, "a"),
        ]
    ):
        assert log.fold(record, seq + 3, 1.0)
    assert [entry["closed_by"] for entry in log.levels] == ["ended", "timeout"]
    assert log.gates[:2] == (2, {2: 0.5})
    assert log.epoch == 2, "closing a level is no epoch"
