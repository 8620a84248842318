"""A fault: what it is, what is promised, how it is brought about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos.site import Site


class Void(Exception):
    """The fault did not happen, so nothing was shown."""


class Breach(Exception):
    """What was promised does not hold."""


@dataclass(frozen=True)
class Fault:
    """``strike`` brings it about and gives how often it was seen to happen; it returns when the fault
    itself is over. Workers that ended may be left to `Site.mend`."""

    name: str
    promise: str
    how: str
    strike: Callable[[Site], int]
    count: int = 1
    """How often one strike must be seen."""
    ready_s: float = 45.0
    """After the fault is over: until all three workers are ready again."""
    deep: bool = False
    """Also compare every pipe with its portion's store."""


@dataclass
class Outcome:
    """What came of all strikes of one fault."""

    fault: Fault
    wanted: int = 0
    seen: int = 0
    ready_s: float = 0.0
    lost: int = 0
    duplicated: int = 0
    breach: str = ""

    @property
    def result(self) -> str:
        if self.breach:
            return self.breach
        return "held" if self.seen == self.wanted else f"void: {self.seen} of {self.wanted} seen"
