"""What a worker's shards answer: their rows in memory within a bound, searched in threads.

    ask(shard, question) -> views refreshed -> table -> slots -> hits -> Answer
    behind it, one thread: runs that are to be merged, recall that is to be learnt

The views of all shards together take `limits.search_bytes` at most; those not asked for longest are
dropped. A node that does not fit is read from the store for each question, piece by piece: slower, and as
exact.

A portion holds a row once. Rows above the cut may be in a portion too, by now: they are asked for level
by level (`Question.depth`), from the top, before the portions; what has left a level since then is below.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pctstream.agents.finding import Finder
from pctstream.agents.shard import Shard
from pctstream.agents.sight import Drawn, Sight
from pctstream.agents.view import View
from pctstream.core.answers import Answer, Question, Tally
from pctstream.core.cells import cell_rows, cells_of
from pctstream.core.handing import HandsDown
from pctstream.core.names import ROOT, Path, node_name
from pctstream.core.recall import Learnt, learn
from pctstream.core.routing import Routing
from pctstream.core.table import Table
from pctstream.errors import Late, NotReady, QueryRefused

LEARNT_FOR = (10, 100)
"""Neighbours for which recall is learnt; of more, an answer is always exact."""
GROWN = 1.5
"""Recall is learnt again when a shard's rows are so many times what they were."""
WARM_S = 60.0
IDLE_S = 10.0
"""A view that was asked for more recently does not make room for another."""
ROW_BYTES = 64
"""What a row takes beside its vector."""


class Search:
    """All views of one worker."""

    def __init__(self, shards: dict[int, Shard], routing: Routing, limit: int) -> None:
        self._shards = shards
        self._routing = routing
        self._limit = limit
        self._views: dict[tuple[int, Path], View] = {}
        self._locks: dict[int, threading.Lock] = {}
        self._sights: dict[tuple[int, int], Sight] = {}
        self._learnt: dict[tuple[int, int], tuple[int, Learnt]] = {}
        self._due: set[object] = set()
        self._closing = threading.Event()
        self._behind = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tidy")
        self.generation: Callable[[], int] = lambda: -1
        self.reported: Callable[[int, Path], int] = lambda shard, path: -1
        """How far a node's input was done when its owner last told: a store that is behind that is
        being made again, and does not have the rows yet for which it would answer."""

    def close(self) -> None:
        """What is under way behind ends; nothing new is begun."""
        self._closing.set()
        self._behind.shutdown(wait=True, cancel_futures=True)

    def warm(self, begin: Callable[[], bool]) -> None:
        """Have the kernels compiled behind, once ``begin`` says that nobody is kept waiting by it."""

        def act() -> None:
            until = time.monotonic() + WARM_S
            while not begin() and time.monotonic() < until and not self._closing.wait(0.2):
                pass
            if not self._closing.is_set():
                rows = np.zeros((2 * cell_rows(2), 2), np.float32)
                rows[:, 0] = np.arange(len(rows))
                table = Table([cells_of(rows, np.zeros(len(rows), np.int32))], 2)
                learn(table, 2, np.random.default_rng(0), 2)

        self._later("warm", act)

    @property
    def nbytes(self) -> int:
        """What all views take of memory."""
        return sum(view.nbytes for view in list(self._views.values()))

    # questions

    def ask(self, number: int, question: Question, deadline: float) -> Answer:
        """One shard's answer by ``deadline`` (monotonic seconds).

        NotReady if the shard is not here, Late if the time was over.
        """
        shard = self._shard(number)
        if question.queries.shape[1] != self._routing.dimension:
            raise QueryRefused(f"rows have {self._routing.dimension} numbers")
        epoch, generation = self._routing.epoch, self.generation()
        paths, let_go = self._paths(shard, question.depth)
        finder = Finder(number, question, deadline)
        try:
            for sight in self._parts(shard, paths, question.depth, deadline):
                plan = self._probes(number, sight, question)
                finder.look(sight.table, sight.owner, plan, sight.alive)
        except LookupError:
            raise NotReady(f"shard {number} let go of rows meanwhile: ask again") from None
        m = len(question.queries)
        return Answer(
            number, epoch, generation, [node_name(p) for p in [*paths, *let_go]],
            finder.hits(), finder.tallies or [Tally() for _ in range(m)], finder.reach.tolist(),
            finder.expected, [node_name(p) for p in let_go], sorted(finder.unknown),
        )  # fmt: skip

    def draw(
        self, number: int, count: int, rng: np.random.Generator, deadline: float
    ) -> list[Drawn]:
        """So many rows of a shard's portions by lot, the lowest first: the lowest of all shards' are
        drawn from all rows alike."""
        shard = self._shard(number)
        paths, _ = self._paths(shard, -1)
        found: list[Drawn] = []
        for sight in self._parts(shard, paths, -1, deadline):
            found = sorted([*found, *sight.drawn(count, rng)])[:count]
        return found

    def views(self, number: int, depth: int, deadline: float) -> tuple[list[View], list[Path]]:
        """The views of a shard's nodes, each as of now, and the nodes that they are of."""
        shard = self._shard(number)
        paths, let_go = self._paths(shard, depth)
        found = []
        with self._lock(number):
            for path in paths:
                view = self._view(shard, path)
                if not view.refresh(deadline):
                    raise Late(f"shard {number} still reads its rows: ask again")
                found.append(view)
        return found, [*paths, *let_go]

    def _shard(self, number: int) -> Shard:
        shard = self._shards.get(number)
        if shard is None or shard.root is None:
            raise NotReady(f"shard {number} is not here: ask the worker that hosts it")
        return shard

    def _paths(self, shard: Shard, depth: int) -> tuple[list[Path], list[Path]]:
        """The nodes at this depth whose rows are to be looked at, and those that have let go."""
        log = self._routing
        owned = log.nodes_at(depth, shard.number)
        paths: list[Path] = []
        let_go: list[Path] = []
        for path in [ROOT] if depth == 0 else owned:
            node = shard.nodes.get(path)
            if node is None or path in shard.lost:
                raise NotReady(f"{node_name(path)} is not restored yet: ask again")
            done = isinstance(node, HandsDown) and node.emptied
            if not done and node.position.taken < self.reported(shard.number, path):
                raise NotReady(f"{node_name(path)} is being made again from its log: ask again")
            (let_go if done else paths).append(path)
        return paths, let_go

    # memory

    def _lock(self, number: int) -> threading.Lock:
        return self._locks.setdefault(number, threading.Lock())

    def _view(self, shard: Shard, path: Path) -> View:
        key = (shard.number, path)
        view = self._views.get(key)
        if path not in shard.nodes:
            raise NotReady(f"{node_name(path)} is no longer here: ask again")
        if view is None or not view.fresh or view.shard is not shard:
            view = self._views[key] = View(shard, path, self._routing.dimension)
        return view

    def _parts(
        self, shard: Shard, paths: list[Path], depth: int, deadline: float
    ) -> Iterator[Sight]:
        """What is in memory as one sight; then what is not, in pieces."""
        kept, passing = [], []
        with self._lock(shard.number):
            easily = self.nbytes + sum(self._size(shard, path) for path in paths) <= self._limit
            for path in paths:
                if not easily and not self._fits(shard, path):
                    passing.append(path)
                    continue
                view = self._view(shard, path)
                if not view.refresh(deadline):
                    raise Late(f"shard {shard.number} still reads its rows: ask again")
                kept.append(view)
            sight = self._sight((shard.number, depth), kept)
        self._tidy(kept)
        yield sight
        for path in passing:
            self._views.pop((shard.number, path), None)
            yield from self._pieces(shard, path, deadline)

    def _pieces(self, shard: Shard, path: Path, deadline: float) -> Iterator[Sight]:
        """A node that does not fit into memory, a piece at a time."""
        view, whole = View(shard, path, self._routing.dimension), False
        while not whole:
            if time.monotonic() > deadline:
                raise Late(f"{node_name(path)} is larger than limits.search_bytes and takes longer")
            whole = view.refresh(-np.inf)
            yield Sight.of([view], self._routing.dimension)
            view = View(shard, path, self._routing.dimension, view.last)

    def _size(self, shard: Shard, path: Path) -> int:
        """Bytes of memory that a view of the node will take, about."""
        return shard.nodes[path].held_rows * (5 * self._routing.dimension + ROW_BYTES) * 5 // 4

    def _fits(self, shard: Shard, path: Path) -> bool:
        """Whether the node's view may stay; the views that were not asked for longest make room."""
        size = self._size(shard, path)
        total = sum(v.nbytes for k, v in list(self._views.items()) if k != (shard.number, path))
        for key, view in sorted([*self._views.items()], key=lambda item: item[1].used):
            if total + size <= self._limit:
                break
            stale = not view.fresh or self._shards.get(key[0]) is not view.shard
            if key != (shard.number, path) and (stale or time.monotonic() - view.used > IDLE_S):
                total -= view.nbytes
                self._views.pop(key, None)
                self._sights.clear()
        return total + size <= self._limit

    def _sight(self, key: tuple[int, int], views: list[View]) -> Sight:
        known = self._sights.get(key)
        found = known.again(views) if known is not None else None
        self._sights[key] = found = found or Sight.of(views, self._routing.dimension)
        return found

    # behind

    def _probes(self, number: int, sight: Sight, question: Question) -> tuple[int, float]:
        """(cells to look at, recall expected); 0 cells: all that a ball does not rule out."""
        least = next((k for k in LEARNT_FOR if question.k <= k), 0)
        if question.recall >= 1.0 or question.filter or not least or question.reach is not None:
            return 0, 1.0
        key, rows = (number, least), sight.table.rows
        known = self._learnt.get(key)
        if known is None or not known[0] / GROWN <= rows <= known[0] * GROWN:
            self._later(("learn", key), lambda: self._learn(key, sight))
        if known is None or not rows:
            return 0, 1.0
        probes = known[1].probes(question.recall)
        return probes, known[1].expected(probes)

    def _learn(self, key: tuple[int, int], sight: Sight) -> None:
        rng = np.random.default_rng(key[0])
        self._learnt[key] = sight.table.rows, learn(sight.table, key[1], rng)

    def _tidy(self, views: list[View]) -> None:
        for view in views:
            if view.runs.due():
                self._later(("tidy", id(view)), lambda view=view: self._merge(view))  # type: ignore[misc]

    def _merge(self, view: View) -> None:
        while (step := view.runs.due()) and not self._closing.is_set():
            made = step.made()
            with self._lock(view.shard.number):
                if not view.runs.replace(step, made):
                    return

    def _later(self, key: object, act: Callable[[], None]) -> None:
        if key in self._due:
            return
        self._due.add(key)

        def run() -> None:
            try:
                act()
            finally:
                self._due.discard(key)

        try:
            self._behind.submit(run)
        except RuntimeError:  # closing
            self._due.discard(key)
