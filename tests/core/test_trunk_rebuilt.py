"""A trunk node below N0 that is built again, from its pipe, when all was decided long ago."""

from __future__ import annotations

import numpy as np
from core.rows import block_of
from core.test_subtree import CENTRE, EPSILONS, INGEST, PIPE, ROOT, SHAPE, rows_of
from sim.memory import MemoryKV

from pctstream.core import life
from pctstream.core.effects import Apply, Effect, Regrow, RouteHeld, Send
from pctstream.core.node import Gates
from pctstream.core.trunk import Trunk
from pctstream.core.unit import Unit
from pctstream.store import Store

PATH, ROWS = ROOT, rows_of(1, 1600)


class Host:
    """A trunk node over a store, as the performer drives it."""

    def __init__(self) -> None:
        self.store = Store(MemoryKV())
        self.sent = 0
        self.restart()

    def restart(self) -> None:
        found = self.store.position(PIPE)
        self.node = Trunk(
            PATH, PIPE, CENTRE, 5, SHAPE, 4000, 7.0, position=found[0] if found else None,
            saved=self.store.state(PATH), nodes=self.store.subtree(PATH),
        )  # fmt: skip
        self.perform(self.node.adopt(Gates(2, EPSILONS)))

    def feed(self, rows: np.ndarray) -> None:
        at = self.node.taken + 1
        places = [(INGEST, at * 10_000 + i, 0) for i in range(len(rows))]
        self.perform(self.node.feed(Unit(PIPE, at - 1, at, block_of(places, rows))))

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Apply():
                    self.store.apply(effect)
                case Regrow():
                    self.node.begin_pass()
                    for offset, rows, leaves in self.store.placed(PATH):
                        self.node.revisit(offset, rows, leaves)
                    self.perform(self.node.end_pass())
                case RouteHeld():
                    for last, held in self.store.segments(PATH):
                        self.perform(self.node.reroute(last, held))
                    self.perform(self.node.rerouted())
                case Send():
                    self.sent += sum(len(rows) for _, rows in effect.parcels)
                    self.perform(self.node.delivered(effect.ticket))

    def told(self) -> tuple[str, list[int], str, str | None]:
        """State, modes it went through, limit and cover, as the store has them."""
        (_, record, cover, _), *below = self.store.subtree(PATH)
        assert not below
        modes = [mode for mode, *_ in record["history"]]
        return record["state"], modes, record["limit"], cover and cover.hash


def grown() -> Host:
    host = Host()
    for rows in np.split(ROWS, 4):
        host.feed(rows)
    assert host.node.mode == life.WAITING
    return host


def test_built_again_after_its_split_it_has_split() -> None:
    first = grown()
    cover = first.node.subtree.nodes[0].cover
    assert cover is not None
    first.perform(first.node.split(9, cover))
    again = Host()
    again.perform(again.node.split(9, cover))
    for rows in np.split(ROWS, 4):
        again.feed(rows)
    assert again.told() == first.told() == (life.SPLITTING, [0, 1, 2], "", cover.hash)
    assert again.sent == first.sent == len(ROWS)
    again.restart()
    again.perform(again.node.split(9, cover))
    assert again.told() == first.told()
    assert again.sent == len(ROWS)


def test_told_of_its_split_before_it_found_the_cover_itself_it_hands_down_what_it_holds() -> None:
    cover = grown().node.subtree.nodes[0].cover
    assert cover is not None
    behind = Host()
    behind.feed(ROWS[:20])
    assert behind.node.mode == life.COVERING
    behind.perform(behind.node.split(9, cover))
    behind.feed(ROWS[20:])
    assert behind.told() == (life.SPLITTING, [0, 1, 2], "", cover.hash)
    assert behind.sent == len(ROWS)


def test_built_again_after_it_was_refused_it_is_the_same_sink() -> None:
    first = grown()
    first.perform(first.node.refuse("topics"))
    again = Host()
    again.perform(again.node.refuse("topics"))
    for rows in np.split(ROWS, 4):
        again.feed(rows)
    cover = first.node.subtree.nodes[0].cover
    assert cover is not None
    assert again.told() == first.told() == (life.SINK, [0, 1], "topics", cover.hash)
