"""Decoding, encoding and applying rows in one process, each against the least that could be done.

    decode   `ingest.decode` of a unit's messages into validated rows with their origins, against
             blocks: reading the Arrow streams; float32: np.frombuffer over the joined values; JSON:
             orjson.loads of each value alone
    pipe     `block.encode` and `ingest.decode_pipe` of the blocks between two nodes, against copying
             the vectors once
    apply    `feed` of a unit by a portion that is a leaf (marks, distances, state) and the WriteBatch of
             its effects in RocksDB, against writing the same vectors alone; what the walk through a
             grown portion costs is in `kernels.py`

Units have as many rows as `limits.unit_rows` and `limits.unit_bytes` allow; CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import traffic
from figures import Figures
from turns import machine, one_blas_thread, seconds

from pctstream.core import ingest
from pctstream.core.block import Block, Source, encode, matrix
from pctstream.core.effects import Apply
from pctstream.core.node import Shape
from pctstream.core.portion import Portion
from pctstream.core.unit import Message, Unit
from pctstream.rocks import RocksKV
from pctstream.store import Store

DIMENSIONS = (2, 32, 128, 784)
APPLY_DIMENSION, APPLY_LEAST = 128, 500_000.0
SOURCE, PIPE = Source("bench.P0", 0), Source("bench.P0.0", 0)


def unit_rows(dimension: int) -> int:
    """Rows of a unit."""
    return min(16_384, (8 << 20) // (4 * dimension))


def received(kind: str, dimension: int) -> list[Message]:
    """The messages of a unit, as the reader hands them over."""
    content = traffic.CONTENT[kind]
    values = traffic.messages(kind, dimension, unit_rows(dimension))
    return [Message(i, None, value, content, None, 1_700_000_000_000 + i)
            for i, (value, _) in enumerate(values)]  # fmt: skip


def floor(kind: str, messages: list[Message]) -> Callable[[], object]:
    """The least that reading these messages takes."""
    values = [m.value or b"" for m in messages]
    if kind == "blocks":

        def streams() -> object:
            return [matrix(pa.ipc.open_stream(v).read_next_batch()["vector"]) for v in values]

        return streams
    if kind == "float32":
        return lambda: np.frombuffer(b"".join(values), np.float32)
    return lambda: [orjson.loads(v) for v in values]


def decoding(kind: str, dimension: int, runs: int) -> dict[str, Any]:
    """Rows/s of decoding one format, and of its floor."""
    messages, rows = received(kind, dimension), unit_rows(dimension)
    last = messages[-1].offset

    def ours() -> Unit:
        return ingest.decode(SOURCE, messages, -1, last, dimension, "euclidean")

    assert len(ours()) == rows
    took = seconds({"ours": ours, "floor": floor(kind, messages)}, runs)
    return told(f"decode {kind}", dimension, rows, took)


def told(what: str, dimension: int, rows: int, took: dict[str, float]) -> dict[str, Any]:
    return {"what": what, "dimension": dimension, "rows_per_second": rows / took["ours"],
            "floor": rows / took["floor"]}  # fmt: skip


def rows_of(dimension: int) -> Block:
    """A unit's rows as they come out of an ingest partition."""
    unit = ingest.decode(SOURCE, received("blocks", dimension), -1, 1 << 20, dimension, "euclidean")
    assert unit.rows is not None
    return unit.rows


def piping(dimension: int, runs: int) -> list[dict[str, Any]]:
    """Rows/s of encoding and decoding the blocks of a pipe, 1,024 rows or half a megabyte each."""
    rows = rows_of(dimension)
    pieces = rows.pieces(1024, 524_288)
    values = [encode(p) for p in pieces]
    messages = [Message(i, None, v, None, None, 0) for i, v in enumerate(values)]

    def read() -> object:
        return ingest.decode_pipe(PIPE, messages, -1, len(messages), dimension)

    vectors = rows.vectors
    took = seconds({"encode": lambda: [encode(p) for p in pieces], "decode": read,
                    "floor": lambda: np.concatenate([vectors[:1], vectors[1:]])}, runs)  # fmt: skip
    return [told(f"pipe {what}", dimension, len(rows), {"ours": took[what], "floor": took["floor"]})
            for what in ("encode", "decode")]  # fmt: skip


def applying(dimension: int, runs: int, folder: Path) -> dict[str, Any]:
    """Rows/s of a portion that takes units and stores what comes of them."""
    rows = rows_of(dimension)
    store = Store(RocksKV(folder / f"ours-{dimension}", 1 << 20))
    plain = RocksKV(folder / f"plain-{dimension}", 1 << 20)
    portion = Portion((0, 0), PIPE, rows.vectors.mean(axis=0), 1, Shape(dimension, max_level=1), 9)
    number, written = itertools.count(), itertools.count()

    def ours() -> None:
        i = next(number)
        block = replace(rows, offset=rows.offset + (i << 20))
        for effect in portion.feed(Unit(PIPE, i - 1, i, block, (), 0)):
            assert isinstance(effect, Apply)
            store.apply(effect)

    def alone() -> None:
        plain.write([(b"r/%08d" % next(written), rows.vectors.tobytes())])

    took = seconds({"ours": ours, "floor": alone}, runs)
    assert portion.rows == (runs + 1) * len(rows)
    store.close()
    plain.close()
    return told("apply", dimension, len(rows), took)


def main() -> int:
    """Exit code 1 if fewer than APPLY_LEAST rows/s of APPLY_DIMENSION numbers are applied."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dimensions", type=int, nargs="*", default=list(DIMENSIONS))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the result as JSON too")
    asked = parser.parse_args()
    one_blas_thread()
    figures = Figures("codecs", "numpy", "pyarrow", "orjson", "rocksdict")
    print(machine("numpy", "pyarrow", "orjson", "rocksdict"))
    found = []
    folder = Path(tempfile.mkdtemp(prefix="pct-codecs-"))
    try:
        for dimension in asked.dimensions:
            of_one = [decoding(kind, dimension, asked.runs) for kind in traffic.FORMATS]
            of_one += piping(dimension, asked.runs)
            of_one.append(applying(dimension, asked.runs, folder))
            traffic.rows.cache_clear()
            for one in of_one:
                print("d={dimension:<4}{what:15} {rows_per_second:13,.0f} rows/s, floor "
                      "{floor:13,.0f}".format(**one), flush=True)  # fmt: skip
            found += of_one
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if asked.json:
        print(json.dumps(found))
    for one in found:
        if (one["what"], one["dimension"]) == ("apply", APPLY_DIMENSION):
            rate = one["rows_per_second"]
            figures.least(f"rows/s applied, d={APPLY_DIMENSION}", rate, APPLY_LEAST)
            print(f"apply at d={APPLY_DIMENSION}: {rate:,.0f} rows/s (at least {APPLY_LEAST:,.0f})")
    return figures.keep(found)


if __name__ == "__main__":
    sys.exit(main())
