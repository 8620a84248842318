"""Many Arrow messages of a unit say what each says alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from core.kinds import fixed, stream
from core.rows import T0
from hypothesis import given, settings
from hypothesis import strategies as st

from pctstream.core import streams
from pctstream.core.ingest import decode
from pctstream.core.unit import Message, Unit

DAY = pa.timestamp("ms", tz="UTC")


def vectors(rng: Any, n: int, d: int = 3) -> Any:
    return fixed(rng.normal(0, 1, (n, d)).round(2).tolist(), d)


def one(kind: str, rng: Any) -> bytes:
    """A message of this kind, with one to four rows."""
    n = int(rng.integers(1, 5))
    plain = {"vector": vectors(rng, n)}
    ids = [None if rng.random() < 0.2 else f"id{rng.integers(50)}" for _ in range(n)]
    batch = pa.RecordBatch.from_pydict(plain)
    match kind:
        case "plain":
            return stream(plain)
        case "ids":
            return stream(plain | {"id": pa.array(ids, pa.string())})
        case "large ids":
            return stream(plain | {"id": pa.array(ids, pa.large_string())})
        case "dictionary":
            return stream(plain | {"id": pa.array(ids, pa.string()).dictionary_encode()})
        case "payload":
            return stream(plain | {"place": pa.array([[1, n]] * n), "note": pa.array(["x"] * n)})
        case "times":
            return stream(plain | {"time": pa.array([int(rng.integers(10**12))] * n, DAY)})
        case "bad time":
            texts = [
                "yesterday" if rng.random() < 0.4 else "2024-02-03T04:05:06Z" for _ in range(n)
            ]
            return stream(plain | {"time": pa.array(texts)})
        case "list":
            some = [None if rng.random() < 0.2 else [1.0, 2.0, 3.0][: rng.integers(2, 4)]
                    for _ in range(n)]  # fmt: skip
            return stream({"vector": pa.array(some, pa.list_(pa.float32()))})
        case "deletes":
            return stream({"id": pa.array(["a", "b"]), "deleted": pa.array([True, True])})
        case "wide":
            return stream({"vector": vectors(rng, n, 4)})
        case "not finite":
            return stream({"vector": fixed([[1.0, float("nan"), 2.0]] * n, 3)})
        case "empty":
            return stream({"vector": vectors(rng, n).slice(0, 0)})
        case "two batches":
            return written([batch, batch])
        case "compressed":
            return written([batch], compression="lz4")
        case "told":
            return written([batch.replace_schema_metadata({"by": "somebody"})])
        case "cut":
            return stream(plain)[: -int(rng.integers(9, 60))]
        case "no columns":
            return written([pa.RecordBatch.from_arrays([], [])])
        case _:
            return {"float32": np.float32([1, 2, 3]).tobytes(), "json": b'{"vector": [1, 2, 3]}'}[
                kind
            ]


def written(batches: list[Any], **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    options = {"options": pa.ipc.IpcWriteOptions(**options)} if options else {}
    with pa.ipc.new_stream(sink, batches[0].schema, **options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


KINDS = ["plain", "plain", "plain", "ids", "ids", "large ids", "dictionary", "payload", "times", "bad time",
         "list", "deletes", "wide", "not finite", "empty", "two batches", "compressed", "told", "cut",
         "no columns", "float32", "json"]  # fmt: skip


def said(units: list[Unit]) -> tuple[list[Any], list[Any]]:
    """Every row and every dead letter."""
    rows, dead = [], []
    for unit in units:
        dead += [(d.origin, d.code, d.message, d.value) for d in unit.dead]
        if (block := unit.rows) is None:
            continue
        columns = [
            None if c is None else c.to_pylist() for c in (block.ids, block.times, block.payloads)
        ]
        brings = None if block.changes is None else block.changes.brings.tolist()
        for i in range(len(block)):
            rows.append((
                int(block.offset[i]), int(block.index[i]), block.vectors[i].tobytes(),
                *(None if c is None else c[i] for c in columns), brings is None or brings[i],
            ))  # fmt: skip
    return rows, sorted(dead)


def both(values: list[bytes]) -> tuple[Any, Any]:
    messages = [Message(7 + i, None, v, time_ms=1000 + i) for i, v in enumerate(values)]
    alone = [decode(T0, [m], m.offset - 1, m.offset, 3, "euclidean") for m in messages]
    together = decode(T0, messages, 6, 6 + len(values), 3, "euclidean")
    return said([together]), said(alone)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8), st.integers(0, 2**32))
def test_together_they_say_what_each_says_alone(kinds: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    together, alone = both([one(kind, rng) for kind in kinds])
    assert together == alone


@pytest.mark.parametrize("kind", ["plain", "ids", "large ids", "payload", "times", "not finite"])
def test_those_of_one_schema_are_read_in_one_go(kind: str) -> None:
    rng = np.random.default_rng(1)
    values = [one(kind, rng) for _ in range(20)]
    block = streams.block(T0, [Message(i, None, v) for i, v in enumerate(values)], 3)
    assert block is not None and len(set(block.offset.tolist())) == 20
    together, alone = both(values)
    assert together == alone


def test_large_ones_are_read_alone() -> None:
    """Their rows are not copied once more."""
    rng = np.random.default_rng(3)
    many = [
        Message(i, None, stream({"vector": vectors(rng, n)})) for i, n in enumerate([1, 12_000])
    ]
    assert streams.block(T0, many, 3) is None
    assert streams.block(T0, [many[0], many[0]], 3) is not None


def test_a_stream_that_lies_about_its_arrays_is_refused_among_others() -> None:
    rng = np.random.default_rng(2)
    good = stream({"vector": vectors(rng, 2), "id": pa.array(["a", "b"])})
    at = good.rindex(np.int32([0, 1, 2]).tobytes())
    bad = good[:at] + np.int32([0, 1, 2**30]).tobytes() + good[at + 12 :]
    together, alone = both([good, good, bad, good])
    assert together == alone
    assert [code for _, code, _, _ in together[1]] == ["decode"]
    assert {offset for offset, *_ in together[0]} == {7, 8, 10}
