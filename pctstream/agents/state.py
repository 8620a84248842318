"""The state agent: this worker's share of `.state`, kept in Faust's tables on RocksDB.

Faust recovers them from their changelogs; the complete copy that the views answer from is
`tables.ReadModel` (the reason stands there).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pctstream.tables import entries, newer, told

PENDING_MAX = 50
"""Changelog messages that may wait when the next record is taken; Faust warns from 100 on."""
TOLD = frozenset({"offset", "time"})


def changed(value: Mapping[str, Any], held: Mapping[str, Any] | None) -> bool:
    """Whether there is more to it than when it was told: a table's changelog is not a clock."""
    return held is None or any(held.get(k) != v for k, v in value.items() if k not in TOLD)


def declare_state(app: Any, topic: Any, options: dict[str, Any], names: Sequence[str]) -> None:
    """The tables and the agent that writes them."""
    tables = {
        name: app.Table(name, default=None, help=f"The {name} of the tree.", options=dict(options))
        for name in names
    }

    @app.agent(topic, name="state")  # type: ignore[untyped-decorator]
    async def state(records: AsyncIterator[bytes]) -> None:
        """Keeps the tables."""
        async for raw in records:
            for table, key, value in entries(told(raw)):
                if table not in tables:
                    continue
                held = tables[table].get(key)
                if newer(value, held) and changed(value, held):
                    tables[table][key] = value
            # a record of a portion writes as many entries as it has nodes, and nothing drains between
            buffer = app.producer.buffer
            while buffer.size > PENDING_MAX:
                await buffer.flush_atmost(buffer.size - PENDING_MAX)
