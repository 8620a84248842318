"""Promotion: a portion too heavy for any shard becomes a trunk node, its children portions of their own.

A portion is one pipe of one partition, so one shard reads it, however much it gets. Where that is too much
for every shard, no move helps: its root has to hand its rows on, as the nodes above it do.

    order       promote N0,3           somebody, or the policy, wants it; from here on it does not move
    cover       N0,3, piece 1 of 2     as its owner told it
    split       N0,3, hash, owners     the children's topics are there; they are portions   -> epoch e
    marker(e)   in the pipe P0.3       behind it N0,3 stores nothing more
    or not promoted   N0,3, why

At the marker the owner is told `Promote`. In one WriteBatch its store turns from that of a portion into
that of a trunk node that has covered and whose cover was just recorded: the same rows without those that
have left, no node but the root, the position with *routed* before the first row, epoch e. From then on it
is such a node, and everything is as at any split above the cut (`handing`): the rows stored go first, in
order, to the children's new pipes; live rows queue behind; the store lets go of them once the children's
owners have them. Who writes to the old pipe learns of nothing: one hop more, and order is kept.

**Why nothing is lost or doubled.**
R0: the store before the marker is a function of the pipe up to it. What is handed down is what lies there
and has not left, by a cover that is recorded: so it follows from the two logs. Purging earlier or later
changes nothing, because what has left is not sent either way. A child is a function of its own pipe.
R1, R2: *routed* begins before the first row and moves with the acks. A crash before the batch finds the
portion and reads the marker again; one behind it finds the trunk node, and hands down again from *routed*.
A lost store is made again as a portion from the pipe's beginning (or a snapshot's place) and turns at the
same marker.
R3: rows of one ingest partition lie in the pipe, in the store and so in each child's pipe in order. A
writer that crashed or is a zombie repeats a prefix of the same sequence: the children's marks drop it.
R4: the marker is what makes it the same sequence. Without it two owners could turn at two places; the
row that a delete between them names would be sent by one, and its delete by neither.
R5: cover and split are records; a marker counts iff its record was accepted, and whoever has not read it
yet waits at the marker. Copies of the marker are ignored: the trunk node's epoch is e.
R6: the batch is the store's, the turn is lost with its process. R7: until the store lets go, a row is at
the trunk node and, it may be, in a child; counts, search and `verify` take it once by origin, level by
level from the top, as they do for every trunk node. R8: the recorded cover decides; what the root found
behind the told cover was never recorded, and those rows go to the nearest of the children there are.
R9: while the order stands no move begins, and none may be under way when it is given: there is one reader
of the pipe. R10: nothing new is computed. R11: ids stay where N0 has them, below N0,3; the trunk node hands
every supersede, delete and expiry to all its children, in its place. R12: rows go down in pieces, a turn
each (`effects.RouteHeld`), and the input waits. R13: nothing new is read.

Folding back is placing the children together: pipes stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pctstream.core import life
from pctstream.core.block import Source
from pctstream.core.effects import Effect, Pause, Promote, Reread, Resume
from pctstream.core.names import Path
from pctstream.core.position import Position
from pctstream.core.subtree import NodeRecord, Subtree
from pctstream.core.taken import Witness
from pctstream.core.unit import Marker


class Told(NamedTuple):
    """What `.routing` says of a portion's promotion up to its record ``seq``."""

    history: str
    """The author of record 0."""
    seq: int
    epochs: frozenset[int]
    """Those of the trunk node that it is to be; none while it is a portion."""


class Promotable:
    """What a portion keeps of it: what it was told, and whether it stands at its marker."""

    path: Path
    source: Source
    taken: int

    def __init__(self) -> None:
        self._told: Told | None = None
        self._stands = False
        self._epoch_to_be = -1

    def hear(self, told: Told) -> list[Effect]:
        """What `.routing` says by now; the input goes on that waits for it."""
        self._told = told
        stood, self._stands = self._stands, False
        return [Resume(self.source)] if stood else []

    def _passes(self, markers: Iterable[Marker]) -> bool:
        """Whether what lies behind these markers is for the portion that it is."""
        told = self._told
        for marker in markers:
            if marker.node != self.path:
                continue
            if told is None or (marker.history == told.history and marker.epoch > told.seq):
                return False
            if marker.history == told.history and marker.epoch in told.epochs:
                self._epoch_to_be = marker.epoch
        return self._epoch_to_be < 0

    def _stand(self) -> list[Effect]:
        """At a marker: until more is known, or for good."""
        if self._epoch_to_be >= 0:
            return []
        self._stands = True
        return [Pause(self.source), Reread(self.source, self.taken + 1)]


def turned(
    path: Path, source: Source, position: Position, state: Mapping[str, Any], tree: Subtree
) -> Promote:
    """The portion that stands at its marker as a trunk node; all that it took is in the store."""
    counts = tree.counts.of([0])[0]
    # of the rows that are there: the others are counted nowhere any more
    there = (counts["rows"] - counts["gone"]) / max(1, counts["rows"])
    counts |= {"rows": counts["rows"] - counts["gone"], "distance": counts["distance"] * there}
    counts |= {"gone": 0, "uncovered": 0}
    alone = {"state": life.SPLITTING, "first": -1, "runs": [], "below": 0, "spare": 0, "limit": ""}
    alone |= {"holds": False, "folded": []}  # all of its cover's children get rows
    came = tree.descent.arrivals.record(0)
    root = NodeRecord(0, tree.nodes[0].record | alone | came | {"counts": counts})
    return Promote(path, source, position, trunk_state(state), root)


def trunk_state(portion: Mapping[str, Any]) -> dict[str, Any]:
    """What a portion's store says of it, as a trunk node's would: its rows but those that left are held."""
    held = portion["rows"] - portion["gone"]
    more = {"gone": 0, "stored_rows": held, "witness": Witness().to_json(), "promoted": True}
    return {**portion, **more}
