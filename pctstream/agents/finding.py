"""One question on its way over a shard's tables: the best so far, and who they are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from pctstream.agents.nearby import Chosen, Nearby
from pctstream.agents.view import Mask, View
from pctstream.core.answers import Answer, Hit, Question, Tally, farthest, nearest
from pctstream.core.block import Block
from pctstream.core.kernels import Float64, Int64
from pctstream.core.names import Path, node_name
from pctstream.core.run import Run
from pctstream.core.table import Table
from pctstream.core.ties import Called, candidates, first
from pctstream.core.walk import Int32
from pctstream.errors import Late

AT_ONCE = 8
"""Queries that a kernel is given together: between them the clock is looked at."""

Owner = Sequence[tuple[View, Run]]


class Candidate(NamedTuple):
    """A row that may be among the nearest."""

    distance: float
    id: str
    origin: str
    view: View
    segment: int
    row: int
    run: Run
    slot: int

    @property
    def rank(self) -> tuple[float, str, str]:
        return self.distance, self.id, self.origin


class Slots:
    """Of one table, those in these slots i64[n]: where they lie, who they are."""

    def __init__(self, owner: Owner, starts: Int64, slot: Int64) -> None:
        self._owner = owner
        self._number = np.searchsorted(starts, slot, side="right") - 1
        self._slot = slot - starts[self._number]
        self._place = np.empty((len(slot), 2), np.int64)
        # not np.unique: it lets go of the interpreter, which a busy worker gives back late
        for number in sorted(set(self._number.tolist())):
            run, here = owner[number][1], self._number == number
            self._place[here] = run.place[run.cells.rows[self._slot[here]]]

    def called(self, at: Int64) -> Called:
        """Ids and origins of those at these places i64[t]."""
        lies = np.stack([self._number[at], self._place[at, 0]])
        order = np.lexsort(lies)
        cuts = np.flatnonzero(np.diff(lies[:, order], axis=1).any(axis=0)) + 1
        ids, origins = [], []
        for some in np.split(at[order], cuts):
            view, segment = self._owner[self._number[some[0]]][0], self._place[some[0], 0]
            named = view.segments[segment].called(self._place[some, 1])
            ids.append(named[0])
            origins.append(named[1])
        back = pa.array(np.argsort(order))
        return pa.concat_arrays(ids).take(back), pa.concat_arrays(origins).take(back)

    def candidates(self, distance: Float64, at: Int64) -> list[Candidate]:
        """Those at these places, each alone; ``distance`` f64[n] of all."""
        found = []
        for i in at.tolist():
            view, run = self._owner[self._number[i]]
            segment, row = self._place[i].tolist()
            who = view.segments[segment]
            name, origin = who.name(row), str(who.origin(row))
            away, own = float(distance[i]), int(self._slot[i])
            found.append(Candidate(away, name, origin, view, segment, row, run, own))
        return found


class Finder:
    """Looks at one table after the other; each narrows what the next must look at."""

    def __init__(self, number: int, question: Question, deadline: float) -> None:
        m = len(question.queries)
        self.number = number
        self._asked = question
        self._deadline = deadline
        self._within = question.within.copy()
        self._best: list[list[Candidate]] = [[] for _ in range(m)]
        self._blocks: dict[tuple[int, int], Block] = {}
        self._leaves: dict[tuple[int, int], Int32] = {}
        self.tallies = [Tally() for _ in range(m)]
        self.reach = np.full(m, np.inf)
        self.expected = 1.0
        self.unknown = question.filter.fields if question.filter else set()

    def look(
        self, table: Table, owner: Owner, plan: tuple[int, float], alive: Mask | None = None
    ) -> None:
        """One table; ``plan`` is (cells to look at, recall expected), 0 cells for an exact answer;
        ``alive`` bool[slots]: the rows that have not left, None for all."""
        probes, expected = plan
        mask = self._mask(owner, alive)
        if not table.rows:
            return
        if 0 < probes < table.cells:
            self.expected = min(self.expected, expected)
        m = len(self._asked.queries)
        for begin in range(0, m, AT_ONCE):
            if time.monotonic() > self._deadline:
                raise Late(f"shard {self.number} needs longer: ask for less at a time")
            some = slice(begin, min(begin + AT_ONCE, m))
            self._look(table, owner, probes, mask, some)

    def near(self, nearby: Nearby) -> Chosen:
        """bool[n]: the portions that may have a row which is among the nearest of some query."""
        return nearby.near(self._asked.queries, self._within)

    def nearest(self, nearby: Nearby) -> Chosen:
        """bool[n]: the portions whose centre is some query's nearest."""
        return nearby.nearest(self._asked.queries)

    def skip(self, rows: int) -> None:
        """So many rows need not be looked at for any query."""
        for tally in self.tallies:
            tally.add(Tally(of_rows=rows))

    @property
    def certain(self) -> bool:
        """Whether what is beyond the k-th nearest needs no look: not where some of the answer is enough,
        which is learnt of all rows together, nor for a filter, whose fields any row may have."""
        asked = self._asked
        return asked.recall >= 1.0 and asked.reach is None and asked.filter is None

    def _look(
        self, table: Table, owner: Owner, probes: int, mask: Mask | None,
        some: slice,
    ) -> None:  # fmt: skip
        asked, k = self._asked, self._asked.k
        reach = None if asked.reach is None else asked.reach[some]
        queries, within = asked.queries[some], self._within[some]
        found = table.search(queries, k, within, probes, reach, mask)
        if 0 < probes < table.cells:
            self.reach[some] = found.reach
        exact = not probes and reach is None
        for i in range(len(queries)):
            number, count = some.start + i, int(found.count[i])
            distance, slot = found.distance[i, :count], found.slot[i, :count]
            if exact:
                most = float(within[i])
                distance, slot = candidates(table, found, i, queries[i], k, most, mask)
            slots = Slots(owner, table.starts(), slot)
            chosen = first(distance, k, slots.called)
            fresh = slots.candidates(distance, chosen)
            self._best[number] = nearest([*self._best[number], *fresh], k)
            self._within[number] = farthest(self._best[number], k, float(self._within[number]))
            tally = Tally(
                int(found.rows[i]), int(found.cells[i]), table.rows, table.cells, len(owner)
            )
            self.tallies[number].add(tally)

    def _mask(self, owner: Owner, alive: Mask | None) -> Mask | None:
        """Which rows count: those that have not left, and pass the filter."""
        passed = self._passed(owner)
        if passed is None or alive is None:
            return alive if passed is None else passed
        return passed & alive

    def _passed(self, owner: Owner) -> Mask | None:
        wanted = self._asked.filter
        if wanted is None:
            return None
        masks: list[Mask] = [np.zeros(0, np.bool_)]
        for view in dict.fromkeys(view for view, _ in owner):
            runs = [run for one, run in owner if one is view]
            try:
                passed, names = view.passing(wanted, runs, self._deadline)
            except TimeoutError:
                raise Late(f"shard {self.number} still reads payloads: ask again") from None
            self.unknown -= names
            masks += passed
        return np.concatenate(masks)

    def answer(self, epoch: int, generation: int, paths: list[Path], let_go: list[Path]) -> Answer:
        """The nearest of each query, with what else was asked of them; of these nodes."""
        hits = [[self._hit(one) for one in best] for best in self._best]
        gone = [node_name(path) for path in let_go]
        return Answer(
            self.number, epoch, generation, [*map(node_name, paths), *gone], hits, self.tallies,
            self.reach.tolist(), self.expected, gone, sorted(self.unknown),
        )  # fmt: skip

    def _hit(self, one: Candidate) -> Hit:
        asked, view = self._asked, one.view
        key = (id(view), one.segment)
        if key not in self._leaves:
            self._leaves[key] = view.leaves(one.segment)
        vector: list[float] | None = None
        payload: Any = None
        if asked.vector:
            vector = one.run.cells.vectors(np.array([one.slot]))[0].tolist()
        if asked.payload:
            if key not in self._blocks:
                self._blocks[key] = view.segment(one.segment)
            payload = payload_of(self._blocks[key], one.row)
        return Hit(
            one.distance, one.id, one.origin, view.leaf_name(self._leaves[key], one.row),
            node_name(view.path), self.number, vector, payload,
        )  # fmt: skip


def payload_of(block: Block, row: int) -> Any:
    """What a row carries beside its vector; None where it carries nothing."""
    text = None if block.payloads is None else block.payloads[row].as_py()
    return None if text is None else orjson.loads(text)
