"""How many messages a reader asks for at a time, and whether there are more all the time.

A look at all inputs costs as much as reading some messages, so small ones are asked for by the thousand.
What was fetched of all inputs stands in one line; while no poll reaches its end, what an input lacks may
be there, behind that of others.

>>> polls = Polls(through_at=0.0)
>>> polls.took(polls.most, 64_000, now=3.0); polls.most, polls.behind(3.0)
(1024, True)
>>> polls.took(5, 5_000_000, now=4.0); polls.most, polls.behind(4.5)
(64, False)
"""

from __future__ import annotations

from dataclasses import dataclass

MESSAGES, BYTES = range(64, 1025), 4 << 20
LINE_S = 1.0
"""So long no poll has reached the end of the line."""


@dataclass(slots=True)
class Polls:
    """Those of one reader; times are of its clock, in seconds."""

    through_at: float
    """When one reached the end last."""
    most: int = MESSAGES.start
    """What the next one asks for."""

    def took(self, messages: int, size: int, now: float) -> None:
        """A poll brought so many messages, of so many bytes."""
        if messages < self.most:
            self.through_at = now
        if messages:
            wanted = BYTES * messages // max(1, size)
            self.most = max(MESSAGES.start, min(wanted, MESSAGES.stop - 1))

    def behind(self, now: float) -> bool:
        """Whether more was fetched all the time than is taken: what comes later comes late."""
        return now - self.through_at > LINE_S
