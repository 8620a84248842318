"""A store whose files are not what was written: noticed by whoever reads, never opened again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pctstream import config
from pctstream.agents.hosting import Hosting
from pctstream.config import Config
from pctstream.errors import StoreDamaged
from pctstream.rocks import RocksKV, mark
from pctstream.store import Store

SMALL, LARGE = 200, 6000
"""Bytes of a value: large ones lie in blob files."""
KEYS = [f"k{i:05}".encode() for i in range(3000)] + [f"z{i:02}".encode() for i in range(50)]


def written(folder: Path) -> Path:
    """A store of `KEYS` whose values lie in one SST and one blob file."""
    chance, kv = random.Random(3), RocksKV(folder, 1 << 20)
    kv.write([(k, chance.randbytes(LARGE if k[:1] == b"z" else SMALL)) for k in KEYS])
    kv._db.flush()
    kv.close()
    return folder


def flip(folder: Path, kind: str) -> None:
    file = max(folder.glob(f"*{kind}*"), key=lambda f: f.stat().st_size)
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 3] ^= 0x40
    file.write_bytes(raw)


def by_scan(kv: RocksKV) -> int:
    return sum(1 for _ in kv.scan(b""))


def by_keys(kv: RocksKV) -> int:
    return sum(1 for _ in kv.keys(b""))


def of_a_moment(kv: RocksKV) -> int:
    return sum(1 for _ in kv.frozen().scan(b""))


def by_get(kv: RocksKV) -> int:
    return sum(kv.get(key) is not None for key in KEYS)


@pytest.mark.parametrize("kind", [".sst", ".blob"])
@pytest.mark.parametrize("read", [by_scan, by_keys, of_a_moment, by_get])
def test_a_read_gives_everything_or_says_that_it_cannot(
    tmp_path: Path, kind: str, read: Callable[[RocksKV], int]
) -> None:
    folder, hurt = written(tmp_path / "0"), list[str]()
    flip(folder, kind)
    kv = RocksKV(folder, 1 << 20, hurt.append)
    with pytest.raises(StoreDamaged, match="made again from its logs"):
        read(kv)
    assert len(hurt) == 1
    assert mark(folder).read_text().strip() == hurt[0]
    kv.close()


@pytest.fixture
def cfg(tmp_path: Path) -> Iterator[Config]:
    yield config.load(None, {}, {"store.dir": str(tmp_path), "kafka.broker": "127.0.0.1:1"})


@pytest.mark.parametrize("kind", [".sst", "MANIFEST"])
def test_a_damaged_store_is_never_opened_again(tmp_path: Path, cfg: Config, kind: str) -> None:
    """Noticed by a read, or by the opening itself."""
    folder, told = written(tmp_path / "shards" / "3"), list[str]()
    flip(folder, kind)
    if kind == ".sst":
        store = Hosting(cfg).open(3)
        assert store is not None
        with pytest.raises(StoreDamaged):
            store.nodes()
            list(store._kv.keys(b""))
        store.close()
    anew = Hosting(cfg, told.append).open(3)
    assert anew is not None
    assert anew.nodes() == []
    assert (tmp_path / "shards" / "3.current").read_text() == "3.1"
    assert [f"shard 3 is made again from its logs in 3.1: the store {folder} is damaged" in t
            for t in told] == [True]  # fmt: skip
    assert not folder.exists()
    assert not mark(folder).exists()
    anew.close()
    again = Hosting(cfg, told.append).open(3)
    assert isinstance(again, Store)
    assert len(told) == 1, "the new one is whole"
    again.close()
