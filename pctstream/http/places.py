"""A question about places goes to all shards and comes back as one answer.

Every shard of the tree has rows that may lie there, so all are asked, those of one worker in one request.
A row that is on its way down leaves N0 only when its portion has it; so while anything above the cut may
hold rows, all are asked twice, one after the other: what had left N0 before the first time is below at the
second.

A shard that does not answer for all its nodes is asked again while there is time. What is still missing is
said from the regions that it told of last (`core.coarse`), and the answer is partial.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pctstream.core.coarse import estimated
from pctstream.core.names import ROOT, node_name
from pctstream.errors import PctError
from pctstream.http.asking import Asking, Hosts, hosted, insisted, nodes_of
from pctstream.tables import Record

if TYPE_CHECKING:
    from pctstream.agents.located import Located

Answer = dict[str, Any]


@dataclass(slots=True)
class Outcome:
    """What all shards together said."""

    answers: list[Answer] = field(default_factory=list)
    """The last of each shard last."""
    missing: set[int] = field(default_factory=set)

    @property
    def last(self) -> dict[int, Answer]:
        """One answer of each shard that gave one."""
        return {answer["shard"]: answer for answer in self.answers}


class Places:
    """Puts questions about places to all shards; of one worker."""

    def __init__(self, hosts: Hosts, asking: Asking, located: Located) -> None:
        self._hosts = hosts
        self._asking = asking
        self._located = located
        self._let_go: set[tuple[int, str]] = set()

    async def ask(self, question: Mapping[str, Any], deadline: float) -> Outcome:
        """The answers by ``deadline`` (monotonic seconds), as whole as they can be had."""
        if not self._hosts.routing.dimension:
            return Outcome()  # no row has come yet
        return await insisted(lambda: self._once(question, deadline), deadline)

    async def _once(self, question: Mapping[str, Any], deadline: float) -> Outcome:
        outcome, wanted = Outcome(), self._wanted()
        epoch, generation = self._hosts.routing.epoch, self._hosts.generation()
        twice = question["what"] in ("box", "point") and self._above()
        for _ in range(2 if twice else 1):
            found = await self._gather(question, wanted, deadline)
            outcome.answers += found
            done = {
                a["shard"]: set(a["searched"]) for a in found
                if a["epoch"] == epoch and not -1 < a["generation"] < generation
            }  # fmt: skip
            outcome.missing |= {s for s, names in wanted.items() if not names <= done.get(s, {""})}
            outcome.missing |= set(wanted) - set(done)
            self._let_go |= {(a["shard"], name) for a in found for name in a["let_go"]}
        return outcome

    def _wanted(self) -> dict[int, set[str]]:
        """Of each shard the nodes whose rows it must have looked at."""
        log = self._hosts.routing
        return {
            shard: {node_name(p) for p in (ROOT, *log.owned(shard))}
            for shard in range(self._hosts.count)
        }

    def _above(self) -> bool:
        """Whether a node above the cut may hold rows."""
        return any(
            (shard, name) not in self._let_go
            for depth in range(self._hosts.routing.above.depth)
            for shard, names in nodes_of(self._hosts, depth).items()
            for name in names
        )

    async def _gather(
        self, question: Mapping[str, Any], shards: Iterable[int], deadline: float
    ) -> list[Answer]:
        here, away = hosted(self._hosts, shards)
        waits = [self.local(shard, question, deadline) for shard in here]
        waits += [self._remote(url, some, question, deadline) for url, some in away.items()]
        return [answer for answers in await asyncio.gather(*waits) for answer in answers]

    async def local(self, shard: int, question: Mapping[str, Any], deadline: float) -> list[Answer]:
        """The answer of a shard of this worker; none if it has none in time."""
        try:
            return [await self._asking.run(self._located.ask, shard, question, deadline)]
        except (PctError, LookupError, TypeError, ValueError):
            return []

    async def _remote(
        self, url: str, shards: list[int], question: Mapping[str, Any], deadline: float
    ) -> list[Answer]:
        left = max(0.01, deadline - time.monotonic())
        body = {"seconds": left, "shards": shards, "question": dict(question)}
        said = await self._asking.post(f"{url}/v1/shards/places", body, left)
        return list(said["answers"]) if said else []


def rows_of(outcome: Outcome) -> list[Answer]:
    """All rows that were told, each once: where it is in a portion as well as above, the portion's."""
    found: dict[str, Answer] = {}
    for answer in outcome.answers:
        for row in answer["rows"]:
            if row["origin"] not in found or row["portion"] != node_name(ROOT):
                found[row["origin"]] = row
    return list(found.values())


def coarse(
    missing: set[int], told: Mapping[int, Record], box: tuple[float, ...] | None
) -> list[Answer]:
    """Of the shards that did not answer: how many rows they have in a box, by what they told last."""
    found: list[Answer] = []
    for shard in sorted(missing):
        record = told.get(shard)
        if record is None:
            found.append({"shard": shard, "rows": None, "why": "it has not told of any region"})
            continue
        columns = record["regions"]
        boxes = np.array(columns["box"], np.float64).reshape(-1, 4)
        rows = np.array(columns["rows"], np.int64)
        whole = (-np.inf, -np.inf, np.inf, np.inf)
        guess = estimated(boxes, rows, box if box is not None else whole)
        # rows that its index had no room for may lie anywhere
        left_out = int(record.get("left_out", 0))
        guess = guess._replace(most=guess.most + left_out)
        found.append(
            {"shard": shard, "rows": guess._asdict(), "of_rows": int(record["rows"]) + left_out,
             "regions": len(rows), "told": record["time"]}
        )  # fmt: skip
    return found
