"""`verify` finds what it is for: a lost, a doubled and an altered row, in a store and in a pipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import orjson
import pytest
from broker.system import System, mixture, records, wait_for
from confluent_kafka import Producer

from pctstream.core.block import ARROW, Block, decode, encode
from pctstream.core.marks import Marks
from pctstream.deep import verify_pipes
from pctstream.ingested import ROW, ends_of
from pctstream.rocks import RocksKV
from pctstream.verify import compare, once

Make = Callable[..., System]
PART = 6000


@pytest.fixture
def grown(system: Make) -> System:
    one = system(shards__count=2, tree__epsilon=8.0, tree__gap=500)
    one.start(0)
    one.feed(mixture(PART))
    wait_for("portions", lambda: one.get("/v1/portions")["portions"])
    one.settle()
    return one


def test_planted_in_rocksdb(grown: System) -> None:
    grown.stop()
    kv = RocksKV(grown.folder / "shards" / "0", 1 << 20)
    segments = [(k, decode(v)) for k, v in kv.scan(b"r/N0,")]
    (lost, first), (double, second), (changed, third) = segments[:3]
    vectors = third.vectors.copy()
    vectors[0, 0] += 1e-3
    kv.write([
        (lost, encode(first.slice(1, len(first)))),
        (double[:-8] + b"\x7f" * 8, encode(second)),
        (changed, encode(replace(third, vectors=vectors))),
    ])  # fmt: skip
    kv.close()
    grown.start(0)
    verdict = grown.verify()
    # the altered row is lost too: its right bytes are nowhere
    assert (verdict.lost, verdict.duplicated, verdict.altered) == (2, len(second), 1)
    # the pipes are whole: the fault lies behind them
    shards = verify_pipes(grown.cfg, 2, lambda: grown.get("/v1/shards")["shards"])
    assert shards == {"lost": 2, "duplicated": len(second), "altered": 1}


def pipe(one: System, child: int, block: Block) -> None:
    producer = Producer({"bootstrap.servers": one.broker})
    producer.produce(f"{one.tree}.P0.{child}", encode(block), partition=0,
                     headers=[("content-type", ARROW.encode())])  # fmt: skip
    assert producer.flush(10) == 0


def last_rows(one: System) -> dict[int, Block]:
    """Of each portion the row with the highest origin of ingest partition 0."""
    out = {}
    for portion in one.get("/v1/portions")["portions"]:
        child = int(portion["portion"].split(",")[1])
        blocks = [decode(m.value or b"") for m in records(one, f"P0.{child}")]
        rows = [b.slice(i, i + 1) for b in blocks for i in range(len(b))]
        rows = [r for r in rows if r.origins()[0].partition == 0]
        if rows:
            out[child] = max(rows, key=lambda r: (r.offset[0], r.index[0]))
    return out


def test_a_double_planted_in_a_pipe(grown: System) -> None:
    """The same row through another portion's pipe, where no mark has passed it."""
    last = last_rows(grown)
    child = max(last, key=lambda c: (last[c].offset[0], last[c].index[0]))
    other = next(c for c in last if c != child)
    pipe(grown, other, last[child])
    verdict = grown.verify()
    assert (verdict.lost, verdict.duplicated, verdict.altered) == (0, 1, 0)
    # the store holds what the pipe says: the fault lies before it
    shards = verify_pipes(grown.cfg, 2, lambda: grown.get("/v1/shards")["shards"])
    assert not any(shards.values())


def test_a_loss_and_an_altered_row_planted_in_a_pipe(grown: System) -> None:
    """A forged origin from the future: the mark jumps, and rows behind it count as repeats."""
    last = last_rows(grown)
    child, row = next(iter(last.items()))
    end = ends_of(grown.cfg, f"{grown.tree}.P0", [0])[0]
    forged = replace(row, offset=np.array([end + 1]), index=np.array([0], np.int32))
    pipe(grown, child, forged)
    grown.settle()
    grown.feed(mixture(PART, seed=2), [f"b{i}" for i in range(PART)])
    grown.feed(mixture(PART, seed=3), [f"c{i}" for i in range(PART)])
    verdict = grown.verify()
    assert verdict.lost > 0
    assert verdict.altered == 1 or verdict.duplicated == 1
    marks = [orjson.loads(m.value or b"{}").get("marks", []) for m in records(grown, "state")]
    assert any(Marks.from_json(m).reached(forged.sources[int(forged.source[0])], (end + 1, 0))
               for m in marks if m)  # fmt: skip


def test_compare_against_a_plain_multiset() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        origins = [(0, int(o), int(i)) for o in range(4) for i in range(2)]
        log = {o: int(rng.integers(3)) for o in origins if rng.random() < 0.8}
        stored = [(origins[int(rng.integers(8))], int(rng.integers(3))) for _ in range(9)]
        lost = duplicated = altered = 0
        for origin in origins:
            copies = [h for o, h in stored if o == origin]
            right = min(copies.count(log[origin]), 1) if origin in log else 0
            wrong = origin in log and not right and bool(copies)
            lost += origin in log and not right
            altered += wrong
            duplicated += len(copies) - right - wrong
        table = np.array([(*o, h) for o, h in log.items()], ROW)
        rows = np.array([(*o, h) for o, h in stored], ROW)
        assert compare(table, rows) == (lost, duplicated, altered)


def test_a_row_held_at_the_root_and_in_a_portion_is_one_row() -> None:
    held = np.array([(0, 1, 0, 5), (0, 2, 0, 5)], ROW)
    portion = np.array([(0, 1, 0, 5), (0, 3, 0, 5), (0, 3, 0, 5)], ROW)
    assert sorted(once(held, portion)["offset"].tolist()) == [1, 2, 3, 3]
