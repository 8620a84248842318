"""The fold of the routing log: what counts, what does not, and that everybody agrees (R5)."""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest
from core.rows import cover_of
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core import life
from pctstream.core.cover import Cover
from pctstream.core.names import ROOT
from pctstream.core.records import cover_records, sink_record, split_record, tree_record
from pctstream.core.routing import Routing
from pctstream.errors import ConfigError

COVER = cover_of([[0, 0], [9, 9], [0, 1]], 2.0)
OTHER = cover_of([[0, 0], [0, 9], [9, 0], [0, 1]], 2.0)
CHILDREN = [(0, 0), (0, 1)]
Record = dict[str, Any]


def history(author: str = "a", cover: Cover = COVER, piece: int = 60) -> list[Record]:
    """record 0, the cover in pieces, the split."""
    records = [tree_record({"metric": "euclidean", "epsilon": 2.0, "gap": 1}, 2, author)]
    records += cover_records(ROOT, cover, 1, author, piece)
    owners = {(0, i): i % 2 for i in range(cover.k)}
    return [*records, split_record(ROOT, cover, owners, len(records), author)]


def folded(records: list[Record]) -> Routing:
    log = Routing()
    for offset, record in enumerate(records):
        log.fold(record, offset, float(offset))
    return log


def said(log: Routing) -> tuple[Any, ...]:
    """What a follower acts on."""
    return (log.seq, log.epoch, log.tree, {p: c.hash for p, c in log.covers.items()}, log.owners,
            log.states, log.splits)  # fmt: skip


def test_a_history_read_to_its_end() -> None:
    records = history()
    assert len(records) > 4, "the cover must come in pieces"
    log = folded(records)
    assert log.seq == log.epoch == len(records) - 1
    assert log.covers[ROOT] == COVER
    assert log.states == {ROOT: life.SPLITTING, **dict.fromkeys(CHILDREN, life.COVERING)}
    assert (log.children(ROOT), log.owned(0), log.owned(1)) == (CHILDREN, [(0, 0)], [(0, 1)])
    assert log.splits == {ROOT: log.epoch}
    assert [e["mode"] for e in log.history[ROOT]] == [0, 1, 2]
    assert log.history[ROOT][2]["epoch"] == log.history[(0, 0)][0]["epoch"] == log.epoch


@given(st.integers(0, 2**32))
def test_repeats_gaps_and_zombies_change_nothing(seed: int) -> None:
    """Whatever else lies between the records of a history, the fold is that of the history."""
    chance = random.Random(seed)
    ours, zombie = history(), history("z", OTHER, 70)
    log = Routing()
    offset = 0
    for at, record in enumerate(ours):
        for _ in range(chance.randint(0, 3)):
            noise = chance.choice([
                *ours[:at], *ours[at + 1 :],
                *(z for z in zombie if z["seq"] != at),
                {"type": "tree"}, {"seq": None, "type": "split"}, {"seq": str(at), "type": "sink"},
                {}, {"seq": at + 0.0, "type": "tree"},
            ])  # fmt: skip
            before = said(log)
            assert not log.fold(noise, offset, 0.0)
            assert said(log) == before
            offset += 1
        assert log.fold(record, offset, 0.0)
        assert log.seq == record["seq"]
        offset += 1
    assert said(log) == said(folded(ours))
    assert log.position == offset - 1


def test_two_authors_whose_pieces_alternate_make_one_cover() -> None:
    ours, theirs = history("a", COVER, 60), history("b", OTHER, 60)
    log = Routing()
    for offset, pair in enumerate(zip(ours[:-1], theirs[:-1], strict=False)):
        assert log.fold(pair[0], offset, 0.0)
        assert not log.fold(pair[1], offset, 0.0)
    assert log.covers[ROOT] == COVER
    stolen = {**theirs[-1], "seq": log.seq + 1}
    assert log.fold(stolen, 99, 0.0)
    assert log.states[ROOT] == life.WAITING, "a split by a cover that is not recorded is no split"


def altered(record: Record) -> Record:
    data = bytearray(base64.b64decode(record["data"]))
    data[-1] ^= 1
    return {**record, "data": base64.b64encode(data).decode()}


def spoilt() -> list[list[Record]]:
    records = history()[1:-1]
    first, *rest = records
    return [
        [*records[:-1], altered(records[-1])],
        [altered(first), *rest],
        [{**r, "hash": OTHER.hash} for r in records],
        [{**r, "pieces": r["pieces"] - 1} for r in records[:-1]],
        [{**first, "data": "not base 64!"}, *rest],
        [{**first, "piece": "x"}, *rest],
        [{k: v for k, v in first.items() if k != "data"}, *rest],
        [{**first, "node": "N0..1"}, *rest],
        [{**first, "node": 7}, *rest],
    ]


@pytest.mark.parametrize("pieces", spoilt())
def test_a_cover_whose_bytes_are_not_its_hash_is_no_cover_and_stops_nobody(
    pieces: list[Record],
) -> None:
    log = folded([history()[0], *pieces])
    assert log.seq == len(pieces)
    assert log.states[ROOT] == life.COVERING
    assert log.covers == {}
    for record in cover_records(ROOT, COVER, log.seq + 1, "b", 60):
        assert log.fold(record, 99, 0.0)
    assert log.covers[ROOT] == COVER, "the next author writes it again"


@pytest.mark.parametrize(
    "bad", [{"owners": {"N0,0": "one"}}, {"owners": ["N0,0"]}, {"owners": {"P0": 1}}]
)
def test_a_split_that_cannot_be_read_changes_nothing(bad: Record) -> None:
    records = history()
    log = folded([*records[:-1], {**records[-1], **bad}])
    assert log.states == {ROOT: life.WAITING}
    assert (log.owners, log.splits, log.epoch) == ({}, {}, 0)


def test_a_sink_is_final() -> None:
    tree, *rest = history()
    log = folded([tree, sink_record(ROOT, 40, "topics", 1, "a")])
    assert (log.states[ROOT], log.epoch) == (life.SINK, 1)
    for record in rest:
        log.fold({**record, "seq": log.seq + 1}, 9, 0.0)
    assert (log.states, log.covers, log.epoch) == ({ROOT: life.SINK}, {}, 1)


def test_record_0_refuses_what_contradicts_it() -> None:
    log = folded([tree_record({"gap": 5, "metric": "cosine"}, 3, "a")])
    log.check({"gap": 5, "dimension": 0, "metric": "cosine", "epsilon": 9})
    log.check({"dimension": 3})
    for wrong in ({"gap": 6}, {"dimension": 4}, {"metric": "euclidean"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            log.check(wrong)


def test_a_second_record_0_is_ignored() -> None:
    log = folded([tree_record({}, 3, "a"), {**tree_record({}, 4, "b"), "seq": 1}])
    assert (log.seq, log.dimension) == (1, 3)


def test_pieces_are_as_small_as_asked() -> None:
    for record in cover_records(ROOT, COVER, 1, "a", 33):
        assert len(base64.b64decode(record["data"])) <= 33


def test_a_tiny_ratio_leaves_every_level_an_epsilon_to_scan_with() -> None:
    cover = cover_of([[0], [9], [0], [9]], 1.0, 2)
    log = Routing()
    log.fold({"seq": 0, "type": "tree", "epsilon_ratio": 1e-100, "max_level": 6}, 0, 0.0)
    for record in cover_records((0,), cover, 1, "a"):
        log.fold(record, record["seq"], 0.0)
    epsilons = log.gates.epsilons
    assert sorted(epsilons) == [1, 2, 3, 4, 5]
    assert all(e * e > 0.0 for e in epsilons.values())
