"""The room that a worker has for what it read and has not done yet: rows and bytes, bounded (R12).

Messages collected, units on a node's channel or in its hand, parcels that the broker has not acked:
all of it takes room. The reader polls only while there is room, so what comes in waits in the log
instead of in memory, whoever is slow: a node, the disk or the broker.

A `Load` leaves once: when its unit was taken or its parcels are acked, or when nobody holds it any
more. So however a turn is lost (its agent is cancelled, its channel thrown away), its memory and its
place in the count go together.

>>> room = Room(rows=100, bytes=1000)
>>> one, two = room.load(60, 10), room.load(60, 10)
>>> room.full(), room.rows, room.bytes
('rows_in_flight', 120, 20)
>>> one.leave(); one.leave(); room.full(), room.rows
('', 60)
>>> del two; room.rows, room.full(collected=1000)
(0, 'bytes_in_flight')
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

Limit = Literal["", "rows_in_flight", "bytes_in_flight"]
SAY_S = 10.0
"""So long without room is told on stderr, once; a full room as such is how a busy worker looks."""


class Room:
    """Counts what waits; all methods may be called from any thread."""

    def __init__(self, rows: int, bytes: int, say: Callable[[str], None] = lambda _: None) -> None:
        self._most = (rows, bytes)
        self._say = say
        # re-entrant: a load may leave by being collected while this thread counts another
        self._changed = threading.Condition(threading.RLock())
        self._since: float | None = None
        self._said = False
        self.rows = 0
        self.bytes = 0
        self.waited = {"rows_in_flight": 0.0, "bytes_in_flight": 0.0}
        """Seconds that nothing was read, by the limit that was reached."""

    def load(self, rows: int, bytes: int, left: Callable[[], None] = lambda: None) -> Load:
        """Takes room at once, also where there is none; ``left`` is called when it leaves."""
        with self._changed:
            self.rows += rows
            self.bytes += bytes
        return Load(self, rows, bytes, left)

    def _leave(self, rows: int, bytes: int) -> None:
        with self._changed:
            self.rows -= rows
            self.bytes -= bytes
            self._changed.notify()

    def full(self, collected: int = 0) -> Limit:
        """The limit that is reached, with so many bytes collected besides."""
        rows, size = self._most
        if self.rows >= rows:
            return "rows_in_flight"
        return "bytes_in_flight" if self.bytes + collected >= size else ""

    def wait(self, timeout_s: float, collected: int = 0) -> bool:
        """Whether there is room now, after waiting for it so long at most."""
        with self._changed:
            limit = self.full(collected)
            if limit:
                start = time.monotonic()
                self._changed.wait(timeout_s)
                self.waited[limit] += time.monotonic() - start
            still = self.full(collected)
        self._tell(still)
        return not still

    def wake(self) -> None:
        """Whoever waits looks again."""
        with self._changed:
            self._changed.notify()

    def _tell(self, limit: Limit) -> None:
        now = time.monotonic()
        if not limit:
            if self._said:
                self._say("there is room again, reading goes on")
            self._since, self._said = None, False
            return
        self._since = self._since or now
        if not self._said and now - self._since >= SAY_S:
            self._said = True
            self._say(
                f"nothing was read for {SAY_S:.0f} s: {self.rows:,} rows and {self.bytes:,} bytes "
                f"wait to be applied or acked (limits.{limit}); the rest waits in the log"
            )


class Load:
    """Some rows and bytes in the room."""

    __slots__ = ("_left", "_room", "_what")

    def __init__(self, room: Room, rows: int, bytes: int, left: Callable[[], None]) -> None:
        self._room: Room | None = room
        self._what = rows, bytes
        self._left = left

    def leave(self) -> None:
        """It waits no more. Later calls change nothing."""
        room, self._room = self._room, None
        if room is not None:
            room._leave(*self._what)
            self._left()

    def __del__(self) -> None:
        self.leave()
