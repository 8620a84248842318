"""Folding above the cut: which children of N0 and of trunk nodes get no more rows, and since when.

`folding` says what folding means; this is the rule where children are topics that have owners.

**Who decides.** The tree agent, by what it was told. Each child says what its parent ever sent it, by
the rows' own times (`folding.told`: counted at the child's root, so it follows from the child's pipe and
goes where the portion goes). The readers of the node's input say what the rows they routed say of the
cover in force (`taken.Witness`). All that may be late or mistaken: what counts is the record.

**When** (`look`). As below the cut: of a node whose children together weigh a window or more; not before
`tree.miss_cooldown` rows, and as many as the children weigh, were routed by the cover in force; the
lightest, as many as weigh less than `tree.fold_share` with what is missed already, never the heaviest.
Not while the node is re-opened, nor while a partition of its input is not routed by the newest epoch.
What is told comes late and in any order: just after a split one child may have told of all its rows and
another of none. So one that looks light is looked at again: it is folded if it does so still by a report
of its shard that was made a while later, and has read its pipe to the end of then, so all that those
told of who route rows to it. Who reads for a heavier child may be as late as they like: that makes it
lighter, and so the light ones heavier.

**The record** is `folded`, with the numbers of the children. It opens an epoch with the children of the
one before, of whom these, and all folded before, get no rows. It does not count where one of them gets
none already or is no child, where none would be left, or while the node is re-opened (`Reopened.fold`).

**From which row on.** From the marker of the epoch on, in each partition of the node's input, as where a
cover has grown (R4, `handing`): rows behind it go to the nearest of the others (`router`), those before
it go by the epoch before. The rows that the node stored before its split lie before every marker.

**On replay** everyone has the epoch with the position in the store or the commit, or meets the markers
again; who has not read the record waits at its marker. So a zombie, a rebuild and a worker that was away
send a row to the same child. The folded child keeps topic, pipe, owner, name and rows: whatever an id asks
of a row there goes down its pipe as before; it is moved, promoted, searched and expired like all others.

**Later.** A re-opening knows the prototypes in force alone, so it finds again what lies where a folded
child is; what it finds has the next numbers. A portion that is promoted gives rows to all children of its
cover; they lie above the cut from then on, and what they weigh begins with the rows handed to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pctstream.core import records
from pctstream.core.coverage import WINDOW, combined
from pctstream.core.fading import Int64, brought
from pctstream.core.folding import GRAINS, light
from pctstream.core.names import Path, node_name
from pctstream.core.reopener import Report, Reports, partitions, seen, told_of
from pctstream.core.routing import Routing

RETOLD_S = 2.0
"""Between two reports by which a child looks light, by the clock of who makes them: longer than what was
told of the node's input before is on its way."""


class Folder:
    """Of one author, called ``author``: which children looked light, and since which report."""

    def __init__(self, author: str) -> None:
        self._author = author
        self._light: dict[Path, Report] = {}

    def look(self, log: Routing, told: Reports) -> dict[str, Any] | None:
        """The record that children of a node are folded, if some are to be."""
        if not (log.shape.half_life_s and log.shape.fold_share):
            return None
        before, self._light = self._light, {}
        sure = {
            path: [n for n in due(log, path, told) if self._sure((*path, n), told, before)]
            for path in sorted(log.splits)
        }
        path = next((path for path, gone in sure.items() if gone), None)
        if path is None:
            return None
        return records.folded_record(path, sure[path], log.seq + 1, self._author)

    def _sure(self, child: Path, told: Reports, before: Mapping[Path, Report]) -> bool:
        """Whether a child that looks light does so by all that its parent sent to it; ``before``: by which
        report each looked light first."""
        record = told.portions[node_name(child)]
        report = told.shards.get(int(record["owner"]))
        if report is None:
            return False
        first = before.get(child, report)
        if any(report[who] != first[who] for who in ("shard", "worker")):
            first = report  # by another clock
        self._light[child] = first
        later = float(report["time"]) >= float(first["time"]) + RETOLD_S
        return later and not _behind(record, report)


def due(log: Routing, path: Path, told: Reports) -> list[int]:
    """The children of a node that look light enough to be folded."""
    counted = seen(log, path, told_of(log, path, told))
    if path in log.reopened.open or len(counted) < partitions(log, path):
        return []
    weights = _weights(log, path, told)
    passed = sum(one.passed for one in counted)
    if weights is None or passed < log.shape.miss_cooldown:
        return []
    said = combined(one.evidence() for one in counted)
    missed = said.beyond / said.rows if said.rows else 0.0
    folded = list(log.reopened.folded.get(path, ()))
    return light(weights, folded, log.shape.fold_share, missed, passed, WINDOW)


def _weights(log: Routing, path: Path, told: Reports) -> Int64 | None:
    """What the children weigh, i64[k] in grains, as of the newest row; None if some do not say."""
    found = [told.portions.get(node_name(child), {}) for child in log.children(path)]
    came = [(int(step), float(rows)) for step, rows in (r["came"] for r in found if "came" in r)]
    if len(came) < len(found):
        return None
    newest = max(step for step, _ in came)
    return np.array([round(brought(rows, step, newest) * GRAINS) for step, rows in came], np.int64)


def _behind(record: Report, report: Report) -> bool:
    """Whether there may be rows in a portion's pipe that its record does not know of yet."""
    mine = [i for i in report["inputs"] if i["node"] == record["portion"] and not i["shadow"]]
    known = max(int(record["offset"]), int(record.get("routed", {}).get("offset", -1)))
    return not mine or any(not 0 <= i["end"] <= known + 1 for i in mine)
