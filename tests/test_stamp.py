"""What lies on disk says which layout it has; another one is brought up to date, or refused with words."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from sim.memory import MemoryKV
from test_copying import PATH, PIPE, filled, through

from pctstream import __version__, config, stamp
from pctstream.agents.copying import sent
from pctstream.agents.hosting import Hosting
from pctstream.errors import ConfigError
from pctstream.pairs import CopyBroken
from pctstream.rocks import RocksKV
from pctstream.stamp import SCHEMA, copied, stamped
from pctstream.store import Store

OURS = {"schema": SCHEMA, "version": __version__, "tree": "t", "shard": 3}


def said(kv: MemoryKV | RocksKV) -> object:
    return orjson.loads(kv.get(b"v/") or b"null")


def hosting(folder: Path, tree: str = "t") -> Hosting:
    return Hosting(config.load(None, {}, {"store.dir": str(folder), "tree.name": tree}))


def reopened(folder: Path) -> RocksKV:
    return RocksKV(folder / "shards" / "3", 1 << 20)


def test_a_new_store_is_stamped_and_opened_again(tmp_path: Path) -> None:
    for _ in range(2):
        store = hosting(tmp_path).open(3)
        assert store is not None
        store.close()
    kv = reopened(tmp_path)
    assert said(kv) == OURS
    kv.close()


def test_a_store_of_before_there_were_stamps_keeps_its_rows_and_gets_one(
    capfd: pytest.CaptureFixture[str],
) -> None:
    kv = MemoryKV()
    kv.write([(b"n/N0", b'{"rows": 5}')])
    stamped(kv, "t", 3, Path("shards/3"))
    assert said(kv) == OURS
    assert Store(kv).state((0,)) == {"rows": 5}
    assert "brought to schema 1" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({"schema": SCHEMA + 1, "version": "9.0"}, "written by pctstream 9.0"),
        ({"schema": "x"}, "schema x"),
        ({"tree": "other"}, "shard 3 of the tree other, not shard 3 of t"),
        ({"shard": 4}, "shard 4 of the tree t, not shard 3 of t"),
        (b"\xff", "cannot be read"),
        (b"[]", "cannot be read"),
    ],
)
def test_what_is_not_ours_is_refused_and_left_alone(
    tmp_path: Path, there: dict[str, object] | bytes, words: str
) -> None:
    raw = there if isinstance(there, bytes) else orjson.dumps(OURS | there)
    kv = reopened(tmp_path)
    kv.write([(b"v/", raw), (b"n/N0", b"{}")])
    kv.close()
    with pytest.raises(ConfigError, match=words):
        hosting(tmp_path).open(3)
    kv = reopened(tmp_path)  # the lock was let go of
    assert (kv.get(b"v/"), kv.get(b"n/N0")) == (raw, b"{}")
    kv.close()


def test_each_step_and_its_stamp_are_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it is killed: the steps that are stamped were taken, and no other."""
    monkeypatch.setattr(stamp, "SCHEMA", 3)
    steps = {n: lambda kv, n=n: [(b"done/%d" % n, b"")] for n in range(3)}
    after: list[tuple[int, list[bytes]]] = []

    def look() -> None:
        found = orjson.loads(kv.get(b"v/") or b'{"schema": 0}')
        after.append((found["schema"], list(kv.keys(b"done/"))))

    kv = MemoryKV(lambda *_: look())
    kv.write([(b"n/N0", b"{}")])
    stamped(kv, "t", 3, Path("shards/3"), steps)
    assert after == [(n, [b"done/%d" % i for i in range(n)]) for n in range(4)]


def test_what_can_be_read_again_is_removed_where_it_has_another_schema(tmp_path: Path) -> None:
    folder = tmp_path / "faust"
    copied(folder)
    (folder / "table").write_text("x")
    copied(folder)
    assert (folder / "table").exists()
    (folder / "schema").unlink()  # as those of before there were stamps
    copied(folder)
    assert (folder / "table").exists()
    copied(folder, 2)
    assert [p.name for p in folder.iterdir()] == ["schema"]
    (folder / "table").write_text("x")
    copied(folder, 2)
    assert (folder / "table").exists()


def test_a_copy_from_a_worker_of_another_schema_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then the portion is made from its pipe, as for any copy that nobody gives."""
    pieces = list(sent(filled(1), PATH, PIPE))
    monkeypatch.setattr(stamp, "SCHEMA", SCHEMA + 1)
    with pytest.raises(CopyBroken, match="schema"):
        through(iter(pieces), Store(MemoryKV()))
