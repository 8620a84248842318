"""A tree agent's process: the product's Author with its own place in the logs, step by step."""

from __future__ import annotations

import base64
import random
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from sim.log import Log
from sim.rows import DIMENSION
from sim.rules import Rules
from sim.worker import CONTROL, ROUTING

from pctstream.core import ingest
from pctstream.core.between import FENCE, fence_message, marker_message
from pctstream.core.block import Source
from pctstream.core.cover import Cover
from pctstream.core.effects import Parcel
from pctstream.core.mover import Mover, SendFence
from pctstream.core.names import ROOT, Path, pipe_topic
from pctstream.core.records import folded_record, order_record
from pctstream.core.reopener import Reports
from pctstream.core.routing import Routing
from pctstream.core.tree import Author, Turns


class AuthorProcess:
    """Reads back what it writes before it goes on (R5); several may be at it at once."""

    def __init__(
        self, log: Log, rules: Rules, sources: Sequence[Source], settings: Mapping[str, Any],
        name: str, hasty: bool, told: Mapping[str, Mapping[str, Any]],
        covers: Mapping[Path, Cover], reports: Mapping[tuple[str, int], Mapping[str, Any]],
        heard: Mapping[int, Mapping[str, Any]],
    ) -> None:  # fmt: skip
        self._log = log
        self._rules = rules
        self._settings = settings
        self._name = name
        self._hasty = hasty
        self._told = told
        self._covers = covers
        self._now = 0.0
        self.routing = Routing()
        self._followed = 0
        self._outbox: deque[dict[str, Any]] = deque()
        self._awaited = -1
        self._sources = sources
        self._reports = reports
        self._heard = heard
        self._mover = Mover(name, 2, 1.0)
        self._begin()

    def _begin(self) -> None:
        capacities = {s.partition: 1.0 for s in self._sources}
        self._author = Author(self._settings, capacities, self._name)
        self._read = dict.fromkeys(self._sources, -1)
        self._turns = Turns([s.partition for s in self._sources], DIMENSION)
        self._sampled: list[Any] = []
        self._outbox.clear()
        self._again()

    def _again(self) -> None:
        self._reads: dict[Source, int] = {}
        self._author.reopener.again()

    def step(self, chance: random.Random, ended: set[Source]) -> bool:
        """Do one thing; whether anything was done. ``ended``: nothing more is produced to these."""
        if self._follow(chance.randint(1, 3)):
            return True
        if self._awaited > self.routing.seq:
            return False
        if self._awaited >= 0 and self.routing.authors.get(self._awaited) != self._name:
            self._awaited = -1
            self._begin()
        if self._outbox:
            record = self._outbox.popleft()
            self._awaited = record["seq"]
            self._log.append(ROUTING, Parcel(*ROUTING, None, orjson.dumps(record), []))
            return True
        if self._ordered():
            return True
        match self._author.wants(self.routing):
            case "dimension":
                self._outbox.append(self._author.first_record(DIMENSION))
            case "rows":
                return self._sample(chance, ended)
            case "append":
                self._outbox.extend(self._author.records(self.routing))
                self._check()
            case "topics":
                self._outbox.append(self._author.split(self.routing))
            case "level":
                self._now += chance.choice([0.0, 0.1, 3.0])
                busy = self._reopened(chance)
                if self._outbox:
                    return True
                return self._grown() or self._moved() or self._look() or busy
            case _:
                return False
        return True

    def reopen(self, path: Path, starts: Mapping[int, int]) -> None:
        """It believes that a bound is broken."""
        log = self.routing
        idle = not self._outbox and self._awaited <= log.seq and not log.reopened.open
        if idle and path in log.splits and self._author.wants(log) == "level":
            self._outbox.append(self._author.reopener.begin(log, path, starts))

    def leave_out(self, path: Path, children: Sequence[int]) -> None:
        """It believes that they weigh little."""
        log = self.routing
        idle = not self._outbox and self._awaited <= log.seq
        if idle and path in log.splits and self._author.wants(log) == "level":
            self._outbox.append(folded_record(path, children, log.seq + 1, self._name))

    def _reopened(self, chance: random.Random) -> bool:
        """The next step of a re-opening: whether there was one."""
        log, core = self.routing, self._author.reopener
        due = core.unmarked(log, Reports(self._heard, self._told), self._now)
        for mark in due:
            value = marker_message(log.authors[0], mark.node, mark.epoch)
            source = Source(pipe_topic("pct", mark.node), mark.partition)
            if mark.node == ROOT:
                self._rules.truth.by_offset[source].append([])
            self._log.append(source, Parcel(*source, None, value, [("pct-type", b"marker")]))
        match core.wants(log):
            case "rows":
                return self._read_on(chance) or bool(due)
            case "append":
                self._outbox.extend(core.records(log))
                self._again()
            case "topics":
                self._outbox.append(core.end(log))
            case _:
                return bool(due)
        return True

    def _read_on(self, chance: random.Random) -> bool:
        """The next rows from where the re-opening begins."""
        core = self._author.reopener
        if not self._reads:
            topic = pipe_topic("pct", core.path)
            self._reads = {Source(topic, p): first - 1 for p, first in core.starts.items()}
        behind = [s for s in self._reads if self._reads[s] + 1 < self._log.end(s)]
        if not behind:
            return False
        source = chance.choice(behind)
        first = self._reads[source] + 1
        last = min(self._log.end(source), first + chance.randint(1, 8)) - 1
        messages = self._log.messages(source, first, last + 1)
        if core.path == ROOT:
            unit = ingest.decode(source, messages, first - 1, last, DIMENSION, "euclidean")
        else:
            unit = ingest.decode_pipe(source, messages, first - 1, last)
        self._reads[source] = last
        if unit.rows is not None:
            core.sample(unit.rows.plain.vectors)
        return True

    def look_long(self) -> bool:
        """Time goes by and nothing comes: the next record of a level, if that makes one due."""
        if self._outbox or self._author.wants(self.routing) != "level":
            return False
        if self._grown():
            return True
        for _ in range(2):
            self._now += 2000.0
            if self._look():
                return True
        return False

    def wait_long(self) -> bool:
        """Time goes by for moves alone: as long as a fence or a grace takes."""
        for _ in range(2):
            self._now += 11.0
            if not self._outbox and self._moved():
                return True
        return False

    def _ordered(self) -> bool:
        """The next order gets its record."""
        at = self.routing.orders.at + 1
        if not self.routing.tree or at >= self._log.end(CONTROL):
            return False
        order = orjson.loads(self._log.messages(CONTROL, at, at + 1)[0].value or b"")
        self._outbox.append(order_record(order, at, self.routing.seq + 1, self._name))
        return True

    def _moved(self) -> bool:
        step = self._mover.look(self.routing, self._reports, self._told, self._now)
        if isinstance(step, SendFence):
            value = fence_message(step.move, self.routing.position)
            pipe = Source(pipe_topic("pct", step.portion), 0)
            header = ("pct-type", FENCE.encode())
            self._log.append(pipe, Parcel(*pipe, None, value, [header]))
        elif step is not None:
            self._outbox.append(step)
        return step is not None

    def _grown(self) -> bool:
        step, path = self._author.trunk(self.routing, self._covers, self._told)
        if step == "topics":
            self._outbox.append(self._author.split(self.routing, path, self._told))
        elif step == "refuse":
            self._outbox.append(self._author.not_promoted(self.routing, path, self._told))
        elif step == "append":
            cover = self._covers[path]
            self._outbox.extend(self._author.trunk_records(self.routing, path, cover))
        return step != "nothing"

    def _look(self) -> bool:
        record = self._author.levels.look(self.routing, self._told, self._now)
        if record is not None:
            self._outbox.append(record)
        return record is not None

    def late(self) -> Parcel | None:
        """What a process that dies here may still have on its way."""
        if not self._outbox:
            return None
        return Parcel(*ROUTING, None, orjson.dumps(self._outbox[0]), [])

    def _follow(self, count: int) -> bool:
        messages = self._log.messages(ROUTING, self._followed, self._followed + count)
        for message in messages:
            record = orjson.loads(message.value or b"")
            accepted = self.routing.fold(record, message.offset, 0.0)
            self._rules.folded(self.routing, record, accepted)
            self._followed += 1
        return bool(messages)

    def _sample(self, chance: random.Random, ended: set[Source]) -> bool:
        behind = [s for s in self._sources if self._read[s] + 1 < self._log.end(s)]
        if behind:
            source = chance.choice(behind)
            first = self._read[source] + 1
            last = min(self._log.end(source), first + chance.randint(1, 8)) - 1
            messages = self._log.messages(source, first, last + 1)
            unit = ingest.decode(source, messages, first - 1, last, DIMENSION, "euclidean")
            self._read[source] = last
            self._turns.add(unit)
        done = {s for s in self._sources if self._read[s] + 1 >= self._log.end(s)}
        rows = self._turns.take({s.partition for s in (done if self._hasty else done & ended)})
        self._sampled.append(rows)
        self._author.sample(rows, idle=not behind)
        return bool(behind) or bool(len(rows))

    def _check(self) -> None:
        pieces = [base64.b64decode(r["data"]) for r in self._outbox if r["type"] == "cover"]
        if pieces:
            cover = Cover.from_pieces(pieces)
            self._rules.covered(cover, np.concatenate(self._sampled)[: cover.rows], self._hasty)
