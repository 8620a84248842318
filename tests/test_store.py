"""The store: the same over RocksDB and a dict, whole batches or nothing, also after kill -9."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from core.rows import numbered, plain
from sim.memory import MemoryKV

from pctstream.core.block import Source
from pctstream.core.effects import Apply
from pctstream.core.position import UNKNOWN, LogIdentity, Position
from pctstream.errors import StoreFailed
from pctstream.kv import KV
from pctstream.rocks import RocksKV
from pctstream.store import Store

N0, PORTION = (0,), (0, 1)
INPUTS = {N0: Source("t.P0", 3), PORTION: Source("t.P0.1", 0)}


@pytest.fixture
def rocks(tmp_path: Path) -> Iterator[RocksKV]:
    kv = RocksKV(tmp_path / "shards" / "0", 1 << 20)
    yield kv
    kv.close()


def apply_of(
    path: tuple[int, ...], at: int, rows: Sequence[int] = (), purge: bool = False
) -> Apply:
    block = numbered(rows, 40) if rows else None
    return Apply(path, INPUTS[path], Position(at, at - 1, 2), {"rows": at}, block, purge)


def test_rocksdb_and_a_dict_answer_alike(rocks: RocksKV) -> None:
    chance = random.Random(4)
    memory = MemoryKV()
    keys = [bytes(chance.choices(b"\x00ar/\xff", k=chance.randint(1, 4))) for _ in range(30)]
    for _ in range(60):
        changes = [
            (key, None if chance.random() < 0.3 else chance.randbytes(chance.choice([3, 9000])))
            for key in chance.sample(keys, chance.randint(1, 5))
        ]
        rocks.write(changes)
        memory.write(changes)
        for key in keys:
            assert rocks.get(key) == memory.get(key)
        for prefix in (b"", b"a", b"r/", b"\xff", b"\xff\xff", b"zz"):
            assert list(rocks.scan(prefix)) == list(memory.scan(prefix))


@pytest.mark.parametrize("kind", ["rocks", "memory"])
def test_everything_of_an_apply_is_there_and_nothing_else(
    kind: str, request: pytest.FixtureRequest
) -> None:
    kv: KV = request.getfixturevalue("rocks") if kind == "rocks" else MemoryKV()
    store = Store(kv)
    assert store.position(INPUTS[N0]) is None
    assert store.state(N0) is None
    store.apply(apply_of(N0, 255, [7, 255]), LogIdentity("id-1", 4))
    store.apply(apply_of(N0, 256))
    store.apply(apply_of(N0, 257, [257]), LogIdentity("id-2", 4))
    store.apply(apply_of(PORTION, 1, [1]), LogIdentity("id-3", 4))
    assert store.position(INPUTS[N0]) == (Position(257, 256, 2), LogIdentity("id-2", 4))
    assert store.position(Source("t.P0", 4)) is None
    assert store.state(N0) == {"rows": 257}
    assert store.nodes() == ["N0", "N0,1"]
    found = [(last, plain(rows)) for last, rows in store.segments(N0)]
    assert found == [(255, plain(numbered([7, 255], 40))), (257, plain(numbered([257], 40)))]
    store.apply(apply_of(N0, 300, purge=True))
    assert list(store.segments(N0)) == []
    assert [last for last, _ in store.segments(PORTION)] == [1], "only its own rows"
    assert store.position(INPUTS[N0]) == (Position(300, 299, 2), UNKNOWN)


def test_segments_can_be_read_while_others_are_written(rocks: RocksKV) -> None:
    """RouteHeld reads the rows held at N0 while acks of the first of them are applied."""
    for kv in (rocks, MemoryKV()):
        store = Store(kv)
        for at in range(5):
            store.apply(apply_of(N0, at, [at]))
        seen = []
        for last, _ in store.segments(N0):
            seen.append(last)
            store.apply(apply_of(PORTION, last, [last]))
        assert seen == [0, 1, 2, 3, 4]


def test_a_batch_that_fails_changes_nothing_and_says_so(
    rocks: RocksKV, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(rocks)
    store.apply(apply_of(N0, 1, [1]))

    class Full:
        def write(self, batch: object) -> None:
            raise Exception("IO error: No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StoreFailed, match="No space"):
        patch.setattr(rocks, "_db", Full())
        store.apply(apply_of(N0, 2, [2]))
    assert store.position(INPUTS[N0]) == (Position(1, 0, 2), UNKNOWN)
    assert [last for last, _ in store.segments(N0)] == [1]


def test_the_lock_keeps_a_second_process_out(rocks: RocksKV, tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match=r"(?i)lock"):
        RocksKV(tmp_path / "shards" / "0", 1 << 20)


WRITER = """
import sys, pathlib
import numpy as np
from pctstream.core.block import Block, Source
from pctstream.core.effects import Apply
from pctstream.core.position import Position
from pctstream.rocks import RocksKV
from pctstream.store import Store
store = Store(RocksKV(pathlib.Path(sys.argv[1]), 1 << 20))
source = Source("t.P0", 3)
for at in range(100_000):
    rows = Block((source,), np.zeros(1, np.int32), np.array([at]), np.zeros(1, np.int32),
                 np.full((1, 2000), at, np.float32))
    store.apply(Apply((0,), source, Position(at, at - 1), {"stored_rows": at + 1}, rows))
    print(at, flush=True)
"""


def test_after_kill_9_the_store_holds_whole_batches_and_all_that_were_told(tmp_path: Path) -> None:
    path = tmp_path / "0"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(300)][-1]
        process.kill()
    kv = RocksKV(path, 1 << 20)
    store = Store(kv)
    found = store.position(INPUTS[N0])
    assert found is not None
    position = found[0]
    assert position.stored >= told
    segments = list(store.segments(N0))
    assert [last for last, _ in segments] == list(range(position.stored + 1))
    assert store.state(N0) == {"stored_rows": position.stored + 1}
    assert all(np.all(rows.vectors == last) for last, rows in segments)
    kv.close()


def test_a_moment_of_the_store_stays_as_it_was(rocks: RocksKV) -> None:
    """(The iterators of rocksdict's own snapshots see what is written later.)"""
    before = [(b"r/%03d" % i, bytes(50 + 5000 * (i % 2))) for i in range(100)]
    rocks.write(before)
    moment = rocks.frozen()
    rocks.write([(b"r/%03d" % i, b"new") for i in range(50, 200)])
    rocks.write([(b"r/%03d" % i, None) for i in range(20)])
    assert list(moment.scan(b"r/")) == before
    assert [k for k, _ in moment.scan(b"r/") if moment.get(b"r/150") is None] == [
        k for k, _ in before
    ]
    assert (moment.get(b"r/000"), moment.get(b"r")) == (before[0][1], None)
    assert len(list(rocks.keys(b"r/"))) == 180
    moment.close()
