"""What is learnt of recall, against recall measured; filters against plain Python."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pctstream.core.answers import Answer, Hit, Tally, asked, complete, farthest, nearest, told
from pctstream.core.cells import cells_of
from pctstream.core.columns import Columns
from pctstream.core.filters import parse
from pctstream.core.recall import learn, ranks_of
from pctstream.core.table import Table
from pctstream.errors import QueryRefused


def test_the_promised_recall_is_reached_with_few_rows() -> None:
    rng = np.random.default_rng(3)
    places = rng.normal(0, 4, (40, 24))
    rows = (places[rng.integers(0, 40, 9000)] + rng.normal(0, 1, (9000, 24))).astype(np.float32)
    table = Table([cells_of(np.ascontiguousarray(rows[:8500]))], 24)
    queries = rows[8500:].astype(np.float64)
    exact = table.search(queries, 10)
    learnt = learn(table, 10, np.random.default_rng(0))
    for target in (0.8, 0.95):
        probes = learnt.probes(target)
        found = table.search(queries, 10, probes=probes)
        pairs = zip(found.slot, exact.slot, strict=True)
        recall = np.mean([len({*a} & {*b}) / 10 for a, b in pairs])
        assert recall >= target
        assert abs(recall - learnt.expected(probes)) < 0.05
        assert found.rows.mean() < 0.15 * 8500
    assert learnt.probes(0.8) <= learnt.probes(0.95) <= learnt.probes(1.0) <= table.cells


def test_ranks_count_the_centres_that_are_nearer() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(500, 5)).astype(np.float32)
    one, two = cells_of(rows[:300].copy(), size=16), cells_of(rows[300:].copy(), size=16)
    table = Table([one, two], 5)
    query = rng.normal(size=5)
    places = [len(run.size) for run in (one, two)]
    centres = [run.centres[n // 8, :, n % 8] for run in (one, two) for n in range(len(run.size))]
    away = ((np.array(centres, np.float64) - query) ** 2).sum(axis=1)
    assert np.isfinite(away).sum() == len(one) + len(two)
    slots = table.search(query[None], 50).slot[0]
    run = np.searchsorted(table.starts(), slots, side="right") - 1
    own = []
    for slot, r in zip(slots, run, strict=True):
        tile = (slot - table.starts()[r]) // 8
        cell = int(np.searchsorted((one, two)[r].first, tile, side="right")) - 1
        own.append(cell + (places[0] if r else 0))
    assert ranks_of(table, query, slots).tolist() == [int((away < away[c]).sum()) for c in own]


ROWS = [
    {"a": 1, "colour": "red", "on": True}, {"a": 2.5, "colour": "blue"}, {"a": "1"},
    {"a": None, "on": False}, {}, {"a": -3, "colour": "red"},
]  # fmt: skip
CASES = [
    ({"colour": "red"}, [0, 5]),
    ({"a": 1}, [0]),
    ({"a": "1"}, [2]),
    ({"on": True}, [0]),
    ({"a": {"gte": 1, "lt": 2.5}}, [0]),
    ({"a": {"gt": -10}}, [0, 1, 5]),
    ({"colour": {"gt": "blue"}}, [0, 5]),
    ({"a": {"in": [2.5, "1", -3]}}, [1, 2, 5]),
    ({"a": {"exists": False}}, [3, 4]),
    ({"any": [{"a": 1}, {"on": False}]}, [0, 3]),
    ({"not": {"colour": "red"}}, [1, 2, 3, 4]),
    ({"colour": "red", "not": {"any": [{"a": {"lt": 0}}, {"a": "x"}]}}, [0]),
    ({"time": {"gte": "1970-01-01T00:00:03Z"}}, [3, 4]),
    ({"time": {"exists": False}}, [5]),
    ({"strange": 1}, []),
]


@pytest.mark.parametrize(("given", "wanted"), CASES)
def test_filters(given: object, wanted: list[int]) -> None:
    import orjson

    times = pa.array([0.0, 1.0, 2.0, 3.0, 4.0, None])
    columns = Columns(pa.array([orjson.dumps(r) for r in ROWS], pa.binary()), times, 6)
    found = parse(given)
    assert np.flatnonzero(found.mask(columns)).tolist() == wanted
    columns.need(found.fields)
    assert (found.fields <= columns.names) == ("strange" not in found.fields)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (3, "filter"), ({}, "filter"), ({"a": None}, "filter.a"), ({"a": {"like": "x"}}, "like"),
        ({"a": {}}, "filter.a"), ({"any": {}}, "filter.any"), ({"not": 1}, "filter.not"),
        ({"a": {"in": 3}}, "filter.a.in"), ({"a": {"exists": 1}}, "filter.a.exists"),
        ({"a": {"gt": True}}, "filter.a.gt"), ({"time": "noon"}, "filter.time"),
        ({"a": {"in": [[]]}}, "filter.a.in"), ({"a": {"in": [1] * 1001}}, "filter.a.in"),
        ({"any": [{"a": i} for i in range(300)]}, "filter.any"), ({"a": float("nan")}, "filter.a"),
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_meant_is_named(given: object, named: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        parse(given)
    assert named in str(refused.value)


def test_a_filter_that_is_nested_too_deep() -> None:
    given: object = {"a": 1}
    for _ in range(40):
        given = {"not": given}
    with pytest.raises(QueryRefused, match="deeper"):
        parse(given)


def hit(distance: float, name: str, origin: str = "") -> Hit:
    return Hit(distance, name, origin or name, "N0,1", "N0,1", 0)


def test_answers_of_shards_become_one() -> None:
    rng = np.random.default_rng(8)
    everyone = [hit(float(rng.integers(0, 9)), f"{i:03}") for i in range(200)]
    parts = [nearest(everyone[i::4] + everyone[:3], 20) for i in range(4)]
    merged = nearest([h for part in parts for h in part], 20)
    assert merged == sorted(everyone, key=lambda h: h.rank)[:20]
    assert farthest(merged, 20, 9.0) == merged[-1].distance
    assert farthest(merged[:3], 20, 9.0) == 9.0


def test_who_was_left_out_is_known() -> None:
    def answer(shard: int, epoch: int, generation: int, *searched: str) -> Answer:
        return Answer(shard, epoch, generation, list(searched), [], [], [])

    wanted = {0: ["N0,1"], 1: ["N0,2"], 2: []}
    told_all = [answer(0, 5, 3, "N0,1", "N0,7"), answer(1, 5, -1, "N0,2"), answer(2, 5, 4)]
    assert complete(told_all, 5, 3, wanted) == set()
    assert complete(told_all, 6, 3, wanted) == {0, 1, 2}
    assert complete(told_all, 5, 4, wanted) == {0}
    assert complete([*told_all[1:], answer(0, 5, 3)], 5, 3, wanted) == {0}


def test_distances_as_they_are_told() -> None:
    rng = np.random.default_rng(9)
    for value in rng.random(1000):
        assert told(asked(value, "cosine"), "cosine") >= value
        assert told(value, "euclidean") == asked(value, "euclidean") == value
    assert Tally().to_json()["rows_scanned"] == 0
