"""The rows that the contenders move, as the messages of each format.

A mixture of 48 centres that lie far apart, shuffled, so that a cover has one prototype for each.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from pctstream.core import given
from pctstream.core.block import ARROW, Block, Source, encode, matrix, read_batch
from pctstream.core.formats import FLOAT32, JSON

PIPES = 48
NOISE = 0.4
BLOCK_BYTES = 800_000
FORMATS = ("blocks", "float32", "json")
CONTENT = {"blocks": ARROW, "float32": FLOAT32, "json": JSON, "places": ARROW}
"""places: blocks whose rows have their first two numbers as fields x and y besides."""


def block_rows(dimension: int) -> int:
    """Rows of an ingest block: 512, or as many as fit into a message."""
    return min(512, 1 << (BLOCK_BYTES // (4 * dimension)).bit_length() - 1)


def epsilon(dimension: int) -> float:
    """A radius that covers a centre's rows and no other's."""
    return 2.0 * NOISE * float(np.sqrt(2 * dimension)) + 4.0


def centres(dimension: int, pipes: int = PIPES) -> Any:
    """f64[pipes, d]; in few dimensions on a grid, because chance would put some side by side."""
    rng = np.random.default_rng(7)
    if dimension >= 16:
        return rng.normal(0, 6, (pipes, dimension))
    out = np.zeros((pipes, dimension))
    out[:, 0], out[:, 1] = 24.0 * (np.arange(pipes) % 7), 24.0 * (np.arange(pipes) // 7)
    return out


@functools.cache
def rows(dimension: int, count: int, pipes: int = PIPES) -> Any:
    """f32[count, d]; the same for the same count."""
    rng = np.random.default_rng(8)
    noise = rng.normal(0, NOISE, (count, dimension)).astype(np.float32)
    return centres(dimension, pipes).astype(np.float32)[rng.integers(0, pipes, count)] + noise


def messages(
    kind: str, dimension: int, count: int, pipes: int = PIPES
) -> Iterator[tuple[bytes, int]]:
    """The value of each message, and how many rows it has."""
    vectors = rows(dimension, count, pipes)
    if kind in ("blocks", "places"):
        step = block_rows(dimension)
        for i in range(0, count, step):
            part = vectors[i : i + step]
            batch = given.batch(part)
            for n, name in enumerate("xy" if kind == "places" else ""):
                batch = batch.append_column(name, pa.array(part[:, n].astype(np.float64)))
            yield given.encode(batch), len(part)
    elif kind == "float32":
        for row in vectors:
            yield row.tobytes(), 1
    else:
        for row in vectors:
            # as a producer writes it that knows float32: the shortest text of each number
            yield orjson.dumps({"vector": row}, option=orjson.OPT_SERIALIZE_NUMPY), 1


def bare(value: bytes, content: bytes, dimension: int) -> Any:
    """The vectors of a message, f32[n, d], with as little as it takes: no look at what they are.

    A block's lie before the 8 bytes that end it; float32 are there as they are; JSON is parsed.
    """
    if content == ARROW.encode():
        count = block_rows(dimension)
        start = len(value) - 8 - count * 4 * dimension
        flat = np.frombuffer(value, np.float32, count * dimension, start)
        return flat.reshape(count, dimension)
    if content == FLOAT32.encode():
        return np.frombuffer(value, np.float32).reshape(1, dimension)
    return np.array([orjson.loads(value)["vector"]], np.float32)


def check(dimension: int) -> None:
    """That `bare` finds the rows of a block where it looks for them."""
    value, _ = next(messages("blocks", dimension, block_rows(dimension)))
    found = bare(value, ARROW.encode(), dimension)
    assert np.array_equal(found, matrix(read_batch(value)["vector"]))


def pipe_head(dimension: int, count: int = 512) -> bytes:
    """As many bytes as a block in a pipe has besides its rows (Arrow's schema and lengths)."""
    none = np.zeros(count, np.int32)
    block = Block((Source("floor-1.P0", 0),), none, np.zeros(count, np.int64), none,
                  np.zeros((count, dimension), np.float32),
                  times=pa.array(np.zeros(count)))  # fmt: skip
    return bytes(len(encode(block)) - count * pipe_row_bytes(dimension))


def pipe_row_bytes(dimension: int) -> int:
    """The vector, its place in the ingest log (offset 8, index 4), its time (8)."""
    return 4 * dimension + 20
