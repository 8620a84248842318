"""Rows to test with: blocks from plain lists, and back to plain tuples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from pctstream.core.block import Block, Source
from pctstream.core.cover import Cover, refine
from pctstream.core.find import FindCover

T0 = Source("t", 0)


def block_of(
    places: Sequence[tuple[Source, int, int]], vectors: Any, ids: Sequence[str | None] | None = None
) -> Block:
    """A block from (source, offset, index) and a vector for each row."""
    sources = tuple(dict.fromkeys(s for s, _, _ in places))
    return Block(
        sources,
        np.array([sources.index(s) for s, _, _ in places], np.int32),
        np.array([o for _, o, _ in places], np.int64),
        np.array([i for _, _, i in places], np.int32),
        np.array(vectors, np.float32).reshape(len(places), -1 if places else 2),
        None if ids is None else pa.array(ids, pa.string()),
    )


def numbered(offsets: Iterable[int], dimension: int = 2, source: Source = T0) -> Block:
    """One row per offset; its vector says which."""
    places = [(source, o, 0) for o in offsets]
    return block_of(places, [[o] * dimension for _, o, _ in places])


def plain(block: Block | None) -> list[tuple[Any, ...]]:
    """Everything a block says, as one tuple a row."""
    if block is None:
        return []
    optional = [
        [None] * len(block) if a is None else a.to_pylist()
        for a in (block.ids, block.times, block.payloads)
    ]
    vectors = [v.tobytes() for v in block.vectors]
    return list(zip(map(str, block.origins()), vectors, *optional, strict=True))


def json_message(**fields: Any) -> bytes:
    return orjson.dumps(fields)


def cover_of(rows: Any, epsilon: float, gap: int = 1) -> Cover:
    """The cover of rows whose last `gap` added nothing."""
    vectors = np.array(rows, np.float32)
    find = FindCover(vectors.shape[1], epsilon, gap, 10_000, "gap", 1000)
    find.feed(vectors)
    assert find.state == "cover"
    return refine(vectors[: find.rows], find.prototypes, epsilon, 2, gap)
