"""The tree as the views show it, from records that are not of one moment."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from pctstream.core.cover import refine
from pctstream.core.names import ROOT
from pctstream.core.records import cover_records, split_record, tree_record
from pctstream.core.routing import Routing
from pctstream.http.tree import TreeView

CHILDREN = 3


def log_of(split: bool) -> Routing:
    prototypes = np.arange(CHILDREN, dtype=np.float32)[:, None] * 10
    cover = refine(prototypes, prototypes, 1.0, 0, 1)
    log = Routing()
    records: list[dict[str, Any]] = [tree_record({"tree": "t", "shards": 2}, 1, "a")]
    records += cover_records(ROOT, cover, 1, "a")
    if split:
        owners = {(0, i): 0 for i in range(CHILDREN)}
        records.append(split_record(ROOT, cover, owners, 2, "a"))
    for i, record in enumerate(records):
        assert log.fold(record, i, 0.0)
    return log


def portion(number: int, rows: int, marks: list[Any]) -> dict[str, Any]:
    nodes = {"path": [""], "state": ["covering"], "rows": [rows]}
    return {"portion": f"N0,{number}", "rows": rows, "marks": marks, "nodes": nodes}


def origins(chance: random.Random, shard: int, rows: int) -> list[list[Any]]:
    """Rows of one shard's input as marks: its own, and of partitions of another topic bridged there."""
    own = chance.randrange(rows + 1)
    one = chance.randrange(rows - own + 1)
    return [["t.P0", shard, 7, 0, own], ["theirs", shard, 8, 0, one],
            ["theirs", shard + 2, 9, 0, rows - own - one]]  # fmt: skip


@pytest.mark.parametrize("seed", range(200))
def test_a_row_held_at_the_split_is_counted_once_whatever_was_reported_last(seed: int) -> None:
    """Two shards and three portions report when they like; each row went down in order (R2)."""
    chance = random.Random(seed)
    held = {s: [chance.randrange(6) for _ in range(CHILDREN)] for s in (0, 1)}
    live = {s: [chance.randrange(6) for _ in range(CHILDREN)] for s in (0, 1)}
    portions, rows_in = {}, 0
    least = {(s, c): chance.randrange(held[s][c] + live[s][c] + 1)
             for s in held for c in range(CHILDREN)}  # fmt: skip
    for c in range(CHILDREN):
        marks = [mark for s in held for mark in origins(chance, s, least[s, c])]
        rows = sum(least[s, c] for s in held)
        rows_in += rows
        portions[f"N0,{c}"] = portion(c, rows, marks)
    shards = {}
    for s in held:
        purged = all(least[s, c] >= held[s][c] for c in range(CHILDREN)) and chance.random() < 0.5
        root = {"state": "splitting", "held": [] if purged else held[s], "rows": 99,
                "stored_rows": 0 if purged else sum(held[s])}  # fmt: skip
        shards[s] = {"shard": s, "root": root}
    waiting = sum(max(0, held[s][c] - least[s, c]) for s in held for c in range(CHILDREN))
    assert TreeView(log_of(True), shards, portions, {}).rows(ROOT) == rows_in + waiting


def test_before_its_shard_tells_of_the_split_what_arrived_is_not_counted_at_n0() -> None:
    shards = {0: {"shard": 0, "root": {"state": "covering", "held": [], "rows": 9,
                                       "stored_rows": 9}}}  # fmt: skip
    portions = {"N0,1": portion(1, 4, [["t.P0", 0, 3, 0, 4]])}
    assert TreeView(log_of(True), shards, portions, {}).rows(ROOT) == 9
    assert TreeView(log_of(False), shards, {}, {}).rows(ROOT) == 9
