"""How far an input is done, and of which log that is true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class LogIdentity(NamedTuple):
    """Which log a position lies in (R1): a topic made again has another id, and a log whose end was
    lost with its leader has another leader epoch there. "" and -1: not known."""

    topic_id: str = ""
    leader_epoch: int = -1


UNKNOWN = LogIdentity()


@dataclass(frozen=True, slots=True)
class Position:
    """How far one input is done (R2).

    Below ``stored`` every row lies in the node's store; below ``routed`` every row is acked by the
    broker on its way down, or dead-lettered. ``epoch`` is the routing in force there (R4).
    """

    stored: int = -1
    routed: int = -1
    epoch: int = 0

    @property
    def taken(self) -> int:
        """The offset that reading goes on behind (R1)."""
        return max(self.stored, self.routed)
