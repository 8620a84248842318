"""Each question as a value: what is sent, and how its answer is read. `Client` and `AsyncClient` send it.

A list comes in pages; who sends asks for the next as long as there is one (`Call.after`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import numpy as np
import orjson

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
    cover_of,
    hits_of,
    made,
    move_of,
    near_of,
    row_of,
    tree_of,
)

T = TypeVar("T")
JSON, NPZ = "application/json", "application/x-npz"
Include = Sequence[Literal["vector", "payload"]]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request; ``again``: it may be sent twice, because it changes nothing."""

    path: str
    read: Callable[[bytes], T]
    body: Mapping[str, Any] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    accept: str = JSON
    method: str = "GET"
    again: bool = True
    tree: str = ""
    """Asked by name, whatever answers in its place; empty: whichever answers there."""

    @property
    def content(self) -> bytes | None:
        """The body's bytes; arrays are written as they are."""
        if self.body is None:
            return None
        return orjson.dumps(self.body, option=orjson.OPT_SERIALIZE_NUMPY)


@dataclass(frozen=True, slots=True)
class Pages(Generic[T]):
    """A list that comes in pages: the first call, and what each entry is."""

    call: Call[Mapping[str, Any]]
    name: str
    entry: Callable[[Mapping[str, Any]], T]

    def taken(self, page: Mapping[str, Any]) -> tuple[list[T], Pages[T] | None]:
        """The entries of a page, and what to ask next."""
        entries = [self.entry(one) for one in page[self.name]]
        after = page.get("next")
        if after is None:
            return entries, None
        params = {**self.call.params, "cursor": after}
        return entries, replace(self, call=replace(self.call, params=params))


def _json(read: Callable[[Any], T]) -> Callable[[bytes], T]:
    return lambda raw: read(orjson.loads(raw))


def _pages(path: str, name: str, entry: Callable[[Mapping[str, Any]], T]) -> Pages[T]:
    return Pages(Call(path, _json(dict)), name, entry)


def _numbers(given: Any, axes: int, name: str) -> Any:
    found = np.ascontiguousarray(given, np.float64)
    if found.ndim != axes:
        raise ValueError(f"{name}: an array of {axes} axes, not of shape {found.shape}")
    return found


def search(
    vector: Any, k: int, recall: float | None, filter: Any, include: Include, explain: bool
) -> Call[Hits]:
    """The k nearest rows; exact where no recall is asked for."""
    body = {"vector": _numbers(vector, 1, "vector")} | _searched(k, recall, filter, include, explain)  # fmt: skip # noqa: E501
    return Call("/v1/search", _json(lambda said: hits_of(said["results"], said)), body, method="POST")  # fmt: skip # noqa: E501


def search_many(
    vectors: Any, k: int, recall: float | None, filter: Any, include: Include, explain: bool
) -> Call[list[Hits]]:
    """The same of several vectors, float [m, d], m at most 64."""
    body = {"vectors": _numbers(vectors, 2, "vectors")} | _searched(k, recall, filter, include, explain)  # fmt: skip # noqa: E501
    read = _json(lambda said: [hits_of(some, said) for some in said["results"]])
    return Call("/v1/search", read, body, method="POST")


def _searched(
    k: int, recall: float | None, filter: Any, include: Include, explain: bool
) -> dict[str, Any]:
    asked: dict[str, Any] = {"k": k, "include": list(include), "explain": explain}
    if recall is not None:
        asked["recall"] = recall
    return asked if filter is None else asked | {"filter": filter}


def range_(
    vector: Any, radius: float, limit: int, filter: Any, include: Include, explain: bool
) -> Call[Hits]:
    """All rows within a radius, at most so many."""
    body = {"vector": _numbers(vector, 1, "vector"), "radius": radius, "limit": limit,
            "include": list(include), "explain": explain}  # fmt: skip
    if filter is not None:
        body["filter"] = filter
    return Call("/v1/range", _json(lambda said: hits_of(said["results"], said)), body, method="POST")  # fmt: skip # noqa: E501


def row(id: str | int) -> Call[Row]:
    """The row of an id; NotFound."""
    return Call(f"/v1/rows/{quote(str(id), safe='')}", _json(row_of))


def cover(level: int, at: float | None) -> Call[Cover]:
    """The weighted cover of a level, or as it was; .npz on the wire."""
    params = {} if at is None else {"at": at}
    return Call(f"/v1/levels/{level}/cover", cover_of, params=params, accept=NPZ)


def neighbors(level: int, around: Any, max_distance: float) -> Call[Near]:
    """Entries of a level's cover near a centre, or near a node of that name."""
    asked = {"node": around} if isinstance(around, str) else {"center": _numbers(around, 1, "around")}  # fmt: skip # noqa: E501
    body = {**asked, "max_distance": max_distance}
    return Call(f"/v1/levels/{level}/neighbors", _json(near_of), body, method="POST")


def tree() -> Call[Tree]:
    """The tree as a whole."""
    return Call("/v1/tree", _json(tree_of))


def portions() -> Pages[Portion]:
    """All portions."""
    return _pages("/v1/portions", "portions", lambda one: made(Portion, one))


def shards(tree: str = "") -> Pages[Shard]:
    """All shards that have reported, of the tree of this name if one is given."""
    pages = _pages("/v1/shards", "shards", lambda one: made(Shard, one))
    return replace(pages, call=replace(pages.call, tree=tree))


def drifts() -> Pages[Drift]:
    """The scores of all portions, without their histories."""
    return _pages("/v1/drift", "drift", lambda one: made(Drift, one))


def drift(portion: str) -> Call[Drift]:
    """The score of a portion, with everything behind it."""
    return Call(f"/v1/drift/{quote(portion, safe='')}", _json(lambda said: made(Drift, said)))


def moves() -> Pages[Move]:
    """All moves, the newest first."""
    return _pages("/v1/moves", "moves", move_of)


def move(id: str) -> Call[Move]:
    """One move."""
    return Call(f"/v1/moves/{quote(id, safe='')}", _json(move_of))


def start_move(portion: str, to: int, reason: str) -> Call[Move]:
    """Order a move; it is over when its stage is DONE or ABORTED."""
    body = {"portion": portion, "to": to, "reason": reason}
    return Call("/v1/moves", _json(move_of), body, method="POST", again=False)


def change_move(id: str, what: Literal["pause", "resume", "cancel"]) -> Call[Move]:
    """Pause, resume or cancel a move."""
    path = f"/v1/moves/{quote(id, safe='')}/{what}"
    return Call(path, _json(move_of), method="POST", again=False)


def plans() -> Pages[Plan]:
    """The last plans, the newest first."""
    return _pages("/v1/plans", "plans", lambda one: made(Plan, one))


def plan(id: str) -> Call[Plan]:
    """One plan."""
    return Call(f"/v1/plans/{quote(id, safe='')}", _json(lambda said: made(Plan, said)))


def make_plan(dry_run: bool, reason: str) -> Call[Plan]:
    """Which portions should move; without ``dry_run`` they do."""
    body = {"dry_run": dry_run, "reason": reason}
    return Call("/v1/plans", _json(lambda said: made(Plan, said)), body, method="POST", again=False)


def apply_plan(id: str) -> Call[Plan]:
    """Order the moves of a plan; IllegalTransition where the tree has changed since."""
    path = f"/v1/plans/{quote(id, safe='')}/apply"
    return Call(path, _json(lambda said: made(Plan, said)), method="POST", again=False)
