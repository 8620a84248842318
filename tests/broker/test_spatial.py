"""The spatial index of a system: against brute force while rows come, through a move and a kill -9."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from broker.system import System, mixture, wait_for
from broker.test_moves import dropped, ended, hosts, largest, start
from core.points import data, in_box, skewed
from core.test_spatial import haversine

from pctstream.client import Producer
from pctstream.core.regions import area

ROWS, K = 3000, 10
BOXES = ([0.0, 0.0, 1.0, 1.0], [0.3, 0.2, 0.7, 0.5], [0.45, 0.45, 0.55, 0.55])
POINTS = ([0.5, 0.5], [0.1, 0.9], [-1.0, 0.3])
FAR = 100.0


class Asked:
    """A system, where its rows lie, and what must be answered of those in the unit square."""

    def __init__(self, one: System, places: np.ndarray) -> None:
        self.one, self.places = one, places
        self.http = httpx.Client(timeout=30.0)

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def post(self, number: int, **asked: Any) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.one.ports[number]}/v1/spatial/search"
        answer = self.http.post(url, json=asked)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def wrong(self, number: int) -> tuple[bool, list[Any]]:
        """Whether all answers were whole, and what was false in them."""
        whole, wrong = True, []
        for box in BOXES:
            found = self.post(number, box=box, limit=10_000)
            ids = sorted(int(r["id"]) for r in found["results"])
            right = in_box(*self.places.T, box).tolist()
            whole = whole and not found["partial"]
            if ids != right and not (found["partial"] and set(ids) <= set(right)):
                wrong.append((box, len(ids), len(right)))
        for point in POINTS:
            found = self.post(number, point=point, k=K)
            away = ((self.places - point) ** 2).sum(axis=1)
            right = np.argsort(away, kind="stable")[:K].tolist()
            whole = whole and not found["partial"]
            if not found["partial"] and [int(r["id"]) for r in found["results"]] != right:
                wrong.append((point, found["results"], right))
        return whole, wrong

    def right(self, within_s: float = 30.0) -> None:
        """At every worker the answers become whole, and none is ever false."""
        for number, worker in self.one.workers.items():
            if worker.poll() is None:

                def whole(number: int = number) -> bool:
                    done, wrong = self.wrong(number)
                    assert wrong == []
                    return done

                wait_for(f"whole answers of worker {number}", whole, within_s)

    def map_is(self, places: np.ndarray) -> None:
        """The fleet's map is numpy's."""
        wait_for("the map of all rows", lambda: self.one.get("/v1/spatial/density")["rows"] == len(places))  # fmt: skip # noqa: E501
        for url in self.one.urls:
            raw = self.http.get(f"{url}/v1/spatial/density?format=npz").content
            with np.load(io.BytesIO(raw)) as arrays:
                edges = arrays["x_edges"], arrays["y_edges"]
                assert np.array_equal(arrays["counts"], np.histogram2d(*places.T, bins=edges)[0])


def feed(one: System, vectors: np.ndarray, places: np.ndarray, prefix: str = "") -> None:
    with Producer(one.broker, one.tree) as producer:
        for i, (vector, (x, y)) in enumerate(zip(vectors, places.tolist(), strict=True)):
            producer.add(vector, id=f"{prefix}{i}", payload={"x": x, "y": y})


def test_places_are_found_while_rows_come_through_a_move_and_a_kill(
    system: Callable[..., System],
) -> None:
    one = system(
        shards__count=4, tree__epsilon=8.0, tree__gap=500, moves__grace_s=0.5, spatial__enabled=True,
        spatial__x="x", spatial__y="y", spatial__split_rows=300, spatial__merge_rows=100,
        spatial__interval_s=0.5, spatial__pattern="quadtree", spatial__neighbors="proximity",
        spatial__budget_per_min=1e9, tree__epsilon_ratio=0.01,
    )  # fmt: skip
    one.start(0, 1)
    places = skewed(ROWS).round(6)
    with Asked(one, places) as asked:
        _lived_through(one, asked)


def _lived_through(one: System, asked: Asked) -> None:
    places = asked.places
    feed(one, mixture(ROWS), places)
    one.fed = ROWS
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.settle()
    stop, every = threading.Event(), [places]

    def stream() -> None:
        """Rows that lie elsewhere, so that what is asked for stays what it is."""
        part = 0
        while not stop.is_set():
            part += 1
            more = skewed(200, seed=part).round(6) + FAR
            feed(one, mixture(200, seed=part), more, f"{part}.")
            every.append(more)
            stop.wait(0.2)

    streaming = threading.Thread(target=stream, daemon=True)
    streaming.start()
    asked.right()
    before = hosts(one)
    moving = largest(one)
    to = next(s for s, w in sorted(before.items()) if w != before[moving["owner"]])
    move = start(one, moving["portion"], to)["id"]
    while one.get(f"/v1/moves/{move}")["stage"] != "DONE":
        assert asked.wrong(0)[1] == [] and asked.wrong(1)[1] == []
    asked.right()
    ended(one, move)
    impossible = httpx.put(f"{one.urls[0]}/v1/spatial/config", json={"split_rows": 200}, timeout=20)
    assert impossible.status_code == 422
    assert "split_rows = 200" in impossible.text and "merge_rows = 100" in impossible.text
    finer = {"split_rows": 150, "merge_rows": 50, "reason": "finer"}
    assert httpx.put(f"{one.urls[1]}/v1/spatial/config", json=finer, timeout=20).status_code == 200
    most = lambda: max(r["rows"] for r in one.get("/v1/spatial/regions")["regions"])  # noqa: E731
    wait_for("finer regions everywhere", lambda: most() <= 150, 10)
    one.kill(1)
    down = wait_for("a partial answer", lambda: _partial(asked.post(0, box=BOXES[0], limit=10_000)))
    gone = {s for s, w in hosts(one).items() if w == "worker-1"}
    if told := [c for c in down["coarse"] if c["shard"] in gone and c["rows"] is not None]:
        found = {int(r["id"]) for r in down["results"]}
        assert sum(c["rows"]["most"] for c in told) >= ROWS - len(found)
    stop.set()
    streaming.join(30)
    one.start(1)
    one.fed = len(np.concatenate(every))
    one.settle()
    dropped(one, move)
    asked.right()
    asked.map_is(np.concatenate(every))
    config = one.get("/v1/spatial/config", 1)
    assert config["config"]["split_rows"] == 150 and config["history"][-1]["reason"] == "finer"
    assert one.get("/v1/tables/regions")["rows"].keys() == set("0123")
    metrics = [httpx.get(f"{url}/metrics").text for url in one.urls]
    assert any('pct_regions{depth="' in text for text in metrics)
    assert all(float(line.split()[-1]) > 1000 for text in metrics for line in text.splitlines()
               if line.startswith("pct_spatial_bytes "))  # fmt: skip
    _one_stopped(one, asked)


def _one_stopped(one: System, asked: Asked) -> None:
    """What a stopped worker's shards had is bounded by what they told, and never left out in silence."""

    def told() -> bool:
        records = one.get("/v1/tables/regions")["rows"].values()
        return bool(sum(record["rows"] for record in records) == one.fed)

    wait_for("every shard has told of all its rows", told)
    gone = {s for s, w in hosts(one).items() if w == "worker-1"}
    before = [asked.post(0, box=box, limit=10_000)["results"] for box in BOXES]
    one.kill(1)
    for box, rows in zip(BOXES, before, strict=True):
        found = wait_for(
            "a partial answer", lambda b=box: _partial(asked.post(0, box=b, limit=10_000))
        )
        there = {r["id"] for r in found["results"]}
        assert there == {r["id"] for r in rows if r["shard"] not in gone}
        assert {c["shard"] for c in found["coarse"]} == gone
        for guess in found["coarse"]:
            truth = sum(r["shard"] == guess["shard"] for r in rows)
            assert guess["rows"]["least"] <= truth <= guess["rows"]["most"], guess
    density = one.get("/v1/spatial/density", 0)
    assert density["partial"] and density["rows"] == one.fed
    assert {t["shard"] for t in density["told"]} == gone


def _partial(found: dict[str, Any]) -> dict[str, Any] | None:
    return found if found["partial"] else None


def test_kdtree_and_count_as_the_default_of_a_system(system: Callable[..., System]) -> None:
    one = system(
        shards__count=2, tree__epsilon=8.0, tree__gap=500, spatial__enabled=True,
        spatial__x="dim:0", spatial__y="dim:1", spatial__split_rows=400, spatial__merge_rows=150,
        spatial__interval_s=60.0, spatial__change_rows=1000, spatial__pattern="kdtree",
        spatial__neighbors="count",
    )  # fmt: skip
    one.start(0)
    rows = mixture(1500)
    places = rows[:, :2].astype(np.float64)
    began = time.monotonic()
    one.feed(rows)

    def split() -> Any:
        shards = one.get("/v1/spatial/regions")["shards"]
        return [a for s in shards for a in s["adjustments"] if a["trigger"] == "changes" and a["splits"]]  # fmt: skip # noqa: E501

    wait_for("a split set off by changes, long before the interval", split, 30)
    assert time.monotonic() - began < 60
    one.settle()
    with Asked(one, places) as asked:
        asked.map_is(places)
        asked.right()
        # the same ids elsewhere: some stay in their portion, some go to another
        places[:300] = rows[:300, 1::-1]
        one.feed(
            np.concatenate([rows[:300, 1::-1], rows[:300, 2:]], axis=1), list(map(str, range(300)))
        )
        one.settle()
        asked.map_is(places)
        asked.right()
    assert {r["rows"] > 400 for r in one.get("/v1/spatial/regions")["regions"]} >= {False}
    _keeps_time(one)


def _keeps_time(one: System) -> None:
    """After many changes, long before the interval is over; then each second, from the next adjustment on,
    and never sooner. (How much later is the machine's affair: `core.pace` says when it is due.)"""
    began = time.time()
    with Producer(one.broker, one.tree, format="json") as producer:
        rows = mixture(2100, seed=7)
        for i, row in enumerate(rows):
            producer.add(row, id=f"more{i}")
    one.fed += len(rows)
    one.settle()

    def last(trigger: str, since: float, of: tuple[int, ...] = (0, 1)) -> Any:
        shards = one.get("/v1/spatial/regions?limit=1")["shards"]
        done = [s["last"] for s in shards if s["last"] and s["shard"] in of]
        times = [adjusted["time"] for adjusted in done if adjusted["trigger"] == trigger]
        return max((t for t in times if t > since), default=None)

    # one of two shards has more than its change_rows of them
    assert wait_for("an adjustment for changes", lambda: last("changes", began)) - began < 60.0
    changed = time.time()
    put = {"interval_s": 1.0, "change_rows": 10**6}
    assert httpx.put(f"{one.urls[0]}/v1/spatial/config", json=put, timeout=20).status_code == 200
    times = [wait_for("the first of them", lambda: last("interval", changed, (0,)))]
    while len(times) < 5:
        times.append(wait_for("the next one", lambda: last("interval", times[-1], (0,))))
    assert np.diff(times).min() > 0.9, times


def test_fires_and_earthquakes_from_end_to_end(
    system: Callable[..., System], shared_data: Path
) -> None:
    one = system(
        shards__count=2, tree__epsilon=15.0, tree__gap=500, spatial__enabled=True,
        spatial__split_rows=1000, spatial__merge_rows=300, spatial__interval_s=1.0,
        spatial__pattern="kdtree", spatial__neighbors="proximity",
    )  # fmt: skip
    one.start(0)
    parts = [data(shared_data, f) for f in ("au_fires_2019.npz", "earthquakes_1965_2016.npz")]
    lon, lat = np.concatenate(parts, axis=1)
    with Producer(one.broker, one.tree) as producer:
        flat = pa.array(np.stack([lon, lat], axis=1).astype(np.float32).ravel())
        ids = pa.array([str(i) for i in range(len(lon))])
        columns = [pa.FixedSizeListArray.from_arrays(flat, 2), ids, pa.array(lon), pa.array(lat)]
        producer.extend(pa.record_batch(columns, ["vector", "id", "lon", "lat"]))
    one.fed = len(lon)
    one.settle()
    with Asked(one, np.stack([lon, lat], axis=1)) as asked:
        asked.map_is(asked.places)
        regions = one.get("/v1/spatial/regions?limit=1000")
        assert not regions["next"] and sum(r["rows"] for r in regions["regions"]) == len(lon)
        by_shard = {s: [r["box"] for r in regions["regions"] if r["shard"] == s] for s in (0, 1)}
        for boxes in (np.array(some) for some in by_shard.values() if some):
            whole = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
            assert area(boxes) == pytest.approx(area(whole[None]))
        for box in ((130.0, -25.0, 132.0, -12.0), (170.0, -30.0, -175.0, -15.0)):
            found = asked.post(0, box=box, limit=10_000, explain=True)
            x = np.where(lon < box[0], lon + 360.0, lon) if box[0] > box[2] else lon
            right = in_box(x, lat, (box[0], box[1], box[2] + 360.0 * (box[0] > box[2]), box[3]))
            assert sorted(int(r["id"]) for r in found["results"]) == right.tolist() and len(right)
            assert not found["partial"]
            touched = [r["box"] for s in found["explain"]["shards"] for r in s["regions"]]
            assert len({(x1 - x0, y1 - y0) for x0, y0, x1, y1 in touched}) >= 2
        for point in ((131.0, -13.0), (179.99, -20.0), (0.0, 90.0)):
            near = asked.post(0, point=point, k=50)["results"]
            away = np.sort(haversine(lon, lat, point))[:50]
            assert np.allclose([r["distance"] for r in near], away, rtol=1e-6, atol=0.2)
