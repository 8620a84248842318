"""The solver's views: the weighted cover of a level, and the entries of it near a centre.

A cover is made anew for every question: its rows are as of now. The index of near neighbours depends
on the entries and their centres alone, so it is kept for as long as `TreeView.structure` says that
these are the same. Both run in threads of the server's pool: kernels release the GIL.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import Depends, FastAPI, Header, Response

from pctstream.core.block import ARROW
from pctstream.core.encodings import KINDS, NPZ, neighbors_to_json, to_arrow, to_json, to_npz
from pctstream.core.kernels import Float64
from pctstream.core.moments import at as moment_at
from pctstream.core.names import node_path
from pctstream.core.neighbors import Neighbors, centre_of
from pctstream.core.solver import Nodes, level_cover, place
from pctstream.errors import NotFound, NotReady, QueryRefused, UsageError
from pctstream.http.body import answered, body, chosen, json_object
from pctstream.http.question import numbers
from pctstream.http.tree import TreeView
from pctstream.tables import Record

FIELDS = ("center", "node", "max_distance")
ASKED = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {
        "type": "object", "required": ["max_distance"], "additionalProperties": False,
        "properties": {
            "center": {"type": "array", "items": {"type": "number"}},
            "node": {"type": "string", "examples": ["N0,3", "N0.3"]},
            "max_distance": {"type": "number", "minimum": 0},
        }}}}}}  # fmt: skip


class Indexes:
    """The last index of each level."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[Hashable, Neighbors]] = {}

    def of(self, structure: Hashable, nodes: Nodes, level: int) -> Neighbors:
        """The index of this level; the structure is that of the nodes or of a moment before."""
        with self._lock:  # built once, however many ask
            kept = self._kept.get(level)
            if kept is None or kept[0] != structure:
                kept = structure, Neighbors(nodes, level_cover(nodes, level))
                self._kept[level] = kept
            return kept[1]


def add(
    app: FastAPI, max_level: int, view: Callable[[], TreeView], as_of: Callable[[], dict[str, Any]],
    moments: Callable[[], list[Record]],
) -> None:  # fmt: skip
    """The two calls, over the tree as it is at each of them; ``moments``: those kept of it."""
    indexes = Indexes()

    def tree_at(level: int) -> TreeView:
        if not 0 <= level <= max_level:
            raise NotFound(f"there is no level {level}: they go from 0 to {max_level}")
        return view()

    @app.get("/v1/levels/{level}/cover")
    def cover(
        level: int, at: float | None = None, accept: Annotated[str | None, Header()] = None
    ) -> Response:
        """The weighted epsilon-cover of a level, as JSON, Arrow or .npz; the weights sum to 1.

        With `at`, in seconds, as the last kept moment until then had it: `as_of` says which one that is.
        404 where none is kept, 410 where none is so old, or none of those has so deep a level.
        """
        kind = chosen(accept, KINDS)
        now, tree = as_of(), tree_at(level)
        nodes = tree.summaries()
        if at is not None:
            if not math.isfinite(at):
                raise QueryRefused("at must be seconds")
            then = moment_at(moments(), at, level)
            nodes, now = then.summaries(nodes), {"time": then.time, "epoch": then.epoch, "at": at}
        found = level_cover(nodes, level, tree.epsilon(level))
        if kind == ARROW:
            content = to_arrow(found, now)
        elif kind == NPZ:
            content = to_npz(found, now)
        else:
            content = orjson.dumps(to_json(found) | {"as_of": now})
        return Response(content, media_type=kind, headers={"Vary": "Accept"})

    @app.post("/v1/levels/{level}/neighbors", openapi_extra=ASKED)
    def neighbors(level: int, raw: Annotated[bytes, Depends(body)]) -> Response:
        """The entries of that cover within a distance of a centre or a node, nearest first."""
        asked = json_object(raw, FIELDS)
        now, tree = as_of(), tree_at(level)
        structure = tree.structure(level)
        nodes = tree.summaries()
        centre, distance = _centre(asked, tree, nodes), _number(asked, "max_distance")
        index = indexes.of(structure, nodes, level)
        answer = neighbors_to_json(index.cover, *index.within(centre, distance))
        return answered(answer | {"as_of": now})


def _number(asked: dict[str, Any], name: str) -> float:
    value = asked.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise QueryRefused(f"{name} must be a number")
    return float(value)


def _centre(asked: dict[str, Any], tree: TreeView, nodes: Nodes) -> Float64:
    """What is asked around: a centre as given, or a node's own."""
    if ("center" in asked) == ("node" in asked):
        raise QueryRefused('ask with either "center" or "node", not with both or neither')
    if "center" in asked:
        return centre_of(numbers(asked["center"], "center"), tree.dimension, tree.metric)
    try:
        path = node_path(asked["node"]) if isinstance(asked["node"], str) else None
    except UsageError as error:
        raise QueryRefused(str(error)) from None
    if path is None:
        raise QueryRefused("node must be a name like N0,3")
    if path not in nodes:
        raise NotFound(f"no node {asked['node']}")
    centre, _ = place(nodes, path)
    if centre is None:
        raise NotReady(f"{asked['node']} has no centre before it has children: ask later")
    return centre.astype(np.float64)
