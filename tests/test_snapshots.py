"""A snapshot is whole and what it was, or it is refused with words and nothing is touched."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sim.memory import MemoryKV

from pctstream import stamp
from pctstream.agents.inputs import begins_late
from pctstream.core.block import Block, Source
from pctstream.core.effects import Apply
from pctstream.core.marks import Marks
from pctstream.core.moves import Moves
from pctstream.core.names import ROOT
from pctstream.core.position import LogIdentity, Position
from pctstream.core.proof import proof
from pctstream.core.reopened import Opening
from pctstream.core.routing import Routing
from pctstream.errors import ConfigError, PctError, Unreadable, UsageError
from pctstream.kv import KV
from pctstream.pipes.bounds import Commit
from pctstream.rocks import RocksKV
from pctstream.snapshots import trimming
from pctstream.snapshots.against import missing, needed
from pctstream.snapshots.manifest import NAME, Manifest, named
from pctstream.snapshots.moment import source_of, taken
from pctstream.snapshots.proven import examined
from pctstream.snapshots.restoring import removed, restored, unused
from pctstream.snapshots.taking import alone, own_name
from pctstream.stamp import stamped
from pctstream.store import Store

MINE, THEIRS = (0, 3), (0, 31)
LOG = LogIdentity("an-id", 4)


def rows_of(shard: int, at: int, rows: int = 400) -> Block:
    vectors = np.random.default_rng(at).normal(size=(rows, 16)).astype(np.float32)
    return Block(
        (Source("t.P0", shard),), np.zeros(rows, np.int32), np.arange(rows) + at * rows,
        np.zeros(rows, np.int32), vectors,
    )  # fmt: skip


def shard_of(kv: KV, shard: int, *paths: tuple[int, ...], segments: int = 4) -> Store:
    """Rows in N0 and in portions; of each portion some have left."""
    stamped(kv, "t", shard, Path())
    store = Store(kv)
    for at in range(segments):
        rows, leaves = rows_of(shard, at), np.zeros(400, np.int32)
        for path in (ROOT, *paths):
            position = Position(at + 1, -1, 7)
            left = np.array([[1, 5], [1, 6]]) if at == 1 and path != ROOT else None
            source = source_of("t", path, shard)
            state = {"rows": 400 * at, "marks": Marks().to_json()}
            store.apply(Apply(path, source, position, state, rows, leaves=leaves, left=left), LOG)
    return store


def owned(**owners: int) -> Routing:
    log = Routing(epoch=9)
    log.owners = {(0, int(name[2:])): shard for name, shard in owners.items()}
    log.splits = {ROOT: 3}
    return log


def snapshot(folder: Path, log: Routing, *stores: Store) -> Manifest:
    folder.mkdir()
    entries = []
    for shard, store in enumerate(stores):
        file = folder / f"shard-{shard}.arrow"
        file.write_bytes(b"".join(taken(store.frozen(), "t", shard, log)))
        entries.append(examined(file))
    manifest = Manifest("t", "history", 1.0, tuple(entries), folder=folder)
    (folder / NAME).write_bytes(manifest.to_bytes())
    assert Manifest.read(folder, "t") == manifest
    return manifest


def opened(folder: Path) -> Store:
    return Store(RocksKV(folder, 1 << 20))


@pytest.fixture
def one(tmp_path: Path) -> tuple[Manifest, Routing, Store]:
    log = owned(N03=0)
    store = shard_of(MemoryKV(), 0, MINE, THEIRS)
    return snapshot(tmp_path / "s", log, store), log, store


def test_what_comes_back_is_what_the_shard_answered_for(
    tmp_path: Path, one: tuple[Manifest, Routing, Store]
) -> None:
    manifest, log, store = one
    entry = manifest.entry(0)
    assert set(entry.nodes) == {"N0", "N0,3"}
    assert entry.rows == 1600 + 1598, "rows that left do not count"
    assert entry.nodes["N0,3"] == proof(rows for _, rows in store.live(MINE)).to_json()
    pipe = entry.place(source_of("t", MINE, 0))
    assert pipe is not None and (pipe.taken, pipe.epoch, pipe.topic_id) == (4, 7, "an-id")
    count = restored(manifest, log, 0, tmp_path / "0")
    assert count == entry.rows
    back = opened(tmp_path / "0")
    kept = [pair for pair in store.pairs() if b"N0,31" not in pair[0] and b"P0.31" not in pair[0]]
    assert list(back.pairs()) == kept
    back.close()


def flipped(raw: bytes, at: float) -> bytes:
    place = int(len(raw) * at)
    return raw[:place] + bytes([raw[place] ^ 4]) + raw[place + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "flipped near its beginning": lambda raw: flipped(raw, 0.02),
    "flipped in the middle": lambda raw: flipped(raw, 0.5),
    "flipped near its end": lambda raw: flipped(raw, 0.97),
    "cut in the middle": lambda raw: raw[: len(raw) // 2],
    "without its end": lambda raw: raw[:-600],
    "empty": lambda raw: b"",
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_is_refused_and_nothing_is_touched(
    how: str, tmp_path: Path, one: tuple[Manifest, Routing, Store]
) -> None:
    manifest, log, _ = one
    stores = tmp_path / "shards"
    restored(manifest, log, 0, stores / "0")
    file = manifest.folder / manifest.entry(0).file
    file.write_bytes(DAMAGE[how](file.read_bytes()))
    with pytest.raises(Unreadable, match="damaged"):
        restored(manifest, log, 0, stores / "0", lambda: removed(stores, 0))
    assert [each.name for each in stores.iterdir()] == ["0"], "the store of before, and no draft"
    there = opened(stores / "0")
    assert len(list(there.live(MINE))) == 4
    there.close()


def test_what_a_restore_that_died_left_is_removed_unless_somebody_is_at_it(
    tmp_path: Path, one: tuple[Manifest, Routing, Store]
) -> None:
    manifest, log, _ = one
    RocksKV(tmp_path / "0.restoring-dead", 1 << 20).close()
    at_it = RocksKV(tmp_path / "0.restoring-busy", 1 << 20)
    restored(manifest, log, 0, tmp_path / "0")
    assert sorted(each.name for each in tmp_path.glob("0*")) == ["0", "0.restoring-busy"]
    at_it.close()
    with pytest.raises(OSError, match="not empty"):
        restored(manifest, log, 0, tmp_path / "0")
    assert [each.name for each in tmp_path.glob("0*")] == ["0"]


def test_another_snapshots_file_in_its_place_is_refused(
    tmp_path: Path, one: tuple[Manifest, Routing, Store]
) -> None:
    manifest, log, _ = one
    other = snapshot(tmp_path / "other", log, shard_of(MemoryKV(), 0, MINE, segments=2))
    (other.folder / "shard-0.arrow").rename(manifest.folder / "shard-0.arrow")
    with pytest.raises(Unreadable, match="another file"):
        restored(manifest, log, 0, tmp_path / "0")
    assert not (tmp_path / "0").exists()


def test_a_manifest_that_is_damaged_or_not_for_us_says_so(
    tmp_path: Path, one: tuple[Manifest, Routing, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _, _ = one
    file, raw = manifest.folder / NAME, manifest.to_bytes()
    with pytest.raises(ConfigError, match="is of the tree t, not of u"):
        Manifest.read(manifest.folder, "u")
    for at in np.linspace(0.01, 0.99, 50):
        file.write_bytes(flipped(raw, float(at)))
        with pytest.raises(PctError):
            Manifest.read(manifest.folder, "t")
    for size in (0, 1, len(raw) // 2, len(raw) - 1):
        file.write_bytes(raw[:size])
        with pytest.raises(Unreadable, match="another snapshot"):
            Manifest.read(manifest.folder, "t")
    file.write_bytes(replace(manifest, format=2, version="9.9").to_bytes())
    with pytest.raises(ConfigError, match=r"pctstream 9\.9 in format 2"):
        Manifest.read(manifest.folder, "t")
    file.write_bytes(raw)
    written = stamp.SCHEMA
    monkeypatch.setattr(stamp, "SCHEMA", written - 1)
    with pytest.raises(ConfigError, match=f"stores of schema {written}"):
        Manifest.read(manifest.folder, "t")
    file.unlink()
    with pytest.raises(Unreadable, match="no whole snapshot"):
        Manifest.read(manifest.folder, "t")


def test_the_newest_whole_snapshot_of_the_tree_is_taken(tmp_path: Path) -> None:
    log, store = owned(N03=0), shard_of(MemoryKV(), 0, MINE)
    for name, created in (("t-1", 1.0), ("t-2", 5.0), ("t-3", 3.0), ("u-1", 9.0)):
        manifest = replace(snapshot(tmp_path / name, log, store), created=created)
        (tmp_path / name / NAME).write_bytes(replace(manifest, tree=name[0]).to_bytes())
    assert named(tmp_path, "t").folder.name == "t-2"
    (tmp_path / "t-2" / NAME).write_bytes(b"{")
    assert named(tmp_path, "t").folder.name == "t-3"
    assert named(tmp_path / "t-1", "t").folder.name == "t-1"
    with pytest.raises(PctError, match="no whole snapshot of the tree v"):
        named(tmp_path, "v")


def test_a_portion_that_moved_since_comes_from_the_file_of_its_owner_then(tmp_path: Path) -> None:
    first, second = shard_of(MemoryKV(), 0, MINE), shard_of(MemoryKV(), 1, THEIRS)
    then, now = owned(N03=0, N031=1), owned(N03=1, N031=1, N07=1)
    manifest = snapshot(tmp_path / "s", then, first, second)
    assert missing(manifest, now.owners) == ["N0,7"]
    assert restored(manifest, now, 1, tmp_path / "1") == 1600 + 1598 + 1598
    back = opened(tmp_path / "1")
    assert sorted(back.nodes()) == ["N0", "N0,3", "N0,31"]
    assert back.position(source_of("t", MINE, 1)) == first.position(source_of("t", MINE, 0))
    assert back.position(Source("t.P0", 1)) == second.position(Source("t.P0", 1))
    back.close()
    assert restored(manifest, now, 0, tmp_path / "0") == 1600, "it has let go of the portion"
    # N0,7 was made since: it is read from its beginning
    assert {p.topic: p.taken for p in needed(manifest, now, 1)} == {
        "t.P0": 4, "t.P0.3": 4, "t.P0.31": 4, "t.P0.7": -1,
    }  # fmt: skip


def test_stores_in_use_are_left_and_two_snapshots_do_not_meet(tmp_path: Path) -> None:
    held = RocksKV(tmp_path / "3.1", 1 << 20)
    with pytest.raises(UsageError, match="stop the workers"):
        unused(tmp_path, 3)
    held.close()
    unused(tmp_path, 3)
    with alone(tmp_path, "t"), pytest.raises(UsageError, match="wait for it"), alone(tmp_path, "t"):
        pass
    with (tmp_path / ".t.lock").open("w") as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)


def reads(shard: int, path: tuple[int, ...], stored: int, error: str | None = None) -> dict:
    topic, partition = source_of("t", path, shard)
    return {"topic": topic, "partition": partition, "stored": stored, "routed": -1, "error": error}


def test_only_what_the_snapshot_and_every_reader_have_is_cut(tmp_path: Path) -> None:
    log = owned(N03=0, N031=1)
    manifest = snapshot(
        tmp_path / "s", log, shard_of(MemoryKV(), 0, MINE), shard_of(MemoryKV(), 1, THEIRS)
    )
    own = {0: [reads(0, MINE, 9), reads(0, ROOT, 9)], 1: [reads(1, THEIRS, 4)]}

    def cuts(inputs: trimming.Inputs, now: Routing = log) -> dict[str, int]:
        return {s.topic: at for s, at in trimming.pipe_cuts(manifest, now, inputs).items()}

    assert cuts(own) == {"t.P0.3": 5, "t.P0.31": 5}
    # a store that was lost meanwhile and is behind; an input that stopped; a second reader; nobody
    assert cuts(own | {1: [reads(1, THEIRS, 3)]}) == {"t.P0.3": 5}
    assert cuts(own | {1: [reads(1, THEIRS, 4, "broken")]}) == {"t.P0.3": 5}
    assert cuts(own | {1: [*own[1], reads(1, MINE, 2)]}) == {"t.P0.31": 5}
    assert cuts({1: own[1]}) == {"t.P0.31": 5}
    # N0,31 above the cut: a trunk node's store has what came, too
    deeper = owned(N03=0, N031=1)
    deeper.owners[0, 31, 2] = 0
    deeper.tree = {"cut": 2}
    assert cuts(own, deeper) == {"t.P0.3": 5, "t.P0.31": 5}
    # another owner since, and a move that is open
    assert cuts(own, owned(N03=1, N031=1)) == {"t.P0.31": 5}
    moving = owned(N03=0, N031=1)
    moving.moves = Moves()
    moving.moves.plan("m1", MINE, 0, 1, 4, {}, 0.0)
    assert cuts(own, moving) == {"t.P0.31": 5}


def test_of_the_ingest_log_only_what_was_routed_and_committed_is_cut(tmp_path: Path) -> None:
    log, store = owned(N03=0), shard_of(MemoryKV(), 0, MINE)
    ingest = Source("t.P0", 0)
    holding = snapshot(tmp_path / "a", log, store)
    assert trimming.ingest_cuts(holding, log, {ingest: 99}) == {}, (
        "rows stored at N0 keep their log"
    )
    store.reach(ingest, Position(4, 30, 7), LOG)
    routed = snapshot(tmp_path / "b", log, store)
    assert trimming.ingest_cuts(routed, log, {ingest: 99}) == {ingest: 31}
    assert trimming.ingest_cuts(routed, log, {ingest: 20}) == {ingest: 21}
    assert trimming.ingest_cuts(routed, log, {}) == {}
    for start, cuts in ((12, {ingest: 12}), (50, {ingest: 31}), (0, {})):
        log.reopened.open[ROOT] = Opening(9, "hash", {0: start})
        found = trimming.ingest_cuts(routed, log, {ingest: 99})
        assert found == cuts, "an author that is done again reads from there"
    log.reopened.open.clear()
    log.splits = {}
    assert trimming.ingest_cuts(routed, log, {ingest: 99}) == {}, (
        "a cover is found from the beginning"
    )


def test_without_a_store_a_log_that_was_cut_is_not_read_from_where_it_begins_now() -> None:
    pipe, ingest = source_of("t", MINE, 0), source_of("t", ROOT, 0)
    plain, ids = Commit(20, {"epoch": 3}), Commit(20, {"epoch": 3, "ids": True})
    assert begins_late(pipe, MINE, 0, None) is None
    assert "the rows before it no store here knows" in str(begins_late(pipe, MINE, 5, None))
    # a tree may begin on a log that was cut before; what was routed lies in the portions
    assert begins_late(ingest, ROOT, 9, None) is None
    assert begins_late(ingest, ROOT, 9, plain) is None
    assert "nobody has read what came from 21 on" in str(begins_late(ingest, ROOT, 30, plain))
    # but which ids came is known from the whole log alone
    assert begins_late(ingest, ROOT, 0, ids) is None
    assert "which ids came before it no store here knows" in str(begins_late(ingest, ROOT, 9, ids))


def test_a_snapshot_in_the_same_second_gets_the_next_name(tmp_path: Path) -> None:
    first, began = own_name(tmp_path, "t")
    first.mkdir()
    second, then = own_name(tmp_path, "t")
    second.mkdir()
    third, _ = own_name(tmp_path, "t")
    assert first < second < third
    assert int(began) < int(then)
