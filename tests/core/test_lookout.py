"""The lookout: densities and scores of what the portions' records say, whoever looks and dies."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from pctstream.core.chunks import CHUNK, chunks, joined
from pctstream.core.density import LENGTH, Counters, Density
from pctstream.core.lookout import LEAF_LENGTH, Lookout

SETTINGS = {"window_s": 5.0, "horizon": 6, "model": "auto"}
NAMES = ("N0,0", "N0,1", "N0,2")


class World:
    """Three portions on two shards; rows come at the times given, and each has two leaves."""

    def __init__(self, seed: int, seconds: float, rate: float = 20.0) -> None:
        rng = np.random.default_rng(seed)
        self.times = {n: np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))
                      for n in NAMES}  # fmt: skip
        self.applied = dict.fromkeys(NAMES, 0)
        self.ingest_lag = {0: 0, 1: 0}
        self.workers = {0: "a", 1: "b"}
        self.held: dict[int, list[int]] = {0: [], 1: []}

    def came(self, name: str, begin: float, end: float) -> int:
        return int(((self.times[name] >= begin) & (self.times[name] < end)).sum())

    def apply(self, now: float, late: float = 0.0) -> None:
        """Everything that came so long before is applied."""
        for name in NAMES:
            self.applied[name] = max(self.applied[name], self.came(name, 0, now - late))

    def owner(self, name: str) -> int:
        return int(name[-1]) % 2

    def portion(self, name: str) -> dict[str, Any]:
        rows = self.applied[name]
        first, second = rows // 3, rows - rows // 3
        last = float(self.times[name][rows - 1]) if rows else 0.0
        return {
            "portion": name, "owner": self.owner(name), "worker": self.workers[self.owner(name)],
            "offset": rows - 1, "rows": rows, "bytes": 64 * rows, "distance": 0.5 * rows,
            "uncovered": rows // 10, "row_time": last,
            "nodes": {"path": ["", "0", "1"], "state": ["splitting", "waiting", "sink"],
                      "rows": [rows, first, second], "mean_distance": [0.5, 0.5, 0.5],
                      "uncovered": [rows // 10, 0, 0]},
        }  # fmt: skip

    def shard(self, number: int, now: float) -> dict[str, Any]:
        inputs = [{"node": "N0", "stored": -1, "routed": int(10 * now),
                   "end": int(10 * now) + 1 + self.ingest_lag[number]}]  # fmt: skip
        for name in NAMES:
            if self.owner(name) == number:
                inputs.append({"node": name, "stored": self.applied[name] - 1, "routed": -1,
                               "end": self.came(name, 0, now)})  # fmt: skip
        return {"shard": number, "worker": self.workers[number], "time": now,
                "root": {"held": self.held[number]}, "inputs": inputs}  # fmt: skip

    def show(self, lookout: Lookout, now: float, silent: tuple[int, ...] = ()) -> bool:
        shards = {n: self.shard(n, now) for n in (0, 1) if n not in silent}
        return lookout.look(shards, {n: self.portion(n) for n in NAMES}, now)


def series(records: list[dict[str, Any]], node: str) -> Density:
    """What `.state` has of a node: the last record of each key."""
    last = {(r["node"], r["chunk"]): r for r in records if r["kind"] == "density"}
    density = joined([r for (n, _), r in last.items() if n == node], 5.0)
    assert density is not None
    return density


def run(world: World, lookout: Lookout, begin: float, end: float) -> list[dict[str, Any]]:
    """Twice a window; the records that were told, as they are read again."""
    records: list[dict[str, Any]] = []
    for now in np.arange(begin, end, 2.5).tolist():
        world.apply(now)
        if world.show(lookout, now):
            lookout.step()
            records += json.loads(json.dumps(lookout.take_records()))
    return records


@pytest.mark.parametrize("seed", range(2))
def test_windows_hold_the_rows_of_their_time(seed: int) -> None:
    world, lookout = World(seed, 400.0), Lookout(SETTINGS, 1)
    records = run(world, lookout, 12.5, 400.0)
    for name in NAMES:
        windows = series(records, name).windows
        assert [w.number for w in windows] == list(range(3, 3 + len(windows))) and len(windows) > 70
        counts = np.array([world.came(name, 5.0 * w.number, 5.0 * w.number + 5) for w in windows])
        told = np.array([w.rows for w in windows])
        # half a second's rows may be told in the next window
        assert np.abs(told - counts).max() <= 0.1 * 100 + 4 * 0.1 * 100**0.5 + 4
        assert told.sum() == pytest.approx(counts.sum(), abs=25)
        for window in windows:
            assert window.mean_distance == pytest.approx(0.5, rel=1e-4)
            assert window.bytes == pytest.approx(64 * window.rows, rel=1e-4)
    assert set(lookout.scores) == set(NAMES)
    leaf = series(records, "N0,1,0")
    assert np.mean([w.rows for w in leaf.windows]) == pytest.approx(100 / 3, rel=0.1)
    assert {r["node"] for r in records if r["kind"] == "density"} == {
        *NAMES, *(f"{n},{i}" for n in NAMES for i in (0, 1))
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
def test_who_takes_over_goes_on_without_hole_or_burst(seed: int) -> None:
    world = World(seed, 700.0)
    first = Lookout(SETTINGS, 7)
    records = run(world, first, 10.0, 400.0)
    before = first.scores
    # its worker dies, and for 40 s nobody looks; the other host rebuilds and works off what came
    second = Lookout(SETTINGS, 3)
    second.restore(records)
    assert second.author == 8
    world.workers[0] = "c"
    world.ingest_lag[0] = 500
    world.apply(440.0, late=30.0)
    for now in (440.0, 442.5, 445.0):
        assert not world.show(second, now)
    world.ingest_lag[0] = 0
    records += run(world, second, 447.5, 700.0)
    for name in NAMES:
        windows = series(records, name).windows
        assert [w.number for w in windows] == list(range(2, 139))
        told = np.array([w.rows for w in windows])
        assert told.sum() == pytest.approx(world.came(name, 10.0, 695.0), abs=25)
        assert told.max() < 160 and told.min() > 50
    assert {r["author"] for r in records if r["offset"] > 85} == {8}
    assert all(len(s.history) > 75 for s in second.scores.values())
    for name, score in before.items():
        kept = {p.t: p for p in second.scores[name].history}
        for past in score.history[-30:]:
            again = kept[past.t]
            assert again.score == pytest.approx(past.score, rel=1e-4)
            assert again.realised is not None


def test_one_that_died_at_once_is_no_reason_to_begin_anew() -> None:
    world, first = World(3, 300.0), Lookout(SETTINGS, 1)
    records = run(world, first, 10.0, 200.0)
    again = Lookout(SETTINGS, 1)
    again.restore(records)
    assert again.take_records() == [], "nothing to tell yet"
    more = run(world, again, 200.0, 300.0)
    (one,) = {series(records + more, "N0,0").windows[0].number}
    assert one == 2
    other = Lookout({**SETTINGS, "window_s": 10.0}, 1)
    other.restore(records)
    assert other.scores == {} and other.author == 2, "windows of another length are of no use"


def test_nothing_comes_and_little_is_told() -> None:
    world, lookout = World(0, 100.0), Lookout(SETTINGS, 1)
    run(world, lookout, 10.0, 100.0)
    quiet = run(world, lookout, 110.0, 710.0)
    told = [r for r in quiet if r["kind"] == "density" and r["node"] == "N0,0"]
    windows = series(quiet, "N0,0").windows
    assert windows[-1].number >= 140 - 12 and windows[-1].rows == 0.0
    assert len(told) <= 3 + 2 * 120 / 12
    assert lookout.scores["N0,0"].score == pytest.approx(0.0, abs=0.5)


def test_a_portion_that_lags_is_told_up_to_its_last_row() -> None:
    world, lookout = World(1, 200.0), Lookout(SETTINGS, 1)
    records = []
    for now in np.arange(10.0, 200.0, 2.5).tolist():
        world.apply(now, late=20.0)
        if world.show(lookout, now):
            lookout.step()
            records += lookout.take_records()
    windows = series(records, "N0,0").windows
    assert windows[-1].number in range(33, 36)
    assert all(50 < w.rows < 160 for w in windows)


def test_while_N0_hands_down_what_it_held_nothing_is_a_burst() -> None:
    world, lookout = World(2, 300.0), Lookout(SETTINGS, 1)
    world.held[1] = [500, 0]
    for now in (10.0, 12.5, 30.0):
        world.apply(now)
        assert not world.show(lookout, now)
    world.held[1] = []
    records = run(world, lookout, 32.5, 100.0)
    assert min(series(records, "N0,0").windows).number >= 7


def test_a_shard_that_is_behind_for_ever_is_only_slow() -> None:
    world, lookout = World(2, 600.0), Lookout(SETTINGS, 1)
    world.ingest_lag = {0: 10_000, 1: 0}
    records = run(world, lookout, 10.0, 300.0)
    assert min(series(records, "N0,0").windows).number in range(26, 30)


@pytest.mark.parametrize("length", [LENGTH, LEAF_LENGTH])
def test_chunks_are_bounded_and_whole(length: int) -> None:
    rng = np.random.default_rng(length)
    density, kept, since, rows = Density(1.0, length), {}, 0, 0
    for t in range(2 * length + 77):
        density.tell(t + 0.5, Counters(rows, 3 * rows, 0.0, 0))
        rows += int(rng.integers(0, 9))
        if rng.random() < 0.2:
            kept |= {r["chunk"]: r for r in chunks("N0,3", density, since, length)}
            since = density.next
    assert len(kept) == length // CHUNK + 1
    kept |= {r["chunk"]: r for r in chunks("N0,3", density, since, length)}
    again = joined(list(kept.values()), 1.0, length)
    assert again is not None and again.to_json() == density.to_json()
    assert max(len(json.dumps(r)) for r in kept.values()) < 2500


def test_leaves_that_come_and_go_share_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pctstream.core.lookout.LEAVES", 4)
    world, lookout = World(5, 400.0), Lookout(SETTINGS, 1)
    records = run(world, lookout, 10.0, 150.0)
    leaves = [r for r in records if r["kind"] == "density" and r["leaf"]]
    assert {r["slot"] for r in leaves} == {0, 1, 2, 3}
    # the smallest third of each is child 0: one of them at most is among the four
    assert len({r["node"] for r in leaves if r["node"].endswith(",1")}) == 3
    plain = world.portion
    monkeypatch.setattr(world, "portion", lambda name: split(plain(name)))
    again = Lookout(SETTINGS, 1)
    again.restore(records)
    more = [r for r in run(world, again, 150.0, 400.0) if r["kind"] == "density" and r["leaf"]]
    assert {r["slot"] for r in more} == {0, 1, 2, 3}
    assert not [r["node"] for r in more if r["node"].endswith(",1") and r["node"].count(",") == 2]
    keys = {(r["slot"], r["chunk"]) for r in records + more if r["kind"] == "density"}
    assert len(keys) <= (3 + 4) * 2


def split(record: dict[str, Any]) -> dict[str, Any]:
    """Its second leaf has split in two."""
    nodes, rows = record["nodes"], record["nodes"]["rows"][2]
    columns = {"path": ["", "0", "1", "1,0", "1,1"],
               "state": ["splitting", "waiting", "splitting", "waiting", "leaf"],
               "rows": [*nodes["rows"], rows // 2, rows - rows // 2],
               "mean_distance": [0.5] * 5, "uncovered": [*nodes["uncovered"], 0, 0]}  # fmt: skip
    return record | {"nodes": columns}


@pytest.mark.parametrize("phase", [0.0, 0.7, 1.4, 2.1])
def test_what_another_host_works_off_is_no_burst_elsewhere(phase: float) -> None:
    """The host of shard 1 dies; what came through it for 11 s goes down within a second."""
    lookout, records = Lookout(SETTINGS, 1, silent_s=6.0), []

    def rows(now: float) -> int:
        """50 a second through shard 0, and 50 through shard 1."""
        other = now if now < 200 or now > 212 else 200 if now < 211 else 200 + 12 * (now - 211)
        return int(50 * now + 50 * other)

    for now in (np.arange(10.0, 300.0, 2.5) + phase).tolist():
        alive = now < 200 or now > 213.5  # its first record
        shown = now if alive else 199.0
        portion = {
            "portion": "N0,0", "owner": 0, "worker": "a", "offset": rows(now), "rows": rows(now),
            "bytes": 0, "row_time": now, "nodes": {c: [] for c in (
                "path", "state", "rows", "mean_distance", "uncovered")},
        }  # fmt: skip
        shards = {
            s: {"shard": s, "worker": w, "time": t, "root": {"held": []},
                "inputs": [{"node": "N0", "stored": -1, "routed": int(t), "end": int(t) + 1}]}
            for s, w, t in ((0, "a", now), (1, "b" if now < 213.5 else "c", shown))
        }  # fmt: skip
        if lookout.look(shards, {"N0,0": portion}, now):
            lookout.step()
            records += lookout.take_records()
    windows = series(records, "N0,0").windows
    assert [w.number for w in windows] == list(range(windows[0].number, windows[-1].number + 1))
    # for 6 s the silence is not noticed: half is missing there, and is in what is spread afterwards
    assert max(w.rows for w in windows) < 700 and min(w.rows for w in windows) > 240
    begin, end = 5.0 * windows[0].number, 5.0 * (windows[-1].number + 1)
    assert sum(w.rows for w in windows) == pytest.approx(100 * (end - begin), abs=5)
