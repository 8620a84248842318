"""What a run measured and which bars it met, kept for the plots and for whoever compares.

Every benchmark ends with `Figures.keep`. Where PCT_FIGURES names a file (`bench.py` sets it), the figures
of that benchmark replace the older ones there; without it nothing is written, so that a small run by hand
does not overwrite what is published.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from turns import machine

FILE = Path(__file__).with_suffix(".json")


class Figures:
    """Of one benchmark: its bars as they are judged, then everything it found."""

    def __init__(self, of: str, *packages: str) -> None:
        self._of = of
        self._machine = machine(*packages)
        self._bars: list[dict[str, Any]] = []

    def least(self, what: str, value: float, bar: float) -> bool:
        """Whether a value is at least the bar."""
        return self._judged(what, value, "at least", bar, value >= bar)

    def most(self, what: str, value: float, bar: float) -> bool:
        """Whether a value is at most the bar."""
        return self._judged(what, value, "at most", bar, value <= bar)

    def _judged(self, what: str, value: float, sense: str, bar: float, held: bool) -> bool:
        entry = {"what": what, "value": float(f"{value:.4g}"), "sense": sense, "bar": bar}
        self._bars.append(entry | {"held": bool(held)})
        return bool(held)

    def keep(self, found: Any) -> int:
        """Write what is JSON of it; the exit code: 1 if a bar was missed."""
        if file := os.environ.get("PCT_FIGURES"):
            every = read(Path(file))
            every[self._of] = {"machine": self._machine, "bars": self._bars, "found": found}
            # as it was or as it is: a run that is ended here leaves no half of it
            draft = Path(f"{file}.draft")
            draft.write_text(json.dumps(every, indent=1, sort_keys=True) + "\n")
            draft.replace(file)
        return int(not all(bar["held"] for bar in self._bars))


def read(file: Path = FILE) -> dict[str, Any]:
    """All that was kept; empty where nothing was."""
    return json.loads(file.read_text()) if file.exists() else {}


def told(bar: dict[str, Any]) -> str:
    """One bar as a line."""
    held = "held" if bar["held"] else "MISSED"
    return f"{held:6} {bar['what']}: {bar['value']:,.4g} ({bar['sense']} {bar['bar']:,.4g})"
