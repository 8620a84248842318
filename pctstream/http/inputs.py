"""What the shards tell of the inputs of a node: lag, last move, restarts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pctstream.tables import Record


class Inputs:
    """Of all nodes that have a pipe, by their names.

    >>> told = {"node": "N0,3", "end": 9, "stored": 6, "routed": -1, "moved": 2.5}
    >>> inputs = Inputs([{"inputs": [told]}])
    >>> inputs.lag("N0,3"), inputs.moved("N0,3"), inputs.restarts("N0,3"), inputs.moved("N0,4")
    (2, 2.5, 0, None)
    """

    def __init__(self, shards: Iterable[Record]) -> None:
        self._of: dict[str, list[dict[str, Any]]] = {}
        for record in shards:
            for entry in record["inputs"]:
                self._of.setdefault(entry["node"], []).append(entry)

    def lag(self, name: str) -> int:
        """Messages that are neither stored nor routed."""
        some = self._of.get(name, ())
        return sum(max(0, i["end"] - 1 - max(i["stored"], i["routed"])) for i in some)

    def moved(self, name: str) -> float | None:
        """When its position last moved, in seconds."""
        return (
            max((float(i.get("moved", 0.0)) for i in self._of.get(name, ())), default=0.0) or None
        )

    def restarts(self, name: str) -> int:
        return sum(int(i.get("restarts", 0)) for i in self._of.get(name, ()))
