"""The spatial views over shards in memory: against brute force, through moves, restarts and rebuilds."""

from __future__ import annotations

import io
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from core.points import data, in_box, skewed
from core.points import whole as all_of
from fastapi import FastAPI
from sim.memory import MemoryKV
from standing import SHARDS, Client, Standing
from standing import in_memory as _memory

from pctstream.agents.search import Search
from pctstream.agents.shard import Shard
from pctstream.agents.spatial import ShardIndex
from pctstream.agents.surveyor import Surveyor
from pctstream.core.changes import Changes
from pctstream.core.names import ROOT
from pctstream.core.places import Places
from pctstream.errors import ConfigError
from pctstream.http import problem, search, spatial
from pctstream.kv import KV
from pctstream.metrics import Metrics
from pctstream.rocks import RocksKV
from pctstream.settings import SpatialSettings
from pctstream.store import Store
from pctstream.tables import ReadModel

CENTRES = np.array([[0.2, 0.2], [0.8, 0.2], [0.2, 0.8], [0.8, 0.8], [0.5, 0.5]], np.float32)
KINDS = list(itertools.product(("quadtree", "kdtree"), ("proximity", "count")))
BOX = [0.3, 0.1, 0.7, 0.6]


class Charted(Standing):
    """A standing tree whose positions are indexed, and what its worker would be asked."""

    def __init__(
        self, spatial_bytes: int = 1 << 30, kv: Callable[[int], KV] = _memory, **settings: Any
    ) -> None:
        super().__init__(2, kv=kv)
        given = {"x": "x", "y": "y", "split_rows": 200, "merge_rows": 60, "budget_per_min": 1e9,
                 "change_rows": 1}  # fmt: skip
        self.cfg = SimpleNamespace(
            spatial=SpatialSettings(enabled=True, **{**given, **settings}),
            drift=SimpleNamespace(window_s=1.0),
            limits=SimpleNamespace(spatial_bytes=spatial_bytes),
        )
        self.metrics, self.model, self.fenced = Metrics(), ReadModel(), True
        self.said: list[str] = []
        self.tell = self.said.append
        self.name = "w"
        self.surveyor = Surveyor(self)  # type: ignore[arg-type]
        self.reported = lambda shard, path: -1
        self.ids: list[str] = []
        self.places = np.zeros((0, 2))
        self.survey()

    def survey(self) -> None:
        for number in set(self.shards) - self.away:
            self.surveyor.look(self.shards[number])

    def rows(self, places: np.ndarray, *, held: int | None = None) -> None:
        """Rows with these places, in the tree or held at N0 of a shard."""
        ids = [f"r{len(self.ids) + i}" for i in range(len(places))]
        payloads = [{"x": x, "y": y} for x, y in places.tolist()]
        for i in range(0, len(places), 400):
            some = slice(i, i + 400)
            rows = places[some].astype(np.float32)
            block = self.block(rows, ids[some], payloads[some])
            self.feed(block) if held is None else self.hold(held, block)
        self.ids += ids
        self.places = np.concatenate([self.places, places])

    def leave(self, offsets: np.ndarray, where: np.ndarray | None = None) -> None:
        """Rows of these offsets are deleted, as N0 tells the portions of these places."""
        n = len(offsets)
        vectors = np.zeros((n, 2), np.float32) if where is None else where.astype(np.float32)
        none = np.zeros(n, np.int32)
        changes = Changes(np.ones(n, np.int8), none, offsets, none)
        self.feed(replace(self.block(vectors, None, None), changes=changes))

    def brute(self, box: Any) -> set[str]:
        inside = in_box(*self.places.T, box)
        return {self.ids[i] for i in inside.tolist()}

    def nearest(self, point: Any, k: int) -> list[str]:
        away = ((self.places - point) ** 2).sum(axis=1)
        return [self.ids[i] for i in np.argsort(away, kind="stable")[:k]]


class Asker(Client):
    """Asks the spatial views as well."""

    def __init__(self, tree: Charted) -> None:
        self._app, self.tree = FastAPI(), tree
        problem.add(self._app)
        as_of = lambda: {"time": 0.0, "epoch": tree.log.epoch}  # noqa: E731
        asking = search.add(self._app, tree, as_of, tree.metrics.query, seconds=60.0)
        self.views = spatial.Views(tree, tree, asking, as_of)  # type: ignore[arg-type]
        spatial.add(self._app, self.views)

    def get(self, what: str) -> httpx.Response:
        return self.ask("GET", f"/v1/spatial/{what}")

    def box(self, box: Any, **more: Any) -> dict[str, Any]:
        return self.post("spatial/search", box=box, **more)

    def near(self, point: Any, k: int = 10, **more: Any) -> dict[str, Any]:
        return self.post("spatial/search", point=point, k=k, **more)

    def check(self) -> None:
        """A box and the nearest are brute force's, and nobody was left out."""
        found = self.box(BOX, limit=10_000)
        assert not found["partial"] and not found["truncated"]
        assert {r["id"] for r in found["results"]} == self.tree.brute(BOX)
        assert len(found["results"]) == len(self.tree.brute(BOX))
        for point in ([0.5, 0.5], [0.21, 0.78], [2.0, 2.0]):
            near = self.near(point)
            assert [r["id"] for r in near["results"]] == self.tree.nearest(point, 10)
            assert not near["partial"]


def charted(n: int = 3000, **settings: Any) -> tuple[Charted, Asker]:
    tree = Charted(**settings)
    tree.split(CENTRES)
    tree.rows(skewed(n))
    tree.survey()
    return tree, Asker(tree)


def test_boxes_the_nearest_and_the_map_are_brute_forces() -> None:
    tree, asker = charted()
    asker.check()
    tree.rows(skewed(700, seed=3))
    asker.check()  # nobody surveyed since: a row is found as soon as it is stored
    tree.survey()
    with np.load(io.BytesIO(asker.get("density?format=npz").content)) as arrays:
        counts, edges = arrays["counts"], (arrays["x_edges"], arrays["y_edges"])
    assert np.array_equal(counts, np.histogram2d(*tree.places.T, bins=edges)[0])
    said = asker.get("density?cells=16,8").json()
    assert np.sum(said["counts"]) == said["rows"] == 3700 and not said["partial"]
    assert np.array_equal(np.array(said["counts"]).shape, (16, 8))
    assert asker.get("density?cells=7").status_code == 422
    assert asker.get("density?format=png").content.startswith(b"\x89PNG")
    regions = asker.get("regions").json()
    assert sum(r["rows"] for r in regions["regions"]) == 3700
    assert {r["shard"] for r in regions["regions"]} == set(range(SHARDS))
    told = asker.box([0.0, 0.0, 1.0, 1.0], limit=5, explain=True)
    assert told["truncated"] and len(told["results"]) == 5
    assert len({r["depth"] for s in told["explain"]["shards"] for r in s["regions"]}) >= 2


def test_rows_that_n0_holds_are_found_once_on_their_way_down() -> None:
    tree = Charted()
    asker = Asker(tree)
    tree.rows(skewed(900), held=2)
    assert tree.log.states[ROOT] == "covering"
    asker.check()
    tree.split(CENTRES)
    blocks = [rows for _, rows in tree.shards[2].store.segments(ROOT)]
    assert blocks, "N0 holds them until the portions have told"
    for block in blocks:
        tree.feed(block)
    asker.check()
    assert asker.near([0.5, 0.5], k=900)["results"][-1]["id"] == tree.nearest([0.5, 0.5], 900)[-1]


def test_rows_without_a_place_are_counted_and_not_found() -> None:
    tree, asker = charted(600)
    payloads = [{"x": "1", "y": 1}, {"x": True, "y": 1}, {"y": 1}, None, {"x": 1e300, "y": 0}]
    tree.feed(tree.block(np.zeros((5, 2), np.float32), None, payloads))
    asker.check()
    unplaced = asker.get("density").json()["unplaced"]
    assert unplaced["no number"] == 4 and sum(unplaced.values()) == 5


def test_after_a_restart_or_without_an_index_it_is_as_before() -> None:
    tree, asker = charted()
    for _, survey in list(tree.surveyor.surveys()) * 4:
        survey.index.adjust(time.monotonic(), lambda: False)  # until nothing is left to be joined
    before = asker.get("regions").json()["regions"]
    assert len(before) > SHARDS
    lost = [b"p/", b"g/"]
    for kind in ("restart", "switched on", "damaged"):
        for number, shard in list(tree.shards.items()):
            kv = shard.store._kv
            assert isinstance(kv, MemoryKV)
            for key in [k for prefix in lost for k in kv.keys(prefix)]:
                if kind == "switched on":
                    kv.write([(key, None)])
                elif kind == "damaged":
                    kv.write([(key, (kv.get(key) or b"")[:-3] + b"xyz")])
            tree.shards[number] = Shard(number, "t", Store(kv), 10**6)
        tree.search_ = Search(tree.shards, tree.log, 1 << 30)
        tree.sync()
        found = asker.box(BOX)
        assert found["partial"], "no shard has an index yet"
        tree.survey()
        asker.check()
        if kind == "restart":
            again = asker.get("regions").json()["regions"]
            assert [(r["id"], r["box"], r["rows"]) for r in again] == [
                (r["id"], r["box"], r["rows"]) for r in before
            ]


def test_a_shard_that_is_down_is_answered_from_what_it_told() -> None:
    tree, asker = charted()
    survey = tree.surveyor.survey(1)
    root = tree.shards[1].root
    assert root is not None
    record = tree.surveyor.record(survey)
    assert tree.model.fold(record) is record
    assert tree.model.table("regions")["1"]["rows"] == record["rows"] > 0
    mine = {r["id"] for r in asker.box(BOX, limit=10_000)["results"] if r["shard"] == 1}
    tree.away = {1}
    found = asker.box(BOX, limit=10_000)
    assert found["partial"]
    assert {r["id"] for r in found["results"]} == tree.brute(BOX) - mine
    guess = found["coarse"][0]["rows"]
    assert found["coarse"][0]["shard"] == 1 and guess["least"] <= len(mine) <= guess["most"]
    near = asker.near([0.5, 0.5])
    assert near["partial"] and near["coarse"][0]["shard"] == 1
    said = asker.get("density").json()
    assert said["partial"] and said["told"][0]["shard"] == 1 and said["rows"] == 3000
    told = [r for r in asker.get("regions").json()["regions"] if r["shard"] == 1]
    assert sum(r["rows"] for r in told) == record["rows"]


def again(tree: Charted) -> None:
    """Nodes that were left out are tried again with an adjustment."""
    for _, survey in tree.surveyor.surveys():
        survey.index.adjust(time.monotonic(), lambda: False)
    tree.survey()


def test_nodes_that_have_no_room_are_answered_for_all_the_same() -> None:
    tree = Charted(1_500_000, split_rows=10_000, merge_rows=3000)
    tree.split(CENTRES)
    asker = Asker(tree)
    for part in range(4):
        tree.rows(skewed(9000, seed=part))
        tree.survey()
        asker.check()
    ration = tree.surveyor.ration
    again(tree)
    asker.check()
    left_out = {n: s.index.left_out() for n, s in tree.surveyor.surveys()}
    assert 0 < sum(map(len, left_out.values())) < len(CENTRES)
    assert 500_000 < ration.taken <= 1_500_000
    assert any("limits.spatial_bytes = 1,500,000" in said for said in tree.said)
    gone = np.arange(0, 6000, 3)
    tree.leave(gone, tree.places[gone])
    kept = sorted(set(range(len(tree.ids))) - set(gone.tolist()))
    tree.ids, tree.places = [tree.ids[i] for i in kept], tree.places[kept]
    asker.check()
    assert asker.get("density").json()["rows"] == len(tree.ids)
    with np.load(io.BytesIO(asker.get("density?format=npz").content)) as arrays:
        counts = np.histogram2d(*tree.places.T, bins=(arrays["x_edges"], arrays["y_edges"]))[0]
        assert np.array_equal(arrays["counts"], counts)
    told = asker.box(BOX, explain=True)["explain"]["shards"]
    assert {s["shard"] for s in told if s["rows_beside"]} == {n for n, p in left_out.items() if p}
    down = next(n for n, paths in left_out.items() if paths)
    tree.model.fold(tree.surveyor.record(tree.surveyor.survey(down)))
    mine = {r["id"] for r in asker.box(BOX, limit=10_000)["results"] if r["shard"] == down}
    tree.away = {down}
    guess = asker.box(BOX, limit=10_000)["coarse"][0]["rows"]
    assert guess["least"] <= len(mine) <= guess["most"]
    said = asker.get("density").json()
    assert said["partial"] and said["rows"] + said["told"][0]["left_out"] == len(tree.ids)
    tree.away = set()
    ration.most = 1 << 30  # as where other shards went away
    again(tree)
    assert not any(s.index.left_out() for _, s in tree.surveyor.surveys())
    assert any("has all its rows again" in said for said in tree.said)
    asker.check()


def test_what_makes_no_sense_is_refused() -> None:
    _, asker = charted(400)
    wrong: list[dict[str, Any]] = [
        {}, {"box": BOX, "point": [0, 0]}, {"box": [1, 0, 0, 1]}, {"box": [0, 0, 1]},
        {"box": "x"}, {"point": [0, 0], "k": 1001}, {"point": [0]}, {"box": BOX, "limit": 10_001},
        {"box": BOX, "explain": 1}, {"box": BOX, "what": 1},
    ]  # fmt: skip
    for asked in wrong:
        answer = asker.ask("POST", "/v1/spatial/search", json=asked)
        assert answer.status_code == 422, (asked, answer.text)


@pytest.mark.parametrize("file", ["au_fires_2019.npz", "earthquakes_1965_2016.npz"])
def test_fires_and_earthquakes(shared_data: Any, file: str) -> None:
    lon, lat = data(shared_data, file)
    places = np.stack([lon, lat], axis=1)
    tree = Charted(coordinates="plane")
    tree.split((places[:: len(places) // 12][:12]).astype(np.float32))
    tree.rows(places)
    tree.survey()
    asker = Asker(tree)
    said = asker.get("density?format=npz").content
    with np.load(io.BytesIO(said)) as arrays:
        counts = np.histogram2d(*places.T, bins=(arrays["x_edges"], arrays["y_edges"]))[0]
        assert np.array_equal(arrays["counts"], counts)
    x0, y0 = places.mean(axis=0)
    box = [x0 - 2, y0 - 2, x0 + 2, y0 + 2]
    found = asker.box(box, limit=10_000)
    assert {r["id"] for r in found["results"]} == tree.brute(box) and not found["partial"]
    depths = {r["depth"] for r in asker.get("regions?limit=1000").json()["regions"]}
    assert len(depths) >= 2


@pytest.mark.parametrize(("pattern", "neighbors"), KINDS)
def test_eight_writers_and_eight_readers_while_regions_split_and_join(
    pattern: str, neighbors: str, tmp_path: Path
) -> None:
    """What was there from the first to the last moment is in every answer, what never was in none."""
    tree = Charted(
        kv=lambda number: RocksKV(tmp_path / str(number), 1 << 20), split_rows=100, merge_rows=40,
        pattern=pattern, neighbors=neighbors,
    )  # fmt: skip
    tree.split(CENTRES[:1])
    shard = tree.shards[tree.log.owners[0, 0]]
    rng = np.random.default_rng(5)
    fixed = rng.random((2000, 2))
    tree.rows(fixed)
    index = ShardIndex(shard, Places("x", "y"), tree.cfg.spatial, tree.surveyor.ration)
    index.configure(tree.surveyor.settings())
    path = (0, 0)
    index.refresh([ROOT, path], time.monotonic() + 60)
    until = threading.Event()
    feeding, faults = threading.Lock(), list[str]()
    slices = [0]

    def write(number: int) -> None:
        own = np.random.default_rng(number)
        for _ in range(12):
            places = own.normal([3.0 + 0.1 * number, 0.5], 0.01, (200, 2))
            with feeding:
                first = tree.offset
                tree.rows(places)
            index.refresh([ROOT, path], time.monotonic() + 60)
            with feeding:
                tree.leave(np.arange(first, first + 200, 2))
            index.refresh([ROOT, path], time.monotonic() + 60)

    def read(number: int) -> None:
        own = np.random.default_rng(100 + number)
        while not until.is_set():
            x0, y0 = own.random(2) * 0.8
            box = (x0, y0, x0 + 0.2, y0 + 0.2)
            with index.look() as locked:
                found = len(locked.box(box).keys)
                near = locked.nearest((x0, y0), 5).distances
            away = np.sort(np.sqrt(((fixed - [x0, y0]) ** 2).sum(axis=1)))[:5]
            if found != len(in_box(*fixed.T, box)) or not np.allclose(near, away):
                faults.append(f"{box}: {found}, {near}, {away}")

    def adjust() -> None:
        while not until.is_set():
            done = index.adjust(time.monotonic(), until.is_set)
            slices[0] += done.splits + done.merges

    writers = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    others = [threading.Thread(target=read, args=(n,)) for n in range(8)]
    others.append(threading.Thread(target=adjust))
    for one in (*writers, *others):
        one.start()
    for one in writers:
        one.join(120)
    until.set()
    for one in others:
        one.join(30)
    index.refresh([ROOT, path], time.monotonic() + 60)
    assert faults == [] and slices[0] > 10
    assert len(index.index) == len(all_of(index.index)) == 2000 + 8 * 12 * 100
    for one in tree.shards.values():
        one.store.close()


def test_limits_are_judged_by_every_reader_alike() -> None:
    tree, asker = charted(1000)
    tuning = tree.log.orders.tuning
    base = {"split_rows": 200, "merge_rows": 60}
    tuning.take(5, {"set": {"split_rows": 1000}, "base": base, "reason": "fewer"}, 1.0)
    with pytest.raises(ConfigError, match=r"split_rows = 1000 .* merge_rows = 500"):
        tuning.take(6, {"set": {"merge_rows": 500}, "base": base}, 2.0)
    many = asker.get("regions").json()["number"]
    assert tree.surveyor.settings()["split_rows"] == 1000
    for shard in tree.shards.values():
        tree.surveyor.look(shard)
        tree.surveyor.survey(shard.number).index.adjust(time.monotonic(), lambda: False)
    fewer = asker.get("regions").json()["number"]
    assert fewer <= many
    tuning.take(7, {"set": {"split_rows": None}, "base": base}, 3.0)
    assert tuning.changes == {} and [h["seq"] for h in tuning.history] == [5, 7]


def test_regions_are_adjusted_by_the_clock_and_soon_after_many_changes() -> None:
    tree = Charted(interval_s=1.0, change_rows=500)
    tree.split(CENTRES)
    surveyor = Surveyor(tree)  # type: ignore[arg-type]
    surveyor.start()

    def latest() -> dict[str, Any]:
        found = dict(surveyor.surveys())
        return found[0].index.latest if 0 in found else {}

    def wait(since: float, trigger: str, within_s: float) -> float:
        until = time.monotonic() + within_s
        while latest().get("time", 0.0) <= since or latest()["trigger"] != trigger:
            assert time.monotonic() < until, (trigger, latest())
            time.sleep(0.01)
        return float(latest()["time"])

    try:
        times = [wait(0.0, "interval", 10)]
        for _ in range(5):
            times.append(wait(times[-1], "interval", 5))
        assert np.median(np.diff(times)) == pytest.approx(1.0, rel=0.1)
        began = time.time()
        tree.rows(np.full((500, 2), 0.2) + np.random.default_rng(0).normal(0, 0.01, (500, 2)))
        stored = time.time()
        assert wait(began, "changes", 5) - stored < 2.0
    finally:
        surveyor.stop()


def test_what_the_budget_denies_is_told_with_why() -> None:
    tree, asker = charted(3000, budget_per_min=0.0)
    last = [s["last"] for s in asker.get("regions").json()["shards"] if s["last"]]
    denied = [d for one in last for d in one["denied"]]
    assert {(d["change"], d["why"]) for d in denied} == {("split", "budget")}
    text = tree.metrics.text().decode()
    line = next(li for li in text.splitlines() if 'kind="split",result="budget"' in li)
    assert float(line.split()[-1]) > 0
