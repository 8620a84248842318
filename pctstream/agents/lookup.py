"""A row by its id: every segment of a shard is looked at, by the hash of the id.

Which shards are asked is decided by whoever asks (`http.rows`): those whose Bloom filter says "maybe".
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pctstream.agents.finding import payload_of
from pctstream.agents.search import Search
from pctstream.agents.view import View
from pctstream.core.identity import origin_of
from pctstream.core.keys import hashes
from pctstream.core.names import node_name
from pctstream.errors import NotReady

Row = dict[str, Any]


def rows_named(
    search: Search, number: int, name: str, depth: int, deadline: float
) -> tuple[list[Row], list[str]]:
    """The rows of one shard with this id, and the nodes that were looked at.

    A row without an id is named by its origin.
    """
    views, paths = search.views(number, depth, deadline)
    hash_, origin = int(hashes(pa.array([name]))[0]), origin_of(name)
    try:
        found = [
            _row(view, number, segment, row)
            for view in views
            for segment, row in view.find(name, hash_, origin)
        ]
    except LookupError:
        raise NotReady(f"shard {number} let go of rows meanwhile: ask again") from None
    return found, [node_name(path) for path in paths]


def _row(view: View, number: int, segment: int, row: int) -> Row:
    block, who = view.segment(segment), view.segments[segment]
    origin = who.origin(row)
    return {
        "id": who.name(row),
        "vector": block.vectors[row].tolist(),
        "payload": payload_of(block, row),
        "time": None if block.times is None else block.times[row].as_py(),
        "node": view.leaf_name(view.leaves(segment), row),
        "portion": node_name(view.path),
        "shard": number,
        "origin": str(origin),
        "place": [origin.offset, origin.index],
    }


def newest(rows: list[Row]) -> Row | None:
    """Of several rows with one id the last that came in: an id comes through one ingest partition."""
    return max(rows, key=lambda row: row["place"], default=None)
