"""Runs whose every step is named: what happens is a list of words, so that a failing one can be made short.

A step is a word and a number: what happens, and the chances within it. The steps are coarser than those of
a seed (`World.step`): fifty of them are a life. Nothing that happens in one step depends on how another one
threw its dice, so a step can be taken away and the others stay what they were.

    python -m sim.histories 7 "on:3 produce:1 kill:5 ..."
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from sim.rest import drain, go_on, hasten, report_all
from sim.run import at_rest
from sim.world import World

Step = tuple[str, int]


def _often(act: Callable[[World], object], times: int) -> Callable[[World], None]:
    def acts(world: World) -> None:
        for _ in range(times):
            act(world)

    return acts


def _on(world: World) -> None:
    """Everything that is under way goes one further, everywhere."""
    go_on(world, {s for s in world.sources if s not in world.busy})


STEPS: dict[str, Callable[[World], object]] = {
    "nothing": lambda world: None,
    "produce": _often(World.produce, 6),
    "wander": _often(World.wander, 12),
    "on": _often(_on, 3),
    "moves-on": hasten,
    "ask": World.ask,
    "report": report_all,
    "expire": World.expire,
    "theirs": _often(World.produce_theirs, 3),
    "bridge": _often(World.bridge, 3),
    "bridge-again": World.bridge_again,
    "commit": World.commit,
    "look": World.look,
    "kill": World.kill,
    "lose-turn": World.lose_turn,
    "deliver-twice": World.deliver_twice,
    "refuse": World.refuse,
    "rebalance": World.rebalance,
    "zombie": World.zombie,
    "author-dies": World.author_dies,
    "late-record": World.late_record,
    "strike": World.strike,
}
"""The first is what a step shrinks to."""
USUAL = ("produce", "wander", "on", "moves-on", "ask")
WORDS = (*STEPS, *USUAL * 4)
"""To pick from: what happens all the time, and as often as that what must not matter."""


def replay(number: int, steps: Sequence[Step]) -> World:
    """A world of this number, these steps, and rest; a failure says how to see it again."""
    try:
        world = World(number)
        for word, how in steps:
            world.chance.seed(how)
            STEPS[word](world)
            world.steps += 1
            world.check()
        drain(world)
        at_rest(world)
    except Exception as error:
        raise AssertionError(
            f'python -m sim.histories {number} "{said(steps)}": {error}'
        ) from error
    return world


def said(steps: Sequence[Step]) -> str:
    """The steps as words for a shell.

    >>> said([("produce", 1), ("nothing", 0), ("kill", 5)])
    'produce:1 kill:5'
    """
    return " ".join(f"{word}:{how}" for word, how in steps if word != "nothing")


if __name__ == "__main__":
    replay(
        int(sys.argv[1]),
        [(word, int(how)) for word, how in (one.split(":") for one in sys.argv[2].split())],
    )
