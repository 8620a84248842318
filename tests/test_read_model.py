"""The read model: what is folded from `.state`, whatever order and however often it comes."""

from __future__ import annotations

import base64
import random
from typing import Any

import numpy as np
import pytest

from pctstream.agents.portions import PIECE_BYTES
from pctstream.core.cover import Cover, refine
from pctstream.tables import ReadModel, key_of


def cover_of(seed: int) -> Cover:
    rows = np.random.default_rng(seed).normal(size=(40, 3)).astype(np.float32)
    return refine(rows, rows[:5], 0.1, 2, 1)


def records_of(cover: Cover, worker: str = "w", size: int = 40) -> list[dict[str, Any]]:
    pieces = cover.to_pieces(size)
    head = {"kind": "cover", "node": "N0,3,1", "hash": cover.hash, "worker": worker,
            "prototypes": cover.k}  # fmt: skip
    return [
        {**head, "piece": i, "pieces": len(pieces), "data": base64.b64encode(p).decode()}
        for i, p in enumerate(pieces)
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_a_cover_is_known_once_all_its_pieces_came_in_any_order(seed: int) -> None:
    cover, model = cover_of(1), ReadModel()
    records = records_of(cover) * 2
    assert len(records) > 6
    random.Random(seed).shuffle(records)
    whole = {key_of(r) for r in records}
    came: set[str] = set()
    for record in records:
        assert model.covers() == ({(0, 3, 1): cover} if came == whole else {})
        model.fold(record)
        came.add(key_of(record))
    assert model.covers() == {(0, 3, 1): cover}
    assert model.disputed == {}


def test_another_cover_of_the_same_node_is_an_alarm_and_changes_nothing() -> None:
    first, other, model = cover_of(1), cover_of(2), ReadModel()
    for record in [*records_of(first), *records_of(other, "late")]:
        model.fold(record)
    assert model.covers() == {(0, 3, 1): first}
    assert model.disputed == {(0, 3, 1): "N0,3,1 by late"}


def test_a_larger_cover_of_the_same_node_counts_and_those_before_it_are_no_alarm() -> None:
    """A node that re-opened; who reads its pipe from the beginning comes by the smaller one again."""
    rows = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    first, larger = cover_of(1), refine(rows, rows[:7], 0.1, 2, 1)
    model = ReadModel()
    for record in [*records_of(first), *records_of(larger), *records_of(first, "again")]:
        model.fold(record)
    assert model.covers() == {(0, 3, 1): larger}
    assert model.disputed == {}
    for record in records_of(refine(rows, rows[1:8], 0.1, 2, 1), "other"):
        model.fold(record)
    assert model.disputed == {(0, 3, 1): "N0,3,1 by other"}


def test_a_torn_cover_is_none_and_its_repetition_counts() -> None:
    cover, model = cover_of(1), ReadModel()
    records = records_of(cover)
    torn = [*records[:-1], {**records[-1], "data": records[0]["data"]}]
    for record in torn:
        model.fold(record)
    assert model.covers() == {}
    for record in records:
        model.fold(record)
    assert model.covers() == {(0, 3, 1): cover}


def test_a_piece_fits_into_a_message() -> None:
    assert PIECE_BYTES * 4 / 3 < 1_000_000
