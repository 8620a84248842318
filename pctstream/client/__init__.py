"""For programs: `Producer` puts rows into a tree, `Client` and `AsyncClient` ask it.

from pctstream.client import Client, Producer

with Client("http://127.0.0.1:8800") as tree, Producer("127.0.0.1:9092") as rows:
    rows.add([0.1, 0.7], id="a", payload={"colour": "red"})
    rows.flush(wait="applied", tree=tree)
    print(tree.search([0.1, 0.6], k=5).ids, tree.row("a").vector)
"""

from __future__ import annotations

from pctstream.client.answers import (
    Cover,
    Drift,
    Hits,
    Level,
    Move,
    Near,
    Plan,
    Portion,
    Row,
    Shard,
    Tree,
)
from pctstream.client.asking import Client
from pctstream.client.awaiting import AsyncClient
from pctstream.client.producer import Format, Producer

__all__ = [
    "AsyncClient",
    "Client",
    "Cover",
    "Drift",
    "Format",
    "Hits",
    "Level",
    "Move",
    "Near",
    "Plan",
    "Portion",
    "Producer",
    "Row",
    "Shard",
    "Tree",
]
