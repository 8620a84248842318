"""A shard's filters never lack an id that its store has, whatever was lost, damaged or under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim.memory import MemoryKV

from pctstream.agents import blooms as module
from pctstream.agents.blooms import DELETED, Blooms
from pctstream.agents.keeper import Keeper
from pctstream.agents.named import Named
from pctstream.agents.shard import Shard
from pctstream.core.block import Block, Source, encode
from pctstream.core.bloom import LEAST_DESIGN, REBUILD
from pctstream.core.effects import Apply
from pctstream.core.identity import Identity, names64
from pctstream.core.names import ROOT, Path
from pctstream.core.position import Position
from pctstream.core.published import Part, pack, unpack
from pctstream.errors import Unreadable
from pctstream.keyspace import ROWS, at_offset
from pctstream.store import Store

PATH, OTHER = (0, 3), (0, 4)
FPR = 0.01


def block(at: int, rows: int, named: bool = True) -> Block:
    ids = pa.array([f"r{at}-{i}" if named and i % 3 else None for i in range(rows)], pa.string())
    return Block(
        (Source("t.P0", 1), Source("other/topic", 7)), np.arange(rows, dtype=np.int32) % 2,
        np.full(rows, at), np.arange(rows, dtype=np.int32), np.zeros((rows, 1), np.float32), ids,
    )  # fmt: skip


class Node:
    """A store and its filters, over a memory that outlives both."""

    def __init__(self, fpr: float = FPR) -> None:
        self.kv, self.fpr, self.at = MemoryKV(), fpr, -1
        self.start()

    def start(self) -> None:
        self.store = Store(self.kv)
        self.blooms = Blooms(self.store, self.fpr)
        self.blooms.open(PATH, self.at)

    def leave(self, segment: int, *rows: int) -> None:
        """These rows of a segment leave."""
        self.at += 1
        left = np.array([(segment, row) for row in rows], np.int64).reshape(-1, 2)
        position = Position(self.at, self.at)
        effect = Apply(PATH, Source("t.P0.3", 0), position, {"rows": 1}, left=left)
        with self.blooms.applying(effect):
            self.store.apply(effect)

    def apply(self, rows: int, purge: bool = False, path: Path = PATH) -> None:
        self.at += 1
        source, position = Source("t.P0.3", 0), Position(self.at, self.at)
        came = block(self.at, rows) if rows else None
        effect = Apply(path, source, position, {"rows": 1}, came, purge)
        with self.blooms.applying(effect):
            self.store.apply(effect)

    def make(self) -> None:
        for path in self.blooms.due():
            self.blooms.make(path)

    def denied(self) -> int:
        """Rows of the store that the filter denies."""
        hashes = [int(h) for _, rows in self.store.segments(PATH) for h in names64(rows)]
        return sum(self.blooms.might(PATH, h, self.at) is False for h in hashes)

    def rate(self, path: Path = PATH, tries: int = 20_000) -> float:
        absent = np.random.default_rng(1).integers(0, 2**64, tries, np.uint64)
        return float(np.mean([bool(self.blooms.might(path, int(h))) for h in absent]))


def test_a_row_is_called_by_its_id_or_by_its_origin() -> None:
    rows = block(5, 7)
    names = [Identity.of(5, rows).name(i) for i in range(7)]
    plain = Block(*(getattr(rows, f) for f in ("sources", "source", "offset", "index", "vectors")),
                  pa.array(names))  # fmt: skip
    assert names[0] == "t.P0/1/5/0" and names[3] == "other/topic/7/5/3"
    assert (names64(rows) == names64(plain)).all()
    some = rows.slice(2, 6)
    assert (names64(some) == names64(plain)[2:6]).all()


steps = st.lists(
    st.sampled_from(["rows", "rows", "none", "save", "crash", "damage", "cut", "make", "purge",
                     "held"]),
    max_size=25,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(steps)
def test_no_row_is_denied_whatever_happened(what: list[str]) -> None:
    node = Node()
    for step in what:
        key = b"b/N0,3/"
        raw = node.kv.get(key)
        match step:
            case "rows":
                node.apply(5)
            case "none":
                node.apply(0)
            case "purge":
                node.apply(0, purge=True)
            case "held":
                for kept in node.blooms._kept.values():
                    kept.purged -= 10.0  # long enough ago
            case "save":
                node.blooms.save(every=True)
            case "make":
                node.make()
            case "crash":
                node.start()
            case "damage" if raw is not None:
                node.kv.write([(key, raw[:9] + bytes([raw[9] ^ 4]) + raw[10:])])
                node.start()
            case "cut" if raw is not None:
                node.kv.write([(key, raw[: len(raw) // 2])])
                node.start()
        assert node.denied() == 0, what
    node.make()
    assert node.denied() == 0
    assert node.blooms.might(PATH, 12345, node.at) is False


def test_damage_is_open_until_it_is_made_again() -> None:
    node = Node()
    node.apply(50)
    node.blooms.save(every=True)
    whole = node.kv.get(b"b/N0,3/") or b""
    for bad in (whole[:-1], whole[:3], b"", whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        node.kv.write([(b"b/N0,3/", bad)])
        node.start()
        assert node.blooms.might(PATH, 12345) is None  # nobody is denied
        node.make()
        assert node.blooms.unreadable == 1
        assert node.blooms.might(PATH, 12345) is False and node.denied() == 0


def test_what_was_saved_is_read_again_and_only_the_rows_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = Node()
    for _ in range(6):
        node.apply(10)
    node.blooms.save(every=True)
    node.apply(10)
    node.start()
    read: list[int] = []
    segments = node.store.segments

    def seen(path: Path, after: int = -1) -> object:
        read.append(after)
        return segments(path, after)

    monkeypatch.setattr(node.store, "segments", seen)
    node.make()
    assert read == [5]
    assert node.denied() == 0
    # saved of a store that was further: it is not believed
    node.store.forget(PATH, Source("t.P0.3", 0))
    node.kv.write([(b"b/N0,3/", module._AT.pack(99) + node.blooms._kept[PATH].bloom.to_bytes())])  # type: ignore[union-attr]
    node.at = -1
    node.start()
    node.apply(3)
    node.start()
    node.make()
    assert node.denied() == 0 and node.blooms.told()["keys"] == 3


def test_rows_that_come_while_it_is_made_are_in_it() -> None:
    node = Node()
    for _ in range(3):
        node.apply(20)
    node.start()
    again: Callable[[], bool] = lambda: bool(node.apply(20)) if node.at < 8 else False  # noqa: E731
    node.blooms.make(PATH, again)
    assert node.at == 5 and node.denied() == 0
    stopped = threading.Event()
    feeder = threading.Thread(target=lambda: [node.apply(7) for _ in range(200)] and stopped.set())
    feeder.start()
    while not stopped.is_set():
        node.blooms._kept[PATH].removed += 1000
        node.make()
    feeder.join()
    assert node.denied() == 0


def test_it_is_made_anew_when_it_is_full_or_too_coarse_or_much_was_removed() -> None:
    node = Node(fpr=0.05)
    rows = REBUILD * LEAST_DESIGN + 200
    node.apply(rows)
    before = node.blooms.told()
    assert node.blooms.due() == [PATH] and node.rate() < 1.5 * 0.05
    node.make()
    assert node.blooms.due() == [] and node.blooms.told()["bits"] > 1.9 * before["bits"]
    node.blooms.open(OTHER, -1)  # two share the rate
    assert node.blooms.due() == [PATH]
    node.make()
    told = node.blooms.told()
    node.apply(rows)
    assert node.denied() == 0
    assert node.rate() + node.rate(OTHER) < 1.5 * 0.05
    assert told["fpr"] < 1.2 * 0.05 and told["keys"] > 0.98 * rows


def test_it_is_made_anew_without_reading_rows_that_came_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node, read = Node(), 0
    segments = Store.segments

    def seen(store: Store, path: Path, after: int = -1) -> Iterator[tuple[int, Block]]:
        nonlocal read
        for found in segments(store, path, after):
            read += 1
            yield found

    monkeypatch.setattr(Store, "segments", seen)

    def again() -> int:
        """Segments read to make it."""
        nonlocal read
        node.blooms._kept[PATH].removed = 1000
        read = 0
        node.make()
        return read

    for _ in range(4):
        node.apply(10)
    node.leave(1, 2, 3)
    assert again() == 0
    names = [names64(block(at, 10)) for at in range(4)]
    there = [[node.blooms.might(PATH, int(h)) for h in some] for some in names]
    assert there == [[(at, i) not in ((1, 2), (1, 3)) for i in range(10)] for at in range(4)]
    node.start()  # another process: they are read once
    assert (again(), again()) == (4, 0)
    node.apply(10)
    assert again() == 0 and node.denied() == 2, "those that left"
    # somebody gave the rows of the first segment other numbers, and left some out
    with node.store.renumbering:
        node.kv.write([(at_offset(ROWS, PATH, 0), encode(block(0, 10).slice(0, 6)))])
        node.store.renumbered(PATH)
    assert again() == 5
    there = [[node.blooms.might(PATH, int(names[0][i])) for i in range(10)]]
    assert there == [[i < 6 for i in range(10)]]


def test_a_segment_that_comes_as_the_others_begin_to_be_read_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its hashes are told before it is written: what reads the store then does not see it."""
    node = Node()
    node.apply(10)
    node.start()
    node.at += 1
    effect = Apply(PATH, Source("t.P0.3", 0), Position(1, 1), {"rows": 1}, block(1, 10))
    under_way = node.blooms.applying(effect)
    gone = node.store.gone

    def begun(path: Path) -> object:
        under_way.__enter__()
        return gone(path)

    def written() -> bool:
        node.store.apply(effect)
        return under_way.__exit__(None, None, None) or False

    monkeypatch.setattr(node.store, "gone", begun)
    node.blooms.make(PATH, written)
    monkeypatch.setattr(node.store, "gone", gone)
    assert node.denied() == 0
    node.blooms._kept[PATH].removed = 1000
    node.make()
    assert node.denied() == 0


def test_hashes_are_kept_of_so_many_rows_only() -> None:
    node = Node()
    node.blooms._named = Named(node.store, most=25)
    node.blooms._named.begin(PATH)
    for _ in range(4):
        node.apply(10)
    assert node.blooms._named._nodes == {} and node.blooms._named._rows == 0
    node.blooms._kept[PATH].removed = 1000
    node.make()
    assert node.denied() == 0 and node.blooms._named._rows == 0


def test_what_left_is_forgotten_once_it_is_much() -> None:
    node = Node()
    node.apply(100)
    names = [int(h) for h in names64(block(0, 100))]
    node.leave(0, *range(int(100 * DELETED)))
    assert node.blooms.due() == []
    node.leave(0, 60, 61)
    assert node.blooms.due() == [PATH]
    node.make()
    there = [node.blooms.might(PATH, name) for name in names]
    gone = {*range(30), 60, 61}
    assert there == [i not in gone for i in range(100)]
    node.apply(1)
    assert node.blooms.due() == []


def test_what_was_let_go_is_suspected_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    node.blooms.open(ROOT, -1)
    node.apply(5, path=ROOT)
    name = int(names64(block(0, 5))[1])
    node.apply(0, purge=True, path=ROOT)
    node.make()
    assert node.blooms.might(ROOT, name) is True
    monkeypatch.setattr(module, "HOLD_S", -1.0)
    node.make()
    assert node.blooms.might(ROOT, name) is False


def test_a_copy_follows_by_news_and_starts_again_with_another_filter() -> None:
    node = Node()
    known: dict[str, tuple[str, int]] = {}
    filters: dict[str, object] = {}

    def pull() -> list[Part]:
        parts = [*node.blooms.news(2, known, False), *node.blooms.news(2, known, True)]
        for part in unpack(pack(parts, 1 << 20)):
            if part.since < 0:
                filters[part.node] = part.bloom()
            else:
                assert part.since == known[part.node][1]
                filters[part.node].add(part.hashes())  # type: ignore[attr-defined]
            known[part.node] = part.made, part.seq
        return parts

    node.apply(30)
    assert [p.since for p in pull()] == [-1]
    for _ in range(3):
        node.apply(10)
    assert [(p.since, len(p.data)) for p in pull()] == [(30, 8 * 30)]
    assert [(p.offset, len(p.data)) for p in pull()] == [(node.at, 0)]
    node.apply(module.RECENT + 1)
    assert [p.since for p in pull()] == [-1]
    node.start()
    assert pull() == []  # not made yet: nobody knows
    node.make()
    assert [p.since for p in pull()] == [-1]
    hashes = np.concatenate([names64(rows) for _, rows in node.store.segments(PATH)])
    assert filters["N0,3"].might(hashes).all()  # type: ignore[attr-defined]


def test_what_was_published_is_whole_or_refused() -> None:
    raw = pack([Part(1, "N0", "a", 3, 0, 1, b"12345678"), Part(1, "N0,1", "b", 3, 0, 0, b"")], 999)
    assert len(unpack(raw)) == 2
    for bad in (raw[:-1], raw + b"x", raw[:2], b"", raw.replace(b"12345678", b"12345679"),
                b"\xff\xff\xff\xff" + raw[4:]):  # fmt: skip
        with pytest.raises(Unreadable):
            unpack(bad)
    with pytest.raises(Unreadable):
        Part(1, "N0", "a", 3, 0, 2, b"12345678").hashes()


def test_the_keeper_makes_saves_and_says_what_was_unreadable() -> None:
    shard = Shard(0, "t", Store(kv := MemoryKV()), 10)
    shard.blooms.open(PATH, -1)
    shard.apply(Apply(PATH, Source("t.P0.3", 0), Position(0, 0), {}, block(0, 9)))
    told: list[str] = []
    Keeper({0: shard}, told.append).look(shard)
    assert kv.get(b"b/N0,3/") and not told
    kv.write([(b"b/N0,3/", b"?")])
    again = Shard(0, "t", Store(kv), 10)
    again.blooms.open(PATH, 0)
    keeper = Keeper({0: again}, told.append)
    keeper.look(again)
    assert "unreadable" in told[0] and again.blooms.told()["keys"] == 9
    again.drop(PATH)
    assert again.blooms.told() == {"bits": 0, "keys": 0, "fpr": 0.0}
    assert kv.get(b"b/N0,3/") is None
