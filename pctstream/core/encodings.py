"""A level's cover as JSON, as an Arrow stream and as .npz: the same numbers in each.

What nobody knows (the centre of an N0 without children, a radius) is null in JSON and Arrow and NaN
in .npz. A float32 is written to JSON as the float64 that equals it, so that whoever computes with the
numbers read gets the distances that the views answer.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pctstream.core.block import ARROW
from pctstream.core.cover import CONFIDENCE
from pctstream.core.formats import JSON
from pctstream.core.kernels import Float64, Int64
from pctstream.core.names import node_name
from pctstream.core.solver import LevelCover

NPZ = "application/x-npz"
KINDS = (JSON, ARROW, NPZ)
"""Media types of a cover; the first is what a caller gets who does not mind."""


def to_json(cover: LevelCover) -> dict[str, Any]:
    """`{level, epsilon, rows, confidence, cover: [{node, x, w, rows, faded, radius, miss_bound}]}`."""
    known = cover.placed.tolist()
    columns = (cover.paths, cover.x.tolist(), known, cover.w.tolist(), cover.rows.tolist(),
               cover.faded.tolist(), _or_none(cover.radius), _or_none(cover.miss_bound))  # fmt: skip
    return {
        "level": cover.level,
        "epsilon": cover.epsilon,
        "rows": cover.total,
        "confidence": CONFIDENCE,
        "cover": [
            {"node": node_name(path), "x": x if placed else None, "w": w, "rows": rows,
             "faded": faded, "radius": radius, "miss_bound": missed}
            for path, x, placed, w, rows, faded, radius, missed in zip(*columns, strict=True)
        ],
    }  # fmt: skip


def _or_none(numbers: Float64) -> list[float | None]:
    return [None if math.isnan(number) else number for number in numbers.tolist()]


def to_arrow(cover: LevelCover, as_of: Mapping[str, Any] | None = None) -> bytes:
    """An Arrow stream of one batch: node utf8, x fixed_size_list<float32>[d], w f64, rows i64, faded f64,
    radius f64, miss_bound f64.

    The schema's metadata are JSON texts: level, epsilon, rows, confidence, and what `as_of` says.
    """
    dimension = cover.x.shape[1]
    x = pa.nulls(len(cover), pa.list_(pa.float32(), dimension))
    if dimension:
        flat = pa.array(cover.x.reshape(-1))
        x = pa.FixedSizeListArray.from_arrays(flat, dimension, mask=pa.array(~cover.placed))
    columns = {
        "node": pa.array([node_name(path) for path in cover.paths], pa.string()),
        "x": x,
        "w": pa.array(cover.w),
        "rows": pa.array(cover.rows),
        "faded": pa.array(cover.faded),
        "radius": pa.array(cover.radius, from_pandas=True),
        "miss_bound": pa.array(cover.miss_bound, from_pandas=True),
    }
    said = {key: json.dumps(value) for key, value in _head(cover, as_of).items()}
    batch = pa.RecordBatch.from_pydict(columns, metadata=said)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def to_npz(cover: LevelCover, as_of: Mapping[str, Any] | None = None) -> bytes:
    """Arrays node (text), x f32[n, d], w, rows, faded, radius, miss_bound; and level, epsilon, confidence,
    total, `as_of` as scalars.

    To be loaded with `allow_pickle=False`.
    """
    head = _head(cover, as_of)
    head["total"] = head.pop("rows")
    scalars: dict[str, Any] = {key: np.array(np.nan if v is None else v) for key, v in head.items()}
    sink = io.BytesIO()
    np.savez(
        sink,
        node=np.array([node_name(path) for path in cover.paths], np.str_),
        x=cover.x, w=cover.w, rows=cover.rows, faded=cover.faded, radius=cover.radius,
        miss_bound=cover.miss_bound, **scalars,
    )  # fmt: skip
    return sink.getvalue()


def _head(cover: LevelCover, as_of: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"level": cover.level, "epsilon": cover.epsilon, "rows": cover.total,
            "confidence": CONFIDENCE, **(as_of or {})}  # fmt: skip


def neighbors_to_json(cover: LevelCover, found: Int64, distances: Float64) -> dict[str, Any]:
    """`{neighbors: [{node, x, distance}]}` of what `Neighbors.within` answered."""
    x = cover.x[found].tolist()
    numbered = zip(found.tolist(), x, distances.tolist(), strict=True)
    return {
        "neighbors": [
            {"node": node_name(cover.paths[i]), "x": centre, "distance": distance}
            for i, centre, distance in numbered
        ]
    }
