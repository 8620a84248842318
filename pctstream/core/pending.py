"""Work that is finished in any order and counted in the order it came."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Pending:
    """Things that finish in any order and count in theirs.

    >>> pending = Pending()
    >>> pending.add(7, "first"); pending.add(9, "second"); pending.finish(9); pending.drain()
    []
    >>> pending.finish(7); pending.drain()
    ['first', 'second']
    """

    _items: dict[int, Any] = field(default_factory=dict)
    _done: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, ticket: int, item: Any) -> None:
        self._items[ticket] = item

    def finish(self, ticket: int) -> None:
        self._done.add(ticket)

    def drain(self) -> list[Any]:
        """The finished items from the front on."""
        out = []
        while self._items and (head := next(iter(self._items))) in self._done:
            out.append(self._items.pop(head))
            self._done.discard(head)
        return out
