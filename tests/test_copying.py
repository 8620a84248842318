"""A portion goes from one store to another byte by byte, or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from sim.memory import MemoryKV

from pctstream.agents.copying import received, sent
from pctstream.core.block import Block, Source
from pctstream.core.effects import Apply
from pctstream.core.position import Position
from pctstream.core.proof import proof
from pctstream.errors import NotReady
from pctstream.pairs import Body, CopyBroken
from pctstream.store import Store

PATH, OTHER = (0, 3), (0, 31)
PIPE, NEXT = Source("t.P0.3", 0), Source("t.P0.31", 0)


def filled(segments: int, rows: int = 700) -> Store:
    store = Store(MemoryKV())
    rng = np.random.default_rng(1)
    for at in range(segments):
        block = Block(
            (Source("t.P0", 1),), np.zeros(rows, np.int32), np.arange(rows) + at * rows,
            np.zeros(rows, np.int32), rng.normal(size=(rows, 64)).astype(np.float32),
        )  # fmt: skip
        leaves = np.zeros(rows, np.int32)
        state = {"rows": (at + 1) * rows, "bytes": (at + 1) * rows * 256, "marks": []}
        for path, pipe in ((PATH, PIPE), (OTHER, NEXT)):
            position = Position(at, at, 3)
            store.apply(Apply(path, pipe, position, state, block, leaves=leaves))
    return store


def through(pieces: Iterator[bytes], target: Store) -> list[tuple[int, int]]:
    steps: list[tuple[int, int]] = []
    received(
        target, PATH, PIPE, pieces, lambda *total: steps.append(total),
        lambda *size: steps.append(size),
    )  # fmt: skip
    return steps


def rows_of(store: Store) -> list[Block]:
    return [rows for _, rows in store.segments(PATH)]


@pytest.mark.parametrize("segments", [1, 5, 40])
def test_the_copy_is_the_portion_and_nothing_else(segments: int) -> None:
    source, target = filled(segments), Store(MemoryKV())
    total, *steps = through(sent(source.frozen(), PATH, PIPE), target)
    assert total == (segments * 700, segments * 700 * 256)
    assert sum(rows for rows, _ in steps) == segments * 700
    assert list(target.portion(PATH, PIPE)) == list(source.portion(PATH, PIPE))
    assert target.position(PIPE) == source.position(PIPE)
    assert proof(rows_of(target)) == proof(rows_of(source))
    assert target.nodes() == ["N0,3"]


def test_what_the_source_writes_meanwhile_is_not_in_it() -> None:
    source, target = filled(3), Store(MemoryKV())
    before = list(source.portion(PATH, PIPE))
    pieces = sent(source.frozen(), PATH, PIPE)
    first = next(pieces)
    source.forget(PATH, PIPE)
    through(iter([first, *pieces]), target)
    assert list(target.portion(PATH, PIPE)) == before


def shortened(pieces: list[bytes]) -> list[bytes]:
    return pieces[:-1]


def cut(pieces: list[bytes]) -> list[bytes]:
    return [*pieces[:-1], pieces[-1][: len(pieces[-1]) // 2]]


def flipped(pieces: list[bytes]) -> list[bytes]:
    middle = bytearray(pieces[1])
    middle[len(middle) // 2] ^= 1
    return [pieces[0], bytes(middle), *pieces[2:]]


@pytest.mark.parametrize("broken", [shortened, cut, flipped])
def test_a_copy_that_breaks_leaves_nothing_that_counts_and_can_be_begun_again(
    broken: Callable[[list[bytes]], list[bytes]],
) -> None:
    source, target = filled(6), Store(MemoryKV())
    pieces = list(sent(source.frozen(), PATH, PIPE))
    assert len(pieces) > 3
    with pytest.raises(CopyBroken):
        through(iter(broken(pieces)), target)
    assert target.position(PIPE) is None
    assert target.nodes() == ["N0,3"], "what came can be found and removed"
    through(iter(pieces), target)
    assert list(target.portion(PATH, PIPE)) == list(source.portion(PATH, PIPE))
    target.forget(PATH, PIPE)
    assert (target.nodes(), list(target.portion(PATH, PIPE))) == ([], [])


def test_keys_of_another_portion_are_refused() -> None:
    source, target = filled(1), Store(MemoryKV())
    pieces = sent(source.frozen(), OTHER, NEXT)
    with pytest.raises(CopyBroken, match="not of this portion"):
        through(pieces, target)


def test_a_portion_that_was_never_read_has_no_copy() -> None:
    with pytest.raises(NotReady):
        through(sent(Store(MemoryKV()), PATH, PIPE), Store(MemoryKV()))


def test_the_pieces_come_in_any_sizes() -> None:
    source, target = filled(6), Store(MemoryKV())
    whole = b"".join(sent(source.frozen(), PATH, PIPE))
    through((whole[i : i + 777] for i in range(0, len(whole), 777)), target)
    assert list(target.portion(PATH, PIPE)) == list(source.portion(PATH, PIPE))


def test_a_body_is_read_in_any_sizes() -> None:
    body = io.BufferedReader(Body(iter([b"abc", b"", b"defg"])))
    assert (body.read(2), body.read(3), body.read()) == (b"ab", b"cde", b"fg")
