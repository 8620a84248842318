"""What the demo tells of the levels, and what it does not let pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pctstream import photographs
from pctstream.demo.drifting import crossing, sparkline
from pctstream.demo.finale import reach
from pctstream.demo.growth import News, faults
from pctstream.demo.scenes import verdict
from pctstream.demo.stream import Pool

STATES = ("covering", "waiting", "splitting", "sinks", "leaves")


def entry(level: int, closed_by: str | None = None, **counts: int) -> dict[str, Any]:
    states = dict.fromkeys(STATES, 0) | counts
    return {"level": level, "nodes": sum(states.values()), "rows": 7, "epsilon": 2.5,
            "closed_by": closed_by, **states}  # fmt: skip


def tree(*levels: dict[str, Any]) -> dict[str, Any]:
    return {"levels": list(levels)}


def test_a_level_is_told_once_when_it_opens_and_once_when_it_closes() -> None:
    news = News()
    assert news.of(tree()) == []
    assert [line[:13] for line in news.of(tree(entry(0, covering=1)))] == ["level 0 opens"]
    assert news.of(tree(entry(0, covering=1))) == []
    later = tree(entry(0, "ended", splitting=1), entry(1, covering=4))
    told = news.of(later)
    assert [line[:14] for line in told] == ["level 0 closes", "level 1 opens:"]
    assert told[0].endswith("closed by ended") and told[1].endswith("open")
    # a worker whose view is old answers next, then one that is ahead by a whole level
    assert news.of(tree(entry(0, covering=1))) == news.of(later) == []
    last = tree(entry(0, "ended", splitting=1), entry(1, "rows", splitting=4),
                entry(2, "idle", covering=1))  # fmt: skip
    assert [line[:14] for line in news.of(last)] == [
        "level 1 closes", "level 2 opens:", "level 2 closes",
    ]  # fmt: skip


def cover(*entries: tuple[str, int]) -> dict[str, Any]:
    total = sum(rows for _, rows in entries) or 1
    return {"cover": [{"node": n, "rows": rows, "w": rows / total} for n, rows in entries]}


GOOD = {
    0: cover(("N0", 9)),
    1: cover(("N0,0", 5), ("N0,1", 4)),
    2: cover(("N0,0,0", 5), ("N0,0,1", 0), ("N0,1", 4)),
    3: cover(("N0,0,0", 5), ("N0,0,1", 0), ("N0,1", 4)),
}


def test_a_tree_that_is_as_it_must_be() -> None:
    assert faults(GOOD) == []


@pytest.mark.parametrize(("change", "said"), [
    ({0: None}, ["nobody gives the cover of level 0"]),
    ({2: cover(("N0,0", 5), ("N0,1", 4))}, ["level 2 is not filled: no node of it has rows"]),
    ({2: cover(("N0,0,0", 0), ("N0,1", 4))}, ["level 2 is not filled: no node of it has rows"]),
    ({3: {"cover": [{"node": "N0,0,0", "rows": 5, "w": 0.5}]}},
     ["the weights of level 3 sum to 0.5"]),
    ({1: {"cover": [{"node": "N0,0", "rows": 5, "w": 1.000002}]}},
     ["the weights of level 1 sum to 1.000002"]),
    ({1: {"cover": [{"node": "N0,0", "rows": 5, "w": 1.0000005}]}}, []),
])  # fmt: skip
def test_what_is_wrong_is_named(change: dict[int, Any], said: list[str]) -> None:
    assert faults(GOOD | change) == said


def test_a_level_that_is_not_there_is_not_filled() -> None:
    assert faults({0: GOOD[0], 1: GOOD[1]}) == ["nobody gives the cover of level 2"]


@pytest.mark.parametrize("seed", range(20))
def test_within_reach_are_as_many_as_asked_for(seed: int) -> None:
    centres = np.random.default_rng(seed).normal(size=(30, 5))
    distances = np.sort(np.linalg.norm(centres - centres[0], axis=1))
    far = reach(centres.tolist(), 4)
    assert distances[4] < far <= distances[4] + 0.0101
    assert far == round(far, 2)
    assert reach(centres[:1].tolist(), 4) == 0.01
    assert reach(centres[:3].tolist(), 4) > np.linalg.norm(centres[:3] - centres[0], axis=1).max()


@pytest.mark.parametrize(("code", "proved", "wrong", "wanted"), [
    (0, True, [], 0), (0, False, [], 1), (0, True, ["level 2 is not filled"], 1), (5, True, [], 5),
    (5, False, ["level 2 is not filled"], 5), (1, True, [], 1),
])  # fmt: skip
def test_only_a_run_without_fault_ends_with_0(
    code: int, proved: bool, wrong: list[str], wanted: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdict(code, proved, wrong) == wanted
    said = capsys.readouterr().out
    assert ("all is well" in said) == (wanted == 0)
    assert all(f"WRONG: {fault}" in said for fault in wrong)


def test_a_line_is_crossed_only_by_who_stays_above_it() -> None:
    seen = [(float(t), {0: load, 1: 9.0}) for t, load in enumerate([0.9, 1.2, 1.0, 1.2, 1.3, 1.3])]
    assert crossing(seen, 0, 1.1, 2.0) == 3.0
    assert crossing(seen, 0, 1.1, 3.0) is None
    assert crossing(seen, 0, 1.5, 0.0) is None
    assert crossing(seen, 2, 0.0, 0.0) is None


def test_a_sparkline_is_as_high_as_its_values() -> None:
    assert sparkline([0.0, 5.0, 10.0]) == "\u2581\u2584\u2588"
    assert sparkline([0.0]) == "\u2581" and sparkline([]) == ""


def test_a_pool_gives_every_patch_once_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.arange(9 * 10 * 3, dtype=np.uint8).reshape(9, 10, 3)
    monkeypatch.setattr(photographs, "photograph", lambda name: image)
    pool = Pool("china", 3)
    first, second = pool.take(4).to_pylist(), pool.take(4).to_pylist()
    rows = first + second
    assert len({row["id"] for row in rows}) == 8
    assert sorted(row["id"].partition("#")[0] for row in rows[:6]) == sorted(
        f"china-{x}-{y}" for y in range(2) for x in range(3)
    )
    assert [row["id"] for row in rows[6:]] == [f"{row['id']}#1" for row in rows[:2]]
    for row in rows:
        patch = image[row["y"] : row["y"] + 8, row["x"] : row["x"] + 8].reshape(-1)
        assert row["vector"] == pytest.approx(patch / 255, abs=1e-6)
