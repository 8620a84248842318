"""A cover says the same in JSON, Arrow and npz."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from core.trees import grown

from pctstream.core.encodings import neighbors_to_json, to_arrow, to_json, to_npz
from pctstream.core.names import ROOT, node_name
from pctstream.core.neighbors import Neighbors
from pctstream.core.solver import LevelCover, NodeSummary, level_cover

AS_OF = {"time": 12.5, "epoch": 3}


def covers() -> list[LevelCover]:
    nodes = grown(np.random.default_rng(4), 3, 5)
    alone = {ROOT: NodeSummary(ROOT, 7, None, None)}
    return [
        *(level_cover(nodes, level, 0.25) for level in range(4)),
        level_cover(alone, 0),
        level_cover({}, 0),
    ]


def nulls(cover: LevelCover) -> list[dict[str, Any]]:
    """The entries, one at a time, as JSON should have them."""
    return [
        {"node": node_name(path), "x": [float(v) for v in cover.x[i]] if cover.placed[i] else None,
         "w": float(cover.w[i]), "rows": int(cover.rows[i]),
         "faded": float(cover.faded[i]),
         "radius": None if np.isnan(cover.radius[i]) else float(cover.radius[i]),
         "miss_bound": None if np.isnan(cover.miss_bound[i]) else float(cover.miss_bound[i])}
        for i, path in enumerate(cover.paths)
    ]  # fmt: skip


@pytest.mark.parametrize("cover", covers(), ids=lambda c: f"{len(c)}-entries")
def test_round_trips(cover: LevelCover) -> None:
    read = orjson.loads(orjson.dumps(to_json(cover)))
    assert read["cover"] == nulls(cover)
    assert (read["level"], read["epsilon"]) == (cover.level, cover.epsilon)
    assert read["rows"] == cover.total

    table = pa.ipc.open_stream(to_arrow(cover, AS_OF)).read_all()
    assert table.to_pylist() == nulls(cover)
    dimension = cover.x.shape[1]
    columns = ("node", "x", "w", "rows", "faded", "radius", "miss_bound")
    assert [table.schema.field(name).type for name in columns] == [
        pa.string(), pa.list_(pa.float32(), dimension), pa.float64(), pa.int64(), pa.float64(),
        pa.float64(), pa.float64(),
    ]  # fmt: skip
    said = {key.decode(): json.loads(value) for key, value in table.schema.metadata.items()}
    head = {"level": cover.level, "epsilon": cover.epsilon, "rows": cover.total}
    assert said == {**head, "confidence": 0.95, **AS_OF}

    arrays = np.load(io.BytesIO(to_npz(cover, AS_OF)), allow_pickle=False)
    assert arrays["node"].tolist() == [node_name(path) for path in cover.paths]
    for name in columns[1:]:
        assert arrays[name].dtype == getattr(cover, name).dtype
        assert np.array_equal(
            arrays[name], getattr(cover, name), equal_nan=name not in ("w", "rows", "faded")
        )
    assert (arrays["level"], arrays["total"], arrays["epoch"]) == (cover.level, cover.total, 3)
    assert np.array_equal(arrays["epsilon"], np.array(cover.epsilon, float), equal_nan=True)


def test_distances_from_what_was_read_are_those_that_are_answered() -> None:
    nodes = grown(np.random.default_rng(5), 3, 7)
    cover = level_cover(nodes, 3)
    published = orjson.loads(orjson.dumps(to_json(cover)))["cover"]
    centre = np.array(published[0]["x"])
    answer = neighbors_to_json(cover, *Neighbors(nodes, cover).within(centre, 10.0))
    read = {e["node"]: np.array(e["x"]) for e in published}
    for one in orjson.loads(orjson.dumps(answer))["neighbors"]:
        exact = float(np.sqrt(((read[one["node"]] - centre) ** 2).sum()))
        assert one["distance"] == pytest.approx(exact, rel=1e-14, abs=0.0)
        assert one["x"] == read[one["node"]].tolist()
