"""The state agent: this worker's share of `.state`, kept in Faust's tables on RocksDB.

Faust recovers them from their changelogs; the complete copy that the views answer from is
`tables.ReadModel` (the reason stands there).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pctstream.tables import NAMES, entries, newer, readable


def declare_state(app: Any, topic: Any, options: dict[str, Any]) -> None:
    """The tables and the agent that writes them."""
    tables = {
        name: app.Table(name, default=None, help=f"The {name} of the tree.", options=dict(options))
        for name in NAMES
    }

    @app.agent(topic, name="state")  # type: ignore[untyped-decorator]
    async def state(records: AsyncIterator[bytes]) -> None:
        """Keeps the tables of nodes, portions and metrics."""
        async for raw in records:
            for table, key, value in entries(readable(raw)):
                if newer(value, tables[table].get(key)):
                    tables[table][key] = value
