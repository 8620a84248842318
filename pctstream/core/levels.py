"""A level at a time: when does the open level close, and what do its nodes cover by? (DESIGN 6)

A level closes when every node of it has ended, or `level_rows` rows have come to it, or no row came
for `level_idle_s`, or `level_timeout_s` after it opened. What is decided here is only *when* nodes go
on; what they find is a function of their rows (R0), so a wrong moment costs time and nothing else.

The epsilon of a level that no ratio gives is the median of what its first nodes propose, each
weighing as many as the rows it looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pctstream.core import life
from pctstream.core.names import ROOT, node_name
from pctstream.core.records import epsilon_record, level_record
from pctstream.core.routing import Routing
from pctstream.core.subtree import FIRST_ROWS

Report = Mapping[str, Any]


class Levels:
    """Watches the reports of the portions; ``look`` answers with the next record, if it is time."""

    def __init__(self, settings: Mapping[str, Any], author: str) -> None:
        self._rows = int(settings["level_rows"])
        self._idle_s = float(settings["level_idle_s"])
        self._timeout_s = float(settings["level_timeout_s"])
        self._author = author
        self._open = (-1, 0.0)
        self._total = (-1, 0.0)

    def look(
        self, log: Routing, reports: Mapping[str, Report], now: float
    ) -> dict[str, Any] | None:
        """``reports`` by the portion's name, ``now`` in seconds of any steady clock."""
        level = len(log.levels)
        if ROOT not in log.splits or level >= log.shape.max_level:
            return None
        told = [reports[n] for p in list(log.owners) if (n := node_name(p)) in reports]
        total = sum(int(r["rows"]) for r in told)
        if self._open[0] != level:
            self._open = (level, now)
        if self._total[0] != total:
            self._total = (total, now)
        idle = now - self._total[1] >= self._idle_s
        late = now - self._open[1] >= self._timeout_s
        settled = len(told) == len(log.owners) and all(r["grown_to"] >= level for r in told)
        nodes = [n for r in told for n in _at(r, level)]
        if not nodes or not (settled or late):
            return None
        if level not in log.gates.epsilons:
            return self._epsilon(log, level, told, nodes, idle or late)
        if settled and not any(state == life.COVERING for state, _ in nodes):
            closed_by = "ended"
        elif sum(rows for _, rows in nodes) >= self._rows:
            closed_by = "rows"
        elif idle:
            closed_by = "idle"
        elif late:
            closed_by = "timeout"
        else:
            return None
        return level_record(level, closed_by, log.seq + 1, self._author)

    def _epsilon(
        self, log: Routing, level: int, told: list[Report], nodes: list[tuple[str, int]], now: bool
    ) -> dict[str, Any] | None:
        enough = FIRST_ROWS * log.shape.fanout
        proposals = sorted(
            (float(epsilon), int(rows))
            for r in told
            for at, rows, epsilon in r["proposals"]
            if at == level
        )
        full = [p for p in proposals if p[1] >= enough]
        able = sum(rows >= enough for _, rows in nodes)
        if not proposals or not (now or (full and 2 * able >= len(nodes))):
            return None
        half = sum(rows for _, rows in proposals) / 2
        for epsilon, rows in proposals:
            half -= rows
            if half <= 0:
                return epsilon_record(level, epsilon, log.seq + 1, self._author)
        return None


def _at(report: Report, level: int) -> list[tuple[str, int]]:
    """(state, rows) of a portion's nodes at a level."""
    columns = report["nodes"]
    depth = level - report["portion"].count(",")
    return [
        (state, int(rows))
        for path, state, rows in zip(
            columns["path"], columns["state"], columns["rows"], strict=True
        )
        if (path.count(",") + 1 if path else 0) == depth
    ]
