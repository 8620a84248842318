"""Moments: the weights of a tree as they were, kept the thinner the older they are.

Theory
------
A node's centre never changes and its name is never used again, so the weighted cover of a time is what
the nodes held then: a path, a number of rows and a radius each. That is a **moment**. It is taken at every
tick of a clock, and ticks are numbered; tick n has the *order* of its trailing zeros in binary. Of each
order the last `KEPT` ticks are kept: the pyramidal time frame (Aggarwal, Han, Wang and Yu, "A framework
for clustering evolving data streams", VLDB 2003, section 3; every tick only under its highest order).

How far apart they lie: of order i and above all multiples of 2^i are kept that are not older than
(KEPT - 1) 2^(i+1) ticks. So for every age of a ticks, as long as ticks were taken, a moment is kept that
is at least a ticks old and at most a (1 + 1 / (KEPT - 3/2)) + 1. How many: KEPT for each order, and there
are not more than log2 of all ticks (`MOST` in all).

A tick at which nobody took a moment is made up for by the next one that is taken: it counts as the missed
tick of the highest order, or a far moment would be missing for long because of a short absence.

A record is absolute and its key is its place in the pyramid, so a compacted log keeps what is kept.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pctstream.core.names import Path, level, node_name, node_path
from pctstream.core.solver import NodeSummary
from pctstream.errors import Gone, NotFound, PctError, Unreadable

KEPT = 5
"""Moments of each order."""
ORDERS = 32
"""A tick of a higher order counts as one of the last."""
MOST = KEPT * ORDERS

Record = Mapping[str, Any]


def order(number: int) -> int:
    """The order of a tick.

    >>> [order(n) for n in (1, 2, 3, 4, 96)]
    [0, 1, 0, 2, 5]
    """
    return min(ORDERS - 1, (number & -number).bit_length() - 1) if number else ORDERS - 1


def slot(number: int) -> str:
    """Where a tick is kept; `KEPT` ticks of its order later the next one takes its place."""
    own = order(number)
    return f"{own}.{(number >> (own + 1)) % KEPT}"


def made_up(after: int, until: int) -> int:
    """Of the ticks in (after, until], the one of the highest order.

    >>> made_up(6, 7), made_up(6, 9), made_up(3, 17)
    (7, 8, 16)
    """
    low = until
    while low & (low - 1) and low & (low - 1) > after:
        low &= low - 1
    return low


@dataclass(frozen=True, slots=True)
class Moment:
    """The nodes of a tree at one time, down to a level."""

    number: int
    """The tick it counts as."""
    time: float
    """When it was taken, in seconds."""
    epoch: int
    depth: int | None
    """The deepest level that is whole in it; None: all of them."""
    nodes: Mapping[Path, tuple[int, float | None]]
    """Rows in the node's subtree, and its radius."""
    faded: Mapping[Path, float] | None = None
    """Its faded rows as they were then; None: weights did not fade."""
    folded: frozenset[Path] = frozenset()
    """Those that got no more rows."""

    @classmethod
    def of(
        cls, number: int, time: float, epoch: int, nodes: Mapping[Path, NodeSummary], most: int
    ) -> Moment:
        """Of these nodes as many levels as have at most ``most`` nodes together; N0's always."""
        sizes: dict[int, int] = {}
        for path in nodes:
            sizes[level(path)] = sizes.get(level(path), 0) + 1
        held, depth = 0, -1
        for at in sorted(sizes):
            held += sizes[at]
            if held > most and at:
                break
            depth = at
        told = {p: (n.rows, n.radius) for p, n in nodes.items() if level(p) <= depth}
        faded = {p: n.faded for p, n in nodes.items() if p in told and n.faded is not None}
        folded = frozenset(p for p in told if nodes[p].folded)
        whole = len(told) == len(nodes)
        return cls(number, time, epoch, None if whole else depth, told, faded or None, folded)

    def record(self) -> dict[str, Any]:
        """As it is told on `.state`: names in one text (a list would be ten times as large where it is
        kept), and columns i64 and f64 in base64."""
        rows = np.array([rows for rows, _ in self.nodes.values()], "<i8")
        radius = np.array([np.nan if far is None else far for _, far in self.nodes.values()], "<f8")
        said = {
            "kind": "moment", "slot": slot(self.number), "offset": self.number, "time": self.time,
            "epoch": self.epoch, "depth": self.depth, "names": ";".join(map(node_name, self.nodes)),
            "rows": base64.b64encode(rows.tobytes()).decode(),
            "radius": base64.b64encode(radius.tobytes()).decode(),
        }  # fmt: skip
        if self.faded is not None:
            faded = np.array([self.faded[path] for path in self.nodes], "<f8")
            said["faded"] = base64.b64encode(faded.tobytes()).decode()
        if self.folded:
            said["folded"] = ";".join(sorted(map(node_name, self.folded)))
        return said

    @classmethod
    def read(cls, record: Record) -> Moment:
        """The moment that a record tells of; Unreadable."""
        try:
            paths = [node_path(name) for name in record["names"].split(";")]
            rows = np.frombuffer(base64.b64decode(record["rows"]), "<i8").tolist()
            radius = np.frombuffer(base64.b64decode(record["radius"]), "<f8").tolist()
            nodes = {
                path: (held, None if far != far else far)
                for path, held, far in zip(paths, rows, radius, strict=True)
            }
            faded = None
            if "faded" in record:
                weights = np.frombuffer(base64.b64decode(record["faded"]), "<f8").tolist()
                faded = dict(zip(paths, weights, strict=True))
            said = record.get("folded", "")
            folded = frozenset(node_path(name) for name in said.split(";") if name)
            depth = record["depth"]
            return cls(
                int(record["offset"]), float(record["time"]), int(record["epoch"]),
                None if depth is None else int(depth), nodes, faded, folded,
            )  # fmt: skip
        except (LookupError, TypeError, ValueError, AttributeError, binascii.Error, PctError):
            raise Unreadable("a moment on `.state` is not what was written") from None

    def summaries(self, known: Mapping[Path, NodeSummary]) -> dict[Path, NodeSummary]:
        """The nodes as they were, where ``known`` says where they lie."""
        return {
            path: NodeSummary(
                path,
                rows,
                radius,
                known[path].centroid,
                faded=None if self.faded is None else self.faded[path],
                folded=path in self.folded,
            )
            for path, (rows, radius) in self.nodes.items()
            if path in known
        }


def at(records: Iterable[Record], time: float, depth: int) -> Moment:
    """The last moment taken at ``time`` or before, that has the levels down to ``depth``.

    NotFound where none is kept at all, Gone where none is kept that is old enough, or none of those
    that deep.
    """
    held = sorted((float(r["time"]), int(r["offset"]), r) for r in records)
    if not held:
        raise NotFound("no moment of this tree is kept yet (`tree.moment_s`)")
    before = [record for taken, _, record in held if taken <= time]
    if not before:
        raise Gone(
            f"what is kept begins at {held[0][0]:.3f} s, and {time:.3f} s is earlier: ask for a later "
            "time"
        )
    moment = Moment.read(before[-1])
    if moment.depth is not None and depth > moment.depth:
        raise Gone(
            f"of {moment.time:.3f} s the levels down to {moment.depth} are kept, not {depth} "
            "(`limits.moment_nodes`)"
        )
    return moment
