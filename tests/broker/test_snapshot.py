"""Snapshots on a real broker: taken while rows flow, restored where the data directory is gone, and what
is cut behind them is never silently missing."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from broker.system import System, meanwhile, mixture, wait_for

from pctstream.cli import main
from pctstream.config import to_env
from pctstream.core.block import Source
from pctstream.deep import verify_pipes
from pctstream.pipes.bounds import bounds

Make = Callable[..., System]
PART = 6000


@pytest.fixture
def grown(system: Make) -> System:
    one = system(shards__count=2, tree__epsilon=8.0, tree__gap=500)
    one.start(0, 1)
    one.feed(mixture(PART))
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.settle()
    return one


class Said:
    """What a command of pctstream answered."""

    def __init__(self, one: System, monkeypatch: Any, capsys: Any) -> None:
        self._one, self._patch, self._capture = one, monkeypatch, capsys

    def __call__(self, *words: str | Path, code: int = 0) -> Any:
        for key, value in to_env(self._one.cfg).items():
            self._patch.setenv(key, value)
        self._capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*map(str, words), "--data-dir", str(self._one.folder), "--json"])
        out, err = self._capture.readouterr()
        assert ended.value.code == code, err
        return json.loads(out) if code == 0 else json.loads(err.splitlines()[-1])["error"]


@pytest.fixture
def say(grown: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    (grown.folder / "workers.json").write_text(json.dumps({"workers": grown.urls}))
    return Said(grown, monkeypatch, capsys)


@contextmanager
def rows_flowing(one: System) -> Iterator[list[int]]:
    """Rows with new ids, and with ids that came before, until the block ends."""
    fed = [0]

    def run(done: threading.Event) -> None:
        while not done.wait(0.1):
            fed[0] += 1
            ids = [f"{fed[0]}-{i}" if i % 20 else str(i) for i in range(500)]
            one.feed(mixture(500, seed=fed[0]), ids)

    with meanwhile(run):
        yield fed


def begins(one: System, kind: str) -> dict[str, int]:
    """Where each log of a kind begins."""
    topics = one.admin.list_topics(timeout=10).topics
    names = [n for n in topics if n == f"{one.tree}.{kind}" or n.startswith(f"{one.tree}.{kind}.")]
    sources = [Source(n, p) for n in names for p in topics[n].partitions]
    return {f"{s.topic}/{s.partition}": low for s, (low, _) in bounds(one.admin, sources).items()}


def told(one: System) -> str:
    """All that workers said so far."""
    return "".join(file.read_text() for file in sorted(one.folder.glob("worker-*.log")))


def sound(one: System) -> None:
    verdict = one.verify()
    assert (verdict.lost, verdict.duplicated, verdict.altered) == (0, 0, 0), verdict


@pytest.mark.timeout(400)
def test_a_lost_data_directory_is_restored_and_caught_up_while_rows_flow(
    grown: System, say: Said, tmp_path: Path
) -> None:
    one, folder = grown, tmp_path / "snapshots"
    with rows_flowing(one):
        taken = say("snapshot", folder)
        assert taken["rows"] >= PART * 0.9
        assert say("snapshot", one.folder / "in", code=2).endswith("would be lost with it")
        wait_for(
            "more rows than it has", lambda: one.get("/v1/tree")["rows"] > taken["rows"] + 2000
        )
        one.kill(0)
        one.kill(1)
        before = {path.name for path in (one.folder / "shards").iterdir()}
        assert "has stores of the shards 0, 1" in say("restore", folder, code=2)
        shutil.rmtree(one.folder / "shards")
        shutil.rmtree(one.folder / "workers")
        back = say("restore", folder)
        assert (back["rows"], back["shards"]) == (taken["rows"], [0, 1])
        assert {path.name for path in (one.folder / "shards").iterdir()} <= before
        one.start(0, 1, ready=False)
        one.wait_ready(150)
    sound(one)
    assert verify_pipes(one.cfg, 2, lambda: one.get("/v1/shards")["shards"]) == dict.fromkeys(
        ("lost", "duplicated", "altered"), 0
    )


@pytest.mark.timeout(400)
def test_what_is_cut_behind_a_snapshot_comes_from_it_or_is_missed_aloud(
    grown: System, say: Said, tmp_path: Path
) -> None:
    one, folder = grown, tmp_path / "snapshots"
    with rows_flowing(one):
        wait_for("rows came", lambda: one.get("/v1/tree")["rows"] > PART + 1000)
        cut = say("snapshot", folder, "--trim", "--trim-ingest")["cut"]
    pipes = {name: at for name, at in begins(one, "P0").items() if at}
    assert pipes == {f"{c['topic']}/{c['partition']}": c["begins"] for c in cut}
    assert sum(".P0." in name for name in pipes) > 2
    assert sum(".P0/" in name for name in pipes) == 2
    verdict = one.verify()
    assert (verdict.lost, verdict.duplicated, verdict.altered) == (0, 0, 0), verdict
    assert verdict.unverifiable > 0
    shards = one.get("/v1/shards")["shards"]
    assert set(verify_pipes(one.cfg, 2, lambda: shards).values()) == {0}
    # a store is lost: without a snapshot nothing begins later in silence
    one.stop()
    shutil.rmtree(one.folder / "shards" / "1")
    one.start(0, ready=False)
    assert one.died(0) == 5
    assert "no store here knows: bring the shard back with `pctstream restore" in one.log(0)
    # with one it is taken by itself, and the rest follows from the logs
    shutil.rmtree(one.folder / "shards" / "1")
    one.start(0, 1, PCT_STORE__SNAPSHOTS=str(folder))
    assert "shard 1 was restored from" in told(one)
    one.feed(mixture(2000, seed=99))
    sound(one)
    # a store that ends before a log begins is not caught up, but made anew
    one.stop()
    shutil.copytree(one.folder / "shards" / "0", tmp_path / "old")
    one.start(0, 1)
    one.feed(mixture(2000, seed=100))
    one.settle()
    say("snapshot", folder, "--trim")
    one.stop()
    shutil.rmtree(one.folder / "shards" / "0")
    shutil.copytree(tmp_path / "old", one.folder / "shards" / "0")
    one.start(0, 1, PCT_STORE__SNAPSHOTS=str(folder))
    assert "shard 0 is made again from its logs in 0.1: its store ends at" in told(one)
    assert "shard 0 was restored from" in told(one)
    sound(one)
    # too old, and another tree of this name
    one.stop()
    oldest = min(folder.glob(f"{one.tree}-*"))
    assert "it is too old" in say("restore", oldest, "--force", code=5)
