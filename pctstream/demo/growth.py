"""How the tree grows, level by level: what is told of it, and what must be true in the end."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from typing import Any

from pctstream.commands.status import level_line
from pctstream.core.names import level, node_path
from pctstream.demo.telling import say
from pctstream.running import Running

LOOK_S = 0.5
FILLED = 3
"""Levels that must have rows: N0's and two below."""
SLACK = 1e-6


class News:
    """What is new of the levels, each thing once, from one answer of `/v1/tree` to the next."""

    def __init__(self) -> None:
        self._told: set[tuple[int, str]] = set()

    def of(self, tree: Mapping[str, Any]) -> list[str]:
        """Lines for the levels that have opened or closed since the last call."""
        lines = []
        for entry in tree["levels"]:
            for event, true in (("opens", entry["nodes"]), ("closes", entry["closed_by"])):
                if true and (entry["level"], event) not in self._told:
                    self._told.add((entry["level"], event))
                    lines.append(f"level {entry['level']} {event}: {level_line(entry)}")
        return lines


class Watch(threading.Thread):
    """Tells the news while the scenes go on, with the seconds since now."""

    def __init__(self, system: Running) -> None:
        super().__init__(name="growth", daemon=True)
        self._system = system
        self._news = News()
        self._began = time.monotonic()
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(LOOK_S):
            tree = self._system.ask("/v1/tree")
            for line in self._news.of(tree) if tree else ():
                say(f"{time.monotonic() - self._began:5.1f} s  {line}")

    def end(self) -> None:
        """No more news."""
        self._stop_asked.set()
        self.join(10.0)


def faults(covers: Mapping[int, Mapping[str, Any] | None]) -> list[str]:
    """What is wrong with the answers of `/v1/levels/L/cover`, by level; nothing if all is well."""
    found = []
    for number in sorted({*range(FILLED), *covers}):
        answer = covers.get(number)
        if answer is None:
            found.append(f"nobody gives the cover of level {number}")
            continue
        entries = answer["cover"]
        own = sum(e["rows"] for e in entries if level(node_path(e["node"])) == number)
        if number < FILLED and not own:
            found.append(f"level {number} is not filled: no node of it has rows")
        weight = math.fsum(e["w"] for e in entries)
        if abs(weight - 1.0) > SLACK:
            found.append(f"the weights of level {number} sum to {weight:.9g}")
    return found
