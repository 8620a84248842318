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
from functools import partial

import numpy as np

from pctstream.agents.finding import Finder
from pctstream.agents.nearby import Nearby
from pctstream.agents.shard import Shard
from pctstream.agents.sight import Drawn, Sight
from pctstream.agents.view import View
from pctstream.agents.views import Views
from pctstream.core.answers import Answer, Question
from pctstream.core.cells import cell_rows, cells_of
from pctstream.core.handing import HandsDown
from pctstream.core.names import ROOT, Path, node_name
from pctstream.core.recall import Learnt, learn
from pctstream.core.routing import Routing
from pctstream.core.table import Table
from pctstream.errors import Late, NotReady, QueryRefused
from pctstream.pipes.priority import lower

LEARNT_FOR = (10, 100)
"""Neighbours for which recall is learnt; of more, an answer is always exact."""
GROWN = 1.5
"""Recall is learnt again when a shard's rows are so many times what they were."""
WARM_S = 60.0
FEW = 1 << 16
"""So many numbers of centres and queries are compared on the event loop: a few tenths of a millisecond."""


class Search:
    """All views of one worker."""

    def __init__(self, shards: dict[int, Shard], routing: Routing, limit: int) -> None:
        self._shards = shards
        self._routing = routing
        self._sights: dict[tuple[int, int], Sight] = {}
        self._views = Views(shards, routing, limit, self._sights.clear)
        self._learnt: dict[tuple[int, int], tuple[int, Learnt]] = {}
        self._due: set[object] = set()
        self._closing = threading.Event()
        self._behind = ThreadPoolExecutor(1, thread_name_prefix="tidy", initializer=lower)
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

    def prepare(self, number: int, path: Path) -> None:
        """Have a node's rows read behind, which will be asked for soon."""
        if shard := self._shards.get(number):
            act = partial(self._views.prepare, shard, path, self._closing)
            self._later(("prepare", number, path), act)

    @property
    def nbytes(self) -> int:
        """What all views take of memory."""
        return self._views.nbytes

    # questions

    def ask(self, number: int, question: Question, deadline: float) -> Answer:
        """One shard's answer by ``deadline`` (monotonic seconds), of the nodes that are there: those it
        is said to be of.

        NotReady if the shard is not here, Late if the time was over.
        """
        shard = self._shard(number)
        if question.queries.shape[1] != self._routing.dimension:
            raise QueryRefused(f"rows have {self._routing.dimension} numbers")
        epoch, generation = self._routing.epoch, self.generation()
        paths, let_go, _ = self._paths(shard, question.depth)
        finder = Finder(number, question, deadline)
        try:
            for sight in self._parts(shard, paths, question.depth, deadline, finder):
                plan = self._probes(number, sight, question)
                finder.look(sight.table, sight.owner, plan, sight.alive)
        except LookupError:
            raise NotReady(f"shard {number} let go of rows meanwhile: ask again") from None
        return finder.answer(epoch, generation, paths, let_go)

    def unasked(self, number: int, question: Question) -> Answer | None:
        """The answer of a shard none of whose portions may have a row that is wanted: it takes no thread,
        no lock and no row. None where it must be asked."""
        unlike = question.queries.shape[1] != self._routing.dimension
        if unlike or question.depth >= 0 or not np.isfinite(question.within).all():
            return None
        shard, epoch, generation = self._shard(number), self._routing.epoch, self.generation()
        finder = Finder(number, question, np.inf)
        paths, let_go, why = self._paths(shard, question.depth)
        if why or not finder.certain or len(paths) * question.queries.size > FEW:
            return None
        nearby = Nearby.of(shard, paths)
        if nearby is None or finder.near(nearby).any():
            return None
        finder.skip(nearby.rows(np.ones(len(paths), np.bool_)))
        return finder.answer(epoch, generation, paths, let_go)

    def draw(
        self, number: int, count: int, rng: np.random.Generator, deadline: float
    ) -> list[Drawn]:
        """So many rows of a shard's portions by lot, the lowest first: the lowest of all shards' are
        drawn from all rows alike."""
        shard = self._shard(number)
        paths, _ = self._all(shard, -1)
        found: list[Drawn] = []
        for sight in self._parts(shard, paths, -1, deadline):
            found = sorted([*found, *sight.drawn(count, rng)])[:count]
        return found

    def views(self, number: int, depth: int, deadline: float) -> tuple[list[View], list[Path]]:
        """The views of a shard's nodes, each as of now, and the nodes that they are of."""
        shard = self._shard(number)
        paths, let_go = self._all(shard, depth)
        found = []
        with self._views.lock(number):
            for path in paths:
                view = self._views.of(shard, path)
                if not view.refresh(deadline):
                    raise Late(f"shard {number} still reads its rows: ask again")
                found.append(view)
        return found, [*paths, *let_go]

    def _shard(self, number: int) -> Shard:
        shard = self._shards.get(number)
        if shard is None or shard.root is None:
            raise NotReady(f"shard {number} is not here: ask the worker that hosts it")
        return shard

    def _all(self, shard: Shard, depth: int) -> tuple[list[Path], list[Path]]:
        """The same as `_paths`; NotReady if one is lacking."""
        paths, let_go, why = self._paths(shard, depth)
        if why:
            raise NotReady(why)
        return paths, let_go

    def _paths(self, shard: Shard, depth: int) -> tuple[list[Path], list[Path], str]:
        """The nodes at this depth whose rows are to be looked at, those that have let go, and why others
        cannot be looked at yet."""
        log = self._routing
        owned = log.nodes_at(depth, shard.number)
        paths: list[Path] = []
        let_go: list[Path] = []
        why = ""
        for path in [ROOT] if depth == 0 else owned:
            node = shard.nodes.get(path)
            if node is None or path in shard.lost:
                why = f"{node_name(path)} is not restored yet: ask again"
            elif isinstance(node, HandsDown) and node.emptied:
                let_go.append(path)
            elif node.position.taken < self.reported(shard.number, path):
                why = f"{node_name(path)} is being made again from its log: ask again"
            else:
                paths.append(path)
        return paths, let_go, why

    # memory

    def _parts(
        self, shard: Shard, paths: list[Path], depth: int, deadline: float,
        finder: Finder | None = None,
    ) -> Iterator[Sight]:  # fmt: skip
        """What is in memory as one sight, or as two; behind each what is not, in pieces."""
        for some in self._stages(shard, paths, finder):
            kept, passing = [], []
            with self._views.lock(shard.number):
                easily = self._views.all_fit(shard, some)
                for path in some:
                    if not easily and not self._views.fits(shard, path):
                        passing.append(path)
                        continue
                    view = self._views.of(shard, path)
                    if not view.refresh(deadline):
                        raise Late(f"shard {shard.number} still reads its rows: ask again")
                    kept.append(view)
                sight = self._sight((shard.number, depth), kept)
            self._tidy(kept)
            yield sight
            for path in passing:
                self._views.drop(shard, path)
                yield from self._pieces(shard, path, deadline)

    def _stages(
        self, shard: Shard, paths: list[Path], finder: Finder | None
    ) -> Iterator[list[Path]]:
        """The nodes whose rows are looked at together. Where some are not in memory yet, the portions that
        are nearest come first, then those that may have a nearer row; no others are read."""
        level = all(self._views.level(shard, path) for path in paths)
        nearby = None if level else Nearby.of(shard, paths)
        if finder is None or nearby is None or not finder.certain:
            yield paths
            return
        first = finder.near(nearby) & finder.nearest(nearby)
        if first.any():
            yield nearby.chosen(first)
        then = finder.near(nearby) & ~first
        if then.any():
            yield nearby.chosen(then)
        finder.skip(nearby.rows(~(first | then)))

    def _pieces(self, shard: Shard, path: Path, deadline: float) -> Iterator[Sight]:
        """A node that does not fit into memory, a piece at a time."""
        view, whole = View(shard, path, self._routing.dimension), False
        while not whole:
            if time.monotonic() > deadline:
                raise Late(f"{node_name(path)} is larger than limits.search_bytes and takes longer")
            whole = view.refresh(-np.inf)
            yield Sight.of([view], self._routing.dimension)
            view = View(shard, path, self._routing.dimension, view.last)

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
            with self._views.lock(view.shard.number):
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
