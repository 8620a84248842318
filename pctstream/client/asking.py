"""`Client`: asks a tree over HTTP, and waits for the answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx

from pctstream.client import calls
from pctstream.client.answers import (
    Cover,
    Drift,
    Hits,
    Move,
    Near,
    Plan,
    Portion,
    Row,
    Shard,
    Tree,
)
from pctstream.client.attempts import Attempts, addresses, connecting
from pctstream.client.calls import Call, Include, Pages
from pctstream.errors import PctError

T = TypeVar("T")


class Client:
    """Asks a tree, one question after the other; for one thread.

    ``urls``: of one worker or several, any of which answers for the whole tree; ``ca_file``: whose
    certificates are taken where they begin with https. ``timeout_s`` bounds a call with all its
    attempts. Raises the errors of `pctstream.errors` by what went wrong: NotFound, QueryRefused (a field
    is named), Refused (the token), and once attempts are over NotReady, Busy, Late.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        token: str | None = None,
        ca_file: str | Path | None = None,
        timeout_s: float = 10.0,
        transport: Any = None,
    ) -> None:
        self._urls = addresses(urls)
        self._at = 0
        self._timeout_s = timeout_s
        self._http = httpx.Client(**connecting(token, ca_file), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Ask, and ask again where that may help."""
        attempts = Attempts(self._urls, self._at, self._timeout_s)
        while True:
            wanted = None
            try:
                answer = self._http.request(**attempts.request(call))
                wanted = answer.headers.get("retry-after")
                return attempts.read(call, answer)
            except httpx.HTTPError as silence:
                error: PctError = attempts.silent(silence)
                self._at = attempts.at
            except PctError as refusal:
                error = refusal
            time.sleep(attempts.pause(call, error, wanted))

    def send_all(self, pages: Pages[T]) -> list[T]:
        """Every entry of a list, page by page."""
        found: list[T] = []
        following: Pages[T] | None = pages
        while following is not None:
            entries, following = following.taken(self.send(following.call))
            found += entries
        return found

    # questions

    def search(
        self,
        vector: Any,
        k: int = 10,
        *,
        recall: float | None = None,
        filter: Any = None,
        include: Include = (),
        explain: bool = False,
    ) -> Hits:
        """The k nearest rows to a vector [d]: exact, or to a ``recall`` that is expected."""
        return self.send(calls.search(vector, k, recall, filter, include, explain))

    def search_many(
        self,
        vectors: Any,
        k: int = 10,
        *,
        recall: float | None = None,
        filter: Any = None,
        include: Include = (),
        explain: bool = False,
    ) -> list[Hits]:
        """The same for each vector of [m, d], m at most 64."""
        return self.send(calls.search_many(vectors, k, recall, filter, include, explain))

    def range(
        self,
        vector: Any,
        radius: float,
        *,
        limit: int = 1000,
        filter: Any = None,
        include: Include = (),
        explain: bool = False,
    ) -> Hits:
        """Every row within ``radius``, the nearest first; `truncated` if there are more than ``limit``."""
        return self.send(calls.range_(vector, radius, limit, filter, include, explain))

    def row(self, id: str | int) -> Row:
        """The row of an id; NotFound."""
        return self.send(calls.row(id))

    def cover(self, level: int, at: float | None = None) -> Cover:
        """The weighted epsilon-cover of a level; as it was ``at`` a time in seconds (`Cover.time`)."""
        return self.send(calls.cover(level, at))

    def neighbors(self, level: int, around: Any, max_distance: float) -> Near:
        """Entries of a level's cover near a vector [d], or near the node of that name."""
        return self.send(calls.neighbors(level, around, max_distance))

    def tree(self) -> Tree:
        """The tree by levels."""
        return self.send(calls.tree())

    def portions(self) -> list[Portion]:
        """Every portion: rows, rate, owner."""
        return self.send_all(calls.portions())

    def shards(self) -> list[Shard]:
        """Every shard: rows, load, portions, inputs."""
        return self.send_all(calls.shards())

    def drifts(self) -> list[Drift]:
        """The drift score of every portion."""
        return self.send_all(calls.drifts())

    def drift(self, portion: str) -> Drift:
        """That of one, with forecast, detectors and history."""
        return self.send(calls.drift(portion))

    def moves(self) -> list[Move]:
        """Every move, the newest first."""
        return self.send_all(calls.moves())

    def move(self, id: str) -> Move:
        """One move; NotFound."""
        return self.send(calls.move(id))

    def start_move(self, portion: str, to: int, reason: str = "") -> Move:
        """Order a move; IllegalTransition while the portion has one."""
        return self.send(calls.start_move(portion, to, reason))

    def change_move(self, id: str, what: Literal["pause", "resume", "cancel"]) -> Move:
        """Pause, resume or cancel a move."""
        return self.send(calls.change_move(id, what))

    def plans(self) -> list[Plan]:
        """The last plans, the newest first."""
        return self.send_all(calls.plans())

    def plan(self, id: str) -> Plan:
        """One plan; NotFound."""
        return self.send(calls.plan(id))

    def make_plan(self, *, dry_run: bool = True, reason: str = "") -> Plan:
        """Which portions should move; without ``dry_run`` they do."""
        return self.send(calls.make_plan(dry_run, reason))

    def apply_plan(self, id: str) -> Plan:
        """Order the moves of a plan; IllegalTransition where the tree has changed since."""
        return self.send(calls.apply_plan(id))
