"""Each kind of bad row at the first, middle and last place among 10,000 good ones, in each format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from core import kinds
from core.kinds import DIMENSION, Kind, RowKind, Sent
from core.rows import T0

from pctstream.core.ingest import decode
from pctstream.core.unit import DeadLetter, Message

ROWS = 10_000
BLOCK = 250
UNIT = 3000
VECTORS = np.random.default_rng(7).normal(0, 3, (ROWS, DIMENSION)).astype(np.float32)
VECTORS[17] = [-0.0, 1e-45, -1e-42, 1.5e19]
VECTORS[18] = 0.0


def as_json() -> list[Sent]:
    return [
        Sent(kinds.said(id=i, vector=v), None, None)
        for i, v in enumerate(VECTORS.astype(np.float64).tolist())
    ]


def as_float32() -> list[Sent]:
    return [Sent(v.tobytes(), None, str(i).encode()) for i, v in enumerate(VECTORS)]


def columns(first: int, count: int = BLOCK) -> dict[str, list[object]]:
    rows = range(first, first + count)
    return {
        "vector": VECTORS[first : first + count].tolist(),
        "id": [str(i) for i in rows],
        "time": [i / 8 for i in rows],
    }


def as_arrow() -> list[Sent]:
    return [Sent(kinds.stream(columns(first))) for first in range(0, ROWS, BLOCK)]


GOOD = {"json": as_json(), "float32": as_float32(), "arrow": as_arrow()}
CASES = [
    pytest.param(name, kind, id=f"{name}: {kind.name}")
    for name, some in (
        ("json", kinds.JSON_KINDS), ("float32", kinds.FLOAT32_KINDS), ("arrow", kinds.ARROW_KINDS),
    )
    for kind in some
]  # fmt: skip


def messages(sent: Sequence[Sent]) -> list[Message]:
    return [Message(i, s.key, s.value, s.content_type, None, 2500) for i, s in enumerate(sent)]


def read(found: Sequence[Message]) -> tuple[np.ndarray, list[str], list[DeadLetter]]:
    """Vectors, ids and dead letters, unit by unit."""
    vectors: list[np.ndarray] = []
    ids: list[str] = []
    dead: list[DeadLetter] = []
    for some in units(found):
        unit = decode(
            T0, some, some[0].offset - 1, some[-1].offset, DIMENSION, "euclidean",
            row_bytes=kinds.ROW_BYTES,
        )  # fmt: skip
        dead += unit.dead
        if unit.rows is not None:
            vectors.append(unit.rows.vectors)
            ids += unit.rows.ids.to_pylist() if unit.rows.ids is not None else []
    return np.concatenate(vectors), ids, dead


def units(found: Sequence[Message]) -> Iterator[Sequence[Message]]:
    for start in range(0, len(found), UNIT):
        yield found[start : start + UNIT]


@pytest.mark.parametrize(("form", "kind"), CASES)
def test_a_bad_message_is_one_dead_letter_and_every_good_row_is_there(
    form: str, kind: Kind
) -> None:
    good = GOOD[form]
    middle = len(good) // 2
    sent = [kind.sent, *good[:middle], kind.sent, *good[middle:], kind.sent]
    vectors, ids, dead = read(messages(sent))
    assert [(d.origin.offset, d.origin.index, d.code) for d in dead] == [
        (0, 0, kind.code), (middle + 1, 0, kind.code), (len(good) + 2, 0, kind.code),
    ]  # fmt: skip
    whole = None if kind.code == "too-large" and form == "json" else kind.sent.value
    assert {d.value for d in dead} == {whole}
    assert {(d.stage, d.time_ms, d.key) for d in dead} == {("ingest", 2500, kind.sent.key)}
    assert vectors.tobytes() == VECTORS.tobytes()
    assert ids == [str(i) for i in range(ROWS)]


@pytest.mark.parametrize("kind", kinds.ROW_KINDS, ids=[k.name for k in kinds.ROW_KINDS])
@pytest.mark.parametrize("place", [0, BLOCK // 2, BLOCK - 1])
def test_a_bad_row_of_a_block_goes_alone(kind: RowKind, place: int) -> None:
    """The row at this place of the first, the middle and the last block."""
    sent = list(GOOD["arrow"])
    spoiled = [0, len(sent) // 2, len(sent) - 1]
    keep = np.ones(ROWS, np.bool_)
    for at in spoiled:
        some = columns(at * BLOCK)
        kind.spoil(some, place)
        sent[at] = Sent(kinds.stream(some))
        keep[at * BLOCK + place] = False
    vectors, ids, dead = read(messages(sent))
    assert [(d.origin.offset, d.origin.index, d.code) for d in dead] == [
        (at, place, kind.code) for at in spoiled
    ]
    assert vectors.tobytes() == VECTORS[keep].tobytes()
    assert ids == [str(i) for i in np.flatnonzero(keep)]


def test_10_000_random_float32_rows_that_begin_with_a_brace_are_all_rows() -> None:
    raw = np.random.default_rng(3).integers(0, 256, (ROWS, 4 * 16), np.uint8)
    raw[:, 0] = ord("{")
    raw[:, 3::4] &= 0x3F  # finite, and small enough for the norm
    sent = messages([Sent(row.tobytes()) for row in raw])
    unit = decode(T0, sent, -1, ROWS - 1, 16, "euclidean")
    assert unit.dead == ()
    assert unit.rows is not None
    assert unit.rows.vectors.tobytes() == raw.tobytes()


def test_there_are_at_least_25_kinds_and_every_code_but_two_is_among_them() -> None:
    """``apply`` is the core's own (test_poison), ``zero-vector`` needs a cosine tree (test_ingest)."""
    from pctstream.errors import DEAD_LETTER_CODES

    some = [*kinds.JSON_KINDS, *kinds.FLOAT32_KINDS, *kinds.ARROW_KINDS, *kinds.ROW_KINDS]
    assert len({k.name for k in some}) >= 25
    assert {k.code for k in some} == {*DEAD_LETTER_CODES} - {"apply", "zero-vector"}
