"""Two workers under one name: which of them has to end.

A name is for one worker of a tree: the group knows it by it, and two of them would throw each other out
for ever (seen: both "ready", both with the same shards). Who began when is in what they tell on
`.state`. Whoever finds somebody at work who began earlier ends at once, as long as it is young: somebody
has started the same tree a second time. An older one gives way if the younger is still there after that:
then it stood still, and was replaced.

>>> mine = Namesake("worker-0", began=50.0, now=0.0)
>>> mine.heard("worker-0", 50.0, 1.0), mine.heard("worker-1", 9.0, 1.0), mine.heard("worker-0", 9.0, 1.0)
(False, False, True)
>>> older = Namesake("worker-0", began=9.0, now=0.0)
>>> [older.heard("worker-0", 50.0, at) for at in (100.0, 129.0, 131.0)]
[False, False, True]
"""

from __future__ import annotations

YOUNG_S = 30.0


class Namesake:
    """Of one worker, which began at ``began`` by its own clock; ``now`` is of any clock."""

    def __init__(self, name: str, began: float, now: float) -> None:
        self._name = name
        self._began = began
        self._start = now
        self._since: dict[float, float] = {}

    def heard(self, name: str, began: float, now: float) -> bool:
        """A worker tells of itself at this moment: whether this one has to end."""
        if name != self._name or began == self._began:
            return False
        if began < self._began:
            return now - self._start <= YOUNG_S
        return now - self._since.setdefault(began, now) > YOUNG_S
