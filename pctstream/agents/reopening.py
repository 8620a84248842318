"""The tree agent re-opens covers above the cut: what `core.reopener` asks for, done, a piece at a time; and
folds children there (`core.folder`).

Beside it the tree goes on growing and portions move: a step reads at most one poll of rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from pctstream.agents.sampler import Sampler
from pctstream.config import Config
from pctstream.core.between import MARKER, marker_message
from pctstream.core.effects import Parcel
from pctstream.core.names import Path, pipe_topic
from pctstream.core.reopener import Mark, Reports
from pctstream.core.routing import Routing
from pctstream.core.tree import Author
from pctstream.pipes.writer import Writer
from pctstream.tables import ReadModel


class Reopening:
    """Of one author; ``append`` a record: whether it counted; ``make`` the topics of these nodes."""

    def __init__(
        self, cfg: Config, log: Routing, model: ReadModel, writer: Writer, author: Author,
        append: Callable[[dict[str, Any]], bool], make: Callable[[Sequence[Path]], None],
    ) -> None:  # fmt: skip
        self._cfg, self._log, self._model, self._writer = cfg, log, model, writer
        self._core, self._folder = author.reopener, author.folder
        self._append, self._make = append, make
        self._sampler: Sampler | None = None

    def step(self) -> bool:
        """The next step: whether there was one."""
        log, core = self._log, self._core
        told = Reports(self._model.shards(), self._model.portions())
        due = core.unmarked(log, told, time.monotonic())
        for mark in due:
            self._mark(mark)
        record = core.look(log, told) or self._folder.look(log, told)
        if record is not None:
            return self._append(record)
        match core.wants(log):
            case "rows":
                core.sample(self._read())
            case "append":
                self.close()
                if not all(self._append(record) for record in core.records(log)):
                    core.again()
            case "topics":
                self.close()
                with suppress(KeyError):  # somebody else's record came in between
                    self._make(core.children(log))
                    self._append(core.end(log))
            case _:
                return bool(due)
        return True

    def _read(self) -> Any:
        if self._sampler is None:
            log, core = self._log, self._core
            self._sampler = Sampler(self._cfg, log.dimension, log.metric, core.starts, core.path)
        return self._sampler.read()[0]

    def _mark(self, mark: Mark) -> None:
        value = marker_message(self._log.authors[0], mark.node, mark.epoch)
        topic = pipe_topic(self._cfg.tree.name, mark.node)
        header = ("pct-type", MARKER.encode())
        self._writer.append(Parcel(topic, mark.partition, None, value, [header]))

    def close(self) -> None:
        """Nothing is read any more."""
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None
