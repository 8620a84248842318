"""At a fence a portion says what it holds there, however the messages around it were collected."""

from __future__ import annotations

import random

from core.rows import numbered
from core.test_portion import INGEST, PIPE, a_pipe, portion
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core.between import FENCE, fence_message
from pctstream.core.block import Block, Origin, decode
from pctstream.core.effects import Apply, Prove, Send
from pctstream.core.ingest import decode_pipe
from pctstream.core.poison import sift
from pctstream.core.portion import Portion
from pctstream.core.proof import Proof, proof
from pctstream.core.unit import DeadLetter, Fence, Message, Unit


def fenced(chance: random.Random) -> list[Message]:
    """A pipe with a few fences, one that cannot be read, and a marker of a later version."""
    messages = [(m.value, None) for m in a_pipe(chance)]
    for number in range(chance.randint(1, 5)):
        place = chance.randint(0, len(messages))
        messages.insert(place, (fence_message(f"m{number}", number), FENCE))
    messages.insert(chance.randint(0, len(messages)), (b"{", FENCE))
    messages.insert(chance.randint(0, len(messages)), (b"?", "marker"))
    return [Message(i, None, value, pct_type=kind) for i, (value, kind) in enumerate(messages)]


def expected(messages: list[Message]) -> list[tuple[str, int, Proof]]:
    """Of each fence: its move, its place, and the proof of the rows before it, each once."""
    seen: dict[Origin, Block] = {}
    found = []
    for message in messages:
        if message.pct_type == FENCE and message.value != b"{":
            move = decode_pipe(PIPE, [message], 0, message.offset).fences[0].move
            found.append((move, message.offset, proof(seen.values())))
        elif message.pct_type is None and message.value != b"torn":
            rows = decode(message.value or b"")
            for at, origin in enumerate(rows.origins()):
                seen.setdefault(origin, rows.slice(at, at + 1))
    return found


def proven(node: Portion, messages: list[Message], chance: random.Random) -> list[object]:
    """What the store held at each fence, units of any size, effects carried out in order."""
    store: list[Block] = []
    found: list[object] = []
    prev, waiting = node.taken, []
    while prev < len(messages) - 1 or waiting:
        effects = []
        if prev < len(messages) - 1:
            last = min(len(messages) - 1, prev + chance.randint(1, 9))
            effects = node.feed(decode_pipe(PIPE, messages[prev + 1 : last + 1], prev, last))
            prev = last
        waiting += [e.ticket for e in effects if isinstance(e, Send)]
        if waiting and (chance.random() < 0.5 or prev == len(messages) - 1):
            effects += node.delivered(waiting.pop(0))
        for effect in effects:
            if isinstance(effect, Apply) and effect.rows is not None:
                store.append(effect.rows)
            if isinstance(effect, Prove):
                found.append((effect.fence.move, effect.fence.offset, proof(store)))
    return found


@given(st.integers(0, 2**32))
def test_every_reader_says_the_same_at_the_same_fence(seed: int) -> None:
    messages = fenced(random.Random(seed))
    wanted = expected(messages)
    assert proven(portion(), messages, random.Random(seed + 1)) == wanted
    assert proven(portion(), messages, random.Random(seed + 2)) == wanted


def test_a_fence_that_was_passed_is_not_answered_again() -> None:
    node = portion()
    message = Message(1, None, fence_message("m7", 3), pct_type=FENCE)
    unit = decode_pipe(PIPE, [message], 0, 1)
    assert unit.fences == (Fence(1, 0, "m7", 3),)
    rows = Unit(PIPE, -1, 0, numbered([1], 3, INGEST[0]))
    node.feed(rows)
    assert [type(e) for e in node.feed(unit)] == [Apply, Prove]
    assert node.feed(unit) == []
    both = Unit(PIPE, 0, 2, numbered([2], 3, INGEST[0]), fences=(Fence(1, 0, "m7", 3),))
    (apply,) = node.feed(both)
    assert isinstance(apply, Apply)
    assert (apply.position.stored, node.rows) == (2, 2)


def test_rows_that_are_refused_do_not_shift_the_fence() -> None:
    def examine(some: Block) -> None:
        if 1 in some.offset:
            raise ArithmeticError("one")

    rows = numbered([1, 2, 3], 3, INGEST[0])
    unit = sift(examine, Unit(PIPE, -1, 9, rows, fences=(Fence(5, 2, "m1", 0),)))
    assert [len(part) for part in unit.parts()] == [1, 1]


def test_dead_letters_go_with_the_part_they_lie_in() -> None:
    here = [DeadLetter(Origin(*PIPE, o, 0), "decode", "", None, None, "pipe") for o in (2, 7)]
    there = DeadLetter(Origin("t.P0", 0, 2, 0), "apply", "", None, None, "apply")
    fences = (Fence(4, 0, "a", 0), Fence(6, 0, "b", 0))
    unit = Unit(PIPE, 1, 9, None, (*here, there), fences=fences)
    parts = [(p.prev, p.last, p.dead, [f.move for f in p.fences]) for p in unit.parts()]
    assert parts == [
        (1, 4, (here[0],), ["a"]), (4, 6, (), ["b"]), (6, 9, (here[1], there), [])
    ]  # fmt: skip
