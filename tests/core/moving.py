"""A tree of two portions on three shards, and orders that come to it."""

from __future__ import annotations

from typing import Any

from core.rows import cover_of

from pctstream.core.names import ROOT
from pctstream.core.records import cover_records, order_record, split_record, tree_record
from pctstream.core.routing import Routing

COVER = cover_of([[0, 0], [9, 9], [0, 1]], 2.0)


class Log:
    """The routing, written to."""

    def __init__(self) -> None:
        self.routing = Routing()
        self.time = 0.0
        self.orders = 0
        self.write(tree_record({"shards": 3, "cut": 1, "max_level": 2}, 2, "a"))
        for record in cover_records(ROOT, COVER, 1, "a"):
            self.write(record)
        owners = {(0, i): i for i in range(COVER.k)}
        self.write(split_record(ROOT, COVER, owners, self.routing.seq + 1, "a"))

    def write(self, record: dict[str, Any]) -> bool:
        return self.routing.fold(record, self.routing.position + 1, self.time)

    def order(self, what: str, **more: Any) -> Any:
        """Give an order; its answer."""
        name = f"o{self.orders}"
        order = {"do": what, "id": name, **more}
        self.write(order_record(order, self.orders, self.routing.seq + 1, "a"))
        self.orders += 1
        return self.routing.orders.answers[name]

    def move(self, portion: str, to: int, **more: Any) -> str:
        answer = self.order("move", portion=portion, to=to, **more)
        assert not answer.refused, answer
        return str(answer.moves[0])
